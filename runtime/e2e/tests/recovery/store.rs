//! Jobs whose checkpoints go to a store that is not there, not theirs, slow or down.

use std::time::{Duration, Instant};

use flow_e2e::broker::Broker;
use flow_e2e::flowd::{Flowd, counted, state};
use flow_e2e::minio::{KEY, Minio};
use flow_e2e::topic;
use flow_e2e::toxic::{Toxic, Toxin};
use serde_json::Value;

use crate::{PARTITIONS, counting, counts, records, to_topic, wanted};

/// A pipeline with its checkpoints in a bucket behind that address.
fn pipeline(bucket: &str, address: &str) -> String {
    format!(
        "checkpoint: {{interval: 100ms, to: 's3://{bucket}/flow', endpoint: 'http://{address}', region: us-east-1}}\n\
         sources:\n  in: {{generator: {{rate: 100}}}}\n\
         sinks:\n  out: {{blackhole: {{}}, from: in}}\n"
    )
}

/// What `flowctl deploy` has to say, which must not succeed, nor leave a job.
#[track_caller]
fn refusal(flowd: &Flowd, pipeline: &str) -> String {
    let file = flowd.pipeline("refused", pipeline);
    let called = flowd.ctl(&["deploy", &file]);
    assert_ne!(called.code, 0, "{}", called.stdout);
    let jobs = flowd.json(&["list"]);
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(0), "{jobs:#}");
    called.stderr
}

#[test]
fn a_bucket_that_does_not_exist_is_named() {
    let minio = Minio::shared();
    let flowd = Flowd::with_env(&Minio::environment());
    let told = refusal(&flowd, &pipeline("no-such-bucket", &minio.address));
    for part in ["no-such-bucket", "does not exist"] {
        assert!(told.contains(part), "{part} in: {told}");
    }
}

