//! Rows go where their operator says: topic, partition, key, headers, timestamp; and what can't be written says why.

use std::sync::Arc;

use flow_dataflow::build::{bytes_column, fixed_column};
use flow_dataflow::call::{Blame, OnError};
use flow_dataflow::{Batch, Sink};
use flow_frame::BytesBuilder;
use flow_frame::layout::{Type, id};
use flow_worker::kafka::{KafkaWriter, Topics, Writing};

use crate::broker::Broker;
use crate::record::*;
use crate::topics::add_partitions;

/// Rows with values by their numbers, each for a topic and a partition.
fn rows(to: &[(Option<&str>, Option<u32>)]) -> Batch {
    let records: Vec<Record> = (0..to.len()).map(|n| Record::new(Some("key"), Some(&n.to_string()))).collect();
    let mut batch = batch(&records);
    let mut topics = BytesBuilder::default();
    to.iter().for_each(|(topic, _)| topics.push(topic.map(str::as_bytes)));
    let partitions = to.iter().flat_map(|(_, partition)| partition.unwrap_or(0).to_le_bytes()).collect();
    let nulls = to.iter().map(|(_, partition)| partition.is_some().into()).collect();
    batch.set(bytes_column(id::TO_TOPIC, topics));
    batch.set(fixed_column(id::TO_PARTITION, Type::U32, partitions, Some(nulls)));
    batch
}

fn open(writing: Writing) -> KafkaWriter {
    KafkaWriter::open(writing, failing(), no_wake(), warnings().0).expect("good settings")
}

fn failing() -> Blame {
    Blame { on_error: OnError::Fail, report: Arc::new(Told::default()) }
}

fn write(writer: &mut KafkaWriter, batch: Batch) -> Result<(), String> {
    let written =
        until(writer, Sink::ready).and_then(|()| writer.write(batch)).and_then(|()| until(writer, Sink::finish));
    written.map_err(|error| error.to_string())
}

fn values(broker: &Broker, topic: &str, partitions: i32, n: usize) -> Vec<(i32, String)> {
    let mut all: Vec<(i32, String)> = judge_reads(broker, topic, partitions, n)
        .into_iter()
        .map(|(p, record)| (p, record.text().to_owned()))
        .collect();
    all.sort();
    all
}

#[test]
fn rows_name_topics_and_partitions() {
    let broker = Broker::shared();
    let (own, other, found) = (broker.topic(1, &[]), broker.topic(3, &[]), broker.topic(2, &[]));
    let to = [
        (None, None),
        (Some(&*other), Some(2)),
        (Some(""), Some(0)),
        (Some(&*found), Some(1)),
        (Some(&*other), Some(0)),
    ];
    let pattern = flow_model::spec::kafka::pattern(&format!("{other}|{found}")).expect("a pattern");
    for others in [Topics::Pattern(pattern), Topics::Named(vec![other.clone(), found.clone()])] {
        let mut writer = open(Writing { others: Some(others), ..writing(&broker.address, &own, &[]) });
        write(&mut writer, rows(&to)).expect("writable");
    }
    let twice = |of: &[(i32, &str)]| -> Vec<(i32, String)> {
        of.iter()
            .flat_map(|(partition, value)| [(*partition, (*value).to_owned()), (*partition, (*value).to_owned())])
            .collect()
    };
    assert_eq!(values(broker, &own, 1, 4), twice(&[(0, "0"), (0, "2")]));
    assert_eq!(values(broker, &other, 3, 4), twice(&[(0, "4"), (2, "1")]));
    assert_eq!(values(broker, &found, 2, 2), twice(&[(1, "3")]));
}

#[test]
fn a_topic_that_the_sink_does_not_write_is_refused() {
    let broker = Broker::shared();
    let (own, other) = (broker.topic(1, &[]), broker.topic(1, &[]));
    let error = write(&mut open(writing(&broker.address, &own, &[])), rows(&[(None, None), (Some(&other), None)]));
    let error = error.expect_err("not allowed");
    let expect = format!(
        "place 0:1 was rejected (other-topic): it is for topic \"{other}\", which this sink does not write; add it to \
         `topics`"
    );
    assert!(error.starts_with(&expect), "{error}");
    // Allowed, and not there.
    let pattern = flow_model::spec::kafka::pattern("nowhere-.*").expect("a pattern");
    let mut writer = open(Writing { others: Some(Topics::Pattern(pattern)), ..writing(&broker.address, &own, &[]) });
    let error = write(&mut writer, rows(&[(Some("nowhere-1"), None)])).expect_err("no such topic");
    let expect = "place 0:0 was rejected (no-topic): it is for topic \"nowhere-1\", which Kafka at";
    assert!(error.starts_with(expect), "{error}");
}

