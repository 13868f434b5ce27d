//! The thread of a lane: does what [`flow_dataflow::lane::Lane`] decides, and tells it what came of it. Waits as long as brokers
//! take; what passes is tried again for ever.

mod anew;
mod open;

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flow_dataflow::Error as TaskError;
use flow_dataflow::lane::{Action, Event, Identity, Lane, Outcome, Standing};
use flow_model::checkpoint::ObjectName;
use flow_model::checkpoint::snapshot::{Part, Progress};

use super::refused::{self, DeadLetters};
use super::standing::{Failed as ReadFailed, Reader};
use super::transaction::{Transaction, Trouble};
use super::{LaneEvent, Laying, Message, Shared, topic};
use crate::failpoint::{self, Point};
use crate::kafka::opening::{QUESTION, watch};
use crate::kafka::raw::{Client, Failed, How, Undelivered, describe, is_denied, is_unknown_topic};
use crate::kafka::reader::c_topic;
use crate::kafka::{Error, Settings};

/// How long one wait for a broker takes before it is asked whether to stop.
const SLICE: Duration = Duration::from_secs(2);
/// So many slices in vain are told and waited out; then a producer is given up: another one begins with new connections.
const SLICES: u32 = 3;
/// So long an init is called anew each [`TURN`]: librdkafka asks again half a second after a broker has said that it is still ending
/// the transaction before, which takes milliseconds, and a call asks at once.
const EAGER: Duration = Duration::from_secs(1);
/// How long an eager call waits.
const TURN: Duration = Duration::from_millis(10);
/// Between two attempts at something that failed.
const PAUSE: Duration = Duration::from_millis(250);
/// At most so long rests a lane that was fenced: two that fence each other must not keep in step.
const FENCED_MS: u64 = 1000;

struct Run {
    shared: Arc<Shared>,
    identity: Identity,
    topic: CString,
    machine: Lane,
    settings: Settings,
    asker: Arc<Client>,
    reader: Option<Reader>,
    /// The one that has called init, or is to.
    current: Option<Transaction>,
    /// Made ahead, since that takes a while.
    spare: Option<Transaction>,
    /// Topics that were written, which the next producer learns of ahead.
    topics: Vec<String>,
    /// The last producer was fenced.
    fenced: bool,
    /// Parts up to this one may have been written by a transaction that was never committed.
    unsure: Option<Progress>,
    /// So often what such a one left open was to be ended, and was not.
    in_vain: u32,
    /// So often in a row its progress could not be read to the end.
    stuck: u32,
    /// What becomes of what brokers refuse, if the sink has a topic for that.
    dead_letters: Option<DeadLetters>,
}

/// The bytes of a part.
enum Asked {
    There(Bytes),
    Coming(Receiver<Result<Bytes, TaskError>>),
}

/// What ends the thread.
enum End {
    /// It was told to stop, or nobody is there any more.
    Stopped,
    Failed(String),
}

/// Starts the thread, with the first things to do.
pub(super) fn start(
    shared: Arc<Shared>,
    identity: Identity,
    (machine, actions): (Lane, Vec<Action>),
    inbox: Receiver<Message>,
) -> Result<(), Error> {
    let settings = Settings::transacting(&shared.laying.connection, &identity.transactional_id())?;
    let topic = c_topic(&shared.progress_topic)?;
    let asker = shared.asker.lock().unwrap_or_else(std::sync::PoisonError::into_inner).client().clone();
    let restored = shared.laying.restored;
    let topics = vec![shared.progress_topic.clone(), shared.laying.writing.topic.clone()];
    let mut run = Run {
        shared,
        identity,
        topic,
        machine,
        settings,
        asker,
        reader: None,
        current: None,
        spare: None,
        topics,
        fenced: false,
        unsure: Some(Progress { checkpoint: restored, part: u32::MAX }),
        in_vain: 0,
        stuck: 0,
        dead_letters: None,
    };
    // Made here, so that a bad setting is the caller's error.
    run.spare = Some(run.make()?);
    let work = move || match run.open().and_then(|()| run.go(actions, &inbox)) {
        Ok(()) | Err(End::Stopped) => {}
        Err(End::Failed(why)) => run.tell(LaneEvent::Failed(TaskError::Fatal(run.named(&why)))),
    };
    match std::thread::Builder::new().name("kafka-lane".to_owned()).spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => {
            let what = "start a thread".to_owned();
            Err(Error::Call { what, cause: error.to_string(), retryable: true })
        }
    }
}

