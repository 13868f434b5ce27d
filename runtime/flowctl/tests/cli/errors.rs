//! What a user sees when something is wrong: file, line, cause, next command.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::{call, flowctl, run};

const PIPELINE: &str = "\
apiVersion: flow/v1
kind: Pipeline
metadata: {name: words}
sources:
  in: {generator: {count: 1, value: x}}
operators:
  shout: {component: ./shout.wasm, from: in}
sinks:
  out: {blackhole: {}, from: shout}
";

/// An address that takes connections, and answers nothing by itself.
fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, url)
}

/// An address where nobody listens, nor can for as long as the socket is there, which has it and does not listen either.
fn nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("it is bound"));
    (socket, url)
}

fn check(directory: &Path, arguments: &[&str], code: i32, lines: &[&str]) {
    let called = run(directory, arguments);
    assert_eq!((called.code, called.stdout.as_str()), (code, ""), "{}", called.stderr);
    assert_eq!(called.stderr.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn no_server() {
    let here = std::env::temp_dir();
    let (_socket, url) = nobody();
    let error = format!("error: can't reach the server at {url}: nobody listens there");
    let hint = "  start one with `flowd standalone`, or ask another coordinator of the cluster: name it with --server URL or FLOW_SERVER";
    for command in [&["list"][..], &["describe", "x"], &["logs", "x", "-f"], &["cancel", "x"]] {
        check(&here, &[command, &["--server", &url]].concat(), 3, &[&error, hint]);
    }
    let called = call(flowctl(&here).args(["list"]).env("FLOW_SERVER", &url));
    assert_eq!((called.code, called.stderr.lines().next()), (3, Some(error.as_str())));
}

#[test]
fn another_program_at_the_address() {
    use std::io::{Read, Write};
    let (listener, url) = listening();
    let other = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        _ = socket.read(&mut [0; 4096]).expect("a request");
        socket
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
            .expect("it reads");
    });
    let called = run(&std::env::temp_dir(), &["list", "--server", &url]);
    other.join().expect("it answered");
    assert_eq!(called.code, 3);
    assert!(called.stderr.contains("answers status 404 Not Found without a reason"), "{}", called.stderr);
    assert!(called.stderr.contains("is it another program?"), "{}", called.stderr);
}

#[test]
fn a_line_without_end_is_not_read_to_it() {
    use std::io::{Read, Write};
    let (listener, url) = listening();
    let other = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        _ = socket.read(&mut [0; 4096]).expect("a request");
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ").expect("it reads");
        // Until it has had enough.
        while socket.write_all(&[b'x'; 1 << 16]).is_ok() {}
    });
    let called = run(&std::env::temp_dir(), &["logs", "x", "-f", "--server", &url]);
    other.join().expect("no panic");
    assert!(called.code == 3 && called.stderr.contains("answers a line without end"), "{}", called.stderr);
}

#[test]
fn files_that_are_wrong_are_told_before_anything_is_sent() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    let (_listener, server) = listening();
    let deploy = |file: &str, lines: &[&str]| check(here, &["deploy", file, "--server", &server], 2, lines);

    deploy(
        "missing.yaml",
        &[
            "error: can't read the pipeline file missing.yaml: No such file or directory (os error 2)",
            "  give the path of a pipeline file (YAML)",
        ],
    );

    fs::write(here.join("words.yaml"), PIPELINE).expect("a file");
    let hint = format!("build it: flowctl build DIR -o {}", here.join("./shout.wasm").display());
    deploy(
        "words.yaml",
        &[
            &format!(
                "words.yaml:7:22: can't read the component ./shout.wasm of operator \"shout\": \
                 No such file or directory (os error 2); {hint}"
            ),
            "error: the pipeline has 1 error",
        ],
    );

    // A device may have no end.
    fs::write(here.join("zero.yaml"), PIPELINE.replace("./shout.wasm", "/dev/zero")).expect("a file");
    deploy(
        "zero.yaml",
        &[
            "zero.yaml:7:22: can't read the component /dev/zero of operator \"shout\": it is not a regular file; \
             build it: flowctl build DIR -o /dev/zero",
            "error: the pipeline has 1 error",
        ],
    );

    fs::write(here.join("slip.yaml"), PIPELINE.replace("from: in}", "from: inn}")).expect("a file");
    let called = run(here, &["deploy", "slip.yaml", "--server", &server]);
    assert_eq!(called.code, 2);
    let first = called.stderr.lines().next().expect("a line");
    assert!(first.starts_with("slip.yaml:7:") && first.contains("did you mean \"in\"?"), "{first}");
}

