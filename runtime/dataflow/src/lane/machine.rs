//! What a lane does next. One thing is under way at a time; its outcome comes back as an event.
//!
//! Whatever happens leads back to the same door: a new producer, its init, then reading how far the lane came. Only behind it
//! something is written. Init ends all older transactions of the lane, so what is read after it stays true until this
//! producer itself writes, or somebody else's init fences it. A new attempt claims the lane first, by a record that makes older
//! attempts leave when they read it; then it goes through the door again.

use flow_model::checkpoint::snapshot::{Part, Progress, Segment};
use flow_model::checkpoint::{Attempt, CheckpointId, ObjectName};

use super::order::Order;
use super::record::Standing;

/// Bytes of parts that the first transactions take, if they are more than one part. Each costs an init and a read beside, so a lane
/// that is behind makes them larger and larger.
const BEGIN: u64 = 32 << 20;
/// By so many bytes it grows with each transaction that was full, and to so many it falls back when one failed: it may have been
/// too large for the time that it has.
const STEP: u64 = 8 << 20;
/// The most, which is what has to lie in memory at once.
const MOST: u64 = 64 << 20;

/// What became of something that a lane wanted done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It is done.
    Done(T),
    /// Nobody knows: it failed, or its answer did not come. It may be done, or be done later.
    Unknown,
    /// Another producer of the same id has taken over, or the broker has given up this one's transaction.
    Fenced,
    /// It is refused in a way that trying again does not change; why, and what to do.
    Refused(String),
}

/// What happens to a lane.
#[derive(Clone, Debug)]
pub enum Event {
    /// Answers [`Action::Init`].
    Initialised(Outcome<()>),
    /// Answers [`Action::Read`]. Fenced: a record that is neither committed nor aborted stays in the way, until a new producer of the
    /// lane has come.
    Read(Outcome<Standing>),
    /// Answers [`Action::Claim`] and [`Action::Write`].
    Committed(Outcome<()>),
    /// A subtask has sealed its output of a checkpoint. Comes before the checkpoint is confirmed.
    Sealed {
        /// The subtask.
        subtask: u32,
        /// What it has sealed.
        segment: Segment,
    },
    /// A checkpoint is past its commit point: what it names is to be written.
    Confirmed(CheckpointId),
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave the producer that there is, if there is one, take one that has not called init, and call its init.
    Init,
    /// Read the lane's partition of the progress topic to its high watermark of now.
    Read,
    /// In a transaction: the record that this attempt owns the lane.
    Claim(Attempt),
    /// In a transaction: the records of these parts in order, and last of all the progress.
    Write {
        /// The parts.
        parts: Vec<Part>,
        /// Of the last of them.
        progress: Progress,
    },
    /// Tell how far the lane is written.
    Tell(Settled),
    /// A higher attempt owns the lane: leave it, for ever.
    Exit(Attempt),
    /// Leave it, and fail the job.
    Fail(Refusal),
}

/// How far a lane is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// All that this checkpoint and earlier ones name is written.
    pub through: CheckpointId,
    /// What stands in the progress topic; none if the lane has never written.
    pub progress: Option<Progress>,
}

/// Why a lane can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Less is written than was known to be.
    #[error(
        "the progress topic says that {} is written, and {} was: the topic was deleted, or this is another Kafka; if it is \
         meant to be another one, deploy with --reset-progress, which writes again what the old one may have",
        shown(.found), shown(.known)
    )]
    Lost {
        /// What stands there.
        found: Option<Progress>,
        /// What stood there.
        known: Option<Progress>,
    },
    /// More is written than this attempt may know of.
    #[error(
        "the progress topic says that {} is written, which is past {}, the end of the checkpoint that the job goes on from: it is \
         older than what was written; restore the latest checkpoint, or start a new life of the job from this one with \
         --allow-repeat",
        shown(.found), shown(.most)
    )]
    Ahead {
        /// What stands there.
        found: Option<Progress>,
        /// The most that can.
        most: Option<Progress>,
    },
    /// It is refused in a way that trying again does not change.
    #[error("{0}")]
    Refused(String),
}

