//! Map and filter: each record as it must be, once, in the order of its partition.

use std::collections::BTreeMap;

use flow_e2e::broker::Broker;
use flow_e2e::flowd::{Flowd, counter, state};
use flow_e2e::topic::{self, Record, Topic};

use crate::{PARTITIONS, pipeline};

const N: usize = 100_000;

/// Each field of the record depends on its number; some keys are null.
fn order(n: usize) -> Record {
    let key = (!n.is_multiple_of(7)).then(|| format!("customer-{}", n % 1000));
    let value = format!(r#"{{"id":{n},"price":{}.25,"qty":{},"note":"n{n}"}}"#, n % 90, n % 11);
    Record {
        timestamp: Some(1_700_000_000_000 + n as i64),
        headers: if n.is_multiple_of(3) {
            vec![("n".into(), Some(n.to_le_bytes().to_vec())), ("".into(), None)]
        } else {
            vec![]
        },
        ..Record::new(key.as_deref(), Some(&value))
    }
}

/// What the pipeline must make of it.
fn expected(n: usize) -> Option<Record> {
    let total = ((n % 90) as f64 + 0.25) * (n % 11) as f64;
    let value = format!(r#"{{"id":{n},"total":{total:?}}}"#);
    (total >= 50.0).then(|| Record { value: Some(value.into_bytes()), ..order(n) })
}

#[test]
fn every_record_is_mapped_and_filtered_exactly() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    topic::write(broker, &from, &(0..N).map(order).collect::<Vec<_>>());
    let operators = "  total:
    component: '{plugins}/json-map.wasm'
    from: in
    config: {expression: '{\"id\": value.id, \"total\": value.price * value.qty}'}
  large:
    component: '{plugins}/json-filter.wasm'
    from: total
    config: {expression: 'value.total >= 50'}
";
    let job = flowd.deploy("orders", &pipeline(broker, &from, &to, true, operators, "large"));
    let description = flowd.finished(&job);

    let mut wanted: Vec<Record> = (0..N).filter_map(expected).collect();
    let read = Topic::open(broker, &to, PARTITIONS).exactly(wanted.len());
    // A key's records come from one partition, pass one subtask and go to one partition: they keep their order.
    let mut last: BTreeMap<&[u8], Option<i64>> = BTreeMap::new();
    for (_, record) in &read {
        if let Some(key) = &record.key {
            let before = last.insert(key, record.timestamp).flatten();
            assert!(before < record.timestamp, "{record:?} comes after {before:?}");
        }
    }
    let mut read: Vec<Record> = read.into_iter().map(|(_, record)| record).collect();
    wanted.sort();
    read.sort();
    let different = wanted.iter().zip(&read).find(|(w, r)| w != r);
    assert_eq!(different, None);
    assert_eq!(counter(&description, "in", "records-in"), N as u64);
    assert_eq!(counter(&description, "large", "records-out"), wanted.len() as u64);
    assert_eq!(counter(&description, "out", "records-out"), wanted.len() as u64);
}

#[test]
fn nulls_and_bytes_pass_components() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let mut records = vec![
        Record::new(Some("null value"), None),
        Record::new(None, Some("null key")),
        Record::new(None, None),
        Record::new(Some(""), Some("")),
        Record { key: Some(vec![0, 255, 10]), value: Some(vec![0, 159, 146, 150]), ..Default::default() },
        Record {
            headers: vec![header("twice", Some(b"1")), header("twice", None), header("", Some(&[0, 255]))],
            ..Record::new(Some("headers"), Some("x"))
        },
    ];
    records.iter_mut().enumerate().for_each(|(n, record)| record.timestamp = Some(1_600_000_000_000 + n as i64));
    topic::write(broker, &from, &records);
    let operators = "  copy: {component: '{plugins}/identity.wasm', from: in}
  behave: {component: '{plugins}/hostile.wasm', from: copy, config: {mode: behave}}
";
    flowd.finished(&flowd.deploy("nulls", &pipeline(broker, &from, &to, true, operators, "behave")));
    let read = Topic::open(broker, &to, PARTITIONS).exactly(records.len());
    let mut read: Vec<Record> = read.into_iter().map(|(_, record)| record).collect();
    read.sort();
    records.sort();
    assert_eq!(read, records);
}

#[test]
fn a_record_that_fails_is_named_by_its_offset() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let (from, to) = (broker.topic(1, &[]), broker.topic(1, &[]));
    let record = |n: usize| Record::new(None, Some(if n == 41 { "no json" } else { "1" }));
    topic::write(broker, &from, &(0..100).map(record).collect::<Vec<_>>());
    let operators = "  next: {component: '{plugins}/json-map.wasm', from: in, config: {expression: value + 1}}\n";
    let job = flowd.deploy("offset", &pipeline(broker, &from, &to, true, operators, "next"));
    let description = flowd.ended(&job);
    let error = description["error"].as_str().unwrap_or_default();
    assert_eq!(state(&description), "failed");
    for part in ["next", &format!("{from}[0]@41"), "bad-json"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}
