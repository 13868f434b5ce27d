//! What goes in comes out: every part of a record, its partition, its order, under a full queue too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use flow_dataflow::exchange::Wake;
use flow_dataflow::{Polled, Sink, Source};
use flow_model::spec::KafkaStart;
use flow_worker::kafka::{KafkaReader, Reading, Share, murmur2};

use crate::broker::{Broker, TEN};
use crate::record::*;

fn every_kind() -> Vec<Record> {
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let stamped = |timestamp| Record { timestamp: Some(timestamp), ..Record::new(Some("k"), Some("stamped")) };
    let headed = |headers: Vec<(String, Bytes)>| Record {
        timestamp: Some(1_700_000_000_123),
        headers,
        ..Record::new(Some("k"), Some("headed"))
    };
    let mut all = vec![
        Record::new(Some("key"), Some("value")),
        Record::new(None, Some("null key")),
        Record::new(Some("null value"), None),
        Record::new(None, None),
        Record::new(Some(""), Some("empty key")),
        Record::new(Some("empty value"), Some("")),
        Record { key: Some(vec![0, 255, 10]), value: Some(vec![0, 159, 146, 150]), ..Default::default() },
        stamped(1),
        stamped(1_700_000_000_000),
        stamped(253_402_300_799_999),
        headed(vec![header("a", Some(b"1"))]),
        headed(vec![header("twice", Some(b"1")), header("twice", Some(b"2")), header("twice", Some(b"1"))]),
        headed(vec![header("null", None), header("empty", Some(b"")), header("", Some(b"no name"))]),
        headed(vec![header("binary", Some(&[0, 1, 255]))]),
    ];
    all.iter_mut().enumerate().for_each(|(n, r)| r.timestamp = r.timestamp.or(Some(1_600_000_000_000 + n as i64)));
    all
}

#[test]
fn every_part_of_a_record_survives() {
    let broker = Broker::shared();
    // Timestamps far from now are refused by default.
    let any_time = [("message.timestamp.after.max.ms", "9223372036854775807")];
    let (from, to) = (broker.topic(3, &any_time), broker.topic(3, &any_time));
    let records = every_kind();
    judge_writes(broker, &from, &records);

    let mut reader = reader(reading(&broker.address, &from, true));
    let read = read_all(&mut reader).expect("readable");
    let read: Vec<Record> = read.into_iter().map(|(_, record)| record).collect();
    write_all(&mut writer(&broker.address, &to, &[]), &read).expect("writable");

    let mut judged: Vec<Record> = judge_reads(broker, &to, 3, records.len()).into_iter().map(|(_, r)| r).collect();
    let mut expected = records;
    expected.sort();
    judged.sort();
    assert_eq!(judged, expected);
}

#[test]
fn rows_without_a_timestamp_get_the_time_of_writing() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let before = now();
    write_all(&mut writer(&broker.address, &topic, &[]), &numbered(3)).expect("writable");
    for (_, record) in judge_reads(broker, &topic, 1, 3) {
        let at = record.timestamp.expect("stamped");
        assert!((before..=now()).contains(&at), "{at}");
    }
}

#[test]
fn keys_go_where_kafkas_own_clients_put_them() {
    let broker = Broker::shared();
    let (ours, theirs) = (broker.topic(7, &[]), broker.topic(7, &[]));
    let mut records: Vec<Record> = (0..500).map(|n| Record::new(Some(&format!("customer-{n}")), Some("v"))).collect();
    records.push(Record::new(Some(""), Some("v")));
    write_all(&mut writer(&broker.address, &ours, &[]), &records).expect("writable");
    judge_writes(broker, &theirs, &records);
    let places = |topic: &str| -> BTreeMap<Bytes, i32> {
        judge_reads(broker, topic, 7, records.len()).into_iter().map(|(partition, r)| (r.key, partition)).collect()
    };
    let ours = places(&ours);
    assert_eq!(ours, places(&theirs));
    let first = ours[&Some(b"customer-0".to_vec())];
    assert_eq!(first as u32, murmur2::partition(b"customer-0", 7));
}

