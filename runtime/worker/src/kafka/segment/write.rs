//! Making a part. On the record path: a record costs its copy and little more.

use super::{HEADERS, MAGIC, NO_TIMESTAMP, NULL, RUN, TIMESTAMPS, TOPIC};
use crate::kafka::raw::Record;

/// A part that grows.
#[derive(Default)]
pub(in crate::kafka) struct Builder {
    bytes: Vec<u8>,
    records: u64,
    /// The number of a topic in this part, by its number in front of it.
    topics: Vec<Option<u16>>,
    known: u16,
    /// How long the last part was: the next one is probably about as long.
    last: usize,
}

impl Builder {
    /// Bytes so far; 0 without a record.
    pub(in crate::kafka) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(in crate::kafka) fn records(&self) -> u64 {
        self.records
    }

    /// Appends records for a partition of a topic: its number in front of this, its name, the largest batch that it takes.
    pub(in crate::kafka) fn run<'a>(
        &mut self,
        (number, name, limit): (usize, &str, Option<i64>),
        partition: u32,
        records: impl IntoIterator<Item = Record<'a>>,
    ) {
        let mut records = records.into_iter().peekable();
        let Some(first) = records.peek() else { return };
        // Rows of a batch have the same columns, so the first tells of the others, as a rule.
        let mut form = form(first);
        let topic = self.topic(number, name, limit);
        let mut count = self.head(topic, partition, form);
        let mut written = 0u32;
        for record in records {
            let needed = self::form(&record);
            if needed & !form != 0 {
                self.count(count, written);
                form |= needed;
                (count, written) = (self.head(topic, partition, form), 0);
            }
            self.record(&record, form);
            written += 1;
        }
        self.count(count, written);
    }

    /// The whole part with the number of its records; the next one begins.
    pub(in crate::kafka) fn take(&mut self) -> (Vec<u8>, u64) {
        let bytes = std::mem::take(&mut self.bytes);
        self.last = bytes.len();
        self.topics.clear();
        self.known = 0;
        (bytes, std::mem::take(&mut self.records))
    }

    fn topic(&mut self, number: usize, name: &str, limit: Option<i64>) -> u16 {
        if self.bytes.is_empty() {
            self.bytes.reserve(self.last + self.last / 8);
            self.bytes.extend_from_slice(&MAGIC);
        }
        if self.topics.len() <= number {
            self.topics.resize(number + 1, None);
        }
        if let Some(known) = self.topics[number] {
            return known;
        }
        self.bytes.push(TOPIC);
        self.bytes.extend_from_slice(&limit.unwrap_or(0).to_le_bytes());
        // Kafka's names have at most 249 bytes.
        self.bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.known += 1;
        *self.topics[number].insert(self.known - 1)
    }

    /// Begins a run. Where the number of its records stands.
    fn head(&mut self, topic: u16, partition: u32, form: u8) -> usize {
        self.bytes.push(RUN);
        self.bytes.extend_from_slice(&topic.to_le_bytes());
        self.bytes.extend_from_slice(&partition.to_le_bytes());
        let count = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0, 0, 0, form]);
        count
    }

    fn count(&mut self, at: usize, records: u32) {
        self.bytes[at..at + 4].copy_from_slice(&records.to_le_bytes());
        self.records += u64::from(records);
    }

    fn record(&mut self, record: &Record<'_>, form: u8) {
        let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
        let length = |bytes: Option<&[u8]>| bytes.map_or(NULL, |bytes| bytes.len() as u32).to_le_bytes();
        self.bytes.reserve(20 + key.len() + value.len() + record.headers.len());
        self.bytes.extend_from_slice(&length(record.key));
        self.bytes.extend_from_slice(&length(record.value));
        if form & TIMESTAMPS != 0 {
            self.bytes.extend_from_slice(&record.timestamp.unwrap_or(NO_TIMESTAMP).to_le_bytes());
        }
        if form & HEADERS != 0 {
            self.bytes.extend_from_slice(&(record.headers.len() as u32).to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(record.headers);
    }
}

/// What a record needs.
fn form(record: &Record<'_>) -> u8 {
    let timestamp = if record.timestamp.is_some() { TIMESTAMPS } else { 0 };
    timestamp | if record.headers.is_empty() { 0 } else { HEADERS }
}
