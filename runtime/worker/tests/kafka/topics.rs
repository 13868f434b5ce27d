//! Several topics and patterns, partitions and topics that come while a reader runs, topics that go, positions by time and
//! offset, and how far each partition was read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flow_dataflow::{Polled, Source};
use flow_model::figures::PartitionFigures;
use flow_model::spec::kafka::Offsets;
use flow_model::spec::{KafkaStart, KafkaStop};
use flow_worker::kafka::{KafkaReader, Reading, Settings, Splits, Topics};
use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::producer::Producer;

use crate::broker::{Broker, TEN, wait};
use crate::cluster::until_it_knows;
use crate::record::*;

fn quick(reading: Reading) -> Reading {
    Reading { discover: Duration::from_millis(100), ..reading }
}

fn topics(names: &[&str], of: Reading) -> Reading {
    Reading { topics: Topics::Named(names.iter().map(|name| (*name).to_owned()).collect()), ..of }
}

fn pattern(pattern: &str, of: Reading) -> Reading {
    Reading { topics: Topics::Pattern(flow_model::spec::kafka::pattern(pattern).expect("a pattern")), ..of }
}

fn make(broker: &Broker, name: &str, partitions: i32) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let made = wait(broker.admin().create_topics([&topic], &AdminOptions::new())).expect("the broker answers");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

fn delete(broker: &Broker, name: &str) {
    let gone = wait(broker.admin().delete_topics(&[name], &AdminOptions::new())).expect("the broker answers");
    assert!(gone.iter().all(Result::is_ok), "{gone:?}");
}

/// Gives a topic more partitions, so many in all, and waits until each can be written to.
pub fn add_partitions(broker: &Broker, name: &str, partitions: usize) {
    let more = NewPartitions::new(name, partitions);
    wait(broker.admin().create_partitions([&more], &AdminOptions::new())).expect("the broker answers");
    until_it_knows(broker, "it has no more partitions", |metadata| {
        let topic = metadata.topics().iter().find(|topic| topic.name() == name).expect("it is there");
        topic.partitions().len() == partitions && topic.partitions().iter().all(|partition| partition.leader() >= 0)
    });
}

/// Values with the names of their places.
fn placed(splits: &Splits, rows: Vec<Placed>) -> BTreeSet<(String, String)> {
    let value = |record: Record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned();
    rows.into_iter().map(|((split, offset), record)| (splits.locate(split, offset).text, value(record))).collect()
}

/// Polls until so many rows came.
fn read(reader: &mut KafkaReader, n: usize) -> Vec<Placed> {
    let (mut all, begun) = (Vec::new(), Instant::now());
    while all.len() < n {
        match reader.poll(100, 1 << 20).expect("readable") {
            Polled::Batch(batch) => all.extend(rows(&batch)),
            Polled::Idle => std::thread::sleep(Duration::from_millis(1)),
            Polled::End => panic!("it ended after {} of {n}", all.len()),
        }
        assert!(begun.elapsed() < 3 * TEN, "only {} of {n}", all.len());
    }
    all
}

/// Polls until the reader fails.
fn fails(reader: &mut KafkaReader) -> String {
    read_all(reader).expect_err("it can't go on").to_string()
}

#[test]
fn several_topics_are_one_source() {
    let broker = Broker::shared();
    let (a, b) = (broker.topic(2, &[]), broker.topic(1, &[]));
    judge_writes(broker, &a, &[Record::new(Some("k"), Some("of a"))]);
    judge_writes(broker, &b, &[Record::new(None, Some("of b"))]);
    let reading = topics(&[&a, &b], reading(&broker.address, &a, true));
    let splits = reading.splits.clone();
    let read = placed(&splits, read_all(&mut reader(reading)).expect("readable"));
    let values: Vec<&str> = read.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values.len(), 2, "{read:?}");
    assert!(read.contains(&(format!("{b}[0]@0"), "of b".to_owned())), "{read:?}");
    assert!(read.iter().any(|(place, value)| place.starts_with(&format!("{a}[")) && value == "of a"), "{read:?}");
}

