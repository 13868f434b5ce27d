//! The job of tests of recovery: records of a topic, counted by key. Each record counts once, and each update of a count leaves once: so
//! the counts of a key are 1, 2, 3 and so on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::topic::{Record, Topic};

/// Of the topics.
pub const PARTITIONS: i32 = 4;
/// So many keys.
pub const KEYS: usize = 97;
/// So many records.
pub const N: usize = 40_000;

/// Records of all keys, mixed.
pub fn records() -> Vec<Record> {
    (0..N).map(|n| Record::new(Some(&format!("k{}", n * 31 % KEYS)), Some("x"))).collect()
}

/// A sink of a topic.
pub fn to_topic(broker: &Broker, to: &str, delivery: &str) -> String {
    format!("kafka: {{brokers: '{}', topic: {to}, delivery: {delivery}}}", broker.address)
}

/// From a topic, counted by key, to a sink.
pub fn counting(broker: &Broker, from: &str, checkpoint: &str, sink: &str) -> String {
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

/// The counts of each key, in the order in which they were written.
pub fn counts(broker: &Broker, topic: &str) -> BTreeMap<String, Vec<u64>> {
    let mut topic = Topic::open(broker, topic, PARTITIONS);
    let mut counts = BTreeMap::new();
    while let Some((_, record)) = topic.next(Duration::from_secs(5)) {
        add(&mut counts, record.text());
    }
    counts
}

/// The same of files, of which those of a subtask follow each other by their names.
pub fn counts_in(directory: &Path) -> BTreeMap<String, Vec<u64>> {
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

/// What all of them come to.
pub fn wanted() -> BTreeMap<String, Vec<u64>> {
    let mut wanted: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records() {
        let key = String::from_utf8(record.key.expect("all have one")).expect("text");
        let all = wanted.entry(key).or_default();
        all.push(all.len() as u64 + 1);
    }
    wanted
}
