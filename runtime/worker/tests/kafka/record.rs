//! Records as plain values, and the two ways to move them: through Flow's reader and writer, and through rdkafka's own
//! clients, which judge the former.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flow_dataflow::exchange::Wake;
use flow_dataflow::{Batch, BatchBuilder, Error, Polled, Row, Sink, Source};
use flow_frame::headers;
use flow_frame::layout::id;
use flow_worker::kafka::{KafkaReader, KafkaWriter, Positions, Reading, Settings, Share, Warn, Writing};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::broker::{Broker, TEN};

pub type Bytes = Option<Vec<u8>>;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub key: Bytes,
    pub value: Bytes,
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, Bytes)>,
}

impl Record {
    pub fn new(key: Option<&str>, value: Option<&str>) -> Record {
        let bytes = |text: Option<&str>| text.map(|t| t.as_bytes().to_vec());
        Record { key: bytes(key), value: bytes(value), ..Default::default() }
    }

    pub fn numbered(n: usize) -> Vec<Record> {
        (0..n).map(|i| Record::new(Some(&format!("k{}", i % 10)), Some(&format!("v{i}")))).collect()
    }
}

pub fn batch(records: &[Record]) -> Batch {
    let mut builder = BatchBuilder::default();
    for r in records {
        let mut blob = Vec::new();
        headers::encode(r.headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())), &mut blob);
        let (key, value) = (r.key.as_deref(), r.value.as_deref());
        builder.push(Row { key, value, timestamp: r.timestamp, headers: &blob, ..Default::default() });
    }
    builder.finish()
}

/// The rows of a batch with their place.
pub fn rows(batch: &Batch) -> Vec<((u32, i64), Record)> {
    let column = |id, row| batch.bytes(id).and_then(|c| c.get(row).map(<[u8]>::to_vec));
    let row = |row| {
        let blob = column(id::HEADERS, row).unwrap_or_default();
        let text = |k: &[u8]| String::from_utf8_lossy(k).into_owned();
        let record = Record {
            key: column(id::KEY, row),
            value: column(id::VALUE, row),
            timestamp: batch.i64(id::TIMESTAMP, row),
            headers: headers::decode(&blob).map(|(k, v)| (text(k), v.map(<[u8]>::to_vec))).collect(),
        };
        (batch.origin(row).expect("rows of a source have an origin"), record)
    };
    (0..batch.rows()).map(row).collect()
}

pub const WHOLE: Share = Share { subtask: 0, parallelism: 1 };

pub fn no_wake() -> Wake {
    Arc::new(|| ())
}

/// Collects warnings.
pub fn warnings() -> (Warn, Arc<Mutex<Vec<String>>>) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let kept = all.clone();
    (Arc::new(move |text: &str| kept.lock().expect("no panic").push(text.to_owned())), all)
}

pub fn properties(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub fn reading(address: &str, topic: &str, bounded: bool) -> Reading {
    Reading {
        topic: topic.to_owned(),
        start: Positions::Earliest,
        bounded,
        settings: Settings::reading(address, "flow-test", bounded, &BTreeMap::new()).expect("good settings"),
        share: WHOLE,
    }
}

pub fn reader(reading: Reading) -> KafkaReader {
    KafkaReader::open(reading, no_wake(), warnings().0).expect("good settings")
}

pub fn writer(address: &str, topic: &str, of: &[(&str, &str)]) -> KafkaWriter {
    let settings = Settings::writing(address, &properties(of)).expect("allowed settings");
    let writing = Writing { topic: topic.to_owned(), settings, share: WHOLE };
    KafkaWriter::open(writing, no_wake(), warnings().0).expect("good settings")
}

const LONG: Duration = Duration::from_secs(60);

/// A record with its partition and offset.
pub type Placed = ((u32, i64), Record);

/// Polls until the reader ends.
pub fn read_all(reader: &mut KafkaReader) -> Result<Vec<Placed>, Error> {
    let (mut all, begun) = (Vec::new(), Instant::now());
    loop {
        match reader.poll(100, 1 << 20)? {
            Polled::Batch(batch) => all.extend(rows(&batch)),
            Polled::Idle => std::thread::sleep(Duration::from_millis(1)),
            Polled::End => return Ok(all),
        }
        assert!(begun.elapsed() < LONG, "no end after {} rows, at {:?}", all.len(), reader.positions());
    }
}

/// Steps a writer until `step` says true.
pub fn until(writer: &mut KafkaWriter, step: fn(&mut KafkaWriter) -> Result<bool, Error>) -> Result<(), Error> {
    let begun = Instant::now();
    while !step(writer)? {
        assert!(begun.elapsed() < LONG, "not ready, {} rows in flight", writer.in_flight());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

pub fn write_all(writer: &mut KafkaWriter, records: &[Record]) -> Result<(), Error> {
    for part in records.chunks(1000) {
        until(writer, Sink::ready)?;
        writer.write(batch(part))?;
    }
    until(writer, Sink::finish)
}

/// Gives a record to rdkafka's own producer.
pub fn send(producer: &BaseProducer, topic: &str, record: &Record) {
    let mut sent: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
    (sent.key, sent.payload, sent.timestamp) = (record.key.as_deref(), record.value.as_deref(), record.timestamp);
    if !record.headers.is_empty() {
        let add = |all: OwnedHeaders, (key, value): &(String, Bytes)| all.insert(Header { key, value: value.as_ref() });
        sent = sent.headers(record.headers.iter().fold(OwnedHeaders::new(), add));
    }
    producer.send(sent).map_err(|(error, _)| error).expect("the queue has room");
}

/// Writes with rdkafka's own producer.
pub fn judge_writes(broker: &Broker, topic: &str, records: &[Record]) {
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().expect("a producer");
    records.iter().for_each(|record| send(&producer, topic, record));
    producer.flush(TEN).expect("everything is stored");
}

/// Reads so many records with rdkafka's own consumer, with their partitions.
pub fn judge_reads(broker: &Broker, topic: &str, partitions: i32, n: usize) -> Vec<(i32, Record)> {
    let mut config: ClientConfig = broker.client();
    let consumer: BaseConsumer = config.set("group.id", "judge").create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    (0..partitions).for_each(|p| list.add_partition_offset(topic, p, Offset::Beginning).expect("a valid offset"));
    consumer.assign(&list).expect("assigned");
    let mut all = Vec::new();
    while all.len() < n {
        let message =
            consumer.poll(TEN).unwrap_or_else(|| panic!("only {} of {n} records", all.len())).expect("a record");
        let header = |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.map(<[u8]>::to_vec));
        let record = Record {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis(),
            headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
        };
        all.push((message.partition(), record));
    }
    all
}
