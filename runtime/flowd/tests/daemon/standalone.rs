//! The daemon: where it listens, what it says when it can't, how it stops.

use std::net::TcpListener;
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::Value;
use ureq::Agent;
use ureq::unversioned::multipart::{Form, Part};

use crate::process::{Place, Running, endless};

const FREE: [&str; 5] = ["standalone", "--data", "data", "--listen", "127.0.0.1:0"];

fn start(place: &Place) -> (Running, String) {
    let mut running = Running::start(place.flowd(&FREE));
    let line = running.line();
    let url = line.trim_end().strip_prefix("flowd listens on ").expect("the line that says where").to_owned();
    (running, url)
}

fn agent() -> Agent {
    Agent::config_builder().timeout_global(Some(Duration::from_secs(20))).build().new_agent()
}

fn get(url: &str, path: &str) -> Value {
    let text = agent().get(format!("{url}{path}")).call().expect(path).body_mut().read_to_string().expect("text");
    serde_json::from_str(&text).expect("JSON")
}

/// The job of a pipeline whose file lies in `directory`.
fn submit(url: &str, pipeline: &str, directory: &str) -> Value {
    let file = Part::text(pipeline).file_name("flows/p.yaml");
    let form = Form::new().part("pipeline", file).text("$directory", directory);
    let mut answer = agent().post(format!("{url}/jobs/submit")).send(form).expect("it runs");
    serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
}

