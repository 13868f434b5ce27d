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
