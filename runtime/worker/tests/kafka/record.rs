//! Moving records through Flow's reader and writer; rdkafka's own clients, which judge those, are `flow_e2e`'s.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flow_dataflow::call::{Blame, OnError};
use flow_dataflow::exchange::Wake;
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::{Batch, BatchBuilder, Error, Polled, Row, Sink, Source};
use flow_frame::headers;
use flow_frame::layout::id;
use flow_model::spec::KafkaStop;
use flow_worker::kafka::{Connection, KafkaReader, KafkaWriter, Reading, Settings, Warn, Writing};
use rdkafka::producer::{BaseProducer, Producer};

use crate::broker::{Broker, TEN};

pub use flow_e2e::topic::{Bytes, Record, Topic, send, write as judge_writes};

pub fn numbered(n: usize) -> Vec<Record> {
    (0..n).map(|i| Record::new(Some(&format!("k{}", i % 10)), Some(&format!("v{i}")))).collect()
}

pub fn batch(records: &[Record]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (position, r) in records.iter().enumerate() {
        let mut blob = Vec::new();
        headers::encode(r.headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())), &mut blob);
        let (key, value) = (r.key.as_deref(), r.value.as_deref());
        let position = position as i64;
        builder.push(Row { key, value, timestamp: r.timestamp, headers: &blob, position, ..Default::default() });
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

pub fn no_wake() -> Wake {
    Arc::new(|| ())
}

/// Collects warnings.
pub fn warnings() -> (Warn, Arc<Mutex<Vec<String>>>) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let kept = all.clone();
    (Arc::new(move |text: &str| kept.lock().expect("no panic").push(text.to_owned())), all)
}

/// Keeps the codes and reasons of records that were not taken, with their places.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<String>>);

impl Report for Told {
    fn log(&self, _: Level, _: &str) {}

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("place {split}:{position}").into()
    }

    fn rejected(&self, record: &Rejected) {
        let (split, position) = record.origin.expect("a place");
        let text = format!("{split}:{position} {}: {}", record.code, record.message);
        self.0.lock().expect("no panic").push(text);
    }
}

/// Leaves out what is not taken, and tells.
pub fn skipping() -> (Blame, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Blame { on_error: OnError::Skip, report: told.clone() }, told)
}

pub fn properties(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub fn reading(address: &str, topic: &str, bounded: bool) -> Reading {
    let settings = Settings::reading(&to(address, &[]), "flow-test").expect("good settings");
    let stop = if bounded { KafkaStop::Latest } else { KafkaStop::Never };
    Reading { stop, ..Reading::whole(topic.to_owned(), settings) }
}

/// The brokers at this address, without a login.
pub fn to(address: &str, properties: &[(&str, &str)]) -> Connection {
    Connection::to(address, &self::properties(properties))
}

pub fn reader(reading: Reading) -> KafkaReader {
    KafkaReader::open(reading, no_wake(), warnings().0).expect("good settings")
}

pub fn writer(address: &str, topic: &str, of: &[(&str, &str)]) -> KafkaWriter {
    let blame = Blame { on_error: OnError::Fail, report: Arc::new(Told::default()) };
    KafkaWriter::open(writing(address, topic, of), blame, no_wake(), warnings().0).expect("good settings")
}

pub fn writing(address: &str, topic: &str, of: &[(&str, &str)]) -> Writing {
    Writing::whole(topic.to_owned(), Settings::writing(&to(address, of)).expect("allowed settings"))
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

/// Reads so many records with rdkafka's own consumer, with their partitions: all that there are.
pub fn judge_reads(broker: &Broker, topic: &str, partitions: i32, n: usize) -> Vec<(i32, Record)> {
    Topic::open(broker, topic, partitions).exactly(n)
}

/// A producer of transactions, ready to begin one.
pub fn transactional(broker: &Broker, topic: &str) -> BaseProducer {
    let producer: BaseProducer =
        broker.client().set("transactional.id", topic).create().expect("a transactional producer");
    producer.init_transactions(TEN).expect("initialised");
    producer
}
