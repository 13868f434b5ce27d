//! The source of one subtask: its share of a topic's partitions, read in batches. No partition is read by two, and none
//! waits: a reader that is not polled fetches no more than librdkafka's bounded queue takes.

use std::ffi::CString;
use std::sync::Arc;

use flow_dataflow::exchange::Wake;
use flow_dataflow::source::Locator;
use flow_dataflow::{BatchBuilder, Error as TaskError, Polled, Row, Source};

use super::opening::{Awaited, Opening, QUESTION, Warn, Watch, ask};
use super::raw::{Consumer, Message, Taken, describe, is, is_denied, is_unknown_topic};
use super::{Error, Settings, Share};

/// What librdkafka takes for the oldest offset there is.
const BEGINNING: i64 = -2;

/// Where reading starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// At the oldest record of each partition.
    Earliest,
    /// Behind the newest record of each partition.
    Latest,
    /// At the next offset of each partition that is named, at the oldest record of the others.
    Next(Vec<(u32, i64)>),
}

/// What to read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The topic.
    pub topic: String,
    /// Where to start.
    pub start: Positions,
    /// Whether to stop at what was the end of each partition when the reader opened.
    pub bounded: bool,
    /// For the consumer, with the partitions' ends asked for when bounded.
    pub settings: Settings,
    /// Which partitions.
    pub share: Share,
}

struct Split {
    partition: i32,
    /// The offset to go on with.
    next: i64,
    /// Reading ends before this offset.
    stop: i64,
}

impl Split {
    fn is_done(&self) -> bool {
        self.next >= self.stop
    }
}

struct Open {
    consumer: Consumer,
    splits: Vec<Split>,
    /// Splits that are not done.
    left: usize,
    watch: Watch,
    /// To be told once the rows before it are handed out.
    failed: Option<Error>,
    /// Bytes of values in an average row so far, to make room for.
    row_bytes: usize,
}

enum State {
    Opening(Opening<Open>),
    Reading(Box<Open>),
    /// Ended, or failed.
    Over,
}

/// Reads the share of a topic that belongs to one subtask.
pub struct KafkaReader {
    state: State,
    topic: Arc<CString>,
    name: Arc<str>,
    brokers: String,
    share: Share,
    bounded: bool,
    warn: Warn,
}

impl KafkaReader {
    /// Starts to open the topic and returns at once. Until a broker answers there is nothing to poll, and `warn` is told why.
    /// `wake` is called from other threads when there is something to poll again.
    pub fn open(reading: Reading, wake: Wake, warn: Warn) -> Result<KafkaReader, Error> {
        let topic = Arc::new(c_topic(&reading.topic)?);
        let (name, share, bounded) = (Arc::from(reading.topic.as_str()), reading.share, reading.bounded);
        let brokers = reading.settings.brokers().to_owned();
        // Made here, so that a bad setting is the caller's error.
        let consumer = Consumer::new(&reading.settings, wake.clone())?;
        let work = {
            let (topic, warn) = (topic.clone(), warn.clone());
            move |awaited: &Awaited<'_>| open(consumer, &topic, &reading, awaited, &warn)
        };
        let state = State::Opening(Opening::start(wake, work)?);
        Ok(KafkaReader { state, topic, name, brokers, share, bounded, warn })
    }
}

pub(super) fn c_topic(name: &str) -> Result<CString, Error> {
    let named = |_| Error::Setting { name: "topic".to_owned(), reason: "it has a NUL character in it".to_owned() };
    CString::new(name).map_err(named)
}

fn open(
    mut consumer: Consumer,
    topic: &CString,
    reading: &Reading,
    awaited: &Awaited<'_>,
    warn: &Warn,
) -> Result<Open, Error> {
    let name = reading.topic.as_str();
    let all = ask(&mut consumer, served, name, (awaited, warn), |client| client.partitions(topic, QUESTION))?;
    let mut splits = Vec::new();
    let mut from = Vec::new();
    for partition in reading.share.partitions(all) {
        let ends = ask(&mut consumer, served, name, (awaited, warn), |client| client.ends(topic, partition, QUESTION));
        let (low, high) = ends?;
        let known = |next: &[(u32, i64)]| next.iter().find(|(p, _)| *p as i32 == partition).map(|(_, offset)| *offset);
        let (start, next) = match &reading.start {
            Positions::Earliest => (BEGINNING, low),
            Positions::Latest => (high, high),
            Positions::Next(next) => known(next).map_or((BEGINNING, low), |offset| (offset, offset)),
        };
        let split = Split { partition, next, stop: if reading.bounded { high } else { i64::MAX } };
        if !split.is_done() {
            from.push((partition, start));
        }
        splits.push(split);
    }
    let left = from.len();
    if left > 0 {
        consumer.assign(topic, &from).map_err(|code| failed(name, code))?;
    }
    Ok(Open { consumer, splits, left, watch: Watch::default(), failed: None, row_bytes: 0 })
}

/// The client, after it has told what it has to.
fn served(consumer: &mut Consumer) -> &super::raw::Client {
    consumer.serve();
    consumer.client()
}

fn failed(topic: &str, code: i32) -> Error {
    Error::Call { what: format!("read topic {topic:?}"), cause: describe(code), retryable: true }
}

