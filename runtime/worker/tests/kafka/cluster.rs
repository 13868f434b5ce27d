//! Two brokers, one of which goes away and comes back: a partition without a leader is waited for while the others are read,
//! a partition whose leader changes goes on, records that too few brokers could store wait.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flow_dataflow::{Polled, Sink, Source};
use flow_model::spec::KafkaStart;
use flow_worker::kafka::{KafkaReader, KafkaWriter, Reading};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::metadata::Metadata;

use crate::broker::{Broker, TEN, free_port, wait};
use crate::record::*;

/// A broker, and one of its own port that belongs to the first one's cluster. Which of them is gone is known after so many
/// milliseconds.
fn cluster(missed: u32) -> (Broker, Broker) {
    let soon = format!("broker.session.timeout.ms={missed}\nbroker.heartbeat.interval.ms=500\n");
    let (first, second) = (free_port(), free_port());
    let controller = first - 10_000;
    let one = Broker::with(first, |_| soon.clone());
    let two = Broker::with(second, |_| {
        let listeners = format!("PLAINTEXT://127.0.0.1:{second}");
        format!(
            "{soon}node.id=2\nprocess.roles=broker\ninitial.broker.registration.timeout.ms=110000\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={listeners}\nadvertised.listeners={listeners}\n"
        )
    });
    // One that answers need not count for the others yet, and no partition can be laid on it before.
    until_it_knows(&one, "it does not count the other one", |metadata| metadata.brokers().len() == 2);
    (one, two)
}