impl Run {
    fn stopped(&self) -> bool {
        self.shared.stopped.load(SeqCst)
    }

    fn tell(&self, event: LaneEvent) {
        (self.shared.tell)(event);
    }

    fn place(&self) -> String {
        format!("lane {} of the sink {:?}", self.identity.index, self.identity.sink.as_str())
    }

    fn named(&self, why: &str) -> String {
        format!("{}: {why}", self.place())
    }

    /// Tells of trouble that may pass, and rests.
    fn rest(&self, cause: &str) -> Result<(), End> {
        let text = self.named(&format!("Kafka at {}: {cause}; trying again until it works", self.asker.brokers()));
        // Each cause is a kind of its own: behind the first one another may keep it from working.
        _ = self.shared.troubles.tell(cause, &text);
        std::thread::sleep(PAUSE);
        if self.stopped() { Err(End::Stopped) } else { Ok(()) }
    }

    /// Sees to the progress topic.
    fn open(&mut self) -> Result<(), End> {
        let lanes = self.shared.laying.lanes.iter().max().map_or(1, |last| last + 1);
        loop {
            match topic::ensure(&self.asker, &self.topic, lanes) {
                Ok(()) => break,
                Err(topic::Error::Passing { cause, .. }) => {
                    self.watch()?;
                    self.rest(&format!("the progress topic {:?}: {cause}", self.topic))?;
                }
                Err(error) => return Err(End::Failed(error.to_string())),
            }
        }
        if self.shared.laying.anew {
            self.rename()?;
        }
        if let Some(topic) = self.shared.laying.dead_letter.clone() {
            let partitions = self.partitions(&topic)?;
            if partitions == 0 {
                return Err(End::Failed(format!(
                    "the topic {topic:?} for dead letters does not exist at {}: make it with kafka-topics --create --topic {topic}",
                    self.asker.brokers()
                )));
            }
            let Laying { pipeline, sink, .. } = &self.shared.laying;
            let of = [
                ("pipeline", pipeline.to_string()),
                ("operator", sink.to_string()),
                ("lane", self.identity.index.to_string()),
            ];
            self.dead_letters = Some(DeadLetters::new(topic, partitions, of));
        }
        let reader = Reader::open(&self.shared, &self.identity, self.topic.clone());
        self.reader = Some(reader.map_err(|error| End::Failed(error.to_string()))?);
        Ok(())
    }

    /// A login that is not accepted, or the like.
    fn watch(&self) -> Result<(), End> {
        watch(&self.asker, &self.shared.progress_topic, &self.shared.troubles)
            .map_err(|error| End::Failed(error.to_string()))
    }

    fn go(&mut self, actions: Vec<Action>, inbox: &Receiver<Message>) -> Result<(), End> {
        let mut todo: VecDeque<Action> = actions.into();
        loop {
            while let Some(action) = todo.pop_front() {
                if let Some(event) = self.perform(action)? {
                    todo.extend(self.machine.handle(event));
                }
            }
            if self.machine.is_over() {
                return Ok(());
            }
            self.prepare()?;
            match inbox.recv() {
                Ok(Message::Event(event)) => todo.extend(self.machine.handle(event)),
                Ok(Message::Stop) | Err(_) => return Err(End::Stopped),
            }
        }
    }

    /// Does it, and tells who looks for it how long that took.
    fn perform(&mut self, action: Action) -> Result<Option<Event>, End> {
        if self.stopped() {
            return Err(End::Stopped);
        }
        let step = match &action {
            Action::Init => "init",
            Action::Read => "reading its progress",
            Action::Claim(_) => "the claim",
            Action::Write { .. } => "a transaction",
            Action::Tell(_) | Action::Exit(_) | Action::Fail(_) => "",
        };
        let begun = Instant::now();
        let done = self.act(action);
        if !step.is_empty() {
            tracing::debug!("{}: {step} took {:.1} ms", self.place(), begun.elapsed().as_secs_f64() * 1e3);
        }
        done
    }

