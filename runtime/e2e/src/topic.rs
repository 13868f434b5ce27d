//! Records of topics as plain values, written and read by rdkafka's own clients, which judge what Flow did.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::broker::Broker;

/// Bytes or null.
pub type Bytes = Option<Vec<u8>>;

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// Its headers in their order.
    pub headers: Vec<(String, Bytes)>,
}

impl Record {
    /// One without timestamp and headers.
    pub fn new(key: Option<&str>, value: Option<&str>) -> Record {
        let bytes = |text: Option<&str>| text.map(|t| t.as_bytes().to_vec());
        Record { key: bytes(key), value: bytes(value), ..Default::default() }
    }

    /// Its value as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).expect("text")
    }
}

/// Writes records and waits until they are stored. Equal keys go to one partition.
pub fn write(broker: &Broker, topic: &str, records: &[Record]) {
    let mut config = broker.client();
    // A request that has to be repeated, as the first one to a new topic on a busy machine, must not change the order.
    config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("linger.ms", "5");
    let producer: BaseProducer = config.create().expect("a producer");
    records.iter().for_each(|record| send(&producer, topic, record));
    producer.flush(Duration::from_secs(30)).expect("everything is stored");
}

/// Gives a record to a producer, and waits while that has no room.
pub fn send(producer: &BaseProducer, topic: &str, record: &Record) {
    let mut sent: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
    (sent.key, sent.payload, sent.timestamp) = (record.key.as_deref(), record.value.as_deref(), record.timestamp);
    if !record.headers.is_empty() {
        let add = |all: OwnedHeaders, (key, value): &(String, Bytes)| all.insert(Header { key, value: value.as_ref() });
        sent = sent.headers(record.headers.iter().fold(OwnedHeaders::new(), add));
    }
    while let Err((error, back)) = producer.send(sent) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(error, full);
        producer.poll(Duration::from_millis(10));
        sent = back;
    }
}

/// Reads a topic from its beginning.
pub struct Topic {
    consumer: BaseConsumer,
}

impl Topic {
    /// Of so many partitions.
    pub fn open(broker: &Broker, topic: &str, partitions: i32) -> Topic {
        let mut config = broker.client();
        config.set("group.id", "judge").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        (0..partitions).for_each(|p| list.add_partition_offset(topic, p, Offset::Beginning).expect("a valid offset"));
        consumer.assign(&list).expect("assigned");
        Topic { consumer }
    }

    /// The next record with its partition; none if none comes for a while. Errors that pass are passed over.
    pub fn next(&mut self, patience: Duration) -> Option<(i32, Record)> {
        let message = match self.consumer.poll(patience)? {
            Ok(message) => message,
            Err(_) => return self.next(patience),
        };
        let header = |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.map(<[u8]>::to_vec));
        let record = Record {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis(),
            headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
        };
        Some((message.partition(), record))
    }

    /// So many records, and none after them.
    #[track_caller]
    pub fn exactly(&mut self, n: usize) -> Vec<(i32, Record)> {
        let mut all = Vec::with_capacity(n);
        while all.len() < n {
            let next = self.next(Duration::from_secs(20));
            all.push(next.unwrap_or_else(|| panic!("only {} of {n} records", all.len())));
        }
        let more = self.next(Duration::from_millis(500));
        assert_eq!(more, None, "more than {n} records");
        all
    }
}
