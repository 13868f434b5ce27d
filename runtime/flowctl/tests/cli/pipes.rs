//! Readers that go away: `flowctl list | head` is no error, and nothing panics.

use std::io;
use std::process::Stdio;

use crate::server::Server;
use crate::{call, flowctl};

/// The writing end of a pipe that nobody reads.
fn closed() -> Stdio {
    let (_, writer) = io::pipe().expect("a pipe");
    writer.into()
}

#[test]
fn a_closed_standard_output_is_a_quiet_end() {
    let server = Server::start();
    let here = tempfile::tempdir().expect("a directory");
    let pipeline = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: p}\nsources:\n  in: {generator: {count: 1}}\n\
                    sinks:\n  out: {blackhole: {}, from: in}\n";
    std::fs::write(here.path().join("p.yaml"), pipeline).expect("a file");
    let deployed = call(flowctl(here.path()).args(["deploy", "p.yaml", "--wait", "--server", &server.url]));
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    let remote =
        ["list", "list -o json", "describe p", "logs p", "logs p -f", "check p.yaml", "deploy p.yaml --name q"];
    let remote = remote.map(|line| format!("{line} --server {}", server.url));
    let local = ["--help", "--version", "logs --help", "completion bash", "completion zsh", "completion fish"];
    for line in remote.iter().map(String::as_str).chain(local) {
        let child = flowctl(here.path()).args(line.split(' ')).stdout(closed()).stderr(Stdio::piped()).spawn();
        let output = child.and_then(|child| child.wait_with_output()).expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{line}");
    }
}

#[test]
fn a_closed_standard_error_changes_no_exit_code() {
    let here = std::env::temp_dir();
    for (line, code) in [("list --server http://127.0.0.1:1", 3), ("deploy missing.yaml", 2), ("nonsense", 2)] {
        let status = flowctl(&here).args(line.split(' ')).stdout(Stdio::null()).stderr(closed()).status();
        assert_eq!(status.expect("it starts").code(), Some(code), "{line}");
    }
}
