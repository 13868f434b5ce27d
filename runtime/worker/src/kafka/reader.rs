//! The source of one subtask: its share of the partitions of some topics, read in batches. No partition is read by two, and
//! none waits: a reader that is not polled fetches no more than librdkafka's bounded queue takes.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flow_dataflow::exchange::Wake;
use flow_dataflow::source::Locator;
use flow_dataflow::{BatchBuilder, Error as TaskError, Polled, Row, Source};
use flow_model::checkpoint::snapshot::Split as Position;
use flow_model::spec::{KafkaStart, KafkaStop};

use super::opening::{Awaited, Opening, Patience, Troubles, Warn, watch};
use super::raw::{Consumer, Message, Of, Taken, describe, is, is_denied, is_unknown_topic};
use super::scout::{self, Found, Scout, Span};
use super::splits::{Mark, Splits};
use super::{Error, Settings, Share, Topics};

/// How soon a partition without a leader is looked for again.
const LEADERLESS: Duration = Duration::from_secs(1);
/// How often it is told how far each partition was read.
const MARKING: Duration = Duration::from_millis(250);

/// What to read.
#[derive(Clone)]
pub struct Reading {
    /// The topics.
    pub topics: Topics,
    /// Where to start.
    pub start: KafkaStart,
    /// Where to stop.
    pub stop: KafkaStop,
    /// How often to ask for new partitions and topics.
    pub discover: Duration,
    /// For the consumer.
    pub settings: Settings,
    /// Which partitions.
    pub share: Share,
    /// The partitions of all subtasks.
    pub splits: Arc<Splits>,
    /// Of a source that goes on from a checkpoint: where each partition does, whoever read it.
    pub restored: Option<Arc<Vec<Position>>>,
}

impl Reading {
    /// All of a topic, from its beginning, without end.
    pub fn whole(topic: String, settings: Settings) -> Reading {
        Reading {
            topics: Topics::Named(vec![topic]),
            start: KafkaStart::Earliest,
            stop: KafkaStop::Never,
            discover: Duration::from_secs(10),
            settings,
            share: Share { subtask: 0, parallelism: 1 },
            splits: Arc::default(),
            restored: None,
        }
    }
}

struct Split {
    topic: Arc<CString>,
    partition: i32,
    /// Its number among those of all subtasks.
    number: u32,
    mark: Arc<Mark>,
    /// The offset to go on with.
    next: i64,
    /// Reading ends before this offset.
    stop: i64,
    /// The id of its topic.
    id: Option<String>,
}

impl Split {
    fn position(&self) -> Position {
        Position {
            split: scout::name(&self.topic.to_string_lossy(), self.partition),
            next: self.next,
            at: None,
            until: Some(self.stop).filter(|stop| *stop < i64::MAX),
            id: self.id.clone(),
            ended: self.is_done(),
        }
    }

    fn is_done(&self) -> bool {
        self.next >= self.stop
    }
}

/// What opening, and each later look at the topics, comes to.
struct Looked {
    scout: Box<Scout>,
    found: Found,
}

/// Whether it is time to look for new partitions.
enum Looking {
    /// From then on.
    Resting(Box<Scout>, Instant),
    /// It is being done.
    Asking(Opening<Looked>),
    /// There was an error, which ended the reader.
    Over,
}

/// The splits of a reader.
#[derive(Default)]
struct Table {
    splits: Vec<Split>,
    /// Their places by what messages name.
    known: HashMap<Of, usize>,
    /// What the last message named: the next one is mostly of the same.
    last: Option<(Of, usize)>,
}

impl Table {
    /// The place of the split that a message names, whose topic is asked for once.
    fn index(&mut self, of: Of, topic: impl FnOnce() -> Option<String>) -> Option<usize> {
        if let Some((last, index)) = self.last
            && last == of
        {
            return Some(index);
        }
        let index = match self.known.get(&of) {
            Some(index) => *index,
            None => {
                let topic = topic()?;
                let is = |split: &Split| split.partition == of.partition && split.topic.as_bytes() == topic.as_bytes();
                let index = self.splits.iter().position(is)?;
                self.known.insert(of, index);
                index
            }
        };
        self.last = Some((of, index));
        Some(index)
    }
}

struct Open {
    consumer: Consumer,
    looking: Looking,
    table: Table,
    /// Splits that are not done, and partitions that can't be read yet.
    left: usize,
    /// The latter.
    waiting: usize,
    /// To be told once the rows before it are handed out.
    failed: Option<Error>,
    /// Bytes of values in an average row so far, to make room for.
    row_bytes: usize,
    marked: Instant,
}

enum State {
    Opening(Opening<(Consumer, Looked)>),
    Reading(Box<Open>),
    /// Ended, or failed.
    Over,
}

/// Reads the share of some topics that belongs to one subtask.
pub struct KafkaReader {
    state: State,
    /// The topics, for messages.
    name: String,
    brokers: String,
    bounded: bool,
    discover: Duration,
    all: Arc<Splits>,
    wake: Wake,
    troubles: Arc<Troubles>,
    /// Restored partitions of its share that it does not read yet.
    unread: Vec<Position>,
}

