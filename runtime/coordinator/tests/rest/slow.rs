//! Slow clients, silent ones, too many, and bytes that are no HTTP: none of them holds up the server or a job beside.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use flow_coordinator::rest::{CONNECTIONS_MAX, Options, Patience};
use flow_model::api::{Health, Metrics};

use crate::bodies::post;
use crate::server::{ENDLESS, Server};

const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);

fn impatient() -> Server {
    let patience = Patience { head: SHORT, body: SHORT, answer: SHORT };
    Server::with(Options { patience, ..Options::default() })
}

fn connect(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    socket.set_read_timeout(Some(LONG)).expect("a socket");
    socket
}

/// All that comes until the server closes, however it does.
fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = socket.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it has to let go");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn records(server: &Server) -> u64 {
    let metrics: Metrics = server.get("/jobs/endless/metrics").expect("a known job");
    metrics.operators[1].subtasks[0].records_out
}

#[test]
fn who_says_nothing_is_let_go() {
    let server = impatient();
    let begun = Instant::now();
    let mut half = connect(&server);
    half.write_all(b"GET /jobs HTTP/1.1\r\nhost: local").expect("it reads");
    let mut silent = connect(&server);
    let mut again = connect(&server);
    again.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it reads");
    rest(&mut half);
    assert_eq!(rest(&mut silent), "");
    assert!(rest(&mut again).starts_with("HTTP/1.1 200 "), "the first request was answered");
    assert!((SHORT..LONG).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[test]
fn a_body_that_trickles_is_refused() {
    let server = impatient();
    let mut socket = connect(&server);
    socket.write_all(post(1 << 20, "").as_bytes()).expect("it reads");
    socket.write_all(b"--b\r\ncontent-disposition: form-data; name=\"pipeline\"\r\n\r\n").expect("it reads");
    let begun = Instant::now();
    // A byte now and then is no sign of life.
    while begun.elapsed() < LONG && socket.write_all(b"x").is_ok() {
        thread::sleep(SHORT / 8);
        socket.set_nonblocking(true).expect("a socket");
        let has_answer = socket.peek(&mut [0]).is_ok();
        socket.set_nonblocking(false).expect("a socket");
        if has_answer {
            break;
        }
    }
    assert!(begun.elapsed() < LONG, "it goes on for ever");
    let mut answer = [0; 1 << 10];
    let length = socket.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("the body came too slowly"), "{answer}");
}

#[test]
fn who_does_not_take_the_answer_is_let_go() {
    let server = impatient();
    let mut socket = connect(&server);
    socket.set_write_timeout(Some(SHORT)).expect("a socket");
    let ask = b"GET /web/app.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    let mut asked = 0;
    // Until the server takes no more, since nobody takes its answers.
    while asked < 100_000 && socket.write_all(&ask).is_ok() {
        asked += 100;
    }
    thread::sleep(8 * SHORT);
    let answers = rest(&mut socket).matches("HTTP/1.1 200 OK").count();
    assert!(answers < asked, "{answers} of {asked}");
}

#[test]
fn bytes_that_are_no_http_get_an_end() {
    let server = impatient();
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let long = [b"GET /jobs HTTP/1.1\r\nhost: localhost\r\nx: ".as_slice(), &vec![b'x'; 1 << 20]].concat();
    let check = |bytes: &[u8], expect: &str| {
        let mut socket = connect(&server);
        // It may be gone before it has got everything.
        _ = socket.write_all(bytes);
        let answer = rest(&mut socket);
        assert!(answer.starts_with(expect), "{:.40?}: {answer}", String::from_utf8_lossy(bytes));
    };
    check(&noise, "HTTP/1.1 400 ");
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 400 ");
    check(b"GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 400 ");
    check(b"GET /jobs HTTP/1.1\r\ncontent-length: -1\r\nhost: localhost\r\n\r\n", "HTTP/1.1 400 ");
    check(&long, "");
    server.get::<Health>("/healthz").expect("it goes on");
}

#[test]
fn too_many_are_told_so_while_the_job_goes_on() {
    let server = Server::start();
    server.submit(ENDLESS).expect("a good pipeline");
    // One that was there before, and keeps its place.
    let mut before = connect(&server);
    let ask = "GET /jobs/endless/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut figure = || {
        before.write_all(ask.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"]}]}") {
            let mut piece = [0; 4096];
            let length = before.read(&mut piece).expect("an answer");
            assert_ne!(length, 0, "it keeps who was there");
            answer.extend(&piece[..length]);
        }
        let text = String::from_utf8(answer).expect("text");
        let (_, json) = text.split_once("\r\n\r\n").expect("a body");
        let metrics: Metrics = serde_json::from_str(json).expect("metrics");
        metrics.operators[1].subtasks[0].records_out
    };
    let done = figure();
    let crowd: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(&server)).collect();
    let deadline = Instant::now() + LONG;
    loop {
        let mut socket = connect(&server);
        _ = socket.write_all(ask.as_bytes());
        let answer = rest(&mut socket);
        if answer.starts_with("HTTP/1.1 503 ") && answer.contains("too many connections") {
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
    }
    while figure() < done + 10 {
        assert!(Instant::now() < deadline, "the job stands still");
    }
    drop(crowd);
    // They leave one after the other.
    let asked = || {
        let mut socket = connect(&server);
        _ = socket.write_all(ask.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").as_bytes());
        rest(&mut socket).starts_with("HTTP/1.1 200 ")
    };
    while !asked() {
        assert!(Instant::now() < deadline, "there is room again");
    }
    assert!(records(&server) >= done + 10);
}
