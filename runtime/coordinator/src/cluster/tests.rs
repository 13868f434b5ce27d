//! Workers that say what they should not, or nothing.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_model::cluster::{Session, Worker};
use flow_model::ids::WorkerId;
use flow_model::workers::WorkerState;
use flow_protocol::cluster::Event;
use flow_rpc::control::{Answer, Hello, Line, Lines, Nothing, PROTOCOL, Part, from_worker::Message as Said};
use flow_worker::log::JobLog;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::led::{Leader, revisions};

fn worker(number: u128) -> Worker {
    Worker {
        id: WorkerId::of(number),
        name: format!("w{number}"),
        address: format!("w{number}:1"),
        slots: 8,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: Default::default(),
    }
}

/// A worker comes; what it is told goes nowhere as soon as that is dropped.
fn comes(cluster: &Cluster, number: u128) -> (Session, UnboundedReceiver<Result<ToWorker, tonic::Status>>) {
    let (say, told) = unbounded_channel();
    (cluster.register(worker(number), Vec::new(), false, say).expect("it may stay"), told)
}

fn answer(number: u64) -> Said {
    Said::Answer(Answer { number, answer: Some(Reply::Found("[]".into())) })
}

/// What is asked first.
fn metrics(cluster: &Arc<Cluster>, of: &[u128]) -> Question {
    let of = of.iter().map(|number| WorkerId::of(*number)).collect();
    Question::ask(cluster, &mut cluster.lock(), of, &Asked::Metrics(Part::default()))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

fn late() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn what_is_said_behind_the_end_of_a_session_is_nobodys() {
    let leader = Leader::new();
    let (cluster, [deployment, _], log) = (&leader.cluster, revisions("orders"), Arc::<JobLog>::default());
    let part = Part { job: deployment.job.to_string(), incarnation: "0".repeat(31) + "1", attempt: 1 };
    let (deployment, store) = (Arc::new(deployment), cluster.checkpoints());
    cluster.know(Job { deployment, store, dead_letter: None, log: log.clone(), tell: Arc::new(|_| ()) });
    let id = WorkerId::of(1);
    let ((former, _), (session, _told)) = (comes(cluster, 1), comes(cluster, 1));
    let question = metrics(cluster, &[1]);
    let line = Line { level: 2, message: "a line".to_owned(), ..Line::default() };
    let lines = Said::Lines(Lines { part: Some(part), lines: vec![line] });
    let leaving = Said::Leaving(Nothing {});
    for said in [lines.clone(), leaving.clone(), answer(1)] {
        cluster.said((&id, former), said);
    }
    let state = || cluster.workers().workers[0].state;
    assert_eq!((log.recent(9).len(), state()), (0, WorkerState::Active));
    assert!(question.next(soon()).is_none());
    for said in [lines, leaving, answer(1)] {
        cluster.said((&id, session), said);
    }
    assert_eq!(log.recent(9).len(), 1);
    assert!(matches!(state(), WorkerState::Draining | WorkerState::Drained), "{:?}", state());
    assert!(question.next(late()).is_some());
}

#[test]
fn who_was_asked_answers_and_who_is_lost_is_not_waited_for() {
    let leader = Leader::new();
    let cluster = &leader.cluster;
    let (one, other) = (comes(cluster, 1), comes(cluster, 2));
    let question = metrics(cluster, &[1]);
    cluster.said((&WorkerId::of(2), other.0), answer(1));
    assert!(question.next(soon()).is_none(), "it was not asked");
    let begun = Instant::now();
    let gone = Event::Left(WorkerId::of(1), one.0, "it is gone".to_owned());
    cluster.handle(&mut cluster.lock(), gone);
    assert!(question.next(late()).is_none() && begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn what_nobody_waits_for_is_forgotten() {
    let leader = Leader::new();
    let (cluster, [deployment, _]) = (&leader.cluster, revisions("orders"));
    let _comes = comes(cluster, 1);
    let error = cluster.check_within(Duration::from_millis(20), &deployment).expect_err("it says nothing");
    assert!(error.to_string().contains("w1: it did not answer"), "{error}");
    drop(metrics(cluster, &[1]));
    assert!(cluster.lock().questions.is_empty());
}

#[test]
fn a_worker_of_which_not_all_can_be_read_is_refused_by_name() {
    let hello = |worker: bytes::Bytes, parts: Vec<bytes::Bytes>| Hello {
        protocol: PROTOCOL,
        term: 1,
        worker,
        parts,
        draining: false,
    };
    let me = json::write(&worker(1));
    assert!(server::known(&hello(me.clone(), Vec::new())).is_ok());
    let refused = server::known(&hello(me, vec!["{}".into()])).expect_err("it runs nobody knows what");
    assert!(refused.contains("w1") && refused.contains("install the same version"), "{refused}");
    assert!(server::known(&hello("{}".into(), Vec::new())).is_err());
}

/// However many jobs it runs.
#[test]
fn a_worker_that_hangs_is_waited_for_once() {
    const JOBS: usize = 4;
    let leader = Leader::new();
    let cluster = &leader.cluster;
    for number in 0..JOBS {
        leader.deploy(&revisions(&format!("orders-{number}"))[0]);
    }
    let jobs = leader.leads();
    let (session, _told) = comes(cluster, 1);
    let begun = Instant::now();
    while cluster.workers().workers[0].running.len() < JOBS {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", jobs.list());
        cluster.handle(&mut cluster.lock(), Event::Heartbeat(WorkerId::of(1), session));
        sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    let tallies = jobs.tallies();
    let took = begun.elapsed();
    let once = crate::keeper::Doing::PATIENCE;
    assert_eq!(tallies.len(), JOBS);
    assert!(took >= once && took < (JOBS as u32 - 1) * once, "{took:?}");
}
