//! The shell of attempts: lets them work, carries what they want to the store, the broker and their coordinator, and brings back
//! the answers.

use flow_dataflow::Error;
use flow_dataflow::lane::Event as LaneEvent;
use flow_model::checkpoint::snapshot::{Part, Progress};
use flow_model::checkpoint::{CheckpointId, Incarnation};
use flow_protocol::job::{Event as JobEvent, Failure};
use flow_protocol::restart::Kind;

use crate::attempt::{Attempt, name};
use crate::broker;
use crate::coordinator::kind;
use crate::lane::{Effect, PROGRESS, Reply, Step, identity};
use crate::network::Request;
use crate::outbox::{Ticket, Wish};
use crate::store::Body;
use crate::world::{Control, Event, World};

/// Whoever asks the broker waits so long, milliseconds.
const TIMEOUT: u64 = 120;
/// The broker gives a transaction up that is open for so long, milliseconds.
const TRANSACTION: u64 = 1_500;
/// Until a request is made again that only has to wait.
const AGAIN: u64 = 15;

/// A request of a lane.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The life of the job.
    incarnation: Incarnation,
    attempt: u32,
    lane: u32,
    /// Which of its requests.
    number: u64,
    step: Step,
}

impl World {
    /// An attempt, if it is there and awake; else what was to happen waits, or is dropped with it.
    fn awake(&mut self, key: u32, lane: Option<u32>, event: impl FnOnce() -> Event) -> Option<&mut Attempt> {
        let attempt = self.attempts.get(&key)?;
        let of_lane = lane.map_or(0, |lane| attempt.lanes_asleep[lane as usize]);
        let until = attempt.asleep.max(of_lane);
        if until > self.clock.now() {
            self.agenda.at_waking(until, event());
            return None;
        }
        self.attempts.get_mut(&key)
    }

    pub(crate) fn work(&mut self, key: u32) {
        let now = self.clock.now();
        let Some(attempt) = self.awake(key, None, || Event::Work(key)) else { return };
        let stepped = attempt.step(now);
        let finished = attempt.finishing && attempt.is_resting();
        let number = attempt.number;
        let pause = match stepped {
            Err(error) => {
                self.note(format_args!("attempt {number} fails: {error}"));
                return self.fail(key, kind(&error), &error.to_string());
            }
            Ok(true) => self.dice.roll(4),
            Ok(false) => self.dice.between(2, 12),
        };
        self.carry(key);
        if finished {
            self.tell(key, JobEvent::Stopped { attempt: number });
            self.attempts.remove(&key);
            return;
        }
        self.agenda.after(pause, Event::Work(key));
    }

    /// Carries what an attempt wants to where it belongs.
    fn carry(&mut self, key: u32) {
        let Some(attempt) = self.attempts.get(&key) else { return };
        for wish in attempt.wishes() {
            match wish {
                Wish::Upload(ticket, name, body) => self.send(Request::Put(key, ticket, name, body)),
                Wish::Tell(event) => self.tell(key, event),
                Wish::Sealed(subtask, segment) => {
                    self.note(format_args!("{key} seals {segment:?} of subtask {subtask}"));
                    let lane = subtask as u32 % crate::attempt::LANES;
                    let event = LaneEvent::Sealed { subtask: subtask as u32, segment };
                    self.lane_hears(key, lane, event);
                }
            }
        }
    }

    /// Tells the coordinator of an attempt something, a little later, in order. Acknowledgements may be lost or come twice.
    fn tell(&mut self, key: u32, event: JobEvent) {
        let may_be_lost = matches!(event, JobEvent::Acknowledged { .. } | JobEvent::Declined { .. });
        if may_be_lost && self.mishap(150) {
            return self.note(format_args!("lost: {event:?}"));
        }
        let again = matches!(event, JobEvent::Acknowledged { .. } | JobEvent::Progressed { .. }) && self.mishap(20);
        let delay = self.dice.between(0, 10);
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let due = (self.clock.now() + delay).max(attempt.tells_until);
        attempt.tells_until = due;
        let leader = attempt.leader;
        if again {
            let later = due + self.dice.roll(1000);
            self.agenda.at(later, Event::Heard(leader, event.clone()));
        }
        self.agenda.at(due, Event::Heard(leader, event));
    }

