//! The thread of a lane: does what [`flow_dataflow::lane::Lane`] decides, and tells it what came of it. Waits as long as brokers
//! take; what passes is tried again for ever.

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flow_dataflow::Error as TaskError;
use flow_dataflow::lane::{Action, Event, Identity, Lane, Outcome, Standing};
use flow_model::checkpoint::snapshot::{Part, Progress};

use super::standing::{Failed as ReadFailed, Reader};
use super::transaction::{Transaction, Trouble};
use super::{LaneEvent, Message, Shared, topic};
use crate::failpoint::{self, Point};
use crate::kafka::opening::watch;
use crate::kafka::raw::{Client, Failed, How};
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
    let topics = vec![shared.progress_topic.clone(), shared.laying.writing.topic.clone()];
    let (reader, current, spare) = (None, None, None);
    let mut run =
        Run { shared, identity, topic, machine, settings, asker, reader, current, spare, topics, fenced: false };
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

    fn named(&self, why: &str) -> String {
        format!("lane {} of the sink {:?}: {why}", self.identity.index, self.identity.sink.as_str())
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

    fn perform(&mut self, action: Action) -> Result<Option<Event>, End> {
        if self.stopped() {
            return Err(End::Stopped);
        }
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
            Ok(Some(standing)) => Ok(Outcome::Done(standing)),
            Ok(None) => Err(End::Stopped),
            Err(ReadFailed::Refused(why)) => Ok(Outcome::Refused(why)),
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
        let mut all = Vec::with_capacity(parts.len());
        for part in parts {
            match self.bytes(part)? {
                Ok(bytes) => all.push(bytes),
                Err(why) => return Ok(Outcome::Refused(why)),
            }
        }
        self.commit(&all, &self.identity.progress(progress))
    }

    fn commit(&mut self, parts: &[Bytes], (key, value): &(String, String)) -> Result<Outcome<()>, End> {
        self.prepare()?;
        let Some(current) = &mut self.current else { return Ok(Outcome::Unknown) };
        let (shared, to) = (&self.shared, (self.topic.as_c_str(), self.identity.index as i32));
        let done = current.run(parts, to, (key, value), &|| shared.stopped.load(SeqCst));
        for topic in current.topics() {
            if !self.topics.contains(topic) {
                self.topics.push(topic.clone());
            }
        }
        match done {
            Ok(()) => Ok(Outcome::Done(())),
            Err(Trouble::Stopped) => Err(End::Stopped),
            Err(Trouble::Refused(why)) => Ok(Outcome::Refused(why)),
            Err(Trouble::Batches(limit)) => {
                self.settings = self.settings.clone().with_batches_within(limit);
                self.spare = None;
                Ok(Outcome::Unknown)
            }
            Err(Trouble::Step(failed)) => self.outcome(failed),
        }
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

    /// The bytes of a part: from memory, or from the store, which were checked; or why there are none.
    fn bytes(&self, part: &Part) -> Result<Result<Bytes, String>, End> {
        let chunk = &part.chunk;
        if let Some(bytes) = self.shared.shelf.get(&chunk.object) {
            return Ok(Ok(bytes));
        }
        loop {
            let (done, got) = channel();
            // Nobody waits any more when the thread has stopped.
            self.shared.shelf.store.get(chunk.clone(), Box::new(move |bytes| _ = done.send(bytes)));
            let got = loop {
                match got.recv_timeout(SLICE) {
                    Ok(got) => break got,
                    Err(RecvTimeoutError::Timeout) if !self.stopped() => {}
                    Err(RecvTimeoutError::Timeout) => return Err(End::Stopped),
                    Err(RecvTimeoutError::Disconnected) => {
                        break Err(TaskError::Retryable("the store gave no answer".to_owned()));
                    }
                }
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
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }
}