#[test]
fn errors_in_json() {
    let here = std::env::temp_dir();
    let (_socket, url) = nobody();
    let called = run(&here, &["list", "-o", "json", "--server", &url]);
    let error: Value = serde_json::from_str(&called.stderr).expect("JSON");
    assert_eq!((called.code, &error["code"]), (3, &Value::from("unreachable")));
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("flowd standalone")), "{error}");
    assert_eq!(error["diagnostics"], Value::Array(Vec::new()));
}

#[test]
fn no_flowd_on_this_machine() {
    let directory = tempfile::tempdir().expect("a directory");
    // A copy, so that no flowd lies beside it.
    let alone = directory.path().join("flowctl");
    fs::copy(env!("CARGO_BIN_EXE_flowctl"), &alone).expect("a copy");
    for command in ["check", "run"] {
        let mut process = std::process::Command::new(&alone);
        let called = call(process.args([command, "p.yaml"]).env("PATH", "/nowhere"));
        assert_eq!(called.code, 5);
        let expect =
            "error: flowd is neither beside flowctl nor on the PATH\n  put the two programs into one directory\n";
        assert_eq!(called.stderr, expect);
    }
}

#[test]
fn a_file_without_end_is_not_read_to_it() {
    let (_listener, server) = listening();
    let run =
        |directory: &Path, arguments: &[&str]| call(flowctl(directory).args(arguments).env("FLOW_SERVER", &server));
    let here = std::env::temp_dir();
    for command in ["check", "run", "deploy", "graph", "dev", "test"] {
        let called = run(&here, &[command, "/dev/zero"]);
        assert_eq!(called.code, 2, "{command}: {}", called.stderr);
        assert!(called.stderr.contains("10 MiB"), "{command}: {}", called.stderr);
    }
    let called = run(&here, &["plugin", "inspect", "/dev/zero"]);
    assert!(called.code == 2 && called.stderr.contains("not a regular file"), "{}", called.stderr);
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("p.yaml"), PIPELINE).expect("a file");
    // It has holes only.
    let large = fs::File::create(directory.path().join("shout.wasm")).expect("a file");
    large.set_len(2 << 30).expect("a length");
    for command in ["check", "run", "deploy"] {
        let called = run(directory.path(), &[command, "p.yaml"]);
        assert!(called.code == 2 && called.stderr.contains("larger than 256Mi"), "{command}: {}", called.stderr);
    }
}

#[test]
fn a_daemon_that_just_starts_is_waited_for() {
    use std::io::{Read, Write};
    let (socket, url) = nobody();
    let starting = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(700));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let listener = runtime.block_on(async { socket.listen(16)?.into_std() }).expect("it listens");
        listener.set_nonblocking(false).expect("a socket");
        for mut socket in listener.incoming().flatten() {
            // Who only looks whether somebody listens says nothing.
            if socket.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
                socket.write_all(answer).expect("it reads");
                // A socket that is closed before all was read takes the answer with it.
                socket.shutdown(std::net::Shutdown::Write).expect("it is there");
                // However the client leaves.
                _ = std::io::copy(&mut socket, &mut std::io::sink());
                return;
            }
        }
    });
    let directory = tempfile::tempdir().expect("a directory");
    let pipeline =
        PIPELINE.replace("operators:\n  shout: {component: ./shout.wasm, from: in}\n", "").replace("shout", "in");
    fs::write(directory.path().join("p.yaml"), pipeline).expect("a file");
    let called = run(directory.path(), &["deploy", "p.yaml", "--server", &url]);
    assert!(called.stderr.contains("is it another program?"), "{}", called.stderr);
    starting.join().expect("no panic");
}
