//! What does not work says so: the topic, the broker, the cause, what to do. What passes is waited for.

use std::time::{Duration, Instant};

use flow_dataflow::build::bytes_column;
use flow_dataflow::{Error, Polled, Sink, Source};
use flow_frame::BytesBuilder;
use flow_frame::layout::id;
use flow_model::spec::KafkaStart;
use flow_model::spec::kafka::Offsets;
use flow_worker::kafka::{self, KafkaReader, KafkaWriter, Reading, Settings, Topics, Writing};

use crate::broker::{Broker, TEN, free_port};
use crate::lanes::lower_limit;
use crate::record::*;

/// Asserts that a text has all of these.
fn says(error: &dyn std::fmt::Display, parts: &[&str]) {
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text:?} lacks one of {parts:?}");
}

#[test]
fn an_unknown_topic_is_an_error() {
    let broker = Broker::shared();
    let of_reader = read_all(&mut reader(reading(&broker.address, "nothing-here", false))).expect_err("no such topic");
    let of_writer = until(&mut writer(&broker.address, "nothing-here", &[]), Sink::ready).expect_err("no such topic");
    for error in [of_reader, of_writer] {
        assert!(matches!(error, Error::Fatal(_)), "{error:?}");
        says(&error, &["nothing-here", &broker.address, "create it"]);
    }
}

#[test]
fn a_bad_setting_is_named() {
    let writing = writing("127.0.0.1:1", "t", &[("lingr.ms", "5")]);
    let error =
        KafkaWriter::open(writing, skipping().0, no_wake(), warnings().0).err().expect("librdkafka does not know it");
    assert!(matches!(&error, kafka::Error::Setting { name, .. } if name == "lingr.ms"), "{error:?}");
    // librdkafka quotes what it does not take, cut to its buffer; it may be a secret under a wrong name.
    let secret = format!("hunter2{}", "x".repeat(700));
    let writing = self::writing("127.0.0.1:1", "t", &[("compression.type", &secret)]);
    let error =
        KafkaWriter::open(writing, skipping().0, no_wake(), warnings().0).err().expect("no such codec").to_string();
    assert!(error.contains("compression.type") && !error.contains("hunter2"), "{error}");
}

#[test]
fn offsets_that_are_gone_are_an_error() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    judge_writes(broker, &topic, &numbered(3));
    let start = KafkaStart::Offsets(Offsets { of_only_topic: [(0, 1_000_000)].into(), ..Offsets::default() });
    // A bounded reader that starts behind the end must not take it for read.
    for bounded in [false, true] {
        let start = start.clone();
        let error = read_all(&mut reader(Reading { start, ..reading(&broker.address, &topic, bounded) }))
            .expect_err("no such offset");
        says(&error, &[&format!("{topic}[0]"), "1000000", "it ends at 3", "retention"]);
    }
}

#[test]
fn a_topic_deleted_under_a_writer_is_an_error() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let settings = [("topic.metadata.propagation.max.ms", "500"), ("topic.metadata.refresh.interval.ms", "200")];
    let open = || {
        KafkaWriter::open(writing(&broker.address, &topic, &settings), skipping().0, no_wake(), warnings().0)
            .expect("good settings")
    };
    let mut writer = open();
    until(&mut writer, Sink::ready).expect("it is there");
    crate::broker::wait(broker.admin().delete_topics(&[&topic], &Default::default())).expect("the broker answers");
    let begun = std::time::Instant::now();
    let text = loop {
        let ready = until(&mut writer, Sink::ready);
        let written =
            ready.and_then(|()| writer.write(batch(&numbered(1)))).and_then(|()| until(&mut writer, Sink::finish));
        let said = written.map_or_else(|error| error.to_string(), |()| String::new());
        if said.contains("the topic was deleted") || said.contains("has no topic") {
            break said;
        }
        assert!(begun.elapsed() < 3 * TEN, "it writes on, and said last: {said}");
        // With the leader of the last partition its connection goes, which says another thing: then a next attempt finds out.
        if !said.is_empty() {
            writer = open();
        }
    };
    assert!(text.contains(&topic), "{text}");
}