    fn act(&mut self, action: Action) -> Result<Option<Event>, End> {
        Ok(match action {
            Action::Init => {
                let initialised = self.init()?;
                failpoint::reach(Point::LaneInitialised);
                Some(Event::Initialised(initialised))
            }
            Action::Read => {
                let read = self.read()?;
                failpoint::reach(Point::ProgressRead);
                Some(Event::Read(read))
            }
            Action::Claim(attempt) => {
                failpoint::reach(Point::Claim);
                let record = self.identity.attempt(attempt);
                let committed = self.commit(&[], &record)?;
                failpoint::reach(Point::Claimed);
                Some(Event::Committed(committed))
            }
            Action::Write { parts, progress } => {
                failpoint::reach(Point::CommitOrder);
                let committed = self.write(&parts, progress)?;
                failpoint::reach(Point::Committed);
                Some(Event::Committed(committed))
            }
            Action::Tell(settled) => {
                for subtask in self.shared.subtasks(self.identity.index) {
                    subtask.written(settled.through, &self.shared);
                }
                self.tell(LaneEvent::Settled { lane: self.identity.index, settled });
                None
            }
            Action::Exit(higher) => {
                self.tell(LaneEvent::Exited { lane: self.identity.index, higher });
                None
            }
            Action::Fail(refusal) => return Err(End::Failed(refusal.to_string())),
        })
    }

    /// A producer that has not called init.
    fn make(&self) -> Result<Transaction, Error> {
        Transaction::new(&self.settings, &self.topics)
    }

    /// Has one ready: it connects while something else is done.
    fn prepare(&mut self) -> Result<(), End> {
        if self.spare.is_none() {
            self.spare = Some(self.make().map_err(|error| End::Failed(error.to_string()))?);
        }
        Ok(())
    }

    fn init(&mut self) -> Result<Outcome<()>, End> {
        self.current = None;
        if std::mem::take(&mut self.fenced) {
            std::thread::sleep(Duration::from_millis(fastrand::u64(0..FENCED_MS)));
        }
        self.prepare()?;
        let Some(next) = self.spare.take() else { return Ok(Outcome::Unknown) };
        let (begun, mut slices) = (Instant::now(), 0);
        loop {
            let eager = begun.elapsed() < EAGER;
            match next.producer.init_transactions(if eager { TURN } else { SLICE }) {
                Ok(()) => {
                    self.current = Some(next);
                    return Ok(Outcome::Done(()));
                }
                Err(Failed { how: How::Again, .. }) if eager => {
                    if self.stopped() {
                        return Err(End::Stopped);
                    }
                }
                Err(Failed { how: How::Again, cause }) if slices < SLICES => {
                    slices += 1;
                    self.watch()?;
                    self.rest(&cause)?;
                }
                Err(failed) => return self.outcome(failed),
            }
        }
    }

    fn read(&mut self) -> Result<Outcome<Standing>, End> {
        let Some(reader) = &mut self.reader else { return Ok(Outcome::Unknown) };
        let shared = &self.shared;
        match reader.read(|| shared.stopped.load(SeqCst)) {
            Ok(Some(standing)) => {
                self.stuck = 0;
                // What is committed was all committed, be its end written everywhere or not.
                self.unsure = self.unsure.filter(|unsure| Some(*unsure) > standing.progress);
                Ok(Outcome::Done(standing))
            }
            Ok(None) => Err(End::Stopped),
            Err(ReadFailed::Refused(why)) => Ok(Outcome::Refused(why)),
            Err(ReadFailed::Stuck(cause)) => {
                self.watch()?;
                self.rest(&format!("the progress topic {:?}: {cause}", self.topic))?;
                self.get_past()
            }
            Err(ReadFailed::Passing(cause)) => {
                self.watch()?;
                self.rest(&format!("the progress topic {:?}: {cause}", self.topic))?;
                Ok(Outcome::Unknown)
            }
        }
    }

    fn write(&mut self, parts: &[Part], progress: Progress) -> Result<Outcome<()>, End> {
        let replayed = progress.checkpoint <= self.shared.laying.restored;
        let parts = if replayed && failpoint::fails(Point::Replay) { &[] } else { parts };
        // All are asked for before the first is waited for.
        let asked: Vec<Asked> = parts.iter().map(|part| self.ask(part)).collect();
        let mut all = Vec::with_capacity(parts.len());
        for (part, asked) in parts.iter().zip(asked) {
            match self.bytes(part, asked)? {
                Ok(bytes) => all.push((part.chunk.object.clone(), bytes)),
                Err(why) => return Ok(Outcome::Refused(why)),
            }
        }
        if let Some(outcome) = self.end_what_is_open(&all)? {
            return Ok(outcome);
        }
        let committed = self.commit(&all, &self.identity.progress(progress));
        (self.unsure, self.in_vain) = match &committed {
            Ok(Outcome::Done(())) => (self.unsure.filter(|unsure| *unsure > progress), 0),
            _ => (self.unsure.max(Some(progress)), self.in_vain),
        };
        committed
    }

