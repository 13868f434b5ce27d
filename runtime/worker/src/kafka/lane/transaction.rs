//! One producer of a lane, which makes one transaction.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flow_model::checkpoint::ObjectName;

use super::refused::DeadLetters;
use crate::failpoint::{self, Point};
use crate::kafka::raw::{DENIED, Failed, How, Producer, Record, UNKNOWN_TOPIC, Undelivered, is_too_large};
use crate::kafka::reader::c_topic;
use crate::kafka::segment::{Block, Broken, Reader};
use crate::kafka::{Error, Settings};

/// Records that are read from a part at once.
const RECORDS: usize = 1024;
/// How long to wait for room in librdkafka's queue.
const ROOM: Duration = Duration::from_millis(1);
/// How often to look whether records were refused while others are on their way. A flush sees in steps of up to 10 ms that all are stored,
/// so it is called for less.
const LOOK: Duration = Duration::from_millis(2);
/// How long reports are waited for behind the first record that was not stored.
const REPORTS: Duration = Duration::from_millis(500);
/// How long a test waits for records to be stored before it harms the process.
const FLUSH: Duration = Duration::from_secs(5);

/// Why a transaction is not known to be committed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What librdkafka says.
    Step(Failed),
    /// Nobody will ever store it: why, and what to do.
    Refused(String),
    /// A topic takes nothing, or nothing for a partition.
    Closed(Undelivered),
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
        parts: &[(ObjectName, Bytes)],
        dead_letters: Option<&DeadLetters>,
        (topic, partition): (&CStr, i32),
        (key, value): (&str, &str),
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        let begun = Instant::now();
        self.producer.begin_transaction()?;
        if !parts.is_empty() {
            failpoint::reach(Point::TransactionBegun);
        }
        let dead_letters = dead_letters.filter(|dead_letters| !dead_letters.is_empty());
        for ((object, part), at) in parts.iter().zip(0..) {
            self.part((at, object, part), dead_letters, stopped)?;
        }
        let number = self.number(&topic.to_string_lossy()).map_err(refused)?;
        let record = Record { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Record::default() };
        self.produce((number, partition), &[record], stopped)?;
        if !parts.is_empty() {
            self.ending();
        }
        let given = begun.elapsed();
        self.store(stopped)?;
        let stored = begun.elapsed();
        loop {
            match self.producer.commit_transaction() {
                Ok(()) => break,
                Err(Failed { how: How::Again, .. }) if !stopped() => {}
                Err(failed) => return Err(failed.into()),
            }
        }
        let bytes: usize = parts.iter().map(|(_, part)| part.len()).sum();
        let [given, stored, committed] = [given, stored, begun.elapsed()].map(|time| time.as_secs_f64() * 1e3);
        tracing::debug!(
            "a transaction of {bytes} bytes: given after {given:.1} ms, stored after {stored:.1}, committed after {committed:.1}"
        );
        Ok(())
    }

    /// Makes a transaction of one record for each of these partitions, and aborts it: what is open there of transactions of the same id
    /// ends with it.
    pub(super) fn abort_in(&mut self, places: &[(CString, i32)], stopped: &dyn Fn() -> bool) -> Result<(), Trouble> {
        self.producer.begin_transaction()?;
        for (topic, partition) in places {
            let number = self.number(&topic.to_string_lossy()).map_err(refused)?;
            // A compacted topic takes none without a key.
            let record = Record { key: Some(b"flow"), ..Record::default() };
            self.produce((number, *partition), &[record], stopped)?;
        }
        self.store(stopped)?;
        loop {
            match self.producer.abort_transaction() {
                Ok(()) => return Ok(()),
                Err(Failed { how: How::Again, .. }) if !stopped() => {}
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    /// What of a transaction that failed brokers will never store. Each has its place as its origin: which part, and which record of it.
    pub(super) fn take_refused(&self) -> Vec<Undelivered> {
        let told = self.producer.client().told();
        if told.undelivered().is_some() {
            self.producer.flush(REPORTS);
        }
        told.take_refused()
    }

    /// A topic to which a batch was too large that may have held more than one record.
    pub(super) fn too_large(&self) -> Option<String> {
        let (_, first) = self.producer.client().told().undelivered()?;
        is_too_large(first.code).then_some(first.topic)
    }

    /// Waits until all of it is stored. A commit would wait too, and in vain: behind a record that was not stored librdkafka sends no
    /// others of its transaction.
    fn store(&self, stopped: &dyn Fn() -> bool) -> Result<(), Trouble> {
        loop {
            self.producer.flush(LOOK);
            if self.is_over() {
                return Err(self.over("records were not stored".to_owned()));
            }
            if self.producer.in_flight() == 0 {
                return Ok(());
            }
            if stopped() {
                return Err(Trouble::Stopped);
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

    fn part(
        &mut self,
        (at, object, part): (u32, &ObjectName, &[u8]),
        dead_letters: Option<&DeadLetters>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        let mut reader = Reader::new(part).map_err(broken)?;
        let (mut topics, mut records, mut number) = (Vec::new(), Vec::with_capacity(RECORDS), 0..);
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
                        for (record, number) in records.iter_mut().zip(&mut number) {
                            record.origin = Some((at, number));
                        }
                        match dead_letters {
                            None => self.produce((topic, partition as i32), &records, stopped)?,
                            Some(to) => self.divert((topic, partition), object, &records, to, stopped)?,
                        }
                        failpoint::reach(Point::MidProduce);
                    }
                }
            }
        }
        Ok(())
    }

    /// The same, but for those that are dead letters.
    fn divert(
        &mut self,
        to: (usize, u32),
        object: &ObjectName,
        mut records: &[Record<'_>],
        dead_letters: &DeadLetters,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        let name = self.producer.name(to.0).to_owned();
        let why = |record: &Record<'_>| dead_letters.why(object, record.origin?.1, &name, to.1);
        loop {
            let fine = records.iter().take_while(|record| why(record).is_none()).count();
            self.produce((to.0, to.1 as i32), &records[..fine], stopped)?;
            let Some((record, code)) = records.get(fine).and_then(|record| Some((record, why(record)?))) else {
                return Ok(());
            };
            let letter = dead_letters.letter(record, (&name, to.1), code);
            let topic = self.number(&dead_letters.topic).map_err(refused)?;
            self.produce((topic, letter.partition as i32), &[letter.record(record)], stopped)?;
            records = &records[fine + 1..];
        }
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
                Error::UnknownTopic { topic, .. } => closed(topic, to.1, UNKNOWN_TOPIC),
                Error::Denied { topic, .. } => closed(topic, to.1, DENIED),
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
                if self.is_over() {
                    return Err(self.over("it does not take records".to_owned()));
                }
                std::thread::sleep(ROOM);
            }
        }
        Ok(())
    }

    /// Whether nothing more comes of the transaction.
    fn is_over(&self) -> bool {
        let client = self.producer.client();
        client.told().undelivered().is_some() || client.fatal().is_some()
    }

    /// The producer takes no more records.
    fn over(&self, cause: String) -> Trouble {
        let how = if self.producer.client().is_fenced() { How::Fenced } else { How::Lost };
        Failed { how, cause }.into()
    }
}

fn closed(topic: String, partition: i32, code: i32) -> Trouble {
    Trouble::Closed(Undelivered { topic, partition, code, origin: None })
}

fn broken(broken: Broken) -> Trouble {
    Trouble::Refused(format!("a part of a segment is damaged: {broken}"))
}

fn refused(error: Error) -> Trouble {
    Trouble::Refused(error.to_string())
}

/// The partitions that parts have records for.
pub(super) fn places(parts: &[(ObjectName, Bytes)]) -> Result<BTreeSet<(CString, i32)>, Trouble> {
    let mut places = BTreeSet::new();
    for (_, part) in parts {
        let (mut reader, mut topics) = (Reader::new(part).map_err(broken)?, Vec::new());
        while let Some(block) = reader.next().map_err(broken)? {
            match block {
                Block::Topic { name, .. } => topics.push(c_topic(name).map_err(refused)?),
                Block::Run { topic, partition } => {
                    let topic = topics.get(topic).ok_or_else(|| broken(Broken::Cut))?;
                    places.insert((topic.clone(), partition as i32));
                }
            }
        }
    }
    Ok(places)
}
