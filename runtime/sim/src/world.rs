//! A whole run: coordinators, attempts, a store, a broker, and an agenda of all that is on its way between them. One thing
//! happens after the other, and what happens next follows from the seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_dataflow::Barrier;
use flow_model::checkpoint::head::Wanted;
use flow_model::checkpoint::{self, CheckpointId, Incarnation, Manifest};
use flow_protocol::checkpoint::Settings as CheckpointSettings;
use flow_protocol::job::Event as JobEvent;

use crate::Broker;
use crate::attempt::{Attempt, Job};
use crate::broker::{LAST_EPOCH, Producer};
use crate::clock::{Agenda, Clock};
use crate::coordinator::{self, Leader, Work};
use crate::counter::{Counter, MakeFunction};
use crate::dice::Dice;
use crate::faults::Fault;
use crate::input::Input;
use crate::lane::{Reply, identity};
use crate::network::Request;
use crate::oracle::Oracle;
use crate::outbox::{Names, Ticket};
use crate::plant::Plant;
use crate::sink::incarnation;
use crate::store::Store;
use crate::trace::Trace;
use crate::worker::Ask;

/// Faults happen for so long, milliseconds.
const FAULTS: u64 = 4_000;
/// Splits of the input.
const SPLITS: usize = 4;
/// So long after the faults the job has to be finished.
const PATIENCE: u64 = 60_000;
/// So long after the end all that was late has arrived.
const AFTERMATH: u64 = 5_000;

/// What is told to an attempt.
#[derive(Clone, Debug)]
pub enum Control {
    /// Its sources send a barrier; one of its tasks may be deaf.
    Trigger(Barrier, Option<usize>),
    /// Its sources read.
    Release,
    /// Its tasks may go when all rest.
    Finish,
    /// A lane of it makes a request again.
    Retry(u32),
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// An attempt does a piece of its work.
    Work(u32),
    /// A request arrives at the store; whether somebody gets its answer.
    Store(Request, bool),
    /// A coordinator hears of something.
    Heard(u32, JobEvent),
    /// Its deadline may have come.
    Tick(u32),
    /// It deploys an attempt now.
    Deploy(u32, Incarnation, checkpoint::Attempt, Option<Box<Manifest>>, Work),
    /// It stops one.
    Stop(u32, checkpoint::Attempt),
    /// An attempt hears of what became of an upload.
    Uploaded(u32, Ticket, bool),
    /// It is told something.
    Told(u32, Control),
    /// A lane of it hears that a checkpoint is confirmed.
    Confirmed(u32, u32, CheckpointId),
    /// A request of a lane arrives at the broker; whether it gets the answer.
    Broker(Ask, bool),
    /// A lane gets an answer.
    Answered(Ask, Reply),
    /// A transaction of this id was begun long ago by this producer.
    TimedOut(String, Producer),
    /// The broker writes the markers of what is decided.
    Settle,
    /// Something goes wrong.
    Fault(Fault),
    /// Somebody looks whether the job has a coordinator.
    Supervise,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records of the input.
    pub records: u64,
    /// Checkpoints that were confirmed.
    pub checkpoints: u64,
    /// Attempts that HEAD has named.
    pub attempts: u32,
    /// Records of output that are missing at the end.
    pub missing: u64,
    /// Records of output that are there more than once.
    pub duplicated: u64,
    /// The first thing that was wrong, if something was.
    pub wrong: Option<String>,
}

/// A run.
pub struct World {
    pub(crate) job: Job,
    pub(crate) checkpoints: CheckpointSettings,
    /// So many of the last checkpoints stay.
    pub(crate) retained: usize,
    pub(crate) dice: Dice,
    /// From one fault to the next, at most, milliseconds.
    pub(crate) pace: u64,
    /// How rarely requests go wrong: 4 is usual.
    calm: u64,
    pub(crate) clock: Clock,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) trace: Trace,
    /// The life of the job that is wanted.
    pub(crate) incarnation: Incarnation,
    pub(crate) seed: u64,
    /// Its user has canceled it, to deploy it again.
    pub(crate) canceled: bool,
    pub(crate) store: Store,
    /// The store answers nobody until then.
    pub(crate) outage: u64,
    pub(crate) broker: Broker,
    pub(crate) leaders: BTreeMap<u32, Leader>,
    pub(crate) attempts: BTreeMap<u32, Attempt>,
    pub(crate) oracle: Oracle,
    pub(crate) counters: Counters,
    /// The first thing that was wrong.
    pub(crate) wrong: Option<String>,
}

/// Numbers that are given out.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) leaders: u32,
    pub(crate) attempts: u32,
    pub(crate) lives: u32,
    pub(crate) questions: u64,
}

/// A run with the native user code.
pub fn native(seed: u64, plant: Plant) -> World {
    World::new(seed, plant, Box::new(|| Box::<Counter>::default()))
}