    fn commit(&mut self, parts: &[(ObjectName, Bytes)], (key, value): &(String, String)) -> Result<Outcome<()>, End> {
        self.prepare()?;
        let Some(current) = &mut self.current else { return Ok(Outcome::Unknown) };
        let (shared, to) = (&self.shared, (self.topic.as_c_str(), self.identity.index as i32));
        let dead_letters = self.dead_letters.as_ref();
        let done = current.run(parts, dead_letters, to, (key, value), &|| shared.stopped.load(SeqCst));
        for topic in current.topics() {
            if !self.topics.contains(topic) {
                self.topics.push(topic.clone());
            }
        }
        let trouble = match done {
            Ok(()) => {
                if let Some(dead_letters) = &mut self.dead_letters {
                    dead_letters.forget_records();
                }
                return Ok(Outcome::Done(()));
            }
            Err(trouble) => trouble,
        };
        let mut refused = current.take_refused();
        let too_large = current.too_large();
        let failed = match trouble {
            Trouble::Stopped => return Err(End::Stopped),
            Trouble::Refused(why) => return Ok(Outcome::Refused(why)),
            Trouble::Batches(limit) => {
                self.shrink(Some(limit));
                return Ok(Outcome::Unknown);
            }
            Trouble::Closed(closed) => {
                refused.push(closed);
                None
            }
            Trouble::Step(failed) => Some(failed),
        };
        match (refused.is_empty(), too_large, failed) {
            (false, ..) => self.judge(&refused, parts),
            (true, Some(topic), _) => self.ask_limit(&topic),
            (true, None, Some(failed)) => self.outcome(failed),
            (true, None, None) => Ok(Outcome::Unknown),
        }
    }

    /// Records of a transaction will never be stored: they become dead letters of the next one, or end the lane.
    fn judge(&mut self, refused: &[Undelivered], parts: &[(ObjectName, Bytes)]) -> Result<Outcome<()>, End> {
        let place = |of: &Undelivered| {
            let (part, number) = of.origin?;
            Some((&parts.get(part as usize)?.0, number))
        };
        for one in refused {
            let Undelivered { topic, partition, code, .. } = one;
            if self.dead_letters.as_ref().is_some_and(|known| known.is_closed(topic, *partition as u32)) {
                continue;
            }
            let (gone, closed) = (is_unknown_topic(*code), is_denied(*code));
            let there = if gone { self.partitions(topic)? } else { 0 };
            if i64::from(there) > i64::from(*partition) {
                // The client knew it from before it was made anew.
                self.rest(&format!("topic {topic:?}: {}", describe(*code)))?;
                return Ok(Outcome::Unknown);
            }
            let ours = [Some(&self.shared.progress_topic), self.shared.laying.dead_letter.as_ref()];
            match (&mut self.dead_letters, place(one)) {
                (Some(dead_letters), _) if (gone || closed) && !ours.contains(&Some(topic)) => {
                    dead_letters.learn_topic(topic, there, *code);
                }
                (Some(dead_letters), Some((object, number))) => dead_letters.learn(object, number, *code),
                (_, place) => {
                    let place = place.map(|(object, number)| format!("record {number} of the part {object}"));
                    let pipeline = self.shared.laying.pipeline.as_str();
                    return Ok(Outcome::Refused(refused::text(one, place, pipeline)));
                }
            }
        }
        if let (Some(dead_letters), Some(first)) = (&self.dead_letters, refused.first()) {
            let (topic, why) = (&first.topic, describe(first.code));
            let text = self.named(&format!(
                "topic {topic:?} does not take what a confirmed checkpoint has for it: {why}; what is refused goes to {:?}",
                dead_letters.topic
            ));
            _ = self.shared.troubles.tell(&format!("refused by {topic}"), &text);
        }
        Ok(Outcome::Unknown)
    }

