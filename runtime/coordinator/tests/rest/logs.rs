//! Logs at once and as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flow_model::api::{Job, JobState, Jobs, LogLine, RefusalCode};

use crate::bodies::exchange;
use crate::server::{BLOCKING_THREADS, ENDLESS, FINITE, Server};

fn lines(text: &str) -> Vec<LogLine> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn the_log_of_an_ended_job() {
    let server = Server::start();
    server.submit(FINITE).expect("a good pipeline");
    server.ended("finite");
    let all = lines(&server.body("/jobs/finite/logs"));
    assert!(all.len() >= 2, "{all:?}");
    assert!(all[0].message.starts_with("job started"), "{all:?}");
    assert!(all.iter().map(|line| line.number).eq(0..all.len() as u64), "{all:?}");
    let last = &all[all.len() - 1..];
    assert_eq!(lines(&server.body("/jobs/finite/logs?tail=1")), last);
    assert_eq!(last[0].message, "job is finished");
    assert_eq!(server.body("/jobs/finite/logs?tail=0"), "");
}

#[test]
fn following_an_ended_job_ends() {
    let server = Server::start();
    server.submit(FINITE).expect("a good pipeline");
    server.ended("finite");
    let text = server.body("/jobs/finite/logs?follow=true&tail=1");
    let events: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let [id, line, event, end] = events[..] else { panic!("one line and the end: {text}") };
    let line: LogLine = serde_json::from_str(line.strip_prefix("data: ").expect("an event")).expect("a log line");
    assert_eq!((line.message.as_str(), event), ("job is finished", "event: end"));
    let job: Job = serde_json::from_str(end.strip_prefix("data: ").expect("an event")).expect("a job");
    assert_eq!(job.state, JobState::Finished);
    let (job_of, line_of) = id.trim_start_matches("id: ").split_once('/').expect("JOB/LOG-NUMBER");
    let number = line_of.rsplit_once('-').map(|(_, number)| number.to_owned());
    assert_eq!((job_of, number), (job.id.as_str(), Some(line.number.to_string())));
}

/// Follows the endless job; returns when its first line came, with all that was read.
fn follow(server: &Server) -> (BufReader<TcpStream>, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let head = "GET /jobs/endless/logs?follow=true HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).expect("it reads");
    let mut reader = BufReader::new(socket);
    let mut seen = String::new();
    while !seen.contains(" started: ") {
        assert_ne!(reader.read_line(&mut seen).expect("a line in time"), 0, "{seen}");
    }
    (reader, seen)
}

#[test]
fn following_a_running_job_goes_on_until_it_is_canceled() {
    let server = Server::start();
    server.submit(ENDLESS).expect("a good pipeline");
    let (mut reader, mut seen) = follow(&server);
    assert!(seen.starts_with("HTTP/1.1 200 ") && seen.contains("text/event-stream"), "{seen}");
    server.post::<Job>("/jobs/endless/cancel").expect("it runs");
    reader.read_to_string(&mut seen).expect("the rest, then the end");
    for expected in ["stops", "job is canceled", "event: end", "\"state\":\"canceled\""] {
        assert!(seen.contains(expected), "{expected} in {seen}");
    }
}

#[test]
fn who_follows_a_job_that_is_left_to_the_next_process_is_not_told_that_it_ended() {
    let server = Server::start();
    server.submit(&format!("{ENDLESS}checkpoint: {{interval: 1h}}\n")).expect("a good pipeline");
    let (mut reader, mut seen) = follow(&server);
    assert!(server.jobs.stop(Duration::from_secs(10)), "it is left");
    reader.read_to_string(&mut seen).expect("the rest");
    assert!(seen.contains("left to the process that runs it next"), "{seen}");
    assert!(!seen.contains("event: end") && !seen.contains("job is canceled"), "{seen}");
}

#[test]
fn a_reader_that_goes_away_holds_nothing() {
    let server = Server::start();
    server.submit(ENDLESS).expect("a good pipeline");
    for _ in 0..20 {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        let head = "GET /jobs/endless/logs?follow=true HTTP/1.1\r\nhost: localhost\r\n\r\n";
        socket.write_all(head.as_bytes()).expect("it reads");
        // Gone before the answer is read.
    }
    server.post::<Job>("/jobs/endless/cancel").expect("it runs");
    assert_eq!(server.ended("endless").job.state, JobState::Canceled);
}

#[test]
fn who_was_cut_off_goes_on_behind_the_last_line() {
    let server = Server::start();
    let first = server.submit(FINITE).expect("a good pipeline").id;
    server.ended(first.as_str());
    let numbers = |last: &str| {
        let head = format!(
            "GET /jobs/finite/logs?follow=true&tail=1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             last-event-id: {last}\r\n\r\n"
        );
        let answer = exchange(&server, &head, b"");
        let data = answer.lines().filter_map(|line| line.strip_prefix("data: "));
        let numbers: Vec<u64> =
            data.filter_map(|json| serde_json::from_str::<LogLine>(json).ok()).map(|l| l.number).collect();
        (answer, numbers)
    };
    let all = lines(&server.body("/jobs/finite/logs")).len() as u64;
    let told = server.body("/jobs/finite/logs?follow=true&tail=1");
    let last = told.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    let (log, _) = last.rsplit_once('-').expect("JOB/LOG-NUMBER");
    assert_eq!(numbers(&format!("{log}-0")).1, (1..all).collect::<Vec<_>>());
    assert_eq!(numbers(last).1, [0; 0]);
    // Another process numbers the lines of the same job anew: what it read of that one's log it has not read of this one's.
    for other in [format!("{log}0-{}", all - 1), format!("{first}/{}", all - 1)] {
        assert_eq!(numbers(&other).1, (0..all).collect::<Vec<_>>(), "{other}");
    }
    let (answer, _) = numbers("7");
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("the Last-Event-ID is not one of a log"),
        "{answer}"
    );
    // The name is a newer job's by now, and nothing of that one's log is left out.
    let second = server.submit(FINITE).expect("the name is free").id;
    server.ended(second.as_str());
    let (_, found) = numbers(&format!("{log}-1000"));
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
    assert!(!found.is_empty());
}

#[test]
fn many_followers_leave_room_for_others() {
    let server = Server::start();
    server.submit(ENDLESS).expect("a good pipeline");
    let mut followers: Vec<_> = (0..3 * BLOCKING_THREADS).map(|_| follow(&server)).collect();
    assert_eq!(server.get::<Jobs>("/jobs").expect("a list").jobs.len(), 1);
    server.post::<Job>("/jobs/endless/cancel").expect("it runs");
    for (reader, seen) in &mut followers {
        reader.read_to_string(seen).expect("the rest, then the end");
        assert!(seen.contains("event: end"), "{seen}");
    }
}

#[test]
fn questions_that_make_no_sense() {
    let server = Server::start();
    server.submit(FINITE).expect("a good pipeline");
    for query in ["tail=-1", "tail=many", "follow=perhaps"] {
        let (status, refusal) = server.get::<Job>(&format!("/jobs/finite/logs?{query}")).expect_err(query);
        assert_eq!((status, refusal.code), (400, RefusalCode::BadRequest));
        assert!(refusal.hint.is_some(), "{refusal:?}");
    }
}
