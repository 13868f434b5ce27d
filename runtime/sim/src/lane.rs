//! The client of one lane: what the real lane machine wants, as single requests to the broker, and what their answers mean.

use std::collections::VecDeque;

use flow_dataflow::lane::{Action, Event, Identity, Lane, Outcome, Settled, Standing};
use flow_model::checkpoint::Incarnation;
use flow_model::checkpoint::snapshot::{Part, Progress};

use crate::attempt::name;
use crate::broker::{Error, Producer, Record, Seen};
use crate::plant::Plant;

/// The first partition of the progress topic; those before it are of the topic that is written.
pub const PROGRESS: u32 = 100;

/// Who a lane is.
pub fn identity(incarnation: &Incarnation, index: u32) -> Identity {
    Identity { incarnation: incarnation.clone(), sink: name("out"), index }
}

/// A request to the broker.
#[derive(Clone, Debug)]
pub enum Step {
    /// Give the id to a new producer.
    Init,
    /// Read the lane's partition of the progress topic, at least to this mark; none: to its high watermark of now.
    Read(Option<usize>),
    /// Append records to a partition.
    Produce(Producer, u32, Vec<Record>),
    /// Commit.
    End(Producer),
}

/// What the broker answers; none: nothing came in time.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To init.
    Producer(Producer),
    /// To read: what there is.
    Seen(Seen),
    /// To the others.
    Done,
    /// It is refused.
    Refused(Error),
    /// Nothing came in time.
    Nothing,
}

/// What follows for the lane.
#[derive(Debug)]
pub enum Effect {
    /// Read these parts and call [`Client::write`].
    Fetch(Vec<Part>, Progress),
    /// It is written so far.
    Settled(Settled),
    /// It leaves, for good: why, and whether a higher attempt is the reason.
    Left(String, bool),
}

/// What is to be sent when the one before was answered.
#[derive(Debug)]
enum Next {
    Init,
    Read(Option<usize>),
    Produce(u32, Vec<Record>),
    End,
}

/// One lane of one attempt.
pub struct Client {
    /// Which.
    pub identity: Identity,
    machine: Lane,
    steps: VecDeque<Next>,
    producer: Option<Producer>,
    /// The number of the request that is not answered.
    waiting: Option<u64>,
    requests: u64,
    /// It was fenced, and rests before it calls init.
    pub fenced: bool,
    /// Its last transaction was committed, as far as it knows.
    fresh: bool,
    /// What it remembers, where a planted fault believes that.
    memory: Standing,
    plant: Plant,
}

impl Client {
    /// Of a lane that was opened just now, with its first actions.
    pub fn new(
        identity: Identity,
        (machine, actions): (Lane, Vec<Action>),
        progress: Option<Progress>,
        plant: Plant,
    ) -> Client {
        let mut client = Client {
            identity,
            machine,
            steps: VecDeque::new(),
            producer: None,
            waiting: None,
            requests: 0,
            fenced: false,
            fresh: false,
            memory: Standing { progress, attempt: None },
            plant,
        };
        // It begins with init, of which nothing follows yet.
        client.take_up(actions);
        client
    }

    /// The partition that says how far it came.
    pub fn partition(&self) -> u32 {
        PROGRESS + self.identity.index
    }

    /// Whether it was left.
    pub fn is_over(&self) -> bool {
        self.machine.is_over()
    }

    /// Something happened to the lane.
    pub fn handle(&mut self, event: Event) -> Vec<Effect> {
        let actions = self.machine.handle(event);
        self.take_up(actions)
    }

    /// The next request, with its number, if the one before was answered.
    pub fn request(&mut self) -> Option<(u64, Step)> {
        if self.waiting.is_some() {
            return None;
        }
        let by = self.producer;
        let step = match self.steps.pop_front()? {
            Next::Init => Step::Init,
            Next::Read(mark) => Step::Read(mark),
            Next::Produce(partition, records) => Step::Produce(by?, partition, records),
            Next::End => Step::End(by?),
        };
        self.requests += 1;
        self.waiting = Some(self.requests);
        Some((self.requests, step))
    }