#[test]
fn a_pattern_finds_topics_that_come_later() {
    let broker = Broker::shared();
    let prefix = broker.topic(1, &[]).replace("topic-", "pattern-");
    let name = |suffix: &str| format!("{prefix}-{suffix}");
    make(broker, &name("a"), 1);
    judge_writes(broker, &name("a"), &[Record::new(None, Some("a"))]);
    let reading = quick(pattern(&format!("{prefix}-.*"), reading(&broker.address, "", false)));
    let splits = reading.splits.clone();
    // What is added while it runs is read from its beginning, wherever the reader started.
    let mut reader = reader(Reading { start: KafkaStart::Latest, ..reading });
    let begun = Instant::now();
    while reader.positions().is_empty() {
        assert!(matches!(reader.poll(10, 1000).expect("readable"), Polled::Idle));
        assert!(begun.elapsed() < TEN);
    }
    make(broker, &name("b"), 2);
    make(broker, &format!("no-{prefix}-c"), 1);
    judge_writes(broker, &name("b"), &[Record::new(None, Some("b"))]);
    judge_writes(broker, &format!("no-{prefix}-c"), &[Record::new(None, Some("c"))]);
    let read = placed(&splits, read(&mut reader, 1));
    assert!(read.iter().all(|(place, value)| place.starts_with(&name("b")) && value == "b"), "{read:?}");
    assert_eq!(reader.positions().len(), 3);
}

#[test]
fn new_partitions_are_read_from_their_beginning() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let mut reader = reader(quick(reading(&broker.address, &topic, false)));
    judge_writes(broker, &topic, &[Record::new(None, Some("old"))]);
    assert_eq!(read(&mut reader, 1).len(), 1);
    add_partitions(broker, &topic, 3);
    // One of each of the three, whichever the judge's client chooses.
    let records: Vec<Record> = (0..60).map(|n| Record::new(Some(&format!("key{n}")), Some("new"))).collect();
    judge_writes(broker, &topic, &records);
    assert_eq!(read(&mut reader, 60).len(), 60);
    assert!(reader.positions().iter().all(|(_, next)| *next > 0), "{:?}", reader.positions());
}

#[test]
fn a_topic_made_anew_is_an_error() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    judge_writes(broker, &topic, &numbered(3));
    let mut reader = reader(quick(reading(&broker.address, &topic, false)));
    read(&mut reader, 3);
    delete(broker, &topic);
    let made = Instant::now();
    loop {
        let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
        if wait(broker.admin().create_topics([&new], &AdminOptions::new()))
            .expect("an answer")
            .iter()
            .all(Result::is_ok)
        {
            break;
        }
        assert!(made.elapsed() < TEN, "the topic can't be made again");
    }
    // As many as there were, so that offsets tell nothing.
    judge_writes(broker, &topic, &numbered(4));
    let error = fails(&mut reader);
    let known = ["made anew", "has no topic"];
    assert!(known.iter().any(|text| error.contains(text)) && error.contains(&topic), "{error}");
}

#[test]
fn a_pattern_misses_a_topic_that_is_gone() {
    let broker = Broker::shared();
    let prefix = broker.topic(1, &[]).replace("topic-", "gone-");
    make(broker, &format!("{prefix}-a"), 1);
    make(broker, &format!("{prefix}-b"), 1);
    let mut reader = reader(quick(pattern(&format!("{prefix}-.*"), reading(&broker.address, "", false))));
    while reader.positions().len() < 2 {
        assert!(matches!(reader.poll(10, 1000).expect("readable"), Polled::Idle));
    }
    delete(broker, &format!("{prefix}-b"));
    let error = fails(&mut reader);
    assert!(error.contains(&format!("{prefix}-b")) && error.contains(&broker.address), "{error}");
}

#[test]
fn positions_by_time() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let at =
        |n: i64| Record { timestamp: Some(1_700_000_000_000 + 1000 * n), ..Record::new(None, Some(&n.to_string())) };
    judge_writes(broker, &topic, &(0..10).map(at).collect::<Vec<_>>());
    let check = |start: i64, stop: i64, expect: std::ops::Range<i64>| {
        let (start, stop) = (1_700_000_000_000 + start, 1_700_000_000_000 + stop);
        let (start, stop) = (KafkaStart::Timestamp(start), KafkaStop::Timestamp(stop));
        let rows = read_all(&mut reader(Reading { start, stop, ..reading(&broker.address, &topic, true) }));
        let offsets: Vec<i64> = rows.expect("readable").iter().map(|((_, offset), _)| *offset).collect();
        assert_eq!(offsets, expect.collect::<Vec<i64>>());
    };
    check(0, 3000, 0..3);
    check(2500, 5001, 3..6);
    check(-1, 1_000_000, 0..10);
    check(100_000, 1_000_000, 0..0);
}