    /// How many partitions a topic has; none if it is gone.
    fn partitions(&self, topic: &str) -> Result<u32, End> {
        let name = c_topic(topic).map_err(|error| End::Failed(error.to_string()))?;
        loop {
            match self.asker.describe(std::slice::from_ref(&name), QUESTION).map(|found| found.into_iter().next()) {
                Ok(Some(found)) if found.code == 0 => return Ok(found.partitions()),
                Ok(found) if found.as_ref().is_none_or(|found| is_unknown_topic(found.code)) => return Ok(0),
                Ok(found) => self.rest(&describe(found.map_or(0, |found| found.code)))?,
                Err(code) => self.rest(&describe(code))?,
            }
        }
    }

    /// The topic's limit was lowered behind the checkpoint: the next producer keeps to it, so that what is too large still is a record.
    fn ask_limit(&mut self, topic: &str) -> Result<Outcome<()>, End> {
        let name = c_topic(topic).map_err(|error| End::Failed(error.to_string()))?;
        let limit = self.asker.limits(&[name], QUESTION).get(topic).and_then(|limits| limits.bytes);
        self.shrink(limit);
        Ok(Outcome::Unknown)
    }

    /// Makes smaller batches from now on: such that fit this limit, or by half.
    fn shrink(&mut self, limit: Option<i64>) {
        let now = self.settings.batch_size();
        let fits = limit.filter(|limit| Settings::batches_within(*limit) < now);
        self.settings = self.settings.clone().with_batches_within(fits.unwrap_or(now as i64 / 2));
        self.spare = None;
    }

    fn outcome<T>(&mut self, Failed { how, cause }: Failed) -> Result<Outcome<T>, End> {
        Ok(match how {
            How::Refused => Outcome::Refused(format!(
                "Kafka at {} refuses its transactions: {cause}; give the user the ACLs of a transactional id, and see that \
                 transaction.max.timeout.ms of the broker is no lower than `transaction.timeout.ms` of the sink",
                self.asker.brokers()
            )),
            How::Fenced => {
                self.fenced = true;
                Outcome::Fenced
            }
            How::Again | How::Lost => {
                self.rest(&cause)?;
                Outcome::Unknown
            }
        })
    }

    /// The bytes of a part: from memory, or as the store's answer.
    fn ask(&self, part: &Part) -> Asked {
        if let Some(bytes) = self.shared.shelf.get(&part.chunk.object) {
            return Asked::There(bytes);
        }
        let (done, got) = channel();
        // Nobody waits any more when the thread has stopped.
        self.shared.shelf.store.get(part.chunk.clone(), Box::new(move |bytes| _ = done.send(bytes)));
        Asked::Coming(got)
    }

    /// The bytes of a part, of which the store's were checked; or why there are none.
    fn bytes(&self, part: &Part, mut asked: Asked) -> Result<Result<Bytes, String>, End> {
        let chunk = &part.chunk;
        loop {
            let got = match asked {
                Asked::There(bytes) => return Ok(Ok(bytes)),
                Asked::Coming(got) => loop {
                    match got.recv_timeout(SLICE) {
                        Ok(got) => break got,
                        Err(RecvTimeoutError::Timeout) if !self.stopped() => {}
                        Err(RecvTimeoutError::Timeout) => return Err(End::Stopped),
                        Err(RecvTimeoutError::Disconnected) => {
                            break Err(TaskError::Retryable("the store gave no answer".to_owned()));
                        }
                    }
                },
            };
            match got {
                Ok(bytes) if bytes.len() as u64 == chunk.length && crc32c::crc32c(&bytes) == chunk.crc => {
                    return Ok(Ok(bytes));
                }
                Ok(_) => {
                    return Ok(Err(format!(
                        "the object {} is damaged: its sum is not the one that checkpoint {} says; restore an earlier \
                         checkpoint",
                        chunk.object,
                        chunk.object.checkpoint()
                    )));
                }
                Err(TaskError::Retryable(cause)) => {
                    let text = self.named(&format!("{cause}; trying again until it works"));
                    _ = self.shared.troubles.tell("store", &text);
                    std::thread::sleep(PAUSE);
                    if self.stopped() {
                        return Err(End::Stopped);
                    }
                    asked = self.ask(part);
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }
}
