//! Several clusters by name: which one a call means, and that its token goes there and nowhere else.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Called, call, flowctl};

/// A server that knows no jobs and keeps what it is asked.
struct Server {
    url: String,
    heads: Receiver<String>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (sender, heads) = mpsc::channel();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
                let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let body = "{\"jobs\": []}";
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).expect("it reads");
                if sender.send(head.join("\n")).is_err() {
                    break;
                }
            }
        });
        Self { url, heads }
    }

    /// The token of the one request that came, if it had one.
    #[track_caller]
    fn token(&self) -> Option<String> {
        let head = self.heads.recv_timeout(Duration::from_secs(10)).expect("it was asked");
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("authorization: bearer ").map(str::to_owned))
    }
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn call(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Called {
        call(flowctl(self.0.path()).args(arguments).envs(variables.iter().copied()))
    }

    #[track_caller]
    fn good(&self, arguments: &[&str]) -> Called {
        let called = self.call(&[], arguments);
        assert_eq!(called.code, 0, "{}", called.stderr);
        called
    }
}

#[test]
fn the_nearest_word_says_which_server_is_meant() {
    let place = Place::new();
    let [first, second, third] = [Server::start(), Server::start(), Server::start()];
    fs::write(place.0.path().join("token"), "of-the-file\n").expect("a file");
    let added = place.good(&["context", "add", "one", "--server", &first.url, "--token-file", "token"]);
    assert!(added.stderr.ends_with("it is the current one\n"), "{}", added.stderr);
    place.good(&["context", "add", "two", "--server", &second.url]);
    let check = |variables: &[(&str, &str)], arguments: &[&str], server: &Server, token: Option<&str>| {
        let called = place.call(variables, &[&["list"], arguments].concat());
        assert_eq!(called.code, 0, "{variables:?} {arguments:?}: {}", called.stderr);
        assert_eq!(server.token().as_deref(), token, "{variables:?} {arguments:?}");
    };
    check(&[], &[], &first, Some("of-the-file"));
    check(&[], &["--context", "two"], &second, None);
    check(&[("FLOW_CONTEXT", "two")], &[], &second, None);
    check(&[("FLOW_CONTEXT", "two")], &["--context", "one"], &first, Some("of-the-file"));
    // The token of a context is for its own server.
    check(&[("FLOW_SERVER", &third.url)], &[], &third, None);
    check(&[("FLOW_SERVER", &third.url)], &["--context", "one"], &first, Some("of-the-file"));
    check(&[("FLOW_SERVER", &third.url), ("FLOW_CONTEXT", "one")], &[], &third, None);
    check(&[("FLOW_TOKEN", "of-env")], &["--server", &third.url], &third, Some("of-env"));
    check(&[("FLOW_TOKEN", "of-env")], &[], &first, Some("of-env"));
    place.good(&["context", "use", "two"]);
    check(&[], &[], &second, None);
}

#[test]
fn contexts_are_kept_shown_and_removed() {
    let place = Place::new();
    let empty = place.good(&["context", "ls"]);
    assert_eq!(
        (empty.stdout.trim(), empty.stderr.as_str()),
        ("", "no contexts; make one with `flowctl context add NAME --server URL`\n")
    );
    let mut command = flowctl(place.0.path());
    command.args(["context", "add", "prod", "--server", "http://flow.example:1", "--token-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(b"s3cret\n").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    place.good(&["context", "add", "test", "--server", "http://127.0.0.1:1/"]);
    let list = place.good(&["context", "ls"]);
    let expect = "   NAME  SERVER                 TOKEN\n*  prod  http://flow.example:1  kept\n   test  http://127.0.0.1:1/    none\n";
    assert_eq!(list.stdout, expect);
    assert_eq!(place.good(&["context", "ls", "-o", "name"]).stdout, "prod\ntest\n");
    for format in ["table", "json", "yaml", "wide"] {
        assert!(!place.good(&["context", "ls", "-o", format]).stdout.contains("s3cret"));
    }
    let file = place.0.path().join(".config/flow/contexts.yaml");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds a token");
    let removed = place.good(&["context", "rm", "prod"]);
    assert_eq!(removed.stderr, "prod was the current context; now none is\n");
    assert_eq!(place.good(&["context", "ls", "-o", "name"]).stdout, "test\n");
}

#[test]
fn what_can_not_be_meant() {
    let place = Place::new();
    let check = |variables: &[(&str, &str)], arguments: &[&str], expect: &str| {
        let called = place.call(variables, arguments);
        assert_eq!((called.code, called.stdout.as_str()), (2, ""), "{arguments:?}: {}", called.stderr);
        assert!(called.stderr.contains(expect), "{arguments:?}: {}", called.stderr);
    };
    check(
        &[],
        &["list", "--context", "prod"],
        "no context \"prod\"\n  make one with `flowctl context add NAME --server URL`",
    );
    check(&[], &["context", "add", "x", "--server", "flow:1"], "has no http:// or https:// in front");
    check(
        &[],
        &["context", "add", "x", "--server", "http://f:1", "--token-file", "none"],
        "can't read the token file ",
    );
    check(&[], &["list", "--server", "http://f:1", "--context", "x"], "cannot be used with");
    check(&[("FLOW_TOKEN", "a\nb")], &["list", "--server", "http://f:1"], "the token from FLOW_TOKEN holds characters");
    let file = place.0.path().join(".config/flow/contexts.yaml");
    fs::create_dir_all(file.parent().expect("below")).expect("a directory");
    fs::write(&file, "current: prod\ncontexts:\n  prod: {server: http://x, tokn: s3cret}\n").expect("a file");
    let called = place.call(&[], &["list"]);
    assert_eq!(called.code, 2);
    assert!(called.stderr.contains("(line 3)") && !called.stderr.contains("s3cret"), "{}", called.stderr);
}