#[test]
fn a_topic_deleted_under_a_reader_is_an_error() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    // By default half a minute, so that a broker that is behind does not fail a job.
    let quick = to(&broker.address, &[("topic.metadata.propagation.max.ms", "500")]);
    let settings = Settings::reading(&quick, "flow-test").expect("allowed");
    let mut reader = reader(Reading { settings, ..reading(&broker.address, &topic, false) });
    while reader.positions().is_empty() {
        assert!(matches!(reader.poll(10, 1000).expect("readable"), Polled::Idle));
    }
    let deleted = broker.admin();
    crate::broker::wait(deleted.delete_topics(&[&topic], &Default::default())).expect("the broker answers");
    says(&read_all(&mut reader).expect_err("no topic any more"), &[&topic, &broker.address]);
}

#[test]
fn a_record_that_the_topic_does_not_take_fails_the_writer() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[("max.message.bytes", "2000")]);
    // Nothing that lz4 makes small.
    let value = (0..10_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let records = [Record::new(None, Some("small")), Record { value: Some(value), ..Default::default() }];
    let error = write_all(&mut writer(&broker.address, &topic, &[]), &records).expect_err("too large");
    says(
        &error,
        &[
            &topic,
            "place 0:1 was rejected (too-large)",
            "10000 bytes",
            "`max.message.bytes` of the topic, which is 2000",
        ],
    );
}

/// Values of which every fiftieth is larger than 8000 bytes, and nothing that a codec makes small.
fn with_large_ones(n: usize) -> Vec<Record> {
    let byte = |at: u64| {
        let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as u8
    };
    let value = |n: usize| {
        let length = if n % 50 == 17 { 9_000 + n } else { 100 };
        (0..length as u64).map(|at| byte(at + 1_000_003 * n as u64)).collect()
    };
    (0..n).map(|n| Record { value: Some(value(n)), ..Record::new(Some(&format!("k{}", n % 10)), None) }).collect()
}

/// The topic takes less than what a producer puts into one batch by itself.
#[test]
fn only_those_that_are_too_large_are_left_out() {
    let broker = Broker::shared();
    let (topic, found) = (broker.topic(2, &[("max.message.bytes", "8000")]), broker.topic(2, &[]));
    let records = with_large_ones(1000);
    let small = |record: &Record| record.value.as_ref().is_some_and(|value| value.len() == 100);
    for own in [&topic, &found] {
        // Its limit is known before the first record, or when the first record names it.
        let others =
            (own == &found).then(|| Topics::Pattern(flow_model::spec::kafka::pattern(&topic).expect("a pattern")));
        let writing = Writing { others, ..writing(&broker.address, own, &[]) };
        let (blame, told) = skipping();
        let mut writer = KafkaWriter::open(writing, blame, no_wake(), warnings().0).expect("good settings");
        let mut rows = batch(&records);
        let mut topics = BytesBuilder::default();
        (0..records.len()).for_each(|_| topics.push((own == &found).then_some(topic.as_bytes())));
        rows.set(bytes_column(id::TO_TOPIC, topics));
        until(&mut writer, Sink::ready).expect("it opens");
        writer.write(rows).expect("it is taken");
        until(&mut writer, Sink::finish).expect("the rest is writable");
        assert_eq!((writer.refused().rows, writer.unwritten()), (20, 0));
        let told = told.0.lock().expect("no panic");
        for n in (17..1000).step_by(50) {
            let start = format!("0:{n} too-large: its {} bytes are too many for topic {topic:?}", 9_000 + n + 2);
            assert_eq!(told.iter().filter(|text| text.starts_with(&start)).count(), 1, "{start} is not in {told:#?}");
        }
    }
    // By key in order, each as often as it was written.
    let mut wanted: Vec<&Record> = records.iter().filter(|record| small(record)).collect();
    wanted.extend(wanted.clone());
    let by_key = |all: &[&Record], key: usize| -> Vec<Record> {
        let of_key = |record: &&&Record| record.key.as_deref() == Some(format!("k{key}").as_bytes());
        all.iter().filter(of_key).map(|record| Record { timestamp: None, ..(**record).clone() }).collect()
    };
    let found = judge_reads(broker, &topic, 2, wanted.len());
    let found: Vec<&Record> = found.iter().map(|(_, record)| record).collect();
    for key in 0..10 {
        assert_eq!(by_key(&found, key), by_key(&wanted, key), "key {key}");
    }
}

