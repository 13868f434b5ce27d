//! One producer of a lane, which makes one transaction.

use std::collections::HashMap;
use std::ffi::CStr;
use std::time::Duration;

use bytes::Bytes;

use crate::failpoint::{self, Point};
use crate::kafka::raw::{Failed, How, Producer, Record, describe, is_never, is_unknown_topic};
use crate::kafka::reader::c_topic;
use crate::kafka::segment::{Block, Broken, Reader};
use crate::kafka::{Error, Settings};

/// Records that are read from a part at once.
const RECORDS: usize = 1024;
/// How long to wait for room in librdkafka's queue.
const ROOM: Duration = Duration::from_millis(1);
/// How long a test waits for records to be stored before it harms the process.
const FLUSH: Duration = Duration::from_secs(5);

/// Why a transaction is not known to be committed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What librdkafka says.
    Step(Failed),
    /// Nobody will ever store it: why, and what to do.
    Refused(String),
    /// A topic takes smaller batches than this producer makes: the next one has to.
    Batches(i64),
    /// Nobody waits for it any more.
    Stopped,
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Trouble {
        Trouble::Step(failed)
    }
}

pub(super) struct Transaction {
    pub(super) producer: Producer,
    /// The numbers of topics by their names.
    topics: HashMap<String, usize>,
    /// The largest batch that it makes.
    batches: usize,
}

impl Transaction {
    /// A producer that has not called init. It learns where these topics are ahead.
    pub(super) fn new<'a>(
        settings: &Settings,
        topics: impl IntoIterator<Item = &'a String>,
    ) -> Result<Transaction, Error> {
        let producer = Producer::new(settings)?;
        let mut transaction = Transaction { producer, topics: HashMap::new(), batches: settings.batch_size() };
        for topic in topics {
            transaction.number(topic)?;
        }
        Ok(transaction)
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &String> {
        self.topics.keys()
    }

    fn number(&mut self, topic: &str) -> Result<usize, Error> {
        if let Some(number) = self.topics.get(topic) {
            return Ok(*number);
        }
        let number = self.producer.add(&c_topic(topic)?)?;
        self.topics.insert(topic.to_owned(), number);
        Ok(number)
    }

    /// Writes parts and behind them the record of the lane, and commits.
    pub(super) fn run(
        &mut self,
        parts: &[Bytes],
        (topic, partition): (&CStr, i32),
        (key, value): (&str, &str),
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        self.producer.begin_transaction()?;
        if !parts.is_empty() {
            failpoint::reach(Point::TransactionBegun);
        }
        for part in parts {
            self.part(part, stopped)?;
        }
        let number = self.number(&topic.to_string_lossy()).map_err(refused)?;
        let record = Record { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Record::default() };
        self.produce((number, partition), &[record], stopped)?;
        if !parts.is_empty() {
            self.ending();
        }
        loop {
            match self.producer.commit_transaction() {
                Ok(()) => return Ok(()),
                Err(Failed { how: How::Again, .. }) if !stopped() => {}
                Err(failed) => return Err(self.explain(failed)),
            }
        }
    }

    /// The end of a transaction with parts of segments is next.
    fn ending(&self) {
        if failpoint::is_armed(Point::ProgressFlushed) {
            self.producer.flush(FLUSH);
            failpoint::reach(Point::ProgressFlushed);
        }
        failpoint::reach(Point::EndTransaction);
    }

    fn part(&mut self, part: &[u8], stopped: &dyn Fn() -> bool) -> Result<(), Trouble> {
        let broken = |broken: Broken| Trouble::Refused(format!("a part of a segment is damaged: {broken}"));
        let mut reader = Reader::new(part).map_err(broken)?;
        let (mut topics, mut records) = (Vec::new(), Vec::with_capacity(RECORDS));
        while let Some(block) = reader.next().map_err(broken)? {
            match block {
                Block::Topic { name, limit } => {
                    if let Some(limit) = limit.filter(|limit| Settings::batches_within(*limit) < self.batches) {
                        return Err(Trouble::Batches(limit));
                    }
                    topics.push(self.number(name).map_err(refused)?);
                }
                Block::Run { topic, partition } => {
                    let topic = *topics.get(topic).ok_or_else(|| broken(Broken::Cut))?;
                    while reader.records(RECORDS, &mut records).map_err(broken)? {
                        self.produce((topic, partition as i32), &records, stopped)?;
                        failpoint::reach(Point::MidProduce);
                    }
                }
            }
        }
        Ok(())
    }

    fn produce(
        &mut self,
        to: (usize, i32),
        mut records: &[Record<'_>],
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        while !records.is_empty() {
            let mut unfit = None;
            let given = self.producer.produce(to, records.len(), |n| records[n], |n, why| unfit = Some((n, why)));
            let done = given.map_err(|error| match error {
                Error::UnknownTopic { .. } | Error::Denied { .. } => refused(error),
                // Nothing of it must be committed: what was not taken would be missing.
                _ => self.over(error.to_string()),
            })?;
            if let Some((n, why)) = unfit {
                let (topic, bytes) = (self.producer.name(to.0), records[n].bytes());
                return Err(Trouble::Refused(format!(
                    "a record of {bytes} bytes for topic {topic:?} is not taken: {why:?}"
                )));
            }
            records = &records[done..];
            if !records.is_empty() {
                if stopped() {
                    return Err(Trouble::Stopped);
                }
                if self.producer.client().told().undelivered().is_some() || self.producer.client().fatal().is_some() {
                    return Err(self.over("it does not take records".to_owned()));
                }
                std::thread::sleep(ROOM);
            }
        }
        Ok(())
    }

    /// The producer takes no more records.
    fn over(&self, cause: String) -> Trouble {
        let how = if self.producer.client().is_fenced() { How::Fenced } else { How::Lost };
        self.explain(Failed { how, cause })
    }

    /// What is known of why a transaction failed.
    fn explain(&self, failed: Failed) -> Trouble {
        let told = self.producer.client().told();
        if let Some(record) = told.take_too_large().first() {
            return Trouble::Refused(format!(
                "topic {:?} does not take a record that a confirmed checkpoint has for it: it is too large; raise \
                 `max.message.bytes` of the topic with kafka-configs",
                record.topic
            ));
        }
        let never = |code| is_never(code) || is_unknown_topic(code);
        match told.undelivered().filter(|(_, first)| never(first.code)) {
            Some((_, first)) => Trouble::Refused(format!(
                "topic {:?} does not take what a confirmed checkpoint has for its partition {}: {}; let the topic take it",
                first.topic,
                first.partition,
                describe(first.code)
            )),
            None => Trouble::Step(failed),
        }
    }
}

fn refused(error: Error) -> Trouble {
    Trouble::Refused(error.to_string())
}
