//! Keyed state behind an exchange: every update of every key, in the order of the key's records.

use std::collections::BTreeMap;

use flow_e2e::broker::Broker;
use flow_e2e::flowd::{Flowd, counter};
use flow_e2e::topic::{self, Record, Topic};
use serde_json::{Value, json};

use crate::{PARTITIONS, pipeline};

const N: usize = 60_000;
const KEYS: usize = 997;

/// Kafka's key is the field that the pipeline groups by, so that the order of its records is known.
fn payment(n: usize) -> Record {
    let customer = format!("c{}", n * 7919 % KEYS);
    let value = format!(r#"{{"customer":"{customer}","amount":{}}}"#, n * 31 % 1009);
    Record::new(Some(&customer), Some(&value))
}

#[test]
fn each_key_sees_its_records_in_order() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    let payments: Vec<Record> = (0..N).map(payment).collect();
    topic::write(broker, &from, &payments);
    let operators =
        "  stats: {component: '{plugins}/running-stats.wasm', from: in, key: customer, config: {field: amount}}\n";
    let job = flowd.deploy("stats", &pipeline(broker, &from, &to, true, operators, "stats"));
    let description = flowd.finished(&job);
    assert_eq!(counter(&description, "stats", "records-out"), N as u64);

    // Prefix sums tell whether two records of a key changed places.
    let mut wanted: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for payment in &payments {
        let value: Value = serde_json::from_str(payment.text()).expect("JSON");
        let all = wanted.entry(value["customer"].as_str().expect("text").to_owned()).or_default();
        let (count, sum) = all.last().copied().unwrap_or_default();
        all.push((count + 1, sum + value["amount"].as_u64().expect("a number")));
    }
    let mut read: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for (_, record) in Topic::open(broker, &to, PARTITIONS).exactly(N) {
        let value: Value = serde_json::from_str(record.text()).expect("JSON");
        assert_eq!(record.key.as_deref().map(|key| json!(String::from_utf8_lossy(key))).as_ref(), value.get("key"));
        let sum = value["sum"].as_f64().expect("a number") as u64;
        let key = value["key"].as_str().expect("text").to_owned();
        read.entry(key).or_default().push((value["count"].as_u64().expect("a number"), sum));
    }
    assert_eq!(read.len(), KEYS);
    let different = wanted.iter().zip(&read).find(|(w, r)| w != r);
    assert_eq!(different, None);
}
