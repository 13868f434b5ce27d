//! The shell of the real protocol: hands a job what happens and performs what it wants, in order, as the real driver does.

use std::collections::BTreeSet;

use flow_dataflow::{Barrier, Error};
use flow_model::checkpoint::head::Wanted;
use flow_model::checkpoint::{self, CheckpointId, Incarnation, Manifest};
use flow_protocol::checkpoint::Settings as CheckpointSettings;
use flow_protocol::job::{Action, Beginning, End, Event as JobEvent, Failure, Former, Job, Life, Owed, Settings};
use flow_protocol::restart::{self, Kind};

use crate::attempt::{Attempt, LANES, contributions};
use crate::dice::Dice;
use crate::network::Request;
use crate::plant::Plant;
use crate::sink::incarnation;
use crate::world::{Control, Event, World};

/// What an attempt is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// All that it is for.
    All,
    /// Its lanes write what is owed; its sources are never released.
    Settle,
}

/// A coordinator, or one that thinks that it is.
pub struct Leader {
    pub(crate) job: Job,
    /// It hears nothing until then.
    pub(crate) asleep: u64,
    /// The attempt that it has deployed.
    pub(crate) current: Option<u32>,
    /// Attempts that are to be stopped as soon as they are there.
    unwanted: BTreeSet<checkpoint::Attempt>,
}

/// How checkpoints of a run are taken.
pub(crate) fn checkpoints(dice: &mut Dice) -> CheckpointSettings {
    CheckpointSettings {
        interval: dice.between(20, 150),
        timeout: dice.between(200, 600),
        min_pause: dice.between(0, 30),
        concurrent: dice.between(1, 3) as usize,
        tolerated: 3,
    }
}

fn settings(leader: u32, checkpoints: CheckpointSettings, retained: usize) -> Settings {
    Settings {
        pipeline: "sim".parse().expect("a name"),
        key_groups: Default::default(),
        contributions: contributions(),
        checkpoints,
        restart: restart::Settings { attempts: u32::MAX, pause: 10, longest: 100 },
        retained,
        leader: format!("coordinator {leader}"),
        head: "/store/p/HEAD".to_owned(),
        cluster: None,
    }
}

pub(crate) fn kind(error: &Error) -> Kind {
    match error {
        Error::Plugin(_) => Kind::Plugin,
        Error::Retryable(_) => Kind::Retryable,
        Error::Fatal(_) => Kind::Fatal,
        Error::Closed(_) => Kind::Closed,
    }
}

impl World {
    /// A process begins to lead, by what HEAD says now.
    pub(crate) fn lead(&mut self) {
        let head = self.store.head().cloned();
        let beginning = match head.as_ref().map(|(head, _)| (head.wanted, head.incarnation == self.incarnation)) {
            // Canceled, and deployed again under its name: another life.
            Some((Wanted::Canceled, true)) => {
                self.counters.lives += 1;
                self.incarnation = incarnation(self.seed, self.counters.lives);
                Beginning::Deployed(self.life())
            }
            None | Some((Wanted::Canceled, false)) => Beginning::Deployed(self.life()),
            Some((Wanted::Running, _)) => Beginning::Resumed(self.life()),
            Some((Wanted::Finished | Wanted::Failed, _)) => return,
        };
        self.counters.leaders += 1;
        let number = self.counters.leaders;
        let unique = u128::from(self.dice.roll(u64::MAX)) << 32 | u128::from(number);
        let now = self.clock.now();
        let (job, actions) =
            Job::new(settings(number, self.checkpoints.clone(), self.retained), beginning, (unique, now), head);
        self.note(format_args!("coordinator {number} begins"));
        self.leaders.insert(number, Leader { job, asleep: 0, current: None, unwanted: BTreeSet::new() });
        self.perform(number, actions);
    }

    /// A life from nothing, when the one before owes no output any more.
    fn life(&self) -> Life {
        let follows = self.store.head().map(|(head, _)| Former::of(head));
        Life { incarnation: self.incarnation.clone(), follows, origin: None, owed: Owed::Write, take_over: false }
    }

