//! A connection that is cut in the middle of a log, by something between flowctl and the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::flowctl;
use crate::session::Session;

const ENDLESS: &str = "\
apiVersion: flow/v1
kind: Pipeline
metadata: {name: endless}
sources:
  in: {generator: {rate: 100, value: x}}
sinks:
  out: {blackhole: {}, from: in}
";

/// Passes on what is said, and cuts the first connection once the answer has `last` in it. Returns its address, and the heads
/// of the requests.
fn cutting(server: &str, last: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (server, heads) = (server.trim_start_matches("http://").to_owned(), Arc::<Mutex<Vec<String>>>::default());
    let asked = heads.clone();
    // It ends with the test's process.
    thread::spawn(move || {
        for (number, client) in listener.incoming().flatten().enumerate() {
            pass_on(client, &server, &asked, (number == 0).then_some(last));
        }
    });
    (url, heads)
}

fn pass_on(mut client: TcpStream, server: &str, asked: &Mutex<Vec<String>>, last: Option<&str>) {
    let mut upstream = TcpStream::connect(server).expect("it listens");
    let mut head = String::new();
    let mut reader = BufReader::new(client.try_clone().expect("a socket"));
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("text") > 0 {}
    upstream.write_all(head.as_bytes()).expect("it reads");
    asked.lock().expect("nobody panics with it").push(head);
    let (mut piece, mut said) = ([0; 4096], String::new());
    while let Ok(length @ 1..) = upstream.read(&mut piece) {
        if client.write_all(&piece[..length]).is_err() {
            return;
        }
        said += &String::from_utf8_lossy(&piece[..length]);
        if last.is_some_and(|last| said.contains(last)) {
            return;
        }
    }
}

#[test]
fn a_log_goes_on_where_it_was_cut() {
    let session = Session::new(&[("p.yaml", ENDLESS)]);
    let id = session.good("deploy p.yaml").trim().trim_end_matches(" running").to_owned();
    let (url, heads) = cutting(&session.server.url, "job started");
    let mut command = flowctl(session.directory());
    command.args(["logs", "endless", "-f", "--server", &url]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let begun = Instant::now();
    while heads.lock().expect("nobody panics with it").len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not come again");
        thread::sleep(Duration::from_millis(20));
    }
    session.good("cancel endless --wait");
    let done = child.wait_with_output().expect("it ends with the job");
    let (out, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{error}");
    for line in ["job started", "job is canceled"] {
        assert_eq!(out.matches(line).count(), 1, "{line} in {out}");
    }
    assert!(error.contains("trying again") && !error.contains("missing here"), "{error}");
    let heads = heads.lock().expect("nobody panics with it");
    assert!(!heads[0].contains("last-event-id"), "{}", heads[0]);
    assert!(heads[1].contains(&format!("last-event-id: {id}/")), "{}", heads[1]);
}
