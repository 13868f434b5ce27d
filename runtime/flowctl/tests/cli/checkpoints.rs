//! `flowctl checkpoint` against a job that takes some, and against one that takes none.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use crate::session::Session;

const HEAD: &str = "apiVersion: flow/v1\nkind: Pipeline\n";
const BODY: &str = "sources:\n  in: {generator: {rate: 100, value: x}}\nsinks:\n  out: {blackhole: {}, from: in}\n";

fn session() -> Session {
    let kept = format!("{HEAD}metadata: {{name: kept}}\ncheckpoint: {{interval: 1h}}\n{BODY}");
    let plain = format!("{HEAD}metadata: {{name: plain}}\n{BODY}");
    Session::new(&[("kept.yaml", &kept), ("plain.yaml", &plain)])
}

#[test]
fn a_checkpoint_now() {
    let session = session();
    session.good("deploy kept.yaml");
    // It may not have begun to run yet.
    let asked = loop {
        let called = session.run("checkpoint now kept -o json");
        if called.code == 0 {
            break called.stdout;
        }
        assert!(called.stderr.contains("ask again when it "), "{}", called.stderr);
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let asked: Value = serde_json::from_str(&asked).expect("JSON");
    let waited = session.good("checkpoint now kept --wait");
    let id = waited.trim_end().strip_suffix(" completed").expect("it counts");
    assert!(Some(id) > asked["checkpoint"].as_str(), "{id} after {asked}");
    let listed = session.good("checkpoint ls kept");
    assert!(listed.starts_with("ID                STATE      BEGUN"), "{listed}");
    assert!(listed.lines().nth(1).is_some_and(|newest| newest.starts_with(&format!("{id}  completed  "))), "{listed}");
    assert_eq!(session.good("checkpoint ls kept -o name").lines().next(), Some(id));
    let all: Value = serde_json::from_str(&session.good("checkpoint ls kept -o json")).expect("JSON");
    assert_eq!((&all["name"], &all["checkpoints"][0]["retained"]), (&"kept".into(), &true.into()));
    assert_eq!(all["summary"]["latest"]["id"], id);
    assert!(session.good("describe kept").contains(&format!("\ncheckpoint {id}, ")));
}

/// Passes on what is said, but of checkpoints it tells what a server does that was started again after the job had ended. Returns
/// its address; it ends with the test's process.
fn forgetting(server: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = server.trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (mut head, mut reader) = (String::new(), BufReader::new(client.try_clone().expect("a socket")));
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("text") > 0 {}
            if head.starts_with("GET ") && head.contains("/checkpoints ") {
                let body = "{\"now\": 1, \"summary\": {\"completed\": 0, \"failed\": 0}, \"checkpoints\": []}";
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n");
                write!(client, "{head}content-type: application/json\r\n\r\n{body}").expect("it reads");
                continue;
            }
            let mut upstream = TcpStream::connect(&server).expect("it listens");
            let head = format!("{}\r\nconnection: close\r\n\r\n", head.trim_end());
            upstream.write_all(head.as_bytes()).expect("it reads");
            std::io::copy(&mut upstream, &mut client).expect("it reads");
        }
    });
    url
}

#[test]
fn nobody_waits_for_a_checkpoint_of_a_job_that_only_its_store_knows() {
    let session = session();
    let id = session.good("deploy kept.yaml -o name");
    session.good("checkpoint now kept --wait");
    let url = forgetting(&session.server.url);
    let called = crate::run(session.directory(), &["checkpoint", "now", "kept", "--wait", "--server", &url]);
    let expect =
        format!("error: the server at {url} was started again and does not know the job any more; {} was", id.trim());
    assert_eq!(called.code, 3, "{}", called.stderr);
    assert!(called.stderr.starts_with(&expect), "{}", called.stderr);
}

#[test]
fn a_job_without_checkpoints() {
    let session = session();
    let deployed = session.good("deploy plain.yaml -o name");
    let expect = format!(
        "error: {} takes no checkpoints\n  write `checkpoint: {{interval: 10s}}` into its pipeline file and deploy it again\n",
        deployed.trim_end()
    );
    for line in ["checkpoint now plain", "checkpoint ls plain"] {
        let called = session.run(line);
        assert_eq!((called.code, called.stderr.as_str()), (4, expect.as_str()), "{line}");
    }
    let unknown = session.run("checkpoint ls nobody");
    assert_eq!(unknown.code, 4);
    assert!(unknown.stderr.starts_with("error: no job \"nobody\"\n"), "{}", unknown.stderr);
}