fn until_finished(url: &str, job: &str) {
    let begun = Instant::now();
    while get(url, &format!("/jobs/{job}"))["state"] != "finished" {
        assert!(begun.elapsed() < Duration::from_secs(20), "{job} does not finish");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn it_listens_and_stops_cleanly() {
    for signal in ["TERM", "INT"] {
        let place = Place::new(&endless());
        let (running, url) = start(&place);
        let address = fs::read_to_string(place.path().join("data/flowd.address")).expect("the address is written");
        assert_eq!(url, format!("http://{}", address.trim_end()));
        let health = agent().get(format!("{url}/healthz")).call().expect("it answers").body_mut().read_to_string();
        assert!(health.expect("text").contains("\"ok\""));
        // A running job and an open connection hold nothing up.
        let text = fs::read_to_string(place.path().join("p.yaml")).expect("the pipeline");
        let text = text.replace("stdout: {}", "blackhole: {}");
        let form = Form::new().part("pipeline", Part::text(&text));
        agent().post(format!("{url}/jobs/submit")).send(form).expect("it runs");
        let _followed = agent().get(format!("{url}/jobs/endless/logs?follow=true")).call().expect("a stream");
        running.signal(signal);
        assert_eq!(running.ended().code(), Some(0), "{signal}");
        assert!(!place.path().join("data/flowd.address").exists());
    }
}

#[test]
fn a_port_that_is_taken() {
    let place = Place::new("");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (code, stdout, stderr) = place.call(&["standalone", "--data", "data", "--listen", &address.to_string()]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let port = address.port();
    let expect = format!(
        "error: port {port} is taken on 127.0.0.1; choose another with --listen 127.0.0.1:PORT (0 takes a free one)\n"
    );
    assert_eq!(stderr, expect);
}

#[test]
fn a_data_directory_that_is_taken_or_not_its_own() {
    let place = Place::new("");
    let (_running, _) = start(&place);
    let (code, _, stderr) = place.call(&FREE);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: another flowd uses ") && stderr.contains("--data DIR"), "{stderr}");
    let (code, _, stderr) = place.call(&["standalone", "--data", ".", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("holds files that are not flowd's"), "{stderr}");
    assert!(place.path().join("p.yaml").exists());
}

#[test]
fn beyond_the_own_machine_a_token_is_wanted() {
    let place = Place::new("");
    let write = |text: &str| fs::write(place.path().join("token"), text).expect("a file");
    let check = |more: &[&str], expect: &[&str]| {
        let (code, stdout, stderr) = place.call(&[&["standalone", "--data", "data"], more].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        expect.iter().for_each(|text| assert!(stderr.contains(text), "{text} in {stderr}"));
    };
    let open = ["--listen", "0.0.0.0:0"];
    let token = ["--token-file", "token"];
    check(&open, &["error: 0.0.0.0:0 can be reached from other machines", "next: --token-file FILE", "--insecure"]);
    check(&token, &["can't read the token file token", "No such file"]);
    write("too short\n");
    check(&token, &["the token file token holds no token", "other characters than visible ASCII"]);
    write("short\n");
    check(&token, &["it has 5 characters; it must have at least 16", "head -c 24 /dev/urandom"]);

    write("0123456789abcdef-secret\n");
    let mut with_token = place.flowd(&["standalone", "--data", "data", "--listen", "0.0.0.0:0", "-v"]);
    with_token.env("FLOW_TOKEN_FILE", "token");
    let mut running = Running::start(with_token);
    let line = running.line();
    let port = line.trim_end().rsplit_once(':').expect("a port").1.to_owned();
    let url = format!("http://127.0.0.1:{port}");
    let status = |token: &str| {
        let request = agent().get(format!("{url}/jobs")).header("authorization", format!("Bearer {token}"));
        match request.call() {
            Ok(answer) => answer.status().as_u16(),
            Err(ureq::Error::StatusCode(status)) => status,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((status("0123456789abcdef-secret"), status("0123456789abcdef-secreT")), (200, 401));
    running.signal("TERM");
    let log = running.log();
    assert!(log.contains("every user of this machine can read the token in token; next: chmod o= token"), "{log}");
    assert!(log.contains("DEBUG flow_coordinator::rest::access: refused GET /jobs"), "{log}");
    assert!(!log.contains("secre"), "{log}");

    let mut running =
        Running::start(place.flowd(&["standalone", "--data", "data", "--listen", "0.0.0.0:0", "--insecure"]));
    running.line();
    running.signal("TERM");
    let log = running.log();
    assert!(log.contains("whoever reaches it can run code here"), "{log}");
}

#[test]
fn the_ends_of_jobs_are_logged() {
    let place = Place::new(&endless());
    let (running, url) = start(&place);
    let text = fs::read_to_string(place.path().join("p.yaml")).expect("the pipeline").replace("stdout", "blackhole");
    submit(&url, &text, "/");
    submit(&url, &text.replace("endless", "finite").replace("rate: 100", "count: 10"), "/");
    until_finished(&url, "finite");
    running.signal("TERM");
    let log = running.log();
    for name in ["endless", "finite"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&format!(" job={name}-"))).collect();
        let end = if name == "finite" { "finished" } else { "canceled" };
        assert!(lines[0].contains(" INFO flow_coordinator::jobs::here: starts "), "{log}");
        assert!(lines[1].contains(&format!(" INFO flow_coordinator::jobs::end: {end} after ")), "{log}");
        assert_eq!(lines.len(), 2, "{log}");
    }
}

#[test]
fn a_killed_daemon_says_what_it_lost() {
    let place = Place::new(&endless());
    let (running, url) = start(&place);
    let text = fs::read_to_string(place.path().join("p.yaml")).expect("the pipeline").replace("stdout", "blackhole");
    submit(&url, &text.replace("endless", "ended").replace("rate: 100", "count: 1"), "/");
    let id = submit(&url, &text, "/my flows")["id"].clone();
    until_finished(&url, "ended");
    running.signal("KILL");
    running.ended();

    let (running, url) = start(&place);
    let lost = "flowd ended while the job ran (it was stopped or killed, or its machine was); the job was not resumed: deploy \
                it again with `flowctl deploy '/my flows/p.yaml'`";
    let jobs = get(&url, "/jobs");
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "the one that had ended is not lost: {jobs}");
    let description = get(&url, "/jobs/endless");
    assert_eq!((&description["id"], &description["state"]), (&id, &"failed".into()));
    assert_eq!((&description["error"], &description["ended"]), (&lost.into(), &Value::Null));
    assert_eq!(description["plan"]["pipeline"], "endless");
    assert_eq!(get(&url, "/jobs/endless/logs")["message"], lost);
    submit(&url, &text, "/");
    running.signal("TERM");
    let log = running.log();
    let line = format!(" WARN flow_coordinator::jobs::here: lost: {lost} job={}\n", id.as_str().expect("an id"));
    assert_eq!(log.matches(&line).count(), 1, "{log}");

    // It is told once; and a job that ended because its daemon did is told by the next one.
    let (_running, url) = start(&place);
    let jobs = get(&url, "/jobs")["jobs"].clone();
    assert_eq!(jobs.as_array().map(Vec::len), Some(1), "{jobs}");
    assert_ne!(jobs[0]["id"], id);
    assert_eq!((&jobs[0]["name"], &jobs[0]["state"]), (&"endless".into(), &"failed".into()));
}

#[test]
fn what_a_killed_daemon_left_is_cleared() {
    let place = Place::new(&endless());
    let (running, url) = start(&place);
    let text = fs::read_to_string(place.path().join("p.yaml")).expect("the pipeline").replace("stdout", "blackhole");
    agent().post(format!("{url}/jobs/submit")).send(Form::new().part("pipeline", Part::text(&text))).expect("it runs");
    running.signal("KILL");
    running.ended();
    let jobs = place.path().join("data/jobs");
    assert_eq!(jobs.read_dir().expect("it exists").count(), 1);
    let (_running, _) = start(&place);
    assert_eq!(jobs.read_dir().expect("it exists").count(), 0);
}