#[test]
fn a_full_queue_holds_the_writer_back_and_loses_nothing() {
    let broker = Broker::shared();
    let topic = broker.topic(2, &[]);
    let records = numbered(5000);
    let mut writer = writer(&broker.address, &topic, &[("queue.buffering.max.messages", "100")]);
    until(&mut writer, Sink::ready).expect("opens");
    writer.write(batch(&records)).expect("taken");
    assert!(!writer.ready().expect("no error"), "5000 rows fitted into a queue of 100");
    assert!(writer.in_flight() > 4000, "{}", writer.in_flight());
    until(&mut writer, Sink::finish).expect("all stored");
    assert_eq!(writer.in_flight(), 0);

    let mut by_key: BTreeMap<Bytes, Vec<Bytes>> = BTreeMap::new();
    for (_, record) in judge_reads(broker, &topic, 2, records.len()) {
        by_key.entry(record.key).or_default().push(record.value);
    }
    let mut expected: BTreeMap<Bytes, Vec<Bytes>> = BTreeMap::new();
    for record in records {
        expected.entry(record.key).or_default().push(record.value);
    }
    assert_eq!(by_key, expected);
}

#[test]
fn a_snapshot_is_over_when_everything_is_stored() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let mut writer = writer(&broker.address, &topic, &[("linger.ms", "200")]);
    until(&mut writer, Sink::ready).expect("opens");
    writer.write(batch(&numbered(10))).expect("taken");
    writer.snapshot(flow_dataflow::Barrier::first(flow_model::checkpoint::CheckpointId(1))).expect("begun");
    assert!(!writer.ready().expect("no error"), "10 rows were stored within no time");
    until(&mut writer, Sink::ready).expect("stored");
    let consumed = judge_reads(broker, &topic, 1, 10);
    assert_eq!(consumed.len(), 10);
}

#[test]
fn subtasks_share_the_partitions() {
    let broker = Broker::shared();
    let topic = broker.topic(3, &[]);
    judge_writes(broker, &topic, &numbered(300));
    let check = |parallelism: u32| {
        let whole = reading(&broker.address, &topic, true);
        let (mut all, mut reader_of) = (Vec::new(), BTreeMap::new());
        for subtask in 0..parallelism {
            let reading = Reading { share: Share { subtask, parallelism }, ..whole.clone() };
            let rows = read_all(&mut reader(reading)).expect("readable");
            for ((split, _), _) in &rows {
                assert_eq!(*reader_of.entry(*split).or_insert(subtask), subtask, "split {split} is read by two");
            }
            all.extend(rows.into_iter().map(|(_, record)| record.value));
        }
        all.sort();
        let mut expected: Vec<Bytes> = numbered(300).into_iter().map(|r| r.value).collect();
        expected.sort();
        assert_eq!(all, expected, "parallelism {parallelism}");
    };
    // With five, two have no partition and end at once.
    [1, 2, 5].into_iter().for_each(check);
}

#[test]
fn a_record_far_larger_than_a_fetch_passes() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[("max.message.bytes", "20000000")]);
    let large = Record {
        value: Some((0..9_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ..Default::default()
    };
    let records = [Record::new(None, Some("before")), large, Record::new(None, Some("after"))];
    write_all(&mut writer(&broker.address, &topic, &[]), &records).expect("writable");
    let read = read_all(&mut reader(reading(&broker.address, &topic, true))).expect("readable");
    let values: Vec<Bytes> = read.into_iter().map(|(_, record)| record.value).collect();
    assert!(values == records.map(|record| record.value), "the values differ");
}

#[test]
fn an_idle_reader_is_woken() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let woken = Arc::new(AtomicU32::new(0));
    let count = woken.clone();
    let reading = Reading { start: KafkaStart::Latest, ..reading(&broker.address, &topic, false) };
    let wake: Wake = Arc::new(move || {
        count.fetch_add(1, SeqCst);
    });
    let mut reader = KafkaReader::open(reading, wake, warnings().0).expect("good settings");
    // Opened when it knows where it is, then quiet.
    let begun = Instant::now();
    while reader.positions().is_empty() {
        assert!(matches!(reader.poll(10, 1000).expect("no error"), Polled::Idle));
        assert!(begun.elapsed() < TEN);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reader.positions(), [(0, 0)]);
    while !matches!(reader.poll(10, 1000).expect("no error"), Polled::Idle) {}
    let before = woken.load(SeqCst);

    judge_writes(broker, &topic, &numbered(1));
    while woken.load(SeqCst) == before {
        assert!(begun.elapsed() < 2 * TEN, "not woken");
        std::thread::sleep(Duration::from_millis(1));
    }
    let Polled::Batch(batch) = reader.poll(10, 1000).expect("no error") else { panic!("woken for nothing") };
    assert_eq!(rows(&batch)[0].1.value.as_deref(), Some(&b"v0"[..]));
    assert_eq!((reader.positions(), reader.locator()(0, 5).text), (vec![(0, 1)], format!("{topic}[0]@5")));
}