impl Open {
    /// Marks what a partition was read up to.
    fn advance(&mut self, index: usize, next: i64, topic: &CString) {
        let split = &mut self.splits[index];
        let was_done = split.is_done();
        split.next = split.next.max(next);
        if split.is_done() && !was_done {
            self.left -= 1;
            if self.left > 0 {
                self.consumer.pause(topic, split.partition);
            }
        }
    }
}

impl KafkaReader {
    /// What a partition that can't be read means. None if librdkafka gets over it: then people are warned.
    fn error(&self, partition: i32, offset: i64, code: i32, cause: String) -> Option<Error> {
        use rdkafka::types::RDKafkaRespErr::*;
        let (topic, brokers) = (self.name.to_string(), self.brokers.clone());
        let gone = [RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE];
        let broken = [RD_KAFKA_RESP_ERR__BAD_MSG, RD_KAFKA_RESP_ERR__BAD_COMPRESSION, RD_KAFKA_RESP_ERR__FATAL];
        match code {
            _ if is_unknown_topic(code) => Some(Error::UnknownTopic { brokers, topic }),
            _ if is_denied(code) => Some(Error::Denied { brokers, topic, cause }),
            _ if gone.iter().any(|c| is(code, *c)) => Some(Error::OffsetGone { topic, partition, offset, cause }),
            _ if broken.iter().any(|c| is(code, *c)) => {
                Some(Error::Call { what: format!("read {topic}[{partition}]@{offset}"), cause, retryable: false })
            }
            _ => {
                (self.warn)(&format!("{topic}[{partition}]: {cause}"));
                None
            }
        }
    }

    fn read(&mut self, open: &mut Open, max_rows: usize, max_bytes: usize) -> Result<Polled, Error> {
        let mut rows = Rows::default();
        while rows.builder.rows() == 0 {
            if let Some(error) = open.failed.take() {
                return Err(error);
            }
            if open.left == 0 {
                // An unbounded reader without partitions has nothing to do, but is not at an end.
                return Ok(if self.bounded { Polled::End } else { Polled::Idle });
            }
            let waiting = open.consumer.fill(max_rows);
            if waiting == 0 {
                open.watch.look(open.consumer.client(), &self.name, &self.warn)?;
                return Ok(Polled::Idle);
            }
            rows.builder = BatchBuilder::with_capacity(waiting, (waiting * (open.row_bytes + 8)).min(max_bytes));
            self.drain(open, &mut rows, max_bytes);
        }
        open.row_bytes = rows.builder.bytes() / rows.builder.rows();
        Ok(Polled::Batch(rows.builder.finish()))
    }

    /// Moves what was taken from the queue into rows, until there are enough.
    fn drain(&self, open: &mut Open, rows: &mut Rows, max_bytes: usize) {
        let index = |partition: i32| partition as usize / self.share.parallelism as usize;
        while rows.bytes < max_bytes {
            let (at, next) = match open.consumer.pop() {
                None => return,
                Some(Taken::Message(message)) => {
                    let (at, offset) = (index(message.partition()), message.offset());
                    let split = &open.splits[at];
                    // Not behind the stop, and no repetition after librdkafka asked a broker again.
                    if (split.next..split.stop).contains(&offset) {
                        rows.push(&message);
                        (at, offset + 1)
                    } else {
                        (at, offset.min(split.stop))
                    }
                }
                // Control records and gaps are behind this too.
                Some(Taken::End { partition, offset }) => (index(partition), offset),
                Some(Taken::Failed { partition, offset, code, cause }) => {
                    open.failed = self.error(partition, offset, code, cause);
                    match open.failed {
                        Some(_) => return,
                        None => continue,
                    }
                }
            };
            open.advance(at, next, &self.topic);
        }
    }
}

/// Rows so far, and room to write headers to.
#[derive(Default)]
struct Rows {
    builder: BatchBuilder,
    headers: Vec<u8>,
    bytes: usize,
}

impl Rows {
    fn push(&mut self, message: &Message<'_>) {
        self.headers.clear();
        flow_frame::headers::encode(message.headers(), &mut self.headers);
        let (key, value) = (message.key(), message.payload());
        self.builder.push(Row {
            key,
            value,
            timestamp: message.timestamp(),
            headers: &self.headers,
            split: message.partition() as u32,
            position: message.offset(),
        });
        self.bytes += key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + self.headers.len();
    }
}

impl Source for KafkaReader {
    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Polled, TaskError> {
        let mut open = match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return Ok(Polled::End),
            State::Reading(open) => open,
            State::Opening(opening) => match opening.take() {
                Some(opened) => Box::new(opened?),
                None => {
                    self.state = State::Opening(opening);
                    return Ok(Polled::Idle);
                }
            },
        };
        let polled = self.read(&mut open, max_rows, max_bytes)?;
        self.state = State::Reading(open);
        Ok(polled)
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        match &self.state {
            State::Reading(open) => open.splits.iter().map(|s| (s.partition as u32, s.next)).collect(),
            State::Opening(_) | State::Over => Vec::new(),
        }
    }

    fn locator(&self) -> Locator {
        let name = self.name.clone();
        Arc::new(move |split, position| format!("{name}[{split}]@{position}"))
    }
}
