//! The sink of one subtask: rows into parts of a segment. Where a row goes is fixed when it is taken, and it is checked against
//! what its topic takes: behind the commit point there is nobody to blame.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flow_dataflow::call::Blame;
use flow_dataflow::element::Barrier;
use flow_dataflow::exchange::Wake;
use flow_dataflow::lane::Event;
use flow_dataflow::sink::Refused;
use flow_dataflow::{Batch, Error as TaskError, Sink};
use flow_frame::headers;
use flow_model::checkpoint::snapshot::Part;
use flow_model::checkpoint::{CheckpointId, Chunk, ObjectName};

use super::subtask::Subtask;
use super::{LaneEvent, Message, Shared};
use crate::kafka::front::{Answer, Asked, Front, ask, names};
use crate::kafka::opening::{Awaited, Opening, Troubles, Warn};
use crate::kafka::raw::{Client, Record, TopicLimits};
use crate::kafka::refusal::{Limit, Refusal};
use crate::kafka::rows::Rows;
use crate::kafka::segment::Builder;
use crate::kafka::writer::Writing;
use crate::kafka::{Error, Share};

/// A part is whole when it has so many bytes.
const PART: usize = 8 << 20;
/// More than a batch of one record has beside key, value and headers, but for the lengths of headers.
const ALONE: usize = 160;
/// More than the lengths of a header.
const HEADER: usize = 10;

enum State {
    Opening(Opening<Asked>),
    Open,
    /// Failed.
    Over,
}

/// The sink of one subtask, which writes by a lane.
pub struct LaneSink {
    state: State,
    front: Front,
    client: Arc<Client>,
    /// Bytes of the largest record that librdkafka takes.
    largest: usize,
    /// By the numbers of topics: their names and limits.
    topics: Vec<(String, TopicLimits)>,
    batch: Batch,
    came: Instant,
    /// The batch waits, since one of its topics is asked for.
    uncut: bool,
    part: Builder,
    /// What the next object is begun for: after the last barrier.
    next: CheckpointId,
    /// Rows that were taken.
    taken: u64,
    shared: Arc<Shared>,
    subtask: Arc<Subtask>,
    lane: Sender<Message>,
}

impl LaneSink {
    pub(super) fn open(
        shared: Arc<Shared>,
        subtask: Arc<Subtask>,
        lane: Sender<Message>,
        share: Share,
        blame: Blame,
        wake: Wake,
        warn: Warn,
    ) -> Result<LaneSink, Error> {
        let writing = Writing { share, ..shared.laying.writing.clone() };
        let (troubles, names) = (Troubles::new(warn), names(&writing)?);
        let client = shared.asker.lock().unwrap_or_else(PoisonError::into_inner).client().clone();
        let work = {
            let (troubles, client) = (troubles.clone(), client.clone());
            move |awaited: &Awaited<'_>| ask(&client, &names, true, awaited, &troubles)
        };
        Ok(LaneSink {
            state: State::Opening(Opening::start(wake.clone(), work)?),
            largest: writing.settings.record_size(),
            front: Front::new(&writing, blame, wake, troubles),
            client,
            topics: Vec::new(),
            batch: Batch::default(),
            came: Instant::now(),
            uncut: false,
            part: Builder::default(),
            next: CheckpointId::new(shared.laying.attempt, 1),
            taken: 0,
            shared,
            subtask,
            lane,
        })
    }

    fn opened(&mut self) -> Result<bool, TaskError> {
        let State::Opening(opening) = &self.state else { return Ok(matches!(self.state, State::Open)) };
        let Some(opened) = opening.take() else { return Ok(false) };
        self.state = State::Over;
        let topics = &mut self.topics;
        self.front.open(opened?, |name| {
            topics.push((name.to_string_lossy().into_owned(), TopicLimits::default()));
            Ok(topics.len() - 1)
        })?;
        self.learn_limits();
        self.state = State::Open;
        Ok(true)
    }

    fn learn_limits(&mut self) {
        for (topic, limits) in &mut self.topics {
            *limits = self.front.targets.get(topic).map_or(*limits, |target| target.limits);
        }
    }

    /// Puts the batch into parts. False while a topic of it is asked for.
    fn drive(&mut self) -> Result<bool, TaskError> {
        if !self.uncut {
            return Ok(true);
        }
        match self.front.answer(self.came)? {
            Answer::Waiting => return Ok(false),
            Answer::None => {}
            Answer::Come(asked) => {
                let topics = &mut self.topics;
                for (topic, limits) in asked {
                    self.front.learn(&topic, limits, |name| {
                        topics.push((name.to_string_lossy().into_owned(), TopicLimits::default()));
                        Ok(topics.len() - 1)
                    })?;
                }
                self.learn_limits();
            }
        }
        let Some(runs) = self.front.cut(&self.client, &self.batch, self.came)? else { return Ok(false) };
        let (rows, now) = (Rows::of(&self.batch), now());
        for run in runs {
            let (topic, limits) = &self.topics[run.target];
            let mut refused = Vec::new();
            let records = run.rest().iter().filter_map(|row| {
                let record = rows.record(*row as usize);
                match check(&record, topic, limits, self.largest, now) {
                    None => Some(record),
                    Some(refusal) => {
                        refused.push((*row as usize, refusal));
                        None
                    }
                }
            });
            let before = self.part.records();
            self.part.run((run.target, topic, limits.bytes), run.partition, records);
            self.taken += self.part.records() - before;
            for (row, refusal) in refused {
                self.front.refusing.refuse(&self.batch, row, self.batch.origin(row), &refusal)?;
            }
            if self.part.len() >= PART {
                close(&mut self.part, &self.shared, &self.subtask, self.next);
            }
        }
        (self.batch, self.uncut) = (Batch::default(), false);
        Ok(true)
    }
}

