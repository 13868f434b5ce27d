//! What goes wrong in a run beside single requests: processes that die, sleep and wake, transactions that time out, a store that is
//! out, a second coordinator.

use flow_protocol::job::{Event as JobEvent, Failure, State};
use flow_protocol::restart::Kind;

use crate::attempt::LANES;
use crate::lane::identity;
use crate::world::{Event, World};

/// How often somebody looks whether the job has a coordinator, milliseconds.
const LOOK: u64 = 40;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The process of a coordinator dies; its attempt dies with it, or lives on without it.
    Crash {
        /// It lives on.
        alone: bool,
    },
    /// An attempt is lost: it dies, or is only out of reach.
    Lose {
        /// It lives on.
        alone: bool,
    },
    /// A coordinator sleeps.
    SleepLeader(u64),
    /// An attempt sleeps.
    SleepAttempt(u64),
    /// A lane sleeps.
    SleepLane(u64),
    /// The broker gives up what a lane has open.
    TimeOut,
    /// The store answers nobody.
    Outage(u64),
    /// A second coordinator begins.
    Second,
    /// Somebody wants a checkpoint.
    Ask,
    /// Somebody wants the job stopped, and deploys it again when it is.
    Cancel,
}

impl World {
    pub(crate) fn plan_fault(&mut self, after: u64) {
        let nap = self.dice.between(20, 900);
        let alone = self.dice.one_in(2);
        let fault = match self.dice.roll(22) {
            0..=3 => Fault::Crash { alone },
            4..=6 => Fault::Lose { alone },
            7..=8 => Fault::SleepLeader(nap),
            9..=10 => Fault::SleepAttempt(nap),
            11..=13 => Fault::SleepLane(nap),
            14..=15 => Fault::TimeOut,
            16 => Fault::Outage(nap / 2),
            17 => Fault::Second,
            18 if !self.canceled && self.clock.elapsed() > 1_000 => Fault::Cancel,
            _ => Fault::Ask,
        };
        self.agenda.after(after, Event::Fault(fault));
    }

    /// One of some numbers.
    fn pick(&mut self, from: Vec<u32>) -> Option<u32> {
        if from.is_empty() { None } else { Some(from[self.dice.roll(from.len() as u64) as usize]) }
    }

    fn a_leader(&mut self) -> Option<u32> {
        let all = self.leaders.keys().copied().collect();
        self.pick(all)
    }

    fn an_attempt(&mut self) -> Option<u32> {
        let all = self.attempts.keys().copied().collect();
        self.pick(all)
    }

    /// The broker gives up what a lane has open. False if there is nothing.
    fn time_out(&mut self) -> bool {
        let ids = (0..LANES).map(|lane| identity(&self.incarnation, lane).transactional_id());
        let Some(id) = ids.into_iter().find(|id| self.broker.open(id).is_some()) else { return false };
        self.note(format_args!("the broker gives up what {id} has open"));
        self.broker.time_out(&id);
        true
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        if !self.is_faulty() {
            return;
        }
        if let Fault::TimeOut = fault
            && !self.time_out()
        {
            // Until something is open.
            return self.agenda.after(3, Event::Fault(fault));
        }
        let pause = self.dice.between(10, self.pace);
        self.plan_fault(pause);
        let now = self.clock.now();
        match fault {
            Fault::Crash { alone } => {
                let Some(leader) = self.a_leader() else { return };
                self.note(format_args!("coordinator {leader} dies"));
                let gone = self.leaders.remove(&leader).and_then(|leader| leader.current);
                if let (Some(key), false) = (gone, alone) {
                    self.note(format_args!("and {key} with it"));
                    self.attempts.remove(&key);
                }
            }
            Fault::Lose { alone } => {
                let Some(key) = self.an_attempt() else { return };
                self.note(format_args!("{key} is lost"));
                let (leader, attempt) = (self.attempts[&key].leader, self.attempts[&key].number);
                if !alone {
                    self.attempts.remove(&key);
                }
                if let Some(leader) = self.leaders.get_mut(&leader) {
                    leader.current.take_if(|current| *current == key);
                }
                let failure = Failure { kind: Kind::Retryable, reason: "its worker is lost".into() };
                self.agenda.after(20, Event::Heard(leader, JobEvent::Failed { attempt, failure }));
                self.agenda.after(20, Event::Heard(leader, JobEvent::Stopped { attempt }));
            }
            Fault::SleepLeader(nap) => {
                if let Some(leader) = self.a_leader().and_then(|leader| self.leaders.get_mut(&leader)) {
                    leader.asleep = leader.asleep.max(now + nap);
                }
            }
            Fault::SleepAttempt(nap) => {
                if let Some(attempt) = self.an_attempt().and_then(|key| self.attempts.get_mut(&key)) {
                    attempt.asleep = attempt.asleep.max(now + nap);
                }
            }
            Fault::SleepLane(nap) => {
                let lane = self.dice.roll(LANES.into()) as usize;
                if let Some(attempt) = self.an_attempt().and_then(|key| self.attempts.get_mut(&key)) {
                    attempt.lanes_asleep[lane] = attempt.lanes_asleep[lane].max(now + nap);
                }
            }
            Fault::TimeOut => {}
            Fault::Outage(nap) => self.outage = now + nap,
            Fault::Second => self.lead(),
            Fault::Ask => {
                self.counters.questions += 1;
                let question = JobEvent::Checkpoint(self.counters.questions);
                if let Some(leader) = self.a_leader() {
                    self.heard(leader, question);
                }
            }
            Fault::Cancel => {
                if let Some(leader) = self.a_leader() {
                    self.canceled = true;
                    self.heard(leader, JobEvent::Cancel);
                }
            }
        }
    }

    /// Whoever restarts processes looks after the coordinators.
    pub(crate) fn supervise(&mut self) {
        let now = self.clock.now();
        self.leaders.retain(|_, leader| !matches!(leader.job.state(), State::Over(_)));
        let is_led = self.leaders.values().any(|leader| leader.asleep <= now);
        if self.leaders.is_empty() || !is_led && self.dice.one_in(4) {
            self.lead();
        }
        self.agenda.after(LOOK, Event::Supervise);
    }
}
