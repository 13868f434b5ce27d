//! A producer's epoch has 16 bits, and each init takes one: burning them by hand, in Kafka's own protocol, as a client library would
//! need a producer for each.

use std::io::{Read, Write};
use std::net::TcpStream;

/// What a broker says of a transactional id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// A connection that asks for nothing but epochs.
pub struct Burner {
    socket: TcpStream,
    transactional_id: String,
}

const INIT_PRODUCER_ID: i16 = 22;
const VERSION: i16 = 1;
const TIMEOUT_MS: i32 = 60_000;
/// Another init is under way: ask again.
const CONCURRENT_TRANSACTIONS: i16 = 51;

impl Burner {
    pub fn connect(broker: &str, transactional_id: &str) -> Burner {
        let socket = TcpStream::connect(broker).expect("it listens");
        socket.set_nodelay(true).expect("a socket");
        Burner { socket, transactional_id: transactional_id.to_owned() }
    }

    /// Calls init once.
    pub fn init(&mut self) -> Producer {
        loop {
            let mut request = Vec::new();
            request.extend(INIT_PRODUCER_ID.to_be_bytes());
            request.extend(VERSION.to_be_bytes());
            // The correlation, and no name of a client.
            request.extend(1i32.to_be_bytes());
            request.extend((-1i16).to_be_bytes());
            request.extend((self.transactional_id.len() as i16).to_be_bytes());
            request.extend(self.transactional_id.as_bytes());
            request.extend(TIMEOUT_MS.to_be_bytes());
            let length = (request.len() as i32).to_be_bytes();
            self.socket.write_all(&[&length, &request[..]].concat()).expect("sent");
            let mut length = [0; 4];
            self.socket.read_exact(&mut length).expect("an answer");
            let mut answer = vec![0; i32::from_be_bytes(length) as usize];
            self.socket.read_exact(&mut answer).expect("an answer");
            // Behind the correlation and the time that one is throttled.
            let error = i16::from_be_bytes(answer[8..10].try_into().expect("two"));
            if error == CONCURRENT_TRANSACTIONS {
                std::thread::sleep(std::time::Duration::from_millis(5));
                continue;
            }
            assert_eq!(error, 0, "InitProducerId");
            let id = i64::from_be_bytes(answer[10..18].try_into().expect("eight"));
            return Producer { id, epoch: i16::from_be_bytes(answer[18..20].try_into().expect("two")) };
        }
    }
}