impl World {
    /// A run of a seed with this user code.
    pub fn new(seed: u64, plant: Plant, function: Box<MakeFunction>) -> World {
        let mut dice = Dice::new(seed);
        let (clock, names) = (Clock::default(), Names::default());
        let millis = dice.between(200, 3_500);
        let input = Arc::new(Input::new(&mut dice, SPLITS, millis));
        // A cache that holds next to nothing, or all.
        let cache = if dice.one_in(2) { dice.between(1 << 10, 8 << 10) } else { 1 << 20 } as usize;
        let part = dice.between(1, 30) as usize;
        let pace = [100, 500, 1_500, 4_000][dice.roll(4) as usize];
        let job = Job { input: input.clone(), clock: clock.clone(), names, function, plant, cache, part };
        let mut world = World {
            job,
            agenda: Agenda::new(clock.clone()),
            clock,
            trace: Trace::default(),
            incarnation: incarnation(seed, 0),
            seed,
            canceled: false,
            store: Store::default(),
            outage: 0,
            broker: Broker::default(),
            leaders: BTreeMap::new(),
            attempts: BTreeMap::new(),
            oracle: Oracle::new(input),
            counters: Counters::default(),
            wrong: None,
            pace,
            calm: [1, 4, 4, 16][dice.roll(4) as usize],
            checkpoints: coordinator::checkpoints(&mut dice),
            retained: dice.between(1, 3) as usize,
            dice,
        };
        world.agenda.after(0, Event::Supervise);
        world.burn_epochs();
        let first = world.dice.between(0, pace);
        world.plan_fault(first);
        world
    }

    /// Leaves a lane only some epochs of its producer id, in some runs: then it gets another one.
    fn burn_epochs(&mut self) {
        if self.dice.one_in(8) {
            let id = identity(&self.incarnation, 0).transactional_id();
            for _ in self.dice.between(1, 20)..LAST_EPOCH as u64 {
                // Nothing of it is open, so it is not refused.
                _ = self.broker.init(&id);
            }
        }
    }

    /// Runs it to its end.
    pub fn run(&mut self) -> Outcome {
        let mut until = FAULTS + PATIENCE;
        let mut finished = false;
        while self.wrong.is_none()
            && let Some(event) = self.agenda.pop()
        {
            if self.clock.elapsed() > until {
                break;
            }
            self.happen(event);
            if !finished && self.is_finished() {
                finished = true;
                until = self.clock.elapsed() + AFTERMATH;
            }
        }
        if !finished && self.wrong.is_none() {
            self.wrong = Some(format!("the job is not finished {} s after the last fault", PATIENCE / 1000));
        }
        let (missing, duplicated) = self.oracle.compare(&self.broker);
        if missing + duplicated > 0 && self.wrong.is_none() {
            self.wrong = Some(format!("{missing} records are missing, {duplicated} duplicated"));
        }
        if let Some(wrong) = &self.wrong {
            let elapsed = self.clock.elapsed();
            self.trace.line(elapsed, format_args!("WRONG: {wrong}"));
        }
        Outcome {
            records: self.job.input.records(),
            checkpoints: self.oracle.confirmed(),
            attempts: self.store.head().map_or(0, |(head, _)| head.attempt.0),
            missing,
            duplicated,
            wrong: self.wrong.clone(),
        }
    }

    /// What happened, line by line.
    pub fn trace(&self) -> &str {
        self.trace.text()
    }

    /// HEAD says that the job is done.
    fn is_finished(&self) -> bool {
        let (wanted, incarnation) = (Wanted::Finished, &self.incarnation);
        self.store.head().is_some_and(|(head, _)| head.wanted == wanted && &head.incarnation == incarnation)
    }

    /// Faults may still happen.
    pub(crate) fn is_faulty(&self) -> bool {
        self.clock.elapsed() < FAULTS
    }

    /// A chance of one in about so many, as long as faults happen.
    pub(crate) fn mishap(&mut self, n: u64) -> bool {
        self.is_faulty() && self.dice.one_in((n * self.calm / 4).max(2))
    }

    /// Something is wrong that must never be.
    pub(crate) fn broken(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// Holds what the oracle says against the run.
    pub(crate) fn check(&mut self, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.broken(what);
        }
    }

    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        let elapsed = self.clock.elapsed();
        self.trace.line(elapsed, what);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Work(attempt) => return self.work(attempt),
            Event::Tick(leader) => return self.tick(leader),
            Event::Supervise => return self.supervise(),
            _ => {}
        }
        self.note(format_args!("{event:?}"));
        match event {
            Event::Work(_) | Event::Tick(_) | Event::Supervise => {}
            Event::Store(request, heard) => self.arrived(request, heard),
            Event::Heard(leader, event) => self.heard(leader, event),
            Event::Deploy(leader, life, attempt, from, work) => self.deploy(leader, &life, attempt, from, work),
            Event::Stop(leader, attempt) => self.stop(leader, attempt),
            Event::Uploaded(attempt, ticket, stored) => self.uploaded(attempt, ticket, stored),
            Event::Told(attempt, control) => self.told(attempt, control),
            Event::Confirmed(attempt, lane, checkpoint) => self.confirmed(attempt, lane, checkpoint),
            Event::Broker(ask, heard) => self.at_broker(ask, heard),
            Event::Answered(ask, reply) => self.answered(ask, reply),
            Event::Settle => {
                self.broker.settle();
                let head = self.store.head().map(|(head, _)| head.clone());
                let verdict = self.oracle.committed(&self.broker, head.as_ref());
                self.check(verdict);
            }
            Event::TimedOut(id, by) => self.timed_out(&id, by),
            Event::Fault(fault) => self.fault(fault),
        }
    }
}
