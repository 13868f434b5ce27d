//! Jobs over their life: submitted, listed, described, finished or canceled.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flow_model::api::{Counters, Description, Figures, Health, Job, JobState, Jobs, Metrics, RefusalCode, part};
use flow_model::plan::Plan;

use crate::server::{ENDLESS, FINITE, Server, form};

#[test]
fn a_job_finishes_and_stays_known() {
    let server = Server::start();
    let job = server.submit(FINITE).expect("a good pipeline");
    assert!(job.id.as_str().starts_with("finite-"), "{job:?}");
    let ended = server.ended(job.id.as_str());
    assert_eq!((ended.job.state, &ended.job.error), (JobState::Finished, &None));
    assert!(ended.job.ended >= Some(ended.job.submitted), "{ended:?}");
    let of = |o: &Counters| (o.operator.to_string(), o.figures.records_in, o.figures.records_out);
    let counters: Vec<_> = ended.operators.iter().map(of).collect();
    assert_eq!(counters, [("in".into(), 10, 10), ("out".into(), 10, 10)]);

    let by_name: Description = server.get("/jobs/finite").expect("a known name");
    assert_eq!(by_name.job, ended.job);
    let plan: Plan = server.get(&format!("/jobs/{}/plan", job.id)).expect("a plan");
    assert_eq!(plan, ended.plan);
    assert_eq!(plan.tasks[0].name, "in → out");
    let pipeline = fs::read_to_string(server.data().join("jobs").join(job.id.as_str()).join("pipeline.yaml"));
    assert_eq!(pipeline.expect("the job's directory has it"), FINITE);
}

#[test]
fn the_newest_job_comes_first_and_has_the_name() {
    let server = Server::start();
    let first = server.submit(FINITE).expect("a good pipeline");
    server.ended(first.id.as_str());
    let second = server.submit(FINITE).expect("the name is free again");
    server.ended(second.id.as_str());
    let Jobs { jobs, .. } = server.get("/jobs").expect("a list");
    let ids: Vec<_> = jobs.iter().map(|job| &job.id).collect();
    assert_eq!(ids, [&second.id, &first.id]);
    assert_eq!(server.get::<Description>("/jobs/finite").expect("a known name").job.id, second.id);
}

#[test]
fn a_job_is_canceled_once() {
    let server = Server::start();
    let job = server.submit(ENDLESS).expect("a good pipeline");
    let canceled: Job = server.post("/jobs/endless/cancel").expect("it runs");
    assert_eq!(canceled.id, job.id);
    assert_eq!(server.ended("endless").job.state, JobState::Canceled);
    let again: Job = server.post("/jobs/endless/cancel").expect("it stays canceled");
    assert_eq!(again.state, JobState::Canceled);
}

#[test]
fn figures_tell_busy_from_idle_and_one_subtask_from_another() {
    let server = Server::start();
    let two =
        ENDLESS.replace("value: x}", "value: x}, parallelism: 2").replace("from: in}", "from: in, parallelism: 2}");
    server.submit(&two).expect("a good pipeline");
    let deadline = Instant::now() + Duration::from_secs(30);
    let metrics = loop {
        let metrics: Metrics = server.get("/jobs/endless/metrics").expect("a known job");
        // A hundred records a second are little work: soon there was nothing to do nearly all the time.
        let is_idle = |figures: &Figures| figures.idle_us > figures.busy_us;
        let has_come_far = |figures: &Figures| figures.records_out > 5 && figures.cpu_us > 0 && is_idle(figures);
        if metrics.operators.iter().all(|operator| operator.subtasks.iter().all(has_come_far)) {
            break metrics;
        }
        assert!(Instant::now() < deadline, "{metrics:?}");
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!((metrics.job.name.as_str(), metrics.operators.len()), ("endless", 2));
    for operator in &metrics.operators {
        assert_eq!(operator.subtasks.len(), 2, "{operator:?}");
        for figures in &operator.subtasks {
            let passed = (metrics.now - metrics.job.submitted) * 1000;
            let Figures { busy_us, backpressured_us, idle_us, cpu_us, .. } = *figures;
            assert!(cpu_us <= busy_us, "{figures:?}");
            assert!(busy_us + backpressured_us + idle_us <= passed + 20_000, "{figures:?} in {passed} us");
        }
    }
    let Description { operators, .. } = server.get("/jobs/endless").expect("a known job");
    assert_eq!(operators[0].subtasks, 2);
    let sum: u64 = metrics.operators[0].subtasks.iter().map(|figures| figures.records_in).sum();
    assert!(operators[0].figures.records_in >= sum, "{operators:?} {metrics:?}");
}

#[test]
fn a_finished_job_can_not_be_canceled() {
    let server = Server::start();
    let job = server.submit(FINITE).expect("a good pipeline");
    server.ended("finite");
    let (status, refusal) = server.post::<Job>("/jobs/finite/cancel").expect_err("it has ended");
    assert_eq!((status, refusal.code), (409, RefusalCode::Conflict));
    assert_eq!(refusal.message, format!("{} has already ended: it is finished", job.id));
}

#[test]
fn a_name_runs_once() {
    let server = Server::start();
    server.submit(ENDLESS).expect("a good pipeline");
    let (status, refusal) = server.submit(ENDLESS).expect_err("it runs");
    assert_eq!((status, refusal.code), (409, RefusalCode::Conflict));
    assert_eq!(refusal.message, "a job named \"endless\" is already running");
    assert_eq!(
        refusal.hint.as_deref(),
        Some("stop it with `flowctl cancel endless`, or take another name with --name")
    );
    let other: Job = server.send("/jobs/submit", form(ENDLESS).text(part::NAME, "other")).expect("another name");
    assert_eq!(other.name.as_str(), "other");
    server.post::<Job>("/jobs/endless/cancel").expect("it runs");
    server.ended("endless");
    server.submit(ENDLESS).expect("the name is free again");
}

#[test]
fn of_two_submissions_at_once_one_gets_the_name() {
    let server = Arc::new(Server::start());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let server = server.clone();
            thread::spawn(move || server.submit(ENDLESS).is_ok())
        })
        .collect();
    let accepted = threads.into_iter().map(|thread| thread.join().expect("an answer"));
    assert_eq!(accepted.filter(|&accepted| accepted).count(), 1);
    assert_eq!(server.get::<Jobs>("/jobs").expect("a list").jobs.len(), 1);
}