/// A topic whose limit was lowered since the writer asked: nobody knows which record of a batch it was.
#[test]
fn a_limit_that_was_lowered_blames_no_record() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let (blame, told) = skipping();
    let mut writer = KafkaWriter::open(writing(&broker.address, &topic, &[]), blame, no_wake(), warnings().0)
        .expect("good settings");
    until(&mut writer, Sink::ready).expect("it opens");
    lower_limit(broker, &topic, "8000");
    let error = write_all(&mut writer, &with_large_ones(200)).expect_err("it does not take the batch");
    assert!(matches!(error, Error::Retryable(_)), "{error:?}");
    says(&error, &[&topic, "start the job again if `max.message.bytes` of the topic was lowered"]);
    assert_eq!(*told.0.lock().expect("no panic"), [""; 0]);
}

#[test]
fn a_record_larger_than_a_producer_takes_fails_the_writer() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let stamps = [None, Some(1_700_000_000_000)];
    for timestamp in stamps {
        let record = Record { value: Some(vec![7; 2000]), timestamp, ..Default::default() };
        let mut writer = writer(&broker.address, &topic, &[("message.max.bytes", "1500")]);
        says(&write_all(&mut writer, &[record]).expect_err("too large"), &[&topic, "2000 bytes"]);
    }
}

#[test]
fn headers_that_are_none_fail_the_writer() {
    let broker = Broker::shared();
    let topic = broker.topic(1, &[]);
    let record = Record { headers: vec![("a\0b".to_owned(), None)], ..Record::new(None, Some("v")) };
    let error = write_all(&mut writer(&broker.address, &topic, &[]), &[record]).expect_err("a NUL in a name");
    says(&error, &[&topic, "headers"]);
}

#[test]
fn a_broker_that_is_down_is_waited_for() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let (warn, warned) = warnings();
    let mut reader =
        KafkaReader::open(reading(&address, "topic-late", true), no_wake(), warn.clone()).expect("good settings");
    let writing = writing(&address, "topic-late", &[]);
    let mut writer = KafkaWriter::open(writing, skipping().0, no_wake(), warn).expect("good settings");
    let begun = Instant::now();
    while warned.lock().expect("no panic").len() < 2 {
        let asked = Instant::now();
        assert!(matches!(reader.poll(10, 1000).expect("no error"), Polled::Idle));
        assert!(!writer.ready().expect("no error"));
        assert!(asked.elapsed() < Duration::from_secs(5), "a slot was kept waiting");
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody was warned");
        std::thread::sleep(Duration::from_millis(10));
    }
    for text in warned.lock().expect("no panic").iter() {
        says(text, &[&address, "brokers"]);
    }

    let broker = Broker::start(port);
    // A topic of the same name as the one that both wait for.
    let topic = rdkafka::admin::NewTopic::new("topic-late", 1, rdkafka::admin::TopicReplication::Fixed(1));
    crate::broker::wait(broker.admin().create_topics([&topic], &Default::default())).expect("the broker answers");
    write_all(&mut writer, &numbered(3)).expect("writable");
    // The reader stops at what was the end when it opened, which may have been before the writer wrote.
    assert!(read_all(&mut reader).expect("readable").len() <= 3);
    assert_eq!(judge_reads(&broker, "topic-late", 1, 3).len(), 3);
}
