//! A bounded reader ends, whatever lies at the end of its partitions, and takes nothing that came later.

use std::time::{Duration, Instant};

use flow_dataflow::{Polled, Source};
use flow_model::spec::KafkaStart;
use flow_model::spec::kafka::Offsets;
use flow_worker::kafka::Reading;
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::producer::Producer;

use crate::broker::{Broker, TEN, wait};
use crate::record::*;

fn values(rows: Vec<((u32, i64), Record)>) -> Vec<String> {
    rows.into_iter().map(|(_, r)| String::from_utf8_lossy(&r.value.unwrap_or_default()).into_owned()).collect()
}

#[test]
fn an_empty_topic_ends_at_once() {
    let broker = Broker::shared();
    let topic = broker.topic(3, &[]);
    let mut reader = reader(reading(&broker.address, &topic, true));
    assert_eq!(read_all(&mut reader).expect("readable"), []);
    assert_eq!(reader.positions(), [(0, 0), (1, 0), (2, 0)]);
}

#[test]
fn what_comes_after_the_start_is_not_read() {
    let broker = Broker::shared();
    let topic = broker.topic(2, &[]);
    judge_writes(broker, &topic, &numbered(50));
    let mut reader = reader(reading(&broker.address, &topic, true));
    // Opened when it knows its positions; records that come from here on are too late.
    let begun = Instant::now();
    let mut all = Vec::new();
    while reader.positions().is_empty() {
        if let Polled::Batch(batch) = reader.poll(1, 1).expect("readable") {
            all.extend(rows(&batch));
        }
        assert!(begun.elapsed() < TEN);
    }
    judge_writes(broker, &topic, &[Record::new(Some("k1"), Some("late")), Record::new(Some("k2"), Some("late"))]);
    all.extend(read_all(&mut reader).expect("readable"));
    let values = values(all);
    assert_eq!((values.len(), values.contains(&"late".to_owned())), (50, false));
}

#[test]
fn a_reader_goes_on_at_positions() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    judge_writes(broker, &topic, &numbered(10));
    let from = |start| Reading { start, ..reading(&broker.address, &topic, true) };
    let at = |offset| KafkaStart::Offsets(Offsets { of_only_topic: [(0, offset)].into(), ..Offsets::default() });
    let rest = read_all(&mut reader(from(at(7)))).expect("readable");
    assert_eq!(rest.iter().map(|((_, offset), _)| *offset).collect::<Vec<_>>(), [7, 8, 9]);
    let none = read_all(&mut reader(from(KafkaStart::Latest))).expect("readable");
    assert_eq!(none, []);
    let at_end = read_all(&mut reader(from(at(10)))).expect("readable");
    assert_eq!(at_end, []);
}

/// Control records end the partition: a commit's, then an aborted transaction with its records.
#[test]
fn transactions_at_the_end_are_got_over() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let producer = transactional(broker, &topic);
    for (name, commit) in [("first", true), ("aborted", false), ("second", true), ("aborted", false)] {
        producer.begin_transaction().expect("begun");
        (0..5).for_each(|_| send(&producer, &topic, &Record::new(None, Some(name))));
        producer.flush(TEN).expect("stored");
        let ended = if commit { producer.commit_transaction(TEN) } else { producer.abort_transaction(TEN) };
        ended.expect("ended");
    }
    let mut reader = reader(reading(&broker.address, &topic, true));
    let read = values(read_all(&mut reader).expect("readable"));
    assert_eq!(read, [["first"; 5], ["second"; 5]].concat());
    // Four times five records and one that says how it ended.
    assert_eq!(reader.positions(), [(0, 24)]);
}

/// An open transaction at the end can't be read, and its end may be far: it is not part of what a bounded reader reads.
#[test]
fn an_open_transaction_is_not_waited_for() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    judge_writes(broker, &topic, &numbered(5));
    let producer = transactional(broker, &topic);
    producer.begin_transaction().expect("begun");
    send(&producer, &topic, &Record::new(None, Some("open")));
    producer.flush(TEN).expect("stored");
    assert_eq!(values(read_all(&mut reader(reading(&broker.address, &topic, true))).expect("readable")).len(), 5);
    producer.abort_transaction(TEN).expect("aborted");
}

#[test]
fn gaps_of_a_compacted_topic_are_got_over() {
    let broker = Broker::shared();
    let quick = AlterConfig::new(ResourceSpecifier::Broker(1)).set("log.cleaner.backoff.ms", "100");
    wait(broker.admin().alter_configs([&quick], &AdminOptions::new())).expect("the broker answers");
    let settings = [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.001")];
    let topic = broker.topic(1, &settings);
    let begun = Instant::now();
    loop {
        // Old values of ten keys; the newest segment is never compacted, and a new one begins with the next record.
        judge_writes(broker, &topic, &numbered(500));
        std::thread::sleep(Duration::from_millis(300));
        judge_writes(broker, &topic, &[Record::new(Some("last"), Some("last"))]);
        let mut reader = reader(reading(&broker.address, &topic, true));
        let rows = read_all(&mut reader).expect("readable");
        let (n, (_, next)) = (rows.len() as i64, reader.positions()[0]);
        assert_eq!(rows.last().and_then(|(_, r)| r.value.clone()), Some(b"last".to_vec()));
        if n < next {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the broker does not compact: {n} of {next}");
    }
}