impl KafkaReader {
    /// Starts to open the topics and returns at once. Until a broker answers there is nothing to poll, and `warn` is told why.
    /// `wake` is called from other threads when there is something to poll again.
    pub fn open(reading: Reading, wake: Wake, warn: Warn) -> Result<KafkaReader, Error> {
        let Reading { topics, start, stop, discover, settings, share, splits, restored } = reading;
        if let Topics::Named(names) = &topics {
            names.iter().try_for_each(|name| c_topic(name).map(drop))?;
        }
        let (name, bounded) = (topics.to_string(), stop != KafkaStop::Never);
        // Made here, so that a bad setting is the caller's error.
        let mut consumer = Consumer::new(&settings, wake.clone())?;
        let scout = Scout::new(topics, (start, stop), share, settings.reads_committed());
        let mut scout = Box::new(match &restored {
            Some(splits) => scout.restored(splits)?,
            None => scout,
        });
        let unread = scout.to_go_on();
        let troubles = Troubles::new(warn);
        let work = {
            let (name, troubles) = (name.clone(), troubles.clone());
            move |awaited: &Awaited<'_>| {
                let client = consumer.client().clone();
                let serve = &mut || consumer.serve();
                let found = scout.look(
                    &mut Patience { awaited, troubles: &troubles, what: &name, starting: true, serve },
                    &client,
                )?;
                Ok((consumer, Looked { scout, found }))
            }
        };
        let state = State::Opening(Opening::start(wake.clone(), work)?);
        let brokers = settings.brokers().to_owned();
        Ok(KafkaReader { state, name, brokers, bounded, discover, all: splits, wake, troubles, unread })
    }
}

pub(super) fn c_topic(name: &str) -> Result<CString, Error> {
    let named = |_| Error::Setting { name: "topic".to_owned(), reason: "it has a NUL character in it".to_owned() };
    CString::new(name).map_err(named)
}

impl Looking {
    /// Rests until the next look; sooner if something waits.
    fn rest(scout: Box<Scout>, waiting: usize, discover: Duration) -> Looking {
        Looking::Resting(scout, Instant::now() + if waiting > 0 { discover.min(LEADERLESS) } else { discover })
    }
}

impl Open {
    fn new(consumer: Consumer, Looked { scout, found }: Looked, reader: &KafkaReader) -> Result<Open, Error> {
        let looking = Looking::rest(scout, found.waiting, reader.discover);
        let mut open = Open {
            consumer,
            looking,
            table: Table::default(),
            left: 0,
            waiting: 0,
            failed: None,
            row_bytes: 0,
            marked: Instant::now(),
        };
        open.add(found, reader)?;
        Ok(open)
    }

    /// Starts to read what was found.
    fn add(&mut self, found: Found, reader: &KafkaReader) -> Result<(), Error> {
        self.left = self.left - self.waiting + found.waiting;
        self.waiting = found.waiting;
        let mut from = Vec::new();
        for Span { topic, partition, from: offset, next, stop, id, .. } in found.new {
            let (number, mark) = reader.all.number(&topic, partition);
            mark.set(next, None);
            let split = Split { topic: Arc::new(c_topic(&topic)?), partition, number, mark, next, stop, id };
            if !split.is_done() {
                from.push((split.topic.clone(), partition, offset));
                self.left += 1;
            }
            self.table.splits.push(split);
        }
        if from.is_empty() {
            return Ok(());
        }
        let added =
            self.consumer.add(from.iter().map(|(topic, partition, offset)| (topic.as_c_str(), *partition, *offset)));
        let failed =
            |code| Error::Call { what: format!("read {}", reader.name), cause: describe(code), retryable: true };
        added.map_err(failed)
    }

    /// Looks for what is new when it is time to.
    fn look(&mut self, reader: &KafkaReader) -> Result<(), Error> {
        let mut scout = match std::mem::replace(&mut self.looking, Looking::Over) {
            Looking::Resting(scout, due) if Instant::now() >= due => scout,
            Looking::Asking(asking) => match asking.take() {
                Some(looked) => {
                    let Looked { scout, found } = looked?;
                    self.looking = Looking::rest(scout, found.waiting, reader.discover);
                    return self.add(found, reader);
                }
                None => {
                    self.looking = Looking::Asking(asking);
                    return Ok(());
                }
            },
            other => {
                self.looking = other;
                return Ok(());
            }
        };
        let (client, troubles, what) = (self.consumer.client().clone(), reader.troubles.clone(), reader.name.clone());
        let work = move |awaited: &Awaited<'_>| {
            // The reader serves the queue.
            let serve = &mut || ();
            let found = scout
                .look(&mut Patience { awaited, troubles: &troubles, what: &what, starting: false, serve }, &client)?;
            Ok(Looked { scout, found })
        };
        self.looking = Looking::Asking(Opening::start(reader.wake.clone(), work)?);
        Ok(())
    }

    /// Marks what a partition was read up to.
    fn advance(&mut self, index: usize, next: i64) {
        let split = &mut self.table.splits[index];
        let was_done = split.is_done();
        split.next = split.next.max(next);
        if split.is_done() && !was_done {
            self.left -= 1;
            if self.left > 0 {
                self.consumer.pause(&split.topic, split.partition);
            }
        }
    }

    /// Tells how far each partition was read, now and then: true when it was time to.
    fn mark(&mut self) -> bool {
        let due = self.marked.elapsed() > MARKING || self.left == 0;
        if due {
            self.marked = Instant::now();
            let client = self.consumer.client();
            let splits = self.table.splits.iter();
            splits.for_each(|split| split.mark.set(split.next, client.end(&split.topic, split.partition)));
        }
        due
    }
}

