//! `flowctl workers`, `drain` and `scale`: what they ask, and what they make of the answers. A server stands in for a cluster and says what it
//! was told to; a daemon that is no cluster refuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::session::Session;
use crate::{Called, run};

/// Answers each request by the next of these, and the last one again and again; keeps what was asked. It ends with the test's process.
struct Stand {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stand {
    fn new(answers: Vec<(u16, Value)>) -> Stand {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        thread::spawn(move || {
            let mut number = 0;
            for mut client in listener.incoming().flatten() {
                let (mut head, mut reader) = (String::new(), BufReader::new(client.try_clone().expect("a socket")));
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("text") > 0 {}
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
                reader.read_exact(&mut body).expect("a body");
                let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
                // Who waits asks how it is, as often as that pleases.
                let health = (200, json!({"status": "ok", "version": "0.1.0", "cluster": true}));
                let (status, answer) = if line == "GET /healthz" {
                    &health
                } else {
                    let said = String::from_utf8(body).expect("text");
                    heard.lock().expect("no panic").push(format!("{line} {said}"));
                    number += 1;
                    &answers[(number - 1).min(answers.len() - 1)]
                };
                let answer = answer.to_string();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", answer.len());
                write!(client, "{head}content-type: application/json\r\n\r\n{answer}").expect("it reads");
            }
        });
        Stand { url, asked }
    }