    /// A coordinator hears of something.
    pub(crate) fn heard(&mut self, number: u32, mut event: JobEvent) {
        let now = self.clock.now();
        let Some(leader) = self.leaders.get_mut(&number) else { return };
        if leader.asleep > now {
            return self.agenda.at_waking(leader.asleep, Event::Heard(number, event));
        }
        if self.job.plant == Plant::TakesStaleAcknowledgements
            && let JobEvent::Acknowledged { attempt, checkpoint, .. } = &mut event
            && let Some(head) = leader.job.head()
        {
            *attempt = head.attempt;
            *checkpoint = CheckpointId::new(head.attempt, checkpoint.counter());
        }
        let actions = leader.job.handle(now, event);
        self.perform(number, actions);
    }

    pub(crate) fn tick(&mut self, number: u32) {
        let now = self.clock.now();
        if self.leaders.get(&number).is_some_and(|leader| leader.job.next_deadline().is_some_and(|due| due <= now)) {
            self.note(format_args!("coordinator {number}: its deadline has come"));
            self.heard(number, JobEvent::Tick);
        }
    }

    fn perform(&mut self, number: u32, actions: Vec<Action>) {
        for action in actions {
            self.note(format_args!("coordinator {number} > {action:?}"));
            self.act(number, action);
        }
        if let Some(due) = self.leaders.get(&number).and_then(|leader| leader.job.next_deadline()) {
            // A coordinator that is woken looks at the clock first of all.
            let awake = self.leaders.get(&number).map_or(0, |leader| leader.asleep);
            self.agenda.at(due.max(awake), Event::Tick(number));
        }
    }

    fn act(&mut self, number: u32, action: Action) {
        match action {
            Action::Swap { head, expected } => {
                if self.job.plant == Plant::ConfirmsBeforeTheSwap
                    && let Some(latest) = head.latest
                {
                    self.confirm(number, latest);
                }
                self.send(Request::Swap(number, head, expected));
            }
            Action::ReadHead => self.send(Request::ReadHead(number)),
            Action::LoadManifest(incarnation, checkpoint) => {
                self.send(Request::Load(number, incarnation, checkpoint));
            }
            Action::StoreManifest(manifest) => self.send(Request::Manifest(number, manifest)),
            Action::Delete(objects) => self.send(Request::Delete(number, objects)),
            Action::Sweep { incarnation, until, kept } => self.send(Request::Sweep(incarnation, until, kept)),
            Action::Deploy { incarnation, attempt, from } => {
                let delay = self.dice.between(5, 80);
                self.agenda.after(delay, Event::Deploy(number, incarnation, attempt, from, Work::All));
            }
            Action::Settle { incarnation, attempt, from, .. } => {
                let delay = self.dice.between(5, 80);
                self.agenda.after(delay, Event::Deploy(number, incarnation, attempt, Some(from), Work::Settle));
            }
            Action::Release { attempt } => self.order(number, attempt, Control::Release),
            Action::Trigger { attempt, checkpoint, confirmed } => {
                self.check_settled(number);
                let deaf = self.mishap(25).then(|| self.dice.roll(5) as usize);
                self.order(number, attempt, Control::Trigger(Barrier { checkpoint, confirmed }, deaf));
            }
            Action::Confirm { checkpoint, .. } => self.confirm(number, checkpoint),
            Action::Finish { attempt } => self.order(number, attempt, Control::Finish),
            Action::Cancel { attempt } => {
                let delay = self.dice.between(1, 30);
                self.agenda.after(delay, Event::Stop(number, attempt));
            }
            Action::Ended(end) => self.ended(number, end),
            // Nobody asks for savepoints here, and what a leader deploys ends with it.
            Action::Find { .. }
            | Action::Adopt { .. }
            | Action::Hold { .. }
            | Action::Accepted(..)
            | Action::SavepointOver(..) => {}
            Action::Answer(..) | Action::Abandoned(..) | Action::Tell(..) => {}
        }
    }

    /// The job of a coordinator is over. Where it is not the one that leads any more, that means nothing.
    fn ended(&mut self, number: u32, end: End) {
        match end {
            End::Finished | End::Settled | End::Deposed(_) | End::Refused(_) => {}
            End::Canceled if self.canceled => {}
            End::Canceled => self.broken(format!("coordinator {number} canceled the job")),
            End::Failed(failure) => {
                self.broken(format!("coordinator {number} gave the job up: {}", failure.reason));
            }
        }
    }