impl KafkaReader {
    /// What a partition that can't be read means. None if librdkafka gets over it: then people are told, once.
    fn error(&self, place: Option<&Split>, offset: i64, code: i32, cause: String) -> Option<Error> {
        use rdkafka::types::RDKafkaRespErr::*;
        let brokers = self.brokers.clone();
        let topic = place.map_or_else(|| self.name.clone(), |split| split.topic.to_string_lossy().into_owned());
        let partition = place.map_or(-1, |split| split.partition);
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
                _ = self
                    .troubles
                    .tell(&format!("{topic} {partition} {code}"), &format!("{topic}[{partition}]: {cause}"));
                None
            }
        }
    }

    fn read(&mut self, open: &mut Open, max_rows: usize, max_bytes: usize) -> Result<Polled, Error> {
        let mut rows = Rows::default();
        open.look(self)?;
        if open.mark() {
            // What was told long ago and got over must not pass for the reason of what happens now.
            watch(open.consumer.client(), &self.name, &self.troubles)?;
        }
        while rows.builder.rows() == 0 {
            if let Some(error) = open.failed.take() {
                return Err(error);
            }
            if open.left == 0 && self.bounded {
                return Ok(Polled::End);
            }
            let waiting = open.consumer.fill(max_rows);
            if waiting == 0 {
                watch(open.consumer.client(), &self.name, &self.troubles)?;
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
        while rows.bytes < max_bytes {
            let (at, next) = match open.consumer.pop() {
                None => return,
                Some(Taken::Message(message)) => {
                    let (at, offset) = (open.table.index(message.of(), || message.topic()), message.offset());
                    // Only what was assigned is fetched.
                    let Some(at) = at else { continue };
                    let split = &open.table.splits[at];
                    // Not behind the stop, and no repetition after librdkafka asked a broker again.
                    if (split.next..split.stop).contains(&offset) {
                        rows.push(&message, split.number);
                        (at, offset + 1)
                    } else {
                        (at, offset.min(split.stop))
                    }
                }
                // Control records and gaps are behind this too.
                Some(Taken::End { of, topic, offset }) => match open.table.index(of, || topic) {
                    Some(at) => (at, offset),
                    None => continue,
                },
                Some(Taken::Failed { of, topic, offset, code, cause }) => {
                    let at = open.table.index(of, || topic);
                    open.failed = self.error(at.map(|at| &open.table.splits[at]), offset, code, cause);
                    match open.failed {
                        Some(_) => return,
                        None => continue,
                    }
                }
            };
            open.advance(at, next);
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
    fn push(&mut self, message: &Message<'_>, split: u32) {
        self.headers.clear();
        flow_frame::headers::encode(message.headers(), &mut self.headers);
        let (key, value) = (message.key(), message.payload());
        self.builder.push(Row {
            key,
            value,
            timestamp: message.timestamp(),
            headers: &self.headers,
            split,
            position: message.offset(),
        });
        self.bytes += key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + self.headers.len();
    }
}

impl Source for KafkaReader {
    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Polled, TaskError> {
        if !self.open()? {
            return Ok(Polled::Idle);
        }
        let State::Reading(mut open) = std::mem::replace(&mut self.state, State::Over) else {
            return Ok(Polled::End);
        };
        let polled = self.read(&mut open, max_rows, max_bytes)?;
        self.state = State::Reading(open);
        Ok(polled)
    }

    fn open(&mut self) -> Result<bool, TaskError> {
        let State::Opening(opening) = &self.state else { return Ok(true) };
        let Some(opened) = opening.take() else { return Ok(false) };
        self.state = State::Over;
        let (consumer, looked) = opened?;
        self.state = State::Reading(Box::new(Open::new(consumer, looked, self)?));
        Ok(true)
    }

    fn splits(&self) -> Vec<Position> {
        let mut positions: Vec<Position> = match &self.state {
            State::Reading(open) => open.table.splits.iter().map(Split::position).collect(),
            State::Opening(_) | State::Over => Vec::new(),
        };
        // One without a leader keeps its place.
        let unread = self.unread.iter().filter(|unread| !positions.iter().any(|read| read.split == unread.split));
        let unread: Vec<Position> = unread.cloned().collect();
        positions.extend(unread);
        positions
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        match &self.state {
            State::Reading(open) => open.table.splits.iter().map(|split| (split.number, split.next)).collect(),
            State::Opening(_) | State::Over => Vec::new(),
        }
    }

    fn locator(&self) -> Locator {
        let all = self.all.clone();
        Arc::new(move |split, position| all.locate(split, position))
    }
}
