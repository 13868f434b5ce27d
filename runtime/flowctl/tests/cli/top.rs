//! `flowctl top`: what goes on in a job, once and on a terminal.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::session::Session;
use serde_json::Value;

const PIPELINE: &str = "\
apiVersion: flow/v1
kind: Pipeline
metadata: {name: steady}
sources:
  in: {generator: {rate: 1000, value: '0123456789'}}
sinks:
  out: {blackhole: {}, from: in}
";

#[test]
fn a_snapshot() {
    let session = Session::new(&[("p.yaml", PIPELINE)]);
    let none = session.run("top --interval 100ms");
    assert_eq!((none.code, none.stdout.as_str()), (0, "no job runs; start one with `flowctl deploy FILE`\n"));
    assert_eq!(session.run("deploy p.yaml").code, 0);
    // The generator begins with what it is behind.
    thread::sleep(Duration::from_secs(1));
    // A machine with much to do may stutter, but not each time.
    let steady = (0..10).any(|_| {
        let called = session.run("top steady -o json --interval 2s");
        assert_eq!(called.code, 0, "{}", called.stderr);
        let json: Value = serde_json::from_str(&called.stdout).expect("JSON");
        let operators = &json["jobs"][0]["operators"];
        assert_eq!((&operators[0]["operator"], &operators[1]["operator"]), (&"in".into(), &"out".into()));
        let rate = operators[1]["records-out-per-second"].as_f64().expect("a number");
        let shares = ["busy", "backpressured", "idle"].map(|share| operators[0][share].as_f64().expect("a number"));
        let sum: f64 = shares.iter().sum();
        println!("{rate} instead of 1000 a second, {shares:?} of the time: {json}");
        (500.0..1500.0).contains(&rate)
            && shares.iter().all(|share| (0.0..=1.1).contains(share))
            && (0.3..1.3).contains(&sum)
    });
    assert!(steady, "it never tells what goes on");

    let table = session.run("top --once --interval 200ms").stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines[0][0].starts_with("steady-") && lines[0][1] == "running", "{table}");
    assert_eq!(lines[1][..7], ["OPERATOR", "SUBTASKS", "IN/S", "OUT/S", "BUSY", "BLOCKED", "IDLE"]);
    assert!(table.contains(" REJECTED  DEAD LETTERS\n"), "{table}");
    let wide = session.run("top -o wide --interval 200ms").stdout;
    assert!(wide.contains("BYTES IN/S") && wide.contains("P99"), "{wide}");
    let unknown = session.run("top nobody");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (4, ""));
    let quick = session.run("top --interval 1ms");
    assert!(quick.code == 2 && quick.stderr.contains("at least 100ms"), "{}", quick.stderr);
}

/// `script` gives it a terminal.
#[test]
fn on_a_terminal_it_is_drawn_until_q() {
    let session = Session::new(&[("p.yaml", PIPELINE)]);
    assert_eq!(session.run("deploy p.yaml").code, 0);
    let line =
        format!("'{}' top steady --interval 200ms --server {}", env!("CARGO_BIN_EXE_flowctl"), session.server.url);
    let mut command = Command::new("script");
    command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm").env("XDG_CONFIG_HOME", session.directory());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is there");
    let mut stdout = child.stdout.take().expect("piped");
    let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
    let screens = |shown: &[u8]| String::from_utf8_lossy(shown).matches("(q quits)").count();
    while screens(&shown) < 3 {
        let length = stdout.read(&mut piece).expect("it shows something");
        assert_ne!(length, 0, "it ended: {}", String::from_utf8_lossy(&shown));
        shown.extend(&piece[..length]);
    }
    child.stdin.as_mut().expect("piped").write_all(b"q").expect("it reads");
    stdout.read_to_end(&mut shown).expect("it ends");
    let shown = String::from_utf8(shown).expect("text");
    assert!(child.wait().expect("it ends").success(), "{shown}");
    let (enter, leave) = ("\x1b[?1049h", "\x1b[?1049l");
    assert!(shown.contains(enter) && shown.contains(leave), "{shown:?}");
    assert!(shown.contains("OPERATOR") && shown.rfind(leave) > shown.rfind("OPERATOR"), "{shown:?}");
}