/// Each of them alone, and all others arrive.
#[test]
fn what_goes_nowhere_is_left_out_and_the_rest_arrives() {
    let broker = Broker::shared();
    let (own, other) = (broker.topic(2, &[]), broker.topic(1, &[]));
    let pattern = flow_model::spec::kafka::pattern(&format!("{other}|nowhere-.*")).expect("a pattern");
    let (blame, told) = skipping();
    let writing = Writing { others: Some(Topics::Pattern(pattern)), ..writing(&broker.address, &own, &[]) };
    let mut writer = KafkaWriter::open(writing, blame, no_wake(), warnings().0).expect("good settings");
    let to = [
        (None, Some(1)),
        (Some("nowhere-1"), None),
        (Some("elsewhere"), None),
        (Some("no topic name"), None),
        (Some(&*other), None),
        (None, Some(2)),
        (Some(&*other), Some(u32::MAX)),
        (Some("nowhere-1"), Some(0)),
        (None, Some(0)),
    ];
    write(&mut writer, rows(&to)).expect("the rest is writable");
    assert_eq!(values(broker, &own, 2, 2), [(0, "8".to_owned()), (1, "0".to_owned())]);
    assert_eq!(values(broker, &other, 1, 1), [(0, "4".to_owned())]);
    let told: Vec<String> = told
        .0
        .lock()
        .expect("no panic")
        .iter()
        .map(|text| text.split(": ").next().unwrap_or_default().into())
        .collect();
    let wanted = [
        (1, "no-topic"),
        (2, "other-topic"),
        (3, "other-topic"),
        (5, "no-partition"),
        (6, "no-partition"),
        (7, "no-topic"),
    ];
    assert_eq!(told, wanted.map(|(row, code)| format!("0:{row} {code}")));
    assert_eq!((writer.refused().rows, writer.unwritten()), (6, 0));
}

#[test]
fn a_partition_that_is_not_there_is_refused() {
    let broker = Broker::shared();
    let topic = broker.topic(2, &[]);
    let mut writer = open(writing(&broker.address, &topic, &[]));
    write(&mut writer, rows(&[(None, Some(1))])).expect("it is there");
    // Added since the writer asked, and once more since it asked again.
    for partitions in [3, 5] {
        add_partitions(broker, &topic, partitions);
        write(&mut writer, rows(&[(None, Some(partitions as u32 - 1))])).expect("it is there now");
    }
    let error = write(&mut writer, rows(&[(None, Some(0)), (None, Some(5))])).expect_err("no such partition");
    let expect = format!(
        "place 0:1 was rejected (no-partition): it is for partition 5 of topic \"{topic}\", which has 5: from 0 to 4;"
    );
    assert!(error.starts_with(&expect), "{error}");
}

#[test]
fn too_few_partitions_are_refused_at_the_start() {
    let broker = Broker::shared();
    let topic = broker.topic(2, &[]);
    let with = |partitions| Writing { partitions: Some(partitions), ..writing(&broker.address, &topic, &[]) };
    until(&mut open(with(2)), Sink::ready).expect("enough");
    let error = until(&mut open(with(6)), Sink::ready).expect_err("too few").to_string();
    let expect =
        format!("the topic \"{topic}\" has 2 partitions, and `partitions` of the sink asks for 6; add them with");
    assert!(error.starts_with(&expect), "{error}");
}

#[test]
fn compression_and_acks_are_properties() {
    let broker = Broker::shared();
    for codec in ["gzip", "snappy", "lz4", "zstd", "none"] {
        let topic = broker.topic(1, &[]);
        let mut writer = open(writing(&broker.address, &topic, &[("compression.type", codec)]));
        write(&mut writer, rows(&[(None, None)])).expect("writable");
        assert_eq!(values(broker, &topic, 1, 1), [(0, "0".to_owned())]);
    }
}
