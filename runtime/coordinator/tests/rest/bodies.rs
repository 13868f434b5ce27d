//! Bodies that are too large or garbage, and requests of web pages, over plain sockets: what no honest client sends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flow_coordinator::rest::Options;
use flow_model::api::{Health, Job, RefusalCode};
use ureq::unversioned::multipart::Part;

use crate::server::{FINITE, OPERATOR, Server, form};

/// Sends `head` and then `body`; returns all that the server answers until it closes.
pub fn exchange(server: &Server, head: &str, body: &[u8]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    socket.write_all(head.as_bytes()).expect("it reads");
    socket.write_all(body).expect("it reads to the end");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer, then the end");
    String::from_utf8(answer).expect("text")
}

pub fn post(length: usize, more: &str) -> String {
    format!(
        "POST /jobs/submit HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: multipart/form-data; boundary=b\r\ncontent-length: {length}\r\n{more}\r\n"
    )
}

#[test]
fn a_large_body_is_refused_and_the_client_hears_it() {
    let server = Server::with(Options { body_max: 1 << 20, ..Options::default() });
    let big = vec![0; 9 << 20];
    // Over a socket, without asking first: everything is sent, then the answer is read.
    let answer = exchange(&server, &post(big.len(), ""), &big);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("pipeline and components together are larger than 1Mi"), "{answer}");
    // Asked first: the answer comes before the body.
    let answer = exchange(&server, &post(big.len(), "expect: 100-continue\r\n"), b"");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // The length is not announced: the limit counts what comes.
    let result = server.send::<Job>("/jobs/submit", form(OPERATOR).part("shout", Part::bytes(&big[..(1 << 20) + 1])));
    let (status, refusal) = result.expect_err("too large");
    assert_eq!((status, refusal.code), (413, RefusalCode::TooLarge));
    // And it goes on serving.
    server.submit(FINITE).expect("a good pipeline");
}

#[test]
fn garbage_is_refused() {
    let server = Server::start();
    let check = |head: &str, body: &[u8], expect: &str| {
        let answer = exchange(&server, head, body);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(expect), "{answer}");
    };
    check(&post(7, ""), b"garbage", "the form can't be read");
    check(&post(0, ""), b"", "the form can't be read");
    let cut = b"--b\r\ncontent-disposition: form-data; name=\"pipeline\"\r\n\r\nkind: Pipe";
    check(&post(cut.len(), ""), cut, "the form can't be read");
    let no_form = post(2, "").replace("multipart/form-data; boundary=b", "application/json");
    check(&no_form, b"{}", "multipart/form-data");
    server.get::<Health>("/healthz").expect("it goes on");
}

/// The answer comes while the client still waits with the rest, which it would send for ever.
#[test]
fn what_can_not_be_parsed_is_refused_by_its_beginning() {
    let server = Server::start();
    let check = |begin: &[u8]| {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        socket.write_all(post(200 << 20, "").as_bytes()).expect("it reads");
        socket.write_all(begin).expect("it reads");
        socket.write_all(&[b'-'; 64 << 10]).expect("it reads");
        let mut answer = [0; 1 << 10];
        let length = socket.read(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("in 32768 bytes"), "{answer}");
    };
    check(b"");
    check(b"--b\r\ncontent-disposition: form-data; name=\"");
    check(b"--b\r\ncontent-disposition: form-data; name=\"pipeline\"\r\n\r\nkind: Pipeline\r\n--b\r\nx: ");
}

/// Pieces end where they like: in a boundary, in a head.
#[test]
fn a_form_may_come_in_any_pieces() {
    let server = Server::start();
    let component = vec![b'\r'; 100_000];
    let body = [
        b"--b\r\ncontent-disposition: form-data; name=\"pipeline\"\r\n\r\n".as_slice(),
        OPERATOR.as_bytes(),
        b"\r\n--b\r\ncontent-disposition: form-data; name=\"shout\"\r\n\r\n",
        &component,
        b"\r\n--b--\r\n",
    ]
    .concat();
    let check = |size: usize| {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let head = post(0, "").replace("content-length: 0", "transfer-encoding: chunked");
        socket.write_all(head.as_bytes()).expect("it reads");
        let mut chunks = Vec::new();
        for chunk in body.chunks(size) {
            chunks.extend(format!("{:x}\r\n", chunk.len()).bytes());
            chunks.extend(chunk);
            chunks.extend(b"\r\n");
        }
        chunks.extend(b"0\r\n\r\n");
        socket.write_all(&chunks).expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        // It got to the component, which is none.
        assert!(answer.contains("./shout.wasm is not WebAssembly"), "{size}: {answer}");
    };
    [1, 7, 4096, 16 << 10, (16 << 10) + 1, 1 << 20].into_iter().for_each(check);
}

#[test]
fn web_pages_of_others_are_kept_out() {
    let server = Server::start();
    let check = |host: &str, origin: &str, expect: &str| {
        let head = format!("GET /jobs HTTP/1.1\r\nhost: {host}\r\n{origin}connection: close\r\n\r\n");
        let answer = exchange(&server, &head, b"");
        assert!(answer.starts_with(expect), "{host} {origin}: {answer}");
    };
    check("localhost", "", "HTTP/1.1 200 ");
    check("localhost", "origin: https://evil.example\r\n", "HTTP/1.1 403 ");
    check("evil.example", "origin: http://evil.example\r\n", "HTTP/1.1 403 ");
}
