//! What brokers never store of what a confirmed checkpoint has for them: which records, or which topics, and the dead letters that are
//! written instead where there is a topic for them. Must never blame a record for what its batch or the connection met.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::{SystemTime, UNIX_EPOCH};

use flow_dataflow::dead_letter;
use flow_model::checkpoint::ObjectName;

use crate::kafka::murmur2;
use crate::kafka::raw::{Record, Undelivered, describe, is_denied, is_too_large, is_unknown_topic, is_untimely};

/// Where refused records go, and which ones those are.
pub(super) struct DeadLetters {
    pub(super) topic: String,
    partitions: u32,
    /// What each dead letter tells beside why: of which pipeline, sink and lane.
    of: [(&'static str, String); 3],
    /// Topics of which nothing is stored: how many partitions they have, and the code for what goes elsewhere.
    topics: BTreeMap<String, (u32, i32)>,
    /// Codes of records, by the object of their part and their number in it.
    records: BTreeMap<(ObjectName, i64), i32>,
}

impl DeadLetters {
    /// Into a topic of so many partitions.
    pub(super) fn new(topic: String, partitions: u32, of: [(&'static str, String); 3]) -> DeadLetters {
        DeadLetters { topic, partitions: partitions.max(1), of, topics: BTreeMap::new(), records: BTreeMap::new() }
    }

    /// A topic takes nothing but for its first partitions, so many.
    pub(super) fn learn_topic(&mut self, topic: &str, partitions: u32, code: i32) {
        self.topics.insert(topic.to_owned(), (partitions, code));
    }

    /// A record is refused.
    pub(super) fn learn(&mut self, object: &ObjectName, number: i64, code: i32) {
        self.records.insert((object.clone(), number), code);
    }

    /// Their parts are written. A topic that was gone is gone for the next ones too.
    pub(super) fn forget_records(&mut self) {
        self.records.clear();
    }

    /// Why a record is to be a dead letter; none for one that goes where it is to.
    pub(super) fn why(&self, object: &ObjectName, number: i64, topic: &str, partition: u32) -> Option<i32> {
        self.closed(topic, partition).or_else(|| self.records.get(&(object.clone(), number)).copied())
    }

    /// Whether all that is for this partition is known to be refused.
    pub(super) fn is_closed(&self, topic: &str, partition: u32) -> bool {
        self.closed(topic, partition).is_some()
    }

    fn closed(&self, topic: &str, partition: u32) -> Option<i32> {
        self.topics.get(topic).filter(|(partitions, _)| partition >= *partitions).map(|(_, code)| *code)
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.records.is_empty()
    }

    /// Where they may go.
    pub(super) fn places(&self) -> impl Iterator<Item = (CString, i32)> {
        let partitions = if self.is_empty() { 0 } else { self.partitions as i32 };
        let topic = CString::new(self.topic.as_str()).ok();
        (0..partitions).filter_map(move |partition| Some((topic.clone()?, partition)))
    }

    /// What a record becomes that was to go to this partition of a topic.
    pub(super) fn letter(&self, record: &Record<'_>, (topic, partition): (&str, u32), code: i32) -> Letter {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let told = [
            ("code", word(code).to_owned()),
            ("reason", format!("topic {topic:?} does not take it: {}", describe(code))),
            ("attempts", "1".to_owned()),
            ("time", time.to_string()),
            ("target-topic", topic.to_owned()),
            ("target-partition", partition.to_string()),
        ];
        let timed = !is_untimely(code);
        let stamp = record.timestamp.filter(|_| !timed).map(|time| ("target-timestamp", time.to_string()));
        let told = told.into_iter().chain(stamp).chain(self.of.iter().cloned());
        let headers = dead_letter::with_headers(record.headers, told);
        let among = self.partitions;
        let partition = record.key.map_or_else(|| fastrand::u32(0..among), |key| murmur2::partition(key, among));
        Letter { partition, headers, timed }
    }
}

/// What a dead letter has of its own.
pub(super) struct Letter {
    /// Where it goes, in the topic of dead letters.
    pub(super) partition: u32,
    headers: Vec<u8>,
    /// Whether its time is that of the record.
    timed: bool,
}

impl Letter {
    /// The dead letter of a record. It has no place: if it is refused too, nothing is left to be done.
    pub(super) fn record<'a>(&'a self, of: &Record<'a>) -> Record<'a> {
        let timestamp = of.timestamp.filter(|_| self.timed);
        Record { key: of.key, value: of.value, timestamp, headers: &self.headers, origin: None }
    }
}

/// The code of a dead letter.
fn word(code: i32) -> &'static str {
    match code {
        _ if is_too_large(code) => "too-large",
        _ if is_unknown_topic(code) => "no-topic",
        _ if is_untimely(code) => "bad-timestamp",
        _ if is_denied(code) => "denied",
        _ => "bad-record",
    }
}

/// What to do about what is refused, for the person who has to.
pub(super) fn text(refused: &Undelivered, place: Option<String>, pipeline: &str) -> String {
    let Undelivered { topic, partition, code, .. } = refused;
    let next = match *code {
        code if is_too_large(code) => "raise `max.message.bytes` of the topic with kafka-configs",
        code if is_unknown_topic(code) => "make the topic anew with as many partitions as it had",
        code if is_denied(code) => "give the user the ACL to write it",
        _ => "let the topic take it",
    };
    let place = place.map_or_else(String::new, |place| format!(" ({place})"));
    format!(
        "topic {topic:?} does not take what a confirmed checkpoint has for its partition {partition}{place}: {}; {next}, or \
         have all that is refused written elsewhere: flowctl sink settle FILE --dead-letter TOPIC, with the file of {pipeline}",
        describe(*code)
    )
}
