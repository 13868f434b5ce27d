//! Jobs with checkpoints whose daemon is killed again and again: each record counts once, and each update of a count leaves once.

mod damaged;
mod full;
mod lives;
mod owed;
mod savepoints;
mod settle;
mod store;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use flow_e2e::broker::Broker;
use flow_e2e::counting::{PARTITIONS, counting, counts, counts_in, records, to_topic, wanted};
use flow_e2e::flowd::{Flowd, state};
use flow_e2e::minio::Minio;
use flow_e2e::topic;

/// How often the daemon is killed.
const KILLS: usize = 4;

/// Kills the daemon some times while a job runs, and waits for the job's end.
fn kill_and_finish(flowd: &mut Flowd, job: &str) {
    for kill in 0..KILLS {
        sleep(Duration::from_millis(300 + 170 * kill as u64));
        flowd.kill();
        flowd.start_again();
    }
    // Should it have ended before the last kill, nobody knows it any more.
    let listed = flowd.json(&["list"]);
    let known = listed["jobs"].as_array().is_some_and(|jobs| jobs.iter().any(|known| known["id"] == job));
    if known {
        let ended = flowd.ended(job);
        assert_eq!(state(&ended), "finished", "{ended:#}\n{}", flowd.log());
    }
}

#[test]
fn a_killed_daemon_goes_on_from_a_directory() {
    let broker = Broker::shared();
    let mut flowd = Flowd::new();
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    topic::write(broker, &from, &records());
    let pipeline = counting(broker, &from, "{interval: 100ms}", &to_topic(broker, &to, "at-least-once"));
    let job = flowd.deploy("at-least-once", &pipeline);
    kill_and_finish(&mut flowd, &job);
    // Some counts may stand there again; each is there, and none is wrong.
    for (key, counts) in counts(broker, &to) {
        let mut distinct = counts.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(Some(&distinct), wanted().get(&key), "{key}");
    }
}

#[test]
fn a_killed_daemon_writes_each_record_once() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut flowd = Flowd::with_env(&Minio::environment());
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    topic::write(broker, &from, &records());
    let (bucket, endpoint) = (minio.bucket(), minio.endpoint());
    let checkpoint =
        format!("{{interval: 200ms, to: 's3://{bucket}/flow', endpoint: '{endpoint}', region: us-east-1}}");
    let pipeline = counting(broker, &from, &checkpoint, &to_topic(broker, &to, "exactly-once"));
    let job = flowd.deploy("exactly-once", &pipeline);
    kill_and_finish(&mut flowd, &job);
    assert!(counts(broker, &to) == wanted(), "counts are missing, or stand there twice");
}

#[test]
fn a_killed_daemon_writes_each_line_once() {
    let broker = Broker::shared();
    let mut flowd = Flowd::new();
    let from = broker.topic(PARTITIONS, &[]);
    topic::write(broker, &from, &records());
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let sink = format!("files: {{path: '{}'}}", out.display());
    let job = flowd.deploy("files", &counting(broker, &from, "{interval: 100ms}", &sink));
    kill_and_finish(&mut flowd, &job);
    assert!(counts_in(&out) == wanted(), "counts are missing, or stand there twice");
    // Nothing hidden is left.
    let entries = fs::read_dir(&out).expect("there").map(|entry| entry.expect("listed").file_name());
    let hidden: Vec<_> = entries.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}
