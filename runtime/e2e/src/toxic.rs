//! A bad way to a server, for tests: a TCP proxy that delays, stalls, refuses, cuts, or answers in the server's place. For HTTP in
//! plain, where a client waits for the answer before it asks again; to be cut off is for all that goes over TCP.

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

/// Whose bytes get lost, both ways. A connection that has lost some is never of use again: what follows would not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// All that comes.
    All,
    /// Whoever says a name at the beginning of a connection: the first that begins with `kind` ends with `own`.
    Named {
        /// What all names begin with, and nothing else does that is said.
        kind: &'static str,
        /// One character.
        own: char,
    },
}

/// That far into a connection it is seen who it is.
const BEGINNING: usize = 4096;

/// One connection.
#[derive(Default)]
struct Connection {
    /// A request is under way.
    asked: AtomicBool,
    /// What the client has said first.
    beginning: Mutex<Vec<u8>>,
    /// Some of it got lost.
    torn: AtomicBool,
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
    cut_off: Mutex<Option<Whom>>,
    /// How many requests came from clients.
    calls: AtomicU32,
}

impl Toxic {
    /// Before a server at `host:port`.
    pub fn before(server: &str) -> Toxic {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let server = server.parse().expect("an address");
        let (toxin, cut_off) = (Mutex::new(Toxin::None), Mutex::new(None));
        let way = Arc::new(Way { server, toxin, cut_off, calls: AtomicU32::new(0) });
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

    /// Who is cut off from now on; nobody if none.
    pub fn cut_off(&self, whom: Option<Whom>) {
        *self.way.cut_off.lock().expect("nobody panics with it") = whom;
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
        let connection = Arc::<Connection>::default();
        let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
        let (way, connection_too) = (self.clone(), connection.clone());
        spawn(move || way.there(client_too, server_too, &connection_too));
        self.back(server, client, &connection);
    }

    /// Whether what has just come gets lost, or none if the connection is to end.
    fn loses(&self, connection: &Connection) -> Option<bool> {
        let is_cut_off = match *self.cut_off.lock().expect("nobody panics with it") {
            None => false,
            Some(Whom::All) => true,
            Some(Whom::Named { kind, own }) => connection.said(kind).is_some_and(|said| char::from(said) == own),
        };
        match (is_cut_off, connection.torn.fetch_or(is_cut_off, SeqCst)) {
            (false, true) => None,
            (is_cut_off, _) => Some(is_cut_off),
        }
    }

    /// From the client to the server, until either ends.
    fn there(&self, mut client: TcpStream, mut server: TcpStream, connection: &Connection) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            connection.hear(&buffer[..length]);
            match self.loses(connection) {
                None => break,
                Some(true) => continue,
                Some(false) => (),
            }
            if !connection.asked.swap(true, SeqCst) {
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
    fn back(&self, mut server: TcpStream, mut client: TcpStream, connection: &Connection) {
        let mut buffer = vec![0; 1 << 16];
        let mut sent = 0;
        while let Ok(mut length @ 1..) = server.read(&mut buffer) {
            match self.loses(connection) {
                None => break,
                Some(true) => continue,
                Some(false) => (),
            }
            let first = connection.asked.swap(false, SeqCst);
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

impl Connection {
    fn hear(&self, said: &[u8]) {
        let mut beginning = self.beginning.lock().expect("nobody panics with it");
        let room = BEGINNING - beginning.len();
        beginning.extend_from_slice(&said[..said.len().min(room)]);
    }

    /// The byte that stands behind this first.
    fn said(&self, kind: &str) -> Option<u8> {
        let beginning = self.beginning.lock().expect("nobody panics with it");
        let at = beginning.windows(kind.len()).position(|said| said == kind.as_bytes())?;
        beginning.get(at + kind.len()).copied()
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