fn shown(progress: &Option<Progress>) -> String {
    progress.map_or_else(
        || "nothing".to_owned(),
        |Progress { checkpoint, part }| match part {
            u32::MAX => format!("checkpoint {checkpoint}"),
            part => format!("part {part} of checkpoint {checkpoint}"),
        },
    )
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A new producer calls init.
    Initialising,
    /// The producer has called init; the progress topic is read.
    Reading,
    /// The producer was fenced; the progress topic is read to see by whom, before another one may call init.
    ReadingFenced,
    /// The transaction with the attempt's record is under way.
    Claiming,
    /// The producer has called init, and what was read after that allows it to write. There is nothing to write.
    Ready,
    /// A transaction that brings this progress is under way.
    Writing(Progress),
    /// The lane was left.
    Over,
}

/// The decisions of one lane in one attempt.
#[derive(Clone, Debug)]
pub struct Lane {
    attempt: Attempt,
    order: Order,
    confirmed: CheckpointId,
    /// What is known to be written.
    progress: Option<Progress>,
    /// The most that may be written, though nobody has told us: by a former attempt, or by a transaction of ours of which
    /// we do not know what became of it.
    most: Option<Progress>,
    /// What was told last.
    told: Option<Settled>,
    /// Bytes that the next transaction takes.
    room: u64,
    /// The last one had as many as it could take.
    full: bool,
    state: State,
}

impl Lane {
    /// A lane of an attempt that goes on from a checkpoint, of which the lane was known to have written `progress`, with the
    /// segments that it names, by subtask. Gives the first actions.
    pub fn open(
        attempt: Attempt,
        restored: CheckpointId,
        progress: Option<Progress>,
        segments: impl IntoIterator<Item = (u32, Segment)>,
    ) -> (Lane, Vec<Action>) {
        let mut order = Order::default();
        segments.into_iter().for_each(|(subtask, segment)| order.add(subtask, segment));
        let most = Some(Progress { checkpoint: restored, part: u32::MAX });
        let state = State::Initialising;
        let (told, room, full) = (None, BEGIN, false);
        let lane = Lane { attempt, order, confirmed: restored, progress, most, told, room, full, state };
        (lane, vec![Action::Init])
    }