    /// An attempt is over: it tells so, and is gone.
    pub(crate) fn fail(&mut self, key: u32, kind: Kind, reason: &str) {
        let Some(attempt) = self.attempts.get(&key) else { return };
        let number = attempt.number;
        let failure = Failure { kind, reason: reason.to_owned() };
        self.tell(key, JobEvent::Failed { attempt: number, failure });
        self.tell(key, JobEvent::Stopped { attempt: number });
        let leader = self.attempts.remove(&key).map(|attempt| attempt.leader);
        if let Some(leader) = leader.and_then(|leader| self.leaders.get_mut(&leader)) {
            leader.current.take_if(|current| *current == key);
        }
    }

    pub(crate) fn uploaded(&mut self, key: u32, ticket: Ticket, stored: bool) {
        let Some(attempt) = self.awake(key, None, || Event::Uploaded(key, ticket.clone(), stored)) else { return };
        match (ticket, stored) {
            (Ticket::Run(subtask, number), true) => attempt.state(subtask).uploaded(number, Ok(())),
            (Ticket::Run(subtask, number), false) => {
                let error = Error::Retryable("the store gave no answer".into());
                attempt.state(subtask).uploaded(number, Err(error));
            }
            (Ticket::Part(subtask, object), true) => attempt.sink(subtask).stored(&object),
            (Ticket::Part(..), false) => return self.fail(key, Kind::Retryable, "a part is not stored"),
        }
        self.carry(key);
    }

    pub(crate) fn told(&mut self, key: u32, control: Control) {
        let Some(attempt) = self.awake(key, None, || Event::Told(key, control.clone())) else { return };
        match control {
            Control::Trigger(barrier, deaf) => attempt.trigger(barrier, deaf),
            Control::Release => attempt.release(),
            Control::Finish => attempt.finishing = true,
            Control::Retry(lane) => self.pump(key, lane),
        }
    }

    pub(crate) fn confirmed(&mut self, key: u32, lane: u32, checkpoint: CheckpointId) {
        if self.awake(key, Some(lane), || Event::Confirmed(key, lane, checkpoint)).is_some() {
            self.lane_hears(key, lane, LaneEvent::Confirmed(checkpoint));
        }
    }

