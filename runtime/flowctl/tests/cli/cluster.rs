//! `flowctl workers`, `drain` and `scale`: what they ask, and what they make of the answers. A server stands in for a cluster and says what it
//! was told to; a daemon that is no cluster refuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

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
            for (number, mut client) in listener.incoming().flatten().enumerate() {
                let (mut head, mut reader) = (String::new(), BufReader::new(client.try_clone().expect("a socket")));
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("text") > 0 {}
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
                reader.read_exact(&mut body).expect("a body");
                let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
                heard.lock().expect("no panic").push(format!("{line} {}", String::from_utf8(body).expect("text")));
                let (status, answer) = &answers[number.min(answers.len() - 1)];
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
    let stand = Stand::new(vec![(200, draining.clone())]);
    let called = stand.call("drain w/1");
    assert_eq!((called.code, called.stdout.as_str()), (0, "w/1 draining\n"));
    assert!(called.stderr.contains("on other workers: a-000001 (2); `flowctl workers` shows"), "{}", called.stderr);
    assert_eq!(stand.asked(), ["POST /workers/w%2F1/drain"]);

    let waits = |last: (u16, Value)| {
        let stand = Stand::new(vec![(200, draining.clone()), workers(std::slice::from_ref(&draining)), last]);
        stand.call("drain w/1 --wait")
    };
    for last in [workers(&[worker("drained", &[])]), workers(&[])] {
        let called = waits(last);
        assert_eq!((called.code, called.stdout.as_str()), (0, "w/1 drained\n"), "{}", called.stderr);
        assert!(called.stderr.contains("it runs nothing any more: stop its process"), "{}", called.stderr);
    }
    let lost = waits(workers(&[worker("lost", &[])]));
    let expected = "error: w/1 was not heard of any more before it was drained\n  what it ran goes on";
    assert!(lost.code == 1 && lost.stderr.starts_with(expected), "{}", lost.stderr);
    let gone = waits((503, json!({"code": "unavailable", "message": "nobody leads", "diagnostics": []})));
    assert_eq!((gone.code, gone.stderr.as_str()), (3, "error: nobody leads\n"));
}

#[test]
fn a_job_is_scaled() {
    let job = |state: &str| json!({"id": "a-000001", "name": "a", "state": state, "submitted": 0});
    let described = |state: &str, subtasks: u32| {
        let mut all = job(state);
        let zero = json!({"records-in": 0, "records-out": 0, "bytes-in": 0, "bytes-out": 0, "rejected": 0});
        let mut counts = json!({"operator": "counts", "subtasks": subtasks});
        counts.as_object_mut().expect("one").extend(zero.as_object().expect("one").clone());
        all["now"] = 1.into();
        all["warnings"] = json!([]);
        all["operators"] = json!([counts]);
        all["plan"] = json!({"pipeline": "a", "key-groups": 128, "tasks": [], "exchanges": []});
        (200, all)
    };
    let begun = || (200, job("running"));
    let steps = vec![begun(), described("running", 1), described("restarting", 4), described("running", 4)];
    let stand = Stand::new(steps);
    let called = stand.call("scale a/counts=4");
    assert_eq!((called.code, called.stdout.as_str(), called.stderr.as_str()), (0, "a-000001 running\n", ""));
    let get = "GET /jobs/a-000001";
    assert_eq!(stand.asked(), [r#"POST /jobs/a/scale {"parallelism":{"counts":4}}"#, get, get, get]);

    let stand = Stand::new(vec![begun()]);
    let called = stand.call("scale a=2 a/out=1 --no-wait");
    assert_eq!(called.stdout, "a-000001 running\n");
    assert_eq!(called.stderr, "`flowctl describe a-000001` shows how many subtasks it runs with\n");
    assert_eq!(stand.asked(), [r#"POST /jobs/a/scale {"parallelism":{"out":1},"all":2}"#]);

    let called = Stand::new(vec![begun(), described("canceled", 4)]).call("scale a/counts=4");
    assert_eq!((called.code, called.stderr.as_str()), (1, "error: a-000001 is canceled\n"));
    let two = stand.call("scale a=2 b=2");
    assert_eq!((two.code, two.stderr.as_str()), (2, "error: a and b are two jobs\n  scale one after the other\n"));
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
