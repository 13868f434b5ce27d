//! A bad way to a server, for tests: a TCP proxy that delays, stalls, refuses, cuts, or answers in the server's place. For HTTP in
//! plain, where a client waits for the answer before it asks again.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// What is bad about the way. What is under way feels a change too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toxin {
    /// Nothing.
    None,
    /// Each answer comes later by this.
    Delay(Duration),
    /// Nobody listens: connections are reset.
    Refuse,
    /// Requests go nowhere and nothing comes back.
    Stall,
    /// `503 Slow Down`, and the server never hears of the request.
    Busy,
    /// Requests arrive and are carried out, and the connection ends before the answer.
    LoseAnswers,
    /// The connection ends after so many bytes of an answer.
    Cut(usize),
}

/// A proxy. It ends with the process.
#[derive(Clone)]
pub struct Toxic {
    /// Where it listens, `host:port`.
    pub address: String,
    way: Arc<Way>,
}

struct Way {
    server: SocketAddr,
    toxin: Mutex<Toxin>,
    /// How many requests came from clients.
    calls: AtomicU32,
}

impl Toxic {
    /// Before a server at `host:port`.
    pub fn before(server: &str) -> Toxic {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let server = server.parse().expect("an address");
        let way = Arc::new(Way { server, toxin: Mutex::new(Toxin::None), calls: AtomicU32::new(0) });
        let of_all = way.clone();
        spawn(move || {
            for client in listener.incoming().flatten() {
                let way = of_all.clone();
                spawn(move || way.connect(client));
            }
        });
        Toxic { address, way }
    }

    /// What it does from now on.
    pub fn set(&self, toxin: Toxin) {
        *self.way.toxin.lock().expect("nobody panics with it") = toxin;
    }

    /// How many requests came so far.
    pub fn calls(&self) -> u32 {
        self.way.calls.load(SeqCst)
    }
}

impl Way {
    fn toxin(&self) -> Toxin {
        *self.toxin.lock().expect("nobody panics with it")
    }

    fn connect(self: Arc<Way>, client: TcpStream) {
        // Dropped with what it has not read, a connection is reset.
        if self.toxin() == Toxin::Refuse {
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let asked = Arc::new(AtomicBool::new(false));
        let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
        let (way, asked_too) = (self.clone(), asked.clone());
        spawn(move || way.there(client_too, server_too, &asked_too));
        self.back(server, client, &asked);
    }

    /// From the client to the server, until either ends.
    fn there(&self, mut client: TcpStream, mut server: TcpStream, asked: &AtomicBool) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            if !asked.swap(true, SeqCst) {
                self.calls.fetch_add(1, SeqCst);
            }
            match self.toxin() {
                Toxin::Refuse => break,
                Toxin::Stall => continue,
                Toxin::Busy => {
                    refuse(&mut client, &buffer[..length]);
                    break;
                }
                _ => (),
            }
            if server.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        end(&client, &server);
    }

    /// From the server to the client, until either ends.
    fn back(&self, mut server: TcpStream, mut client: TcpStream, asked: &AtomicBool) {
        let mut buffer = vec![0; 1 << 16];
        let mut sent = 0;
        while let Ok(mut length @ 1..) = server.read(&mut buffer) {
            let first = asked.swap(false, SeqCst);
            sent = if first { 0 } else { sent };
            match self.toxin() {
                Toxin::Delay(delay) if first => sleep(delay),
                Toxin::Stall => continue,
                Toxin::Refuse | Toxin::LoseAnswers => break,
                _ => (),
            }
            let whole = length;
            if let Toxin::Cut(after) = self.toxin() {
                length = length.min(after.saturating_sub(sent));
            }
            if client.write_all(&buffer[..length]).is_err() || length < whole {
                break;
            }
            sent += length;
        }
        end(&client, &server);
    }
}

fn end(client: &TcpStream, server: &TcpStream) {
    // Whoever ended first has done it already.
    _ = client.shutdown(Shutdown::Both);
    _ = server.shutdown(Shutdown::Both);
}

/// Answers a request that begins with `begun`, after it has come whole: clients look for answers after sending.
fn refuse(client: &mut TcpStream, begun: &[u8]) {
    let mut request = begun.to_vec();
    let mut buffer = vec![0; 1 << 16];
    while !is_whole(&request) {
        match client.read(&mut buffer) {
            Ok(length @ 1..) => request.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
    let body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let head = "HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\nconnection: close\r\n";
    // A client that is gone wants no answer.
    _ = write!(client, "{head}content-length: {}\r\n\r\n{body}", body.len());
}

/// Whether a request has come to its end, as its head says.
fn is_whole(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().expect("a number"));
    request.len() >= head + 4 + length
}
