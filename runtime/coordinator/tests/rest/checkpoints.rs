//! Checkpoints that are asked for, and what became of them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_model::api::{CheckpointAsked, CheckpointState, Checkpoints, Description, RefusalCode};

use crate::server::{ENDLESS, Server};

/// The first one is taken at once; by itself no other for a long time.
fn rarely() -> String {
    format!("{ENDLESS}checkpoint: {{interval: 1h}}\n")
}

fn until(server: &Server, is: impl Fn(&Checkpoints) -> bool) -> Checkpoints {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let all: Checkpoints = server.get("/jobs/endless/checkpoints").expect("it takes some");
        if is(&all) {
            return all;
        }
        assert!(Instant::now() < deadline, "{all:#?}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_checkpoint_is_taken_when_it_is_asked_for() {
    let server = Server::start();
    server.submit(&rarely()).expect("it starts");
    let first = until(&server, |all| all.summary.completed == 1);
    let asked: CheckpointAsked = server.post("/jobs/endless/checkpoints").expect("it runs");
    assert!(asked.checkpoint > first.checkpoints[0].id);
    let all = until(&server, |all| all.summary.latest.as_ref().is_some_and(|latest| latest.id >= asked.checkpoint));
    assert_eq!((all.summary.completed, all.summary.failed, all.checkpoints.len()), (2, 0, 2));
    for checkpoint in &all.checkpoints {
        assert!(checkpoint.retained && checkpoint.took().is_some(), "{checkpoint:?}");
        assert_eq!((checkpoint.state, checkpoint.bytes), (CheckpointState::Completed, Some(0)));
    }
    let described: Description = server.get("/jobs/endless").expect("a known job");
    assert_eq!(described.checkpoints.and_then(|all| all.latest).map(|latest| latest.id), Some(asked.checkpoint));
    let metrics = server.body("/metrics");
    for line in [
        "flow_checkpoint_completed_total{pipeline=\"endless\"} 2\n",
        "flow_checkpoint_failed_total{pipeline=\"endless\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(metrics.contains("\nflow_checkpoint_age_seconds{pipeline=\"endless\"} "), "{metrics}");
}

#[test]
fn those_of_a_job_that_has_ended_a_later_process_finds_in_the_store() {
    let server = Server::start();
    server.submit(&rarely()).expect("it starts");
    until(&server, |all| all.summary.completed == 1);
    server.jobs.cancel("endless").expect("it runs");
    server.ended("endless");
    let known: Checkpoints = server.get("/jobs/endless/checkpoints").expect("it is known");
    assert!(known.job.is_some());
    // Another process, of which nothing but the store is the same.
    let later = Server::start();
    let mut copy = std::process::Command::new("cp");
    let copied = copy.arg("-r").arg(server.data().join("checkpoints")).arg(later.data()).status();
    assert!(copied.expect("cp runs").success());
    let found: Checkpoints = later.get("/jobs/endless/checkpoints").expect("the store has it");
    assert_eq!(found.job, None);
    let latest = |all: &Checkpoints| all.summary.latest.as_ref().map(|latest| (latest.id, latest.bytes));
    assert_eq!(latest(&found), latest(&known));
    let retained = |all: &Checkpoints| {
        let retained = all.checkpoints.iter().filter(|checkpoint| checkpoint.retained);
        retained.map(|checkpoint| (checkpoint.id, checkpoint.state)).collect::<Vec<_>>()
    };
    assert_eq!(retained(&found), retained(&known));
    assert!(!found.checkpoints.is_empty());
    let (status, refusal) = later.get::<Checkpoints>("/jobs/nobody/checkpoints").expect_err("nowhere");
    assert_eq!((status, refusal.code), (404, RefusalCode::NotFound));
}

#[test]
fn where_none_can_be_taken_it_says_why() {
    let server = Server::start();
    let refused = |path: &str| server.post::<CheckpointAsked>(path).expect_err("none is taken");
    let (status, refusal) = refused("/jobs/nobody/checkpoints");
    assert_eq!((status, refusal.code), (404, RefusalCode::NotFound));
    let job = server.submit(ENDLESS).expect("it starts");
    let (status, refusal) = refused("/jobs/endless/checkpoints");
    assert_eq!((status, refusal.message), (409, format!("{} takes no checkpoints", job.id)));
    assert!(refusal.hint.is_some_and(|hint| hint.contains("checkpoint: {interval: 10s}")));
    assert_eq!(server.get::<Checkpoints>("/jobs/endless/checkpoints").expect_err("it takes none").0, 409);
    let renamed = rarely().replace("name: endless", "name: kept");
    server.submit(&renamed).expect("it starts");
    server.jobs.cancel("kept").expect("it runs");
    server.ended("kept");
    let (status, refusal) = refused("/jobs/kept/checkpoints");
    assert_eq!(status, 409);
    assert!(refusal.message.ends_with(" has already ended: it is canceled"), "{}", refusal.message);
}