    /// The records of a transaction that [`Effect::Fetch`] asked for.
    pub fn write(&mut self, parts: Vec<Vec<(u32, Record)>>, progress: Progress) {
        for (partition, record) in parts.into_iter().flatten() {
            match self.steps.back_mut() {
                Some(Next::Produce(last, records)) if *last == partition => records.push(record),
                _ => self.steps.push_back(Next::Produce(partition, vec![record])),
            }
        }
        let last = record(self.identity.progress(progress));
        self.steps.push_back(Next::Produce(self.partition(), vec![last]));
        self.steps.push_back(Next::End);
        self.memory.progress = Some(progress);
    }

    /// An answer came. One that nobody waits for changes nothing.
    pub fn answered(&mut self, number: u64, step: &Step, reply: Reply) -> Vec<Effect> {
        if self.waiting.take_if(|waiting| *waiting == number).is_none() {
            return Vec::new();
        }
        let again = |step: &Step| match step {
            Step::Init => Next::Init,
            Step::Read(mark) => Next::Read(*mark),
            Step::Produce(_, partition, records) => Next::Produce(*partition, records.clone()),
            Step::End(_) => Next::End,
        };
        let event = match (step, reply) {
            (step, Reply::Refused(Error::Concurrent)) => {
                self.steps.push_front(again(step));
                return Vec::new();
            }
            (Step::Init, Reply::Producer(producer)) => {
                self.producer = Some(producer);
                Event::Initialised(Outcome::Done(()))
            }
            (Step::Init, reply) => Event::Initialised(self.failed(&reply)),
            (Step::Read(mark), Reply::Seen(seen)) => {
                let mark = mark.unwrap_or(seen.high);
                if seen.end < mark {
                    self.steps.push_front(Next::Read(Some(mark)));
                    return Vec::new();
                }
                match self.standing(&seen) {
                    Ok(standing) => Event::Read(Outcome::Done(standing)),
                    Err(why) => Event::Read(Outcome::Refused(why)),
                }
            }
            (Step::Read(_), _) => Event::Read(Outcome::Unknown),
            (Step::Produce(..), Reply::Done) => return Vec::new(),
            (Step::End(_), Reply::Done) => Event::Committed(Outcome::Done(())),
            (Step::Produce(..) | Step::End(_), reply) => Event::Committed(self.failed(&reply)),
        };
        if let Event::Committed(outcome) = &event {
            self.fresh = *outcome == Outcome::Done(());
            // The rest of a transaction that failed.
            self.steps.clear();
        }
        self.handle(event)
    }

    fn failed(&mut self, reply: &Reply) -> Outcome<()> {
        self.fenced = matches!(reply, Reply::Refused(Error::Fenced));
        if self.fenced { Outcome::Fenced } else { Outcome::Unknown }
    }

    fn standing(&self, seen: &Seen) -> Result<Standing, String> {
        if self.plant == Plant::TrustsItsMemory {
            return Ok(self.memory);
        }
        let mut standing = Standing::default();
        for Record { key, value } in &seen.records {
            self.identity.read(&mut standing, key, value)?;
        }
        if self.plant == Plant::ClaimsNothing {
            standing.attempt = self.memory.attempt;
        }
        Ok(standing)
    }

    fn take_up(&mut self, actions: Vec<Action>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for action in actions {
            match action {
                Action::Init if self.plant == Plant::KeepsItsProducer && self.fresh && self.producer.is_some() => {
                    effects.extend(self.handle(Event::Initialised(Outcome::Done(()))));
                }
                Action::Init => self.steps.push_back(Next::Init),
                Action::Read => self.steps.push_back(Next::Read(None)),
                Action::Claim(attempt) => {
                    self.memory.attempt = Some(attempt);
                    if self.plant == Plant::ClaimsNothing {
                        effects.extend(self.handle(Event::Committed(Outcome::Done(()))));
                        continue;
                    }
                    let claim = record(self.identity.attempt(attempt));
                    self.steps.push_back(Next::Produce(self.partition(), vec![claim]));
                    self.steps.push_back(Next::End);
                }
                Action::Write { parts, progress } => effects.push(Effect::Fetch(parts, progress)),
                Action::Tell(settled) => effects.push(Effect::Settled(settled)),
                Action::Exit(higher) => effects.push(Effect::Left(format!("attempt {higher} owns it"), true)),
                Action::Fail(refusal) => effects.push(Effect::Left(refusal.to_string(), false)),
            }
        }
        effects
    }
}

fn record((key, value): (String, String)) -> Record {
    Record { key: key.into(), value: value.into() }
}
