//! The daemon: where it listens, what it says when it can't, how it stops.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

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