#[test]
fn unknown_jobs_and_paths() {
    let server = Server::start();
    let check = |result: Result<serde_json::Value, (u16, flow_model::api::Refusal)>, status: u16, message: &str| {
        let (found, refusal) = result.expect_err(message);
        assert_eq!((found, refusal.message.as_str()), (status, message));
        assert!(refusal.hint.is_some(), "{message}");
    };
    for path in ["/jobs/nobody", "/jobs/nobody/plan", "/jobs/nobody/logs", "/jobs/nobody/logs?follow=true"] {
        check(server.get(path), 404, "no job \"nobody\"");
    }
    check(server.post("/jobs/nobody/cancel"), 404, "no job \"nobody\"");
    let (status, refusal) = server.get::<Job>("/jobs/%ff").expect_err("no text");
    assert_eq!((status, refusal.code), (400, RefusalCode::BadRequest));
    check(server.get("/job"), 404, "no such path");
    check(server.get("/jobs/a/b/c"), 404, "no such path");
    check(server.post("/jobs"), 405, "the path takes another method");
}

#[test]
fn stopping_ends_all_jobs_and_takes_no_more() {
    let server = Server::start();
    server.submit(ENDLESS).expect("a good pipeline");
    assert!(server.jobs.stop(std::time::Duration::from_secs(10)));
    assert_eq!(server.ended("endless").job.state, JobState::Canceled);
    let (status, refusal) = server.submit(FINITE).expect_err("it is stopping");
    assert_eq!((status, refusal.code), (503, RefusalCode::Unavailable));
}

#[test]
fn the_oldest_ended_jobs_are_forgotten() {
    let server = Server::start();
    let first = server.submit(FINITE).expect("a good pipeline").id;
    server.ended(first.as_str());
    let running = server.submit(ENDLESS).expect("a good pipeline").id;
    for _ in 0..101 {
        let job = server.submit(FINITE).expect("a good pipeline");
        server.ended(job.id.as_str());
    }
    let jobs = server.get::<Jobs>("/jobs").expect("a list").jobs;
    // A job makes room when it is entered. The last one stands beside the hundred, unless it had ended by then.
    assert!((101..=102).contains(&jobs.len()), "{}", jobs.len());
    assert!(jobs.iter().any(|job| job.id == running) && !jobs.iter().any(|job| job.id == first));
    let directories = fs::read_dir(server.data().join("jobs")).expect("it exists").count();
    assert_eq!(directories, jobs.len());
}

#[test]
fn it_is_well() {
    let health: Health = Server::start().get("/healthz").expect("health");
    assert_eq!((health.status.as_str(), health.version.as_str()), ("ok", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_last_failure_of_a_job_that_goes_on_from_failures_is_told() {
    let server = Server::start();
    let texts = tempfile::tempdir().expect("a directory");
    fs::write(texts.path().join("text"), "more than fits\n").expect("a file");
    let source = format!("files: {{path: {}, max-line: 4}}", texts.path().display());
    let kept = ENDLESS.replace("generator: {rate: 100, value: x}", &source) + "checkpoint: {interval: 1h}\n";
    server.submit(&kept).expect("it starts");
    let now = server.ended("endless");
    assert!(now.job.state == JobState::Failed && now.waits_for.is_none(), "{now:?}");
    let last = now.last_failure.expect("an attempt failed");
    assert!(last.attempt >= 1 && last.time >= now.job.submitted, "{last:?}");
    assert_eq!(now.job.error, Some(last.reason));
}