    /// A lane hears of something.
    fn lane_hears(&mut self, key: u32, lane: u32, event: LaneEvent) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let effects = attempt.lanes[lane as usize].handle(event);
        self.follow(key, lane, effects);
    }

    fn follow(&mut self, key: u32, lane: u32, effects: Vec<Effect>) {
        for effect in effects {
            let Some(attempt) = self.attempts.get_mut(&key) else { return };
            let number = attempt.number;
            match effect {
                Effect::Fetch(parts, progress) => self.write(key, lane, &parts, progress),
                Effect::Settled(settled) => {
                    attempt.written(lane, settled.through);
                    self.note(format_args!("{key} has settled lane {lane}: {settled:?}"));
                    if let Some(progress) = settled.progress {
                        let lane = (name("out"), lane);
                        self.tell(key, JobEvent::Progressed { attempt: number, lane, progress });
                    }
                }
                Effect::Left(why, fenced) => {
                    self.note(format_args!("{key} has left lane {lane}: {why}"));
                    let kind = if fenced { Kind::Fenced } else { Kind::Fatal };
                    return self.fail(key, kind, &why);
                }
            }
        }
        self.pump(key, lane);
    }

    /// A lane wants these parts written.
    fn write(&mut self, key: u32, lane: u32, parts: &[Part], progress: Progress) {
        let mut all = Vec::new();
        for part in parts {
            let object = &part.chunk.object;
            let Some(Body::Part(records)) = self.store.get(object) else {
                let attempt = self.attempts.get(&key);
                if attempt.is_some_and(|attempt| self.is_current(&attempt.incarnation, attempt.number)) {
                    self.broken(format!("{object}, which lane {lane} has to write, is not in the store"));
                }
                return self.fail(key, Kind::Fatal, "a part is gone");
            };
            all.push(records.to_vec());
        }
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.lanes[lane as usize].write(all, progress);
        }
    }

    /// Sends the next request of a lane, if one is due.
    pub(crate) fn pump(&mut self, key: u32, lane: u32) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let incarnation = attempt.incarnation.clone();
        let client = &mut attempt.lanes[lane as usize];
        if client.is_over() {
            return;
        }
        let rests = std::mem::take(&mut client.fenced);
        let Some((number, step)) = client.request() else { return };
        let again = matches!(step, Step::Read(Some(_)));
        let pause = if rests { self.dice.roll(300) } else { 0 } + if again { AGAIN } else { 0 };
        let there = pause + self.dice.between(1, 6);
        let ask = Ask { incarnation, attempt: key, lane, number, step };
        if !self.mishap(12) {
            return self.agenda.after(there, Event::Broker(ask, true));
        }
        let give_up = there + TIMEOUT;
        let late = give_up + self.dice.between(1, 900);
        match self.dice.roll(5) {
            // Never, late, without an answer, twice, half of it.
            0 => {}
            1 => self.agenda.after(late, Event::Broker(ask.clone(), false)),
            2 => self.agenda.after(there, Event::Broker(ask.clone(), false)),
            3 => {
                self.agenda.after(there, Event::Broker(ask.clone(), true));
                if matches!(ask.step, Step::End(_) | Step::Init) {
                    self.agenda.after(late, Event::Broker(ask, false));
                }
                return;
            }
            _ => {
                let mut half = ask.clone();
                if let Step::Produce(_, _, records) = &mut half.step {
                    records.truncate(records.len() / 2);
                    self.agenda.after(there, Event::Broker(half, false));
                }
            }
        }
        self.agenda.after(give_up, Event::Answered(ask, Reply::Nothing));
    }

    pub(crate) fn at_broker(&mut self, ask: Ask, heard: bool) {
        let id = identity(&ask.incarnation, ask.lane).transactional_id();
        let done = |done: Result<(), broker::Error>| done.map_or_else(Reply::Refused, |()| Reply::Done);
        let reply = match &ask.step {
            Step::Init => self.broker.init(&id).map_or_else(Reply::Refused, Reply::Producer),
            Step::Read(_) => Reply::Seen(self.broker.read(PROGRESS + ask.lane)),
            Step::Produce(by, partition, records) => {
                if self.broker.open(&id).is_none() {
                    self.agenda.after(TRANSACTION, Event::TimedOut(id.clone(), *by));
                }
                done(self.broker.produce(&id, *by, *partition, records.clone()))
            }
            Step::End(by) => {
                let ended = self.broker.end(&id, *by, true);
                let delay = self.dice.between(0, 30);
                self.agenda.after(delay, Event::Settle);
                done(ended)
            }
        };
        if heard {
            let back = self.dice.between(1, 6);
            self.agenda.after(back, Event::Answered(ask, reply));
        } else {
            self.note(format_args!("nobody hears {reply:?}"));
        }
    }

    /// A transaction has been open for long.
    pub(crate) fn timed_out(&mut self, id: &str, by: broker::Producer) {
        if self.broker.open(id) == Some(by) {
            self.note(format_args!("the broker gives up what {id} has open"));
            self.broker.time_out(id);
        }
    }

    pub(crate) fn answered(&mut self, ask: Ask, reply: Reply) {
        let (key, lane) = (ask.attempt, ask.lane);
        let Some(attempt) = self.awake(key, Some(lane), || Event::Answered(ask.clone(), reply.clone())) else { return };
        let waits = matches!(&reply, Reply::Refused(broker::Error::Concurrent));
        let effects = attempt.lanes[lane as usize].answered(ask.number, &ask.step, reply);
        if waits {
            // It is made again when what it waits for may be over.
            return self.agenda.after(AGAIN, Event::Told(key, Control::Retry(lane)));
        }
        self.follow(key, lane, effects);
    }
}