/// Ends the part and sends it to the store.
fn close(part: &mut Builder, shared: &Arc<Shared>, subtask: &Arc<Subtask>, begun: CheckpointId) {
    let (bytes, records) = part.take();
    if records == 0 {
        return;
    }
    let object = ObjectName::new(&shared.laying.incarnation, begun, fastrand::u128(..));
    let chunk = Chunk { object: object.clone(), offset: 0, length: bytes.len() as u64, crc: crc32c::crc32c(&bytes) };
    subtask.sealed().add(Part { chunk, records });
    let bytes = Bytes::from(bytes);
    shared.shelf.keep(object.clone(), bytes.clone());
    let done = {
        let (shared, subtask, object) = (shared.clone(), subtask.clone(), object.clone());
        move |stored: Result<(), TaskError>| match stored {
            Ok(()) => {
                shared.shelf.stored(&object);
                subtask.sealed().stored(&object);
                subtask.ack(&shared);
                (subtask.wake)();
            }
            Err(error) => (shared.tell)(LaneEvent::Failed(error)),
        }
    };
    shared.shelf.store.put(object, bytes, Box::new(done));
}

/// Why a topic would not take a record.
fn check(record: &Record<'_>, topic: &str, limits: &TopicLimits, largest: usize, now: i64) -> Option<Refusal> {
    let (topic, mut bytes) = (|| topic.to_owned(), record.bytes() + ALONE);
    if !record.headers.is_empty() {
        let mut all = headers::decode(record.headers);
        let mut nul = false;
        for (name, _) in all.by_ref() {
            bytes += HEADER;
            nul |= name.contains(&0);
        }
        if nul || all.broken() {
            return Some(Refusal::Headers { topic: topic() });
        }
    }
    let limit = limits.bytes.and_then(|limit| usize::try_from(limit).ok());
    if bytes > limit.unwrap_or(usize::MAX) || bytes > largest {
        let limit = if bytes > largest { Limit::Client } else { Limit::Topic(limits.bytes) };
        return Some(Refusal::TooLarge { topic: topic(), bytes: record.bytes(), limit });
    }
    if limits.keyed && record.key.is_none() {
        return Some(Refusal::NoKey { topic: topic() });
    }
    let (timestamp, (before, after)) = (record.timestamp?, limits.around?);
    let side = if timestamp < now.saturating_sub(before) {
        "before"
    } else if timestamp > now.saturating_add(after) {
        "after"
    } else {
        return None;
    };
    Some(Refusal::Timestamp { topic: topic(), timestamp, side })
}

/// Milliseconds since the Unix epoch.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Sink for LaneSink {
    fn ready(&mut self) -> Result<bool, TaskError> {
        Ok(self.opened()? && self.drive()? && !self.shared.shelf.is_full())
    }

    fn write(&mut self, batch: Batch) -> Result<(), TaskError> {
        if !matches!(self.state, State::Open) {
            return Err(TaskError::Fatal(format!("a batch for topic {:?} before it was open", self.front.topic())));
        }
        (self.batch, self.came, self.uncut) = (batch, Instant::now(), true);
        self.drive().map(drop)
    }

    /// Seals what was taken; the ack comes when all of it is stored. What follows may be taken at once.
    fn snapshot(&mut self, barrier: Barrier) -> Result<(), TaskError> {
        close(&mut self.part, &self.shared, &self.subtask, self.next);
        self.next = CheckpointId(barrier.checkpoint.0 + 1);
        {
            // Locked until the lane was told: no ack may overtake that, or the checkpoint could be confirmed before it.
            let mut sealed = self.subtask.sealed();
            if let Some(segment) = sealed.seal(barrier.checkpoint) {
                let subtask = self.subtask.index;
                // A lane that was left has told so.
                _ = self.lane.send(Message::Event(Event::Sealed { subtask, segment }));
            }
        }
        self.subtask.ack(&self.shared);
        Ok(())
    }

    fn unwritten(&self) -> usize {
        let waiting = if self.uncut { self.batch.rows() } else { 0 };
        waiting + (self.taken - self.subtask.written.load(SeqCst)) as usize
    }

    fn refused(&self) -> Refused {
        self.front.refusing.refused
    }

    /// True when all of it is in parts: a task that waited for their transaction would let no barrier through that seals them.
    fn finish(&mut self) -> Result<bool, TaskError> {
        Ok(self.opened()? && self.drive()?)
    }
}