#[test]
fn credentials_that_are_wrong_are_told() {
    let minio = Minio::shared();
    let flowd = Flowd::with_env(&[("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "not-the-secret")]);
    let bucket = minio.bucket();
    let told = refusal(&flowd, &pipeline(&bucket, &minio.address));
    assert!(told.contains(&bucket) && !told.contains("not-the-secret"), "{told}");
    assert!(told.contains("credentials") || told.contains("secret"), "{told}");
}

#[test]
fn nobody_who_listens_is_told() {
    let flowd = Flowd::with_env(&Minio::environment());
    let address = format!("127.0.0.1:{}", flow_e2e::broker::free_port());
    let told = refusal(&flowd, &pipeline("bucket", &address));
    for part in ["s3://bucket/flow", "Connection refused", "endpoint"] {
        assert!(told.contains(part), "{part} in: {told}");
    }
}

/// Slow, busy and gone for a while, one after the other: the job goes on by itself and writes each record once.
#[test]
fn a_store_with_bad_days_costs_time_and_nothing_else() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let toxic = Toxic::before(&minio.address);
    let flowd = Flowd::with_env(&Minio::environment());
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    let bucket = minio.bucket();
    let checkpoint = format!(
        "{{interval: 100ms, timeout: 2s, tolerate: 100, to: 's3://{bucket}/flow', endpoint: 'http://{}', region: us-east-1}}",
        toxic.address
    );
    let body =
        counting(broker, &from, &checkpoint, &to_topic(broker, &to, "exactly-once")).replace(", stop: latest", "");
    let job = flowd.deploy("bad-days", &body);
    let all = records();
    let days = [Toxin::Delay(Duration::from_millis(100)), Toxin::Busy, Toxin::Refuse, Toxin::Stall, Toxin::None];
    for (toxin, some) in days.iter().zip(all.chunks(all.len().div_ceil(days.len()))) {
        toxic.set(*toxin);
        topic::write(broker, &from, some);
        std::thread::sleep(Duration::from_secs(3));
    }
    let begun = Instant::now();
    let mut found = counts(broker, &to);
    while found != wanted() {
        assert!(begun.elapsed() < Duration::from_secs(60), "counts are missing, or stand there twice\n{}", flowd.log());
        found = counts(broker, &to);
    }
    let description = flowd.describe(&job);
    assert_eq!(state(&description), "running", "{description:#}");
    flowd.ctl(&["cancel", &job]);
    flowd.ended(&job);
}

/// A daemon that can't reach the store of one of its jobs: that waits for it, and no other one does.
#[test]
fn a_store_that_is_away_when_the_daemon_starts_is_waited_for() {
    let minio = Minio::shared();
    let toxic = Toxic::before(&minio.address);
    let mut flowd = Flowd::with_env(&Minio::environment());
    let body = pipeline(&minio.bucket(), &toxic.address);
    let far = flowd.deploy("far", &body);
    let near = flowd.deploy(
        "near",
        &body.replace(&body[body.find(", to:").expect("a place")..body.find('}').expect("its end")], ""),
    );
    let completed = |description: &Value| description["checkpoints"]["completed"].as_u64();
    let has_some = |description: &Value| completed(description) > Some(2);
    for job in [&far, &near] {
        flowd.until(job, has_some);
    }
    flowd.kill();
    toxic.set(Toxin::Refuse);
    flowd.start_again();
    let waits = flowd.until(&far, |description| description["error"].is_string());
    assert_eq!(state(&waits), "restarting", "{waits:#}");
    let why = waits["error"].as_str().expect("text");
    assert!(why.contains("s3://") && why.contains("can't be reached"), "{why}");
    flowd.until(&near, has_some);
    for command in [&["checkpoint", "now"][..], &["savepoint", "create"], &["stop", "--savepoint"]] {
        let called = flowd.ctl(&[command, &[&far]].concat());
        assert!(called.code != 0 && called.stderr.contains("waits for its store"), "{command:?}: {}", called.stderr);
    }
    let waits = flowd.describe(&far);
    assert_eq!(state(&waits), "restarting", "{waits:#}");
    toxic.set(Toxin::None);
    let back = flowd.until(&far, |description| state(description) == "running" && has_some(description));
    assert!(back["checkpoints"]["restored"].is_string() && back["error"].is_null(), "{back:#}");
}

/// Questions about jobs whose store hangs have an answer soon, and say whose fault it is.
#[test]
fn a_store_that_hangs_lets_nobody_wait_who_asks() {
    let minio = Minio::shared();
    let toxic = Toxic::before(&minio.address);
    let flowd = Flowd::with_env(&Minio::environment());
    let job = flowd.deploy("hangs", &pipeline(&minio.bucket(), &toxic.address));
    flowd.until(&job, |description| description["checkpoints"]["completed"].as_u64() > Some(2));
    flowd.savepoint(&job, "kept", false);
    toxic.set(Toxin::Stall);
    let commands = [
        &["savepoint", "inspect", "hangs", "kept"][..],
        &["savepoint", "rm", "hangs", "kept"],
        &["savepoint", "ls", "nobody"],
        &["checkpoint", "ls", "nobody"],
    ];
    for command in commands {
        let begun = Instant::now();
        let called = flowd.ctl(command);
        let told = called.stderr;
        assert!(called.code != 0 && told.contains("answer"), "{command:?}: {told}");
        // By itself the store is asked for two minutes.
        assert!(begun.elapsed() < Duration::from_secs(60), "{command:?} took {:?}", begun.elapsed());
    }
    toxic.set(Toxin::None);
    flowd.until(&job, |description| state(description) == "running");
}

/// What was canceled while its store was away gives nothing more, and is canceled when the store is back, whatever happens to the daemon.
#[test]
fn a_cancel_outlives_the_daemon_though_the_store_is_away() {
    let minio = Minio::shared();
    let toxic = Toxic::before(&minio.address);
    let mut flowd = Flowd::with_env(&Minio::environment());
    let job = flowd.deploy("stops", &pipeline(&minio.bucket(), &toxic.address));
    flowd.until(&job, |description| description["checkpoints"]["completed"].as_u64() > Some(2));
    toxic.set(Toxin::Refuse);
    let called = flowd.ctl(&["cancel", &job]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    let canceling = |description: &Value| state(description) == "canceling";
    flowd.until(&job, canceling);
    let read = |flowd: &Flowd| counted(&flowd.describe(&job), "in", "records-out");
    // A hundred a second, if its source went on.
    let (begun, mut before, mut seconds) = (Instant::now(), read(&flowd), 0);
    while seconds < 3 {
        std::thread::sleep(Duration::from_secs(1));
        let now = read(&flowd);
        seconds = if now == before { seconds + 1 } else { 0 };
        before = now;
        assert!(begun.elapsed() < Duration::from_secs(60), "its source goes on");
    }
    assert!(canceling(&flowd.describe(&job)));
    // In vain, and not forgotten.
    for _ in 0..2 {
        flowd.kill();
        flowd.start_again();
        let waits = flowd.until(&job, |description| description["error"].is_string());
        assert!(canceling(&waits), "{waits:#}");
        let refused = flowd.ctl(&["deploy", "stops.yaml"]).stderr;
        assert!(refused.contains("is being canceled and has not ended yet: s3://"), "{refused}");
    }
    toxic.set(Toxin::None);
    let ended = flowd.ended(&job);
    assert_eq!(state(&ended), "canceled", "{ended:#}");
    flowd.kill();
    flowd.start_again();
    let jobs = flowd.json(&["list"]);
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(0), "{jobs:#}");
}