#[test]
fn positions_by_offset() {
    let broker = Broker::shared();
    let topic = broker.topic(2, &[]);
    let records: Vec<Record> = (0..40).map(|n| Record::new(Some(&format!("key{n}")), Some("v"))).collect();
    judge_writes(broker, &topic, &records);
    let of = |all: &[(i32, i64)]| Offsets { of_only_topic: all.iter().copied().collect(), ..Offsets::default() };
    let (start, stop) = (KafkaStart::Offsets(of(&[(0, 3)])), KafkaStop::Offsets(of(&[(0, 7), (1, 2)])));
    let mut reader = reader(Reading { start, stop, ..reading(&broker.address, &topic, true) });
    let mut places: Vec<(u32, i64)> = read_all(&mut reader).expect("readable").into_iter().map(|(at, _)| at).collect();
    places.sort_unstable();
    // Partition 1 starts where it begins.
    assert_eq!(places, [(0, 3), (0, 4), (0, 5), (0, 6), (1, 0), (1, 1)]);

    let start = KafkaStart::Offsets(of(&[(0, 3), (2, 9)]));
    let error = fails(&mut self::reader(Reading { start, ..self::reading(&broker.address, &topic, true) }));
    let expect = format!("it names partition 2 of topic \"{topic}\", which has 2: from 0 to 1");
    assert!(error.contains("\"start\"") && error.contains(&expect), "{error}");
}

#[test]
fn lag_is_what_is_still_to_come() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    judge_writes(broker, &topic, &numbered(100));
    let reading = reading(&broker.address, &topic, false);
    let splits = reading.splits.clone();
    let mut reader = reader(reading);
    let lag = |splits: &Arc<Splits>| PartitionFigures::lag_of(&splits.figures()).unwrap_or(0);
    let begun = Instant::now();
    let mut read = 0;
    while read < 10 {
        if let Polled::Batch(batch) = reader.poll(10, 1 << 20).expect("readable") {
            read += batch.rows();
        }
        assert!(begun.elapsed() < TEN);
    }
    std::thread::sleep(Duration::from_millis(300));
    if let Polled::Batch(batch) = reader.poll(10, 1 << 20).expect("readable") {
        read += batch.rows();
    }
    // Told before the rows of that poll.
    let told = lag(&splits);
    assert!((100 - read as u64..100).contains(&told), "{told} after {read}");
    while read < 100 {
        if let Polled::Batch(batch) = reader.poll(100, 1 << 20).expect("readable") {
            read += batch.rows();
        }
        assert!(begun.elapsed() < TEN);
    }
    while lag(&splits) > 0 {
        assert!(matches!(reader.poll(10, 1000).expect("readable"), Polled::Idle));
        assert!(begun.elapsed() < 2 * TEN, "{:?}", splits.figures());
    }
}

/// Records of transactions end with one that nobody reads, which is no lag.
#[test]
fn a_committed_transaction_leaves_no_lag() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let producer = transactional(broker, &topic);
    producer.begin_transaction().expect("begun");
    send(&producer, &topic, &Record::new(None, Some("v")));
    producer.commit_transaction(TEN).expect("committed");
    let reading = reading(&broker.address, &topic, false);
    let splits = reading.splits.clone();
    let mut reader = reader(reading);
    read(&mut reader, 1);
    let begun = Instant::now();
    while splits.figures()[0].lag() != Some(0) {
        reader.poll(10, 1000).expect("readable");
        assert!(begun.elapsed() < TEN, "{:?}", splits.figures());
    }
    assert_eq!(splits.figures()[0].position, Some(2));
}

#[test]
fn an_unknown_topic_among_several_is_named() {
    let broker = Broker::shared();
    let known = broker.topic(1, &[]);
    let error = fails(&mut reader(topics(&[&known, "not-there"], reading(&broker.address, &known, true))));
    assert!(error.contains("\"not-there\"") && !error.contains(&known), "{error}");
}

/// Settings that would make a reader skip what it may not.
#[test]
fn uncommitted_records_are_read_where_that_is_asked_for() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let producer = transactional(broker, &topic);
    producer.begin_transaction().expect("begun");
    send(&producer, &topic, &Record::new(None, Some("open")));
    producer.flush(TEN).expect("stored");
    let connection = to(&broker.address, &[("isolation.level", "read_uncommitted")]);
    let settings = Settings::reading(&connection, "flow-test").expect("allowed");
    let rows = read_all(&mut reader(Reading { settings, ..reading(&broker.address, &topic, true) })).expect("readable");
    assert_eq!(rows.len(), 1);
    producer.abort_transaction(TEN).expect("aborted");
}
