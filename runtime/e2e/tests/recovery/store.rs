//! Jobs whose checkpoints go to a store that is not there, not theirs, slow or down.

use std::time::{Duration, Instant};

use flow_e2e::broker::Broker;
use flow_e2e::flowd::{Flowd, state};
use flow_e2e::minio::{KEY, Minio};
use flow_e2e::topic;
use flow_e2e::toxic::{Toxic, Toxin};

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
