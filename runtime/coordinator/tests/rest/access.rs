//! Who is let in where a token is wanted.

use flow_coordinator::rest::{Options, Token};
use flow_model::api::{Health, Jobs, Refusal, RefusalCode};

use crate::bodies::{exchange, post};
use crate::server::Server;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn guarded() -> Server {
    let token = Some(Token::new(TOKEN).expect("long enough"));
    Server::with(Options { token, ..Options::default() })
}

fn get(server: &Server, path: &str, header: &str) -> String {
    exchange(server, &format!("GET {path} HTTP/1.1\r\nhost: flow.example\r\n{header}connection: close\r\n\r\n"), b"")
}

#[test]
fn without_the_token_nothing_is_told_or_done() {
    let server = guarded();
    let wrong = format!("authorization: Bearer {}\r\n", TOKEN.replace('f', "e"));
    for header in ["", "authorization: Basic YTpi\r\n", &wrong] {
        for path in ["/jobs", "/jobs/a", "/jobs/a/plan", "/jobs/a/metrics", "/jobs/a/logs", "/metrics", "/no/such/path"]
        {
            let answer = get(&server, path, header);
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path} {header}: {answer}");
            assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
            assert!(answer.contains("set the variable FLOW_TOKEN"), "it says what to do: {answer}");
        }
    }
    let (status, refusal): (u16, Refusal) = server.post::<Jobs>("/jobs/a/cancel").expect_err("no token");
    assert_eq!((status, refusal.code), (401, RefusalCode::Unauthorized));
    // A client that says everything before it listens gets to the answer.
    let big = vec![0; 9 << 20];
    let answer = exchange(&server, &post(big.len(), ""), &big);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    server.get::<Health>("/healthz").expect("who watches over it needs no token");
    assert!(server.body("/").contains("<title>Flow</title>"), "the page asks for it");
}

#[test]
fn with_the_token_everything_goes() {
    let server = guarded();
    let header = format!("authorization: Bearer {TOKEN}\r\n");
    for path in ["/jobs", "/metrics"] {
        assert!(get(&server, path, &header).starts_with("HTTP/1.1 200 "), "{path}");
    }
    // It is no pass for pages of others.
    let answer = get(&server, "/jobs", &format!("{header}origin: https://evil.example\r\n"));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}