    fn call(&self, line: &str) -> Called {
        let arguments = line.split(' ').chain(["--server", &self.url]).collect::<Vec<_>>();
        run(&std::env::temp_dir(), &arguments)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").iter().map(|line| line.trim_end().to_owned()).collect()
    }
}

fn worker(state: &str, running: &[&str]) -> Value {
    let parts: Vec<Value> = running.iter().map(|job| json!({"job": job, "slots": 2})).collect();
    json!({
        "id": "00112233445566778899aabbccddeeff", "name": "w/1", "address": "127.0.0.1:4000", "version": "0.1.0", "state": state,
        "since": 1_700_000_000_000_u64, "slots": {"total": 4, "used": 2 * running.len(), "free": 4 - 2 * running.len()}, "running": parts,
    })
}

fn job(state: &str) -> Value {
    json!({"id": "a-000001", "name": "a", "state": state, "submitted": 0})
}

/// The job with so many subtasks of one operator.
fn described(state: &str, subtasks: u32) -> (u16, Value) {
    let mut all = job(state);
    let counts = json!({
        "operator": "counts", "subtasks": subtasks, "records-in": 0, "records-out": 0, "bytes-in": 0, "bytes-out": 0, "rejected": 0,
    });
    all["now"] = 1.into();
    all["warnings"] = json!([]);
    all["operators"] = json!([counts]);
    all["plan"] = json!({"pipeline": "a", "key-groups": 128, "tasks": [], "exchanges": []});
    (200, all)
}

/// The job when there are too few slots for it.
fn waits() -> (u16, Value) {
    let (status, mut all) = described("restarting", 1);
    all["waits-for"] = "needs 6 slots and 5 are free".into();
    (status, all)
}

/// What is said of it then.
const WAITS: &str = "a-000001 waits: it needs 6 slots and 5 are free\n";

fn nobody_leads() -> (u16, Value) {
    (503, json!({"code": "unavailable", "message": "nobody leads", "diagnostics": []}))
}

fn workers(all: &[Value]) -> (u16, Value) {
    (200, json!({"now": 1_700_000_001_000_u64, "workers": all}))
}

#[test]
fn workers_in_tables_and_in_json() {
    let all = workers(&[worker("active", &["a-000001"])]);
    let stand = Stand::new(vec![all.clone()]);
    let table = stand.call("workers").stdout;
    let expected = "\
NAME  STATE   SLOTS  RUNNING       ADDRESS         VERSION  SINCE
w/1   active    2/4  a-000001 (2)  127.0.0.1:4000  0.1.0    2023-11-14 22:13:20.000Z
";
    assert_eq!(table, expected);
    let json = stand.call("workers --output json").stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON"), all.1, "as the server says it");
    assert_eq!(stand.call("workers -o name").stdout, "w/1\n");
    assert_eq!(stand.asked()[0], "GET /workers");
    let none = Stand::new(vec![workers(&[])]).call("workers");
    assert_eq!(
        (none.code, none.stderr.as_str()),
        (0, "no workers; start one with `flowd worker --coordinator HOST:PORT`\n")
    );
}

#[test]
fn draining_is_told_and_waited_for() {
    let draining = worker("draining", &["a-000001"]);
    let stand = Stand::new(vec![(200, draining.clone()), described("running", 1), waits()]);
    let called = stand.call("drain w/1");
    assert_eq!((called.code, called.stdout.as_str()), (0, "w/1 draining\n"));
    assert!(called.stderr.contains("on other workers: a-000001 (2); `flowctl workers` shows"), "{}", called.stderr);
    assert!(called.stderr.ends_with(WAITS), "{}", called.stderr);
    let get = "GET /jobs/a-000001";
    assert_eq!(stand.asked(), ["POST /workers/w%2F1/drain", get, get]);

    let drained = |last: (u16, Value)| {
        let all =
            vec![(200, draining.clone()), workers(std::slice::from_ref(&draining)), nobody_leads(), last, waits()];
        let stand = Stand::new(all);
        stand.call("drain w/1 --wait")
    };
    for last in [workers(&[worker("drained", &[])]), workers(&[])] {
        let called = drained(last);
        assert_eq!((called.code, called.stdout.as_str()), (0, "w/1 drained\n"), "{}", called.stderr);
        assert!(called.stderr.contains("it runs nothing any more: stop its process"), "{}", called.stderr);
        assert!(called.stderr.contains("waiting: nobody leads; trying again for 60 s\n"), "{}", called.stderr);
        assert!(called.stderr.ends_with(WAITS), "{}", called.stderr);
    }
    let lost = drained(workers(&[worker("lost", &[])]));
    let expected = "\nerror: w/1 was not heard of any more before it was drained\n  what it ran goes on";
    assert!(lost.code == 1 && lost.stderr.contains(expected), "{}", lost.stderr);
}

#[test]
fn a_job_is_scaled() {
    let begun = || (200, job("running"));
    let steps = vec![begun(), described("running", 1), described("restarting", 4), described("running", 4)];
    let stand = Stand::new(steps);
    let called = stand.call("scale a/counts=4");
    assert_eq!((called.code, called.stdout.as_str(), called.stderr.as_str()), (0, "a-000001 running\n", ""));
    let get = "GET /jobs/a-000001";
    assert_eq!(stand.asked(), [r#"POST /jobs/a/scale {"parallelism":{"counts":4}}"#, get, get, get]);

    let stand = Stand::new(vec![begun(), described("running", 1), waits()]);
    let called = stand.call("scale a=2 a/out=1 --no-wait");
    assert_eq!(called.stdout, "a-000001 running\n");
    assert_eq!(called.stderr, format!("`flowctl describe a-000001` shows how many subtasks it runs with\n{WAITS}"));
    assert_eq!(stand.asked(), [r#"POST /jobs/a/scale {"parallelism":{"out":1},"all":2}"#, get, get]);

    let called = Stand::new(vec![begun(), described("canceled", 4)]).call("scale a/counts=4");
    assert_eq!((called.code, called.stderr.as_str()), (1, "error: a-000001 is canceled\n"));
    let two = stand.call("scale a=2 b=2");
    assert_eq!((two.code, two.stderr.as_str()), (2, "error: a and b are two jobs\n  scale one after the other\n"));
}

#[test]
fn what_takes_long_is_told_without_a_terminal_too() {
    let begun = Instant::now();
    let mut steps = vec![(200, job("running"))];
    // Those come within two seconds, which nobody is told of, and one more.
    steps.extend(std::iter::repeat_with(waits).take(12));
    steps.extend([described("restarting", 4), described("running", 4)]);
    let called = Stand::new(steps).call("scale a/counts=4");
    assert_eq!((called.code, called.stdout.as_str()), (0, "a-000001 running\n"));
    let expect = "waiting: a-000001 is restarting, and waits: it needs 6 slots and 5 are free\nwaiting: a-000001 is restarting\n";
    assert_eq!(called.stderr, expect, "after {:?}", begun.elapsed());
}

#[test]
fn a_checkpoint_of_a_job_that_waits_for_slots_is_asked_for_when_it_runs() {
    let asked = (200, json!({"checkpoint": "0000000100000002"}));
    let stand = Stand::new(vec![waits(), waits(), described("running", 4), asked]);
    let called = stand.call("checkpoint now a");
    assert_eq!((called.code, called.stdout.as_str()), (0, "0000000100000002\n"), "{}", called.stderr);
    let get = "GET /jobs/a-000001";
    assert_eq!(stand.asked(), ["GET /jobs/a", get, get, "POST /jobs/a-000001/checkpoints"]);

    let called = Stand::new(vec![waits()]).call("checkpoint now a");
    assert_eq!(called.code, 4, "{}", called.stderr);
    let lines: Vec<&str> = called.stderr.lines().collect();
    assert_eq!(lines[0], "waiting: a-000001 is restarting, and waits: it needs 6 slots and 5 are free");
    assert_eq!(lines[1], "error: a-000001 takes no checkpoint while it waits: it needs 6 slots and 5 are free");
}

#[test]
fn a_job_that_runs_again_has_a_last_failure_and_no_error() {
    let lines = |now: (u16, Value)| {
        let stdout = Stand::new(vec![now]).call("describe a").stdout;
        let is_told = |line: &&str| line.starts_with("error") || line.starts_with("last failure");
        stdout.lines().filter(is_told).map(str::to_owned).collect::<Vec<_>>()
    };
    let (_, mut now) = described("running", 1);
    now["error"] = "no disk".into();
    assert_eq!(lines((200, now.clone())), ["last failure: no disk"], "of an earlier server");
    now["last-failure"] = json!({"time": 1_700_000_000_000_u64, "attempt": 3, "reason": "no disk"});
    let last = "last failure 2023-11-14 22:13:20.000Z, attempt 3: no disk";
    assert_eq!(lines((200, now.clone())), [last]);
    now["state"] = "failed".into();
    assert_eq!(lines((200, now.clone())), ["error      no disk"]);
    (now["state"], now["error"]) = ("restarting".into(), "waits: it needs 6 slots and 5 are free".into());
    assert_eq!(lines((200, now)), ["error      waits: it needs 6 slots and 5 are free", last]);
}

#[test]
fn a_daemon_is_no_cluster() {
    let session = Session::new(&[]);
    for line in ["workers", "drain w1"] {
        let called = session.run(line);
        assert_eq!(called.code, 4, "{line}: {}", called.stderr);
        assert!(
            called.stderr.ends_with("\n  `flowd coordinator` and `flowd worker` make a cluster\n"),
            "{}",
            called.stderr
        );
    }
}