/// Waits until a broker says so of its cluster.
pub fn until_it_knows(broker: &Broker, what: &str, is: impl Fn(&Metadata) -> bool) {
    let begun = Instant::now();
    while !is(&broker.admin().inner().fetch_metadata(None, TEN).expect("metadata")) {
        assert!(begun.elapsed() < 6 * TEN, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn leader(metadata: &Metadata, topic: &str, partition: usize) -> i32 {
    let topic = metadata.topics().iter().find(|found| found.name() == topic).expect("it was made");
    topic.partitions()[partition].leader()
}

fn make(broker: &Broker, name: &str, replicas: &[&[i32]], needed: &str) {
    let partitions = replicas.len() as i32;
    let topic =
        NewTopic::new(name, partitions, TopicReplication::Variable(replicas)).set("min.insync.replicas", needed);
    let made = wait(broker.admin().create_topics([&topic], &AdminOptions::new())).expect("the broker answers");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// A record for this partition of two.
fn of(partition: u32, value: &str) -> Record {
    let is_there = |key: &String| flow_worker::kafka::murmur2::partition(key.as_bytes(), 2) == partition;
    Record::new((0..).map(|n| format!("k{n}")).find(is_there).as_deref(), Some(value))
}

/// Polls until `done` says so.
fn poll(reader: &mut KafkaReader, values: &mut BTreeSet<String>, done: impl Fn(&BTreeSet<String>) -> bool) {
    let begun = Instant::now();
    while !done(values) {
        match reader.poll(100, 1 << 20).expect("readable") {
            Polled::Batch(batch) => {
                let value = |record: Record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned();
                values.extend(rows(&batch).into_iter().map(|(_, record)| value(record)));
            }
            Polled::Idle => std::thread::sleep(Duration::from_millis(1)),
            Polled::End => panic!("it ended with {values:?}"),
        }
        assert!(begun.elapsed() < 6 * TEN, "only {values:?}");
    }
}

fn told(warned: &Arc<Mutex<Vec<String>>>) -> Vec<String> {
    warned.lock().expect("no panic").clone()
}

#[test]
fn a_broker_that_goes_away_and_comes_back() {
    let (one, two) = cluster(3000);
    make(&one, "apart", &[&[1], &[2]], "1");
    make(&one, "moves", &[&[2, 1]], "1");
    make(&one, "both", &[&[1, 2]], "2");
    judge_writes(&one, "apart", &[of(0, "on one"), of(1, "on two")]);

    // The leader of this one is there, and goes while records come.
    let (warn, warned) = warnings();
    let mut moving = KafkaReader::open(reading(&one.address, "moves", false), no_wake(), warn.clone()).expect("opens");
    let mut writer =
        KafkaWriter::open(writing(&one.address, "moves", &[]), skipping().0, no_wake(), warn).expect("opens");
    until(&mut writer, Sink::ready).expect("ready");
    writer.write(batch(&[Record::new(None, Some("before"))])).expect("taken");
    until(&mut writer, Sink::finish).expect("stored");
    let mut moved = BTreeSet::new();
    poll(&mut moving, &mut moved, |values| values.contains("before"));

    two.kill();
    until(&mut writer, Sink::ready).expect("ready");
    writer.write(batch(&[Record::new(None, Some("after"))])).expect("taken");
    until(&mut writer, Sink::finish).expect("stored by the other one");
    poll(&mut moving, &mut moved, |values| values.contains("after"));
    // One line for the reader, one for the writer, however often each tried again.
    assert!(told(&warned).len() <= 4, "{:?}", told(&warned));

    // A record that wants both brokers.
    let (warn, stalled) = warnings();
    let mut both = KafkaWriter::open(writing(&one.address, "both", &[]), skipping().0, no_wake(), warn).expect("opens");
    until(&mut both, Sink::ready).expect("ready");
    both.write(batch(&[Record::new(None, Some("for both"))])).expect("taken");

    // A partition without a leader: the other one is read meanwhile.
    until_it_knows(&one, "the partition still has a leader", |metadata| leader(metadata, "apart", 1) < 0);
    let (warn, warned) = warnings();
    let discover = Duration::from_millis(200);
    let open = |bounded| Reading { discover, ..reading(&one.address, "apart", bounded) };
    let mut waiting = KafkaReader::open(open(false), no_wake(), warn.clone()).expect("opens");
    let mut bounded = KafkaReader::open(open(true), no_wake(), warn).expect("opens");
    let latest = Reading { start: KafkaStart::Latest, ..open(false) };
    let mut latest = KafkaReader::open(latest, no_wake(), warnings().0).expect("opens");
    let (mut values, mut to_end) = (BTreeSet::new(), BTreeSet::new());
    let begun = Instant::now();
    while latest.positions().is_empty() {
        assert!(matches!(latest.poll(10, 1000).expect("readable"), Polled::Idle));
        assert!(begun.elapsed() < TEN);
    }
    poll(&mut waiting, &mut values, |values| values.contains("on one"));
    poll(&mut bounded, &mut to_end, |values| values.contains("on one"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(matches!(bounded.poll(10, 1000).expect("readable"), Polled::Idle), "it did not wait for the partition");
    let lines = told(&warned);
    assert!(lines.iter().all(|line| line.contains("no broker leads apart[1]")) && lines.len() == 2, "{lines:?}");

    let is_told = || told(&stalled).iter().any(|line| line.contains("has stored none of 1 records for 10 s"));
    let begun = Instant::now();
    while !is_told() {
        assert!(both.ready().expect("no error"), "there is room for more");
        assert!(begun.elapsed() < 3 * TEN, "nobody was told: {:?}", told(&stalled));
        std::thread::sleep(Duration::from_millis(10));
    }

    two.start_again();
    until(&mut both, Sink::finish).expect("stored by both");
    poll(&mut waiting, &mut values, |values| values.contains("on two"));
    let rest = read_all(&mut bounded).expect("readable");
    assert_eq!(rest.len() + to_end.len(), 2);
    // Written before this reader sees that the partition is back, and after it started.
    judge_writes(&one, "apart", &[of(1, "late")]);
    let mut late = BTreeSet::new();
    poll(&mut latest, &mut late, |values| values.contains("late"));
    assert_eq!(late, BTreeSet::from(["late".to_owned()]));
    assert_eq!(moved, BTreeSet::from(["before".to_owned(), "after".to_owned()]));
}

/// For a while after a broker is gone the others still call it the leader, and at random the controller: what it does not tell is
/// not taken for nothing, and is not waited for by whoever reads the others.
#[test]
fn a_broker_that_is_not_missed_yet() {
    let (one, two) = cluster(20_000);
    make(&one, "apart", &[&[1], &[2]], "1");
    judge_writes(&one, "apart", &[of(0, "on one"), of(1, "on two")]);
    two.kill();
    // Each asks the one that it takes for the controller.
    let open = || KafkaReader::open(reading(&one.address, "apart", true), no_wake(), warnings().0).expect("opens");
    let mut readers: Vec<KafkaReader> = (0..6).map(|_| open()).collect();
    for bounded in &mut readers {
        poll(bounded, &mut BTreeSet::new(), |values| values.contains("on one"));
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        for bounded in &mut readers {
            let polled = bounded.poll(10, 1000).expect("readable");
            assert!(matches!(polled, Polled::Idle), "it did not wait for the partition");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let metadata = one.admin().inner().fetch_metadata(None, TEN).expect("metadata");
    assert_eq!(leader(&metadata, "apart", 1), 2, "it was not read before the broker was missed");
    two.start_again();
    for bounded in &mut readers {
        assert_eq!(read_all(bounded).expect("readable").len(), 1, "of the other partition");
    }
}