    /// Tells the attempt of a coordinator something, a little later, in order.
    fn order(&mut self, number: u32, attempt: checkpoint::Attempt, control: Control) {
        let delay = self.dice.between(0, 10);
        let Some(key) = self.leaders.get(&number).and_then(|leader| leader.current) else { return };
        let Some(running) = self.attempts.get_mut(&key).filter(|running| running.number == attempt) else { return };
        let due = (self.clock.now() + delay).max(running.told_until);
        running.told_until = due;
        self.agenda.at(due, Event::Told(key, control));
    }

    fn confirm(&mut self, number: u32, checkpoint: CheckpointId) {
        let Some(key) = self.leaders.get(&number).and_then(|leader| leader.current) else { return };
        for lane in 0..LANES {
            let delay = if self.mishap(10) { self.dice.between(50, 800) } else { self.dice.between(0, 10) };
            self.agenda.after(delay, Event::Confirmed(key, lane, checkpoint));
        }
    }

    /// No barrier before every lane of the restored checkpoint is settled.
    fn check_settled(&mut self, number: u32) {
        let Some(key) = self.leaders.get(&number).and_then(|leader| leader.current) else { return };
        if let Some(from) = self.attempts.get(&key).and_then(|attempt| attempt.from.as_deref()) {
            let verdict = self.oracle.settled(from, &self.broker);
            self.check(verdict);
        }
    }

    /// The tasks of an attempt are made.
    pub(crate) fn deploy(
        &mut self,
        number: u32,
        incarnation: &Incarnation,
        attempt: checkpoint::Attempt,
        from: Option<Box<Manifest>>,
        work: Work,
    ) {
        let now = self.clock.now();
        let Some(leader) = self.leaders.get_mut(&number) else { return };
        if leader.asleep > now {
            let at = leader.asleep;
            return self.agenda.at_waking(at, Event::Deploy(number, incarnation.clone(), attempt, from, work));
        }
        if leader.unwanted.remove(&attempt) {
            return self.heard(number, JobEvent::Stopped { attempt });
        }
        let dice = self.dice.fork();
        let verdict =
            self.oracle.deployed(incarnation, attempt, from.as_deref(), self.store.head().map(|(head, _)| head));
        self.check(verdict);
        let made = Attempt::deploy(&self.job, &self.store, (number, incarnation, attempt), from, dice);
        match made {
            Ok(made) => {
                self.counters.attempts += 1;
                let key = self.counters.attempts;
                self.attempts.insert(key, made);
                if let Some(leader) = self.leaders.get_mut(&number) {
                    leader.current = Some(key);
                }
                self.note(format_args!("coordinator {number} has deployed attempt {attempt} as {key}"));
                self.agenda.after(0, Event::Work(key));
                for lane in 0..LANES {
                    self.pump(key, lane);
                }
                if work == Work::All {
                    self.heard(number, JobEvent::Started { attempt });
                }
            }
            Err(error) => {
                if self.is_current(incarnation, attempt) {
                    self.broken(format!("attempt {attempt} can't be deployed: {error}"));
                }
                let failure = Failure { kind: kind(&error), reason: error.to_string() };
                self.heard(number, JobEvent::Failed { attempt, failure });
                self.heard(number, JobEvent::Stopped { attempt });
            }
        }
    }

    /// Whether an attempt is the one that HEAD names.
    pub(crate) fn is_current(&self, incarnation: &Incarnation, attempt: checkpoint::Attempt) -> bool {
        self.store.head().is_some_and(|(head, _)| head.attempt == attempt && &head.incarnation == incarnation)
    }

    /// A coordinator has an attempt stopped. It may be out of reach, and live on.
    pub(crate) fn stop(&mut self, number: u32, attempt: checkpoint::Attempt) {
        let Some(leader) = self.leaders.get_mut(&number) else { return };
        let key = leader.current.filter(|key| self.attempts.get(key).is_some_and(|running| running.number == attempt));
        match key {
            Some(key) => {
                leader.current = None;
                if !self.mishap(3) {
                    self.attempts.remove(&key);
                }
                self.heard(number, JobEvent::Stopped { attempt });
            }
            // It is not there yet, or not any more.
            None => _ = leader.unwanted.insert(attempt),
        }
    }
}