    /// What is to be done after an event. An answer that nobody waits for changes nothing.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        match (self.state, event) {
            (State::Over, _) => Vec::new(),
            (_, Event::Sealed { subtask, segment }) => {
                self.order.add(subtask, segment);
                Vec::new()
            }
            (_, Event::Confirmed(checkpoint)) => {
                self.confirmed = self.confirmed.max(checkpoint);
                let mut actions = Vec::new();
                self.tell(&mut actions);
                if self.state == State::Ready {
                    self.write(&mut actions);
                }
                actions
            }
            (_, Event::Initialised(Outcome::Refused(why)))
            | (_, Event::Read(Outcome::Refused(why)))
            | (_, Event::Committed(Outcome::Refused(why))) => self.fail(Refusal::Refused(why)),
            (State::Initialising, Event::Initialised(Outcome::Done(()))) => self.to(State::Reading, Action::Read),
            (State::Initialising, Event::Initialised(Outcome::Unknown)) => self.init(),
            (State::Initialising, Event::Initialised(Outcome::Fenced)) => self.to(State::ReadingFenced, Action::Read),
            (State::Reading, Event::Read(Outcome::Done(standing))) => self.read(standing),
            (State::ReadingFenced, Event::Read(Outcome::Done(standing))) => match self.owner(standing) {
                Some(higher) => self.exit(higher),
                None => self.init(),
            },
            (State::Reading | State::ReadingFenced, Event::Read(Outcome::Fenced)) => self.init(),
            (State::Reading | State::ReadingFenced, Event::Read(_)) => vec![Action::Read],
            // Not yet believed: behind the door it is read.
            (State::Claiming, Event::Committed(Outcome::Done(()) | Outcome::Unknown)) => self.init(),
            (State::Writing(progress), Event::Committed(Outcome::Done(()))) => {
                (self.progress, self.most) = (Some(progress), None);
                if self.full {
                    self.room = MOST.min(self.room + STEP);
                }
                let mut actions = Vec::new();
                self.tell(&mut actions);
                actions.extend(self.init());
                actions
            }
            (State::Writing(progress), Event::Committed(Outcome::Unknown)) => {
                (self.most, self.room) = (Some(progress), STEP);
                self.init()
            }
            (State::Writing(progress), Event::Committed(Outcome::Fenced)) => {
                (self.most, self.room) = (Some(progress), STEP);
                self.to(State::ReadingFenced, Action::Read)
            }
            (State::Claiming, Event::Committed(Outcome::Fenced)) => self.to(State::ReadingFenced, Action::Read),
            (_, Event::Initialised(_) | Event::Read(_) | Event::Committed(_)) => Vec::new(),
        }
    }

    /// Objects that may still have to be read.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectName> {
        self.order.objects()
    }

    /// What is known to be written: some process has been told so.
    pub fn known(&self) -> Option<Progress> {
        self.progress
    }

    /// What may be written and is not, if so much is, in order.
    pub fn unwritten(&self, written: Option<Progress>) -> impl Iterator<Item = &Part> {
        self.order.after(self.progress.max(written), self.confirmed).map(|(_, part)| part)
    }

    /// The most bytes of parts that one transaction takes, unless it takes one part.
    pub fn most() -> u64 {
        MOST
    }

    /// Whether the lane was left: it exited or failed.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// What stands in the topic, read by a producer after its own init.
    fn read(&mut self, standing: Standing) -> Vec<Action> {
        if let Some(higher) = self.owner(standing) {
            return self.exit(higher);
        }
        let most = self.progress.max(self.most);
        if standing.progress < self.progress {
            return self.fail(Refusal::Lost { found: standing.progress, known: self.progress });
        }
        if standing.progress > most {
            return self.fail(Refusal::Ahead { found: standing.progress, most });
        }
        self.progress = standing.progress;
        if standing.attempt != Some(self.attempt) {
            return self.to(State::Claiming, Action::Claim(self.attempt));
        }
        // From here on nobody but us writes.
        (self.most, self.state) = (None, State::Ready);
        let mut actions = Vec::new();
        self.tell(&mut actions);
        self.write(&mut actions);
        actions
    }

    /// A higher attempt that owns the lane.
    fn owner(&self, standing: Standing) -> Option<Attempt> {
        standing.attempt.filter(|owner| *owner > self.attempt)
    }

    /// Writes what comes next, if there is something.
    fn write(&mut self, actions: &mut Vec<Action>) {
        let (mut parts, mut bytes, mut last) = (Vec::new(), 0, None);
        self.full = false;
        for (progress, part) in self.order.after(self.progress, self.confirmed) {
            bytes += part.chunk.length;
            if last.is_some() && bytes > self.room {
                self.full = true;
                break;
            }
            parts.push(part.clone());
            last = Some(progress);
        }
        if let Some(progress) = last {
            self.state = State::Writing(progress);
            actions.push(Action::Write { parts, progress });
        }
    }

    /// Tells how far the lane is written, if that is news. Before the lane is ready for the first time nothing is known.
    fn tell(&mut self, actions: &mut Vec<Action>) {
        if self.told.is_none() && self.state != State::Ready {
            return;
        }
        let next = self.order.after(self.progress, self.confirmed).next();
        let through = next.map_or(self.confirmed, |(next, _)| CheckpointId(next.checkpoint.0 - 1));
        let settled = Settled { through, progress: self.progress };
        if self.told != Some(settled) {
            self.told = Some(settled);
            self.order.forget(through);
            actions.push(Action::Tell(settled));
        }
    }

    fn init(&mut self) -> Vec<Action> {
        self.to(State::Initialising, Action::Init)
    }

    fn exit(&mut self, higher: Attempt) -> Vec<Action> {
        self.to(State::Over, Action::Exit(higher))
    }

    fn fail(&mut self, refusal: Refusal) -> Vec<Action> {
        self.to(State::Over, Action::Fail(refusal))
    }

    fn to(&mut self, state: State, action: Action) -> Vec<Action> {
        self.state = state;
        vec![action]
    }
}
