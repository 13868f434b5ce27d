//! Jobs with checkpoints whose daemon is killed again and again: each record counts once, and each update of a count leaves once.

mod damaged;
mod full;
mod lives;
mod owed;
mod savepoints;
mod settle;
mod store;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use flow_e2e::broker::Broker;
use flow_e2e::flowd::{Flowd, state};
use flow_e2e::minio::Minio;
use flow_e2e::topic::{self, Record, Topic};
use serde_json::Value;

const PARTITIONS: i32 = 4;
const KEYS: usize = 97;
const N: usize = 40_000;
/// How often the daemon is killed.
const KILLS: usize = 4;

fn records() -> Vec<Record> {
    (0..N).map(|n| Record::new(Some(&format!("k{}", n * 31 % KEYS)), Some("x"))).collect()
}

/// A sink of a topic.
fn to_topic(broker: &Broker, to: &str, delivery: &str) -> String {
    format!("kafka: {{brokers: '{}', topic: {to}, delivery: {delivery}}}", broker.address)
}

/// From a topic, counted by key, to a sink.
fn counting(broker: &Broker, from: &str, checkpoint: &str, sink: &str) -> String {
    let brokers = &broker.address;
    format!(
        "parallelism: 2\n\
         checkpoint: {checkpoint}\n\
         restart: {{pause: 50ms}}\n\
         sources:\n  in: {{kafka: {{brokers: '{brokers}', topic: {from}, stop: latest}}}}\n\
         operators:\n  slow: {{component: '{{plugins}}/identity.wasm', from: in}}\n  \
         counts: {{component: '{{plugins}}/counter.wasm', from: slow, key: $key}}\n\
         sinks:\n  out: {{{sink}, from: counts}}\n"
    )
}

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

/// The counts of each key, in the order in which they were written.
fn counts(broker: &Broker, topic: &str) -> BTreeMap<String, Vec<u64>> {
    let mut topic = Topic::open(broker, topic, PARTITIONS);
    let mut counts = BTreeMap::new();
    while let Some((_, record)) = topic.next(Duration::from_secs(5)) {
        add(&mut counts, record.text());
    }
    counts
}

/// The same of files, of which those of a subtask follow each other by their names.
fn counts_in(directory: &Path) -> BTreeMap<String, Vec<u64>> {
    let entries = fs::read_dir(directory).expect("it was made").map(|entry| entry.expect("listed").path());
    // What is hidden is no output: a life that was canceled may leave some behind.
    let is_shown = |path: &PathBuf| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut files: Vec<_> = entries.filter(is_shown).collect();
    files.sort();
    let mut counts = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(file).expect("text");
        text.lines().for_each(|line| add(&mut counts, line));
    }
    counts
}

fn add(counts: &mut BTreeMap<String, Vec<u64>>, line: &str) {
    let value: Value = serde_json::from_str(line).expect("JSON");
    let key = value["key"].as_str().expect("text").to_owned();
    counts.entry(key).or_default().push(value["count"].as_u64().expect("a number"));
}

fn wanted() -> BTreeMap<String, Vec<u64>> {
    let mut wanted: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records() {
        let key = String::from_utf8(record.key.expect("all have one")).expect("text");
        let all = wanted.entry(key).or_default();
        all.push(all.len() as u64 + 1);
    }
    wanted
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
