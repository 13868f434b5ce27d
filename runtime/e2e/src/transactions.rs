//! Kafka's transactions request by request, without a client that repeats, waits or gives up by itself: for tests that have to know what a
//! single request does. Speaks old versions of the protocol, as librdkafka does: transactions whose epoch does not rise by itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::broker::TEN;

/// The errors of Kafka's protocol that a request of a transaction may meet.
pub mod error {
    /// A transaction of the id is just being ended.
    pub const CONCURRENT_TRANSACTIONS: i16 = 51;
    /// There is none that could be ended so.
    pub const INVALID_TXN_STATE: i16 = 48;
    /// Another producer has the id.
    pub const INVALID_PRODUCER_EPOCH: i16 = 47;
    /// The same.
    pub const PRODUCER_FENCED: i16 = 90;
    /// The same, when the other one has another producer id.
    pub const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
}

/// Who coordinates is not known yet, is being loaded, or is elsewhere.
const NOT_YET: [i16; 3] = [14, 15, 16];
/// Records of transactions.
const TRANSACTIONAL: i16 = 0x10;

/// A connection to a broker that is the only one of its cluster.
pub struct Transactions {
    stream: TcpStream,
    correlation: i32,
}

/// The bytes of a request.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn raw(mut self, bytes: &[u8]) -> Body {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, text: &str) -> Body {
        self.raw(&(text.len() as i16).to_be_bytes()).raw(text.as_bytes())
    }

    fn i8(self, n: i8) -> Body {
        self.raw(&n.to_be_bytes())
    }

    fn i16(self, n: i16) -> Body {
        self.raw(&n.to_be_bytes())
    }

    fn i32(self, n: i32) -> Body {
        self.raw(&n.to_be_bytes())
    }

    fn i64(self, n: i64) -> Body {
        self.raw(&n.to_be_bytes())
    }

    /// A signed number of records: zigzag, seven bits a byte.
    fn varint(mut self, n: i32) -> Body {
        let mut rest = ((n << 1) ^ (n >> 31)) as u32;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    fn sized(self, bytes: &[u8]) -> Body {
        self.varint(bytes.len() as i32).raw(bytes)
    }

    /// One topic with one partition, and what follows for it.
    fn partition(self, topic: &str, partition: i32) -> Body {
        self.i32(1).text(topic).i32(1).i32(partition)
    }
}

/// What is left to read of an answer.
struct Answer(Vec<u8>, usize);

impl Answer {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.0[self.1..self.1 + N].try_into().expect("as many as were asked for");
        self.1 += N;
        bytes
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    fn skip_text(&mut self) {
        self.1 += self.i16().max(0) as usize;
    }

    /// Past what `partition` of a request comes back as.
    fn skip_partition(&mut self) {
        self.i32();
        self.skip_text();
        self.i32();
        self.i32();
    }
}

fn result(code: i16) -> Result<(), i16> {
    if code == 0 { Ok(()) } else { Err(code) }
}

impl Transactions {
    /// Connects to a broker, and waits until it coordinates transactions.
    pub fn connect(address: &str) -> Transactions {
        let stream = TcpStream::connect(address).expect("the broker runs");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(TEN)).expect("a socket");
        Transactions { stream, correlation: 0 }
    }

    fn ask(&mut self, (api, version): (i16, i16), body: Body) -> Answer {
        self.correlation += 1;
        let request = Body::default().i16(api).i16(version).i32(self.correlation).text("flow-test").raw(&body.0).0;
        let sized = Body::default().i32(request.len() as i32).raw(&request).0;
        self.stream.write_all(&sized).expect("the broker takes it");
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("the broker answers");
        let mut bytes = vec![0; i32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut bytes).expect("the broker answers");
        let mut answer = Answer(bytes, 0);
        assert_eq!(answer.i32(), self.correlation, "answers come in order");
        answer
    }

    /// Asks until there is a coordinator.
    fn coordinated(&mut self, id: &str, mut ask: impl FnMut(&mut Self) -> i16) -> Result<(), i16> {
        let begun = Instant::now();
        loop {
            let code = ask(self);
            if !NOT_YET.contains(&code) || begun.elapsed() > 6 * TEN {
                return result(code);
            }
            // Whoever asks for it makes the topic of transactions.
            self.ask((10, 1), Body::default().text(id).i8(1));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Gives the id to a new producer: its number and epoch.
    ///
    /// # Errors
    /// The code of Kafka's.
    pub fn init(&mut self, id: &str) -> Result<(i64, i16), i16> {
        let mut producer = (-1, -1);
        self.coordinated(id, |this| {
            let mut answer = this.ask((22, 0), Body::default().text(id).i32(60_000));
            answer.i32();
            let code = answer.i16();
            producer = (answer.i64(), answer.i16());
            code
        })?;
        Ok(producer)
    }

    /// Adds a partition to the producer's transaction, which the first one begins.
    ///
    /// # Errors
    /// The code of Kafka's.
    pub fn add(&mut self, id: &str, (producer, epoch): (i64, i16), topic: &str, partition: i32) -> Result<(), i16> {
        let body = Body::default().text(id).i64(producer).i16(epoch).partition(topic, partition);
        let mut answer = self.ask((24, 0), body);
        answer.i32();
        answer.skip_partition();
        result(answer.i16())
    }

    /// Appends one record to a partition of the transaction, the `sequence`th of the producer there.
    ///
    /// # Errors
    /// The code of Kafka's.
    pub fn produce(
        &mut self,
        id: &str,
        (producer, epoch): (i64, i16),
        (topic, partition, sequence): (&str, i32, i32),
        (key, value): (&[u8], &[u8]),
    ) -> Result<(), i16> {
        let record = Body::default().i8(0).varint(0).varint(0).sized(key).sized(value).varint(0).0;
        let counted = Body::default()
            .i16(TRANSACTIONAL)
            .i32(0)
            .i64(0)
            .i64(0)
            .i64(producer)
            .i16(epoch)
            .i32(sequence)
            .i32(1)
            .sized(&record)
            .0;
        let crc = crc32c::crc32c(&counted);
        let rest = Body::default().i32(-1).i8(2).raw(&crc.to_be_bytes()).raw(&counted).0;
        let batch = Body::default().i64(0).i32(rest.len() as i32).raw(&rest).0;
        let body = Body::default().text(id).i16(-1).i32(TEN.as_millis() as i32).partition(topic, partition);
        let mut answer = self.ask((0, 3), body.i32(batch.len() as i32).raw(&batch));
        answer.skip_partition();
        result(answer.i16())
    }

    /// Ends the producer's transaction, whichever that is.
    ///
    /// # Errors
    /// The code of Kafka's.
    pub fn end(&mut self, id: &str, (producer, epoch): (i64, i16), commit: bool) -> Result<(), i16> {
        let body = Body::default().text(id).i64(producer).i16(epoch).i8(commit.into());
        let mut answer = self.ask((26, 0), body);
        answer.i32();
        result(answer.i16())
    }

    /// The end of a partition: of what is stable, for readers of committed records, and of all.
    pub fn ends(&mut self, topic: &str, partition: i32) -> (i64, i64) {
        let mut end = |isolation| {
            let body = Body::default().i32(-1).i8(isolation).partition(topic, partition).i64(-1);
            let mut answer = self.ask((2, 2), body);
            answer.i32();
            answer.skip_partition();
            assert_eq!(answer.i16(), 0, "the end of {topic}[{partition}]");
            answer.i64();
            answer.i64()
        };
        (end(1), end(0))
    }
}
