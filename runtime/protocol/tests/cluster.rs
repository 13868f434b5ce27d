//! The leader's view of its workers: scripts for what is promised, and a random run against a model of the workers.

mod dice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dice::Dice;
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation};
use flow_model::cluster::{Assignment, Part, Session, Stage, Worker};
use flow_model::ids::{JobId, TaskId, WorkerId};
use flow_model::plan::{Head, Plan, Tail, Task};
use flow_model::workers::WorkerState;
use flow_protocol::checkpoint::Contributions;
use flow_protocol::cluster::{Action, Cluster, Event, Refusal, Request, Settings, Work};
use flow_protocol::job::{self, Failure};
use flow_protocol::restart::Kind;
use proptest::prelude::*;

const SUSPECTED: u64 = 200;
const LOST: u64 = 500;

fn worker(number: u128, slots: u32) -> Worker {
    Worker {
        id: WorkerId::of(number),
        name: format!("w{number}"),
        address: format!("host-{number}:7000"),
        slots,
        version: "1".into(),
        features: BTreeSet::new(),
    }
}

fn job(number: u64) -> JobId {
    format!("job-{number}").parse().expect("a name")
}

fn request(attempt: u32, parallelism: u32) -> Box<Request> {
    let (head, tail) = (Head::Exchanges(vec![]), Tail::Exchanges(vec![]));
    let task = Task { id: TaskId(0), name: "t".into(), parallelism, head, chain: vec![], tail };
    let pipeline = "p".parse().expect("a name");
    let plan = Plan { pipeline, key_groups: Default::default(), tasks: vec![task], exchanges: vec![] };
    Box::new(Request {
        incarnation: Incarnation::of(1),
        attempt: Attempt(attempt),
        work: Work::Run(Arc::new(plan)),
        contributions: Contributions::new(),
        from: None,
    })
}

/// A cluster with its time, and what it says in a short form.
struct Script {
    it: Cluster,
    now: u64,
    sessions: BTreeMap<u128, Session>,
    deployed: BTreeMap<JobId, Arc<Assignment>>,
}

impl Script {
    fn new() -> Script {
        let settings = Settings { version: "1".into(), suspected: SUSPECTED, lost: LOST };
        let it = Cluster::new(settings, 3, 0);
        Script { it, now: 0, sessions: BTreeMap::new(), deployed: BTreeMap::new() }
    }

    fn with(workers: &[(u128, u32)]) -> Script {
        let mut script = Script::new();
        for (number, slots) in workers {
            script.register(worker(*number, *slots), vec![]);
        }
        script
    }

    fn register(&mut self, worker: Worker, parts: Vec<Part>) -> Vec<String> {
        self.event(Event::Registered { worker, parts, draining: false })
    }

    fn event(&mut self, event: Event) -> Vec<String> {
        let actions = self.it.handle(self.now, event);
        actions.into_iter().map(|action| self.short(action)).collect()
    }

    fn name(&self, id: &WorkerId) -> String {
        format!("w{}", u128::from_str_radix(id.as_str(), 16).expect("hexadecimal"))
    }

    fn short(&mut self, action: Action) -> String {
        match action {
            Action::Welcome(id, session) => {
                let number = u128::from_str_radix(id.as_str(), 16).expect("hexadecimal");
                self.sessions.insert(number, session);
                format!("welcome {}", self.name(&id))
            }
            Action::Refuse(id, refusal) => format!("refuse {}: {refusal}", self.name(&id)),
            Action::Ended(id, _) => format!("ended {}", self.name(&id)),
            Action::Deploy(job, request, assignment) => {
                self.deployed.insert(job.clone(), assignment.clone());
                let on: Vec<String> = assignment
                    .places
                    .iter()
                    .map(|place| {
                        let on = &assignment.participants[place.participant as usize].worker;
                        format!("{}.{}", self.name(on), place.slot)
                    })
                    .collect();
                format!("deploy {job} {} on {}", request.attempt, on.join(" "))
            }
            Action::Cancel(id, job, attempt) => {
                format!("cancel {job} {attempt} on {}", self.name(&id))
            }
            Action::Tell(job, event) => {
                let what = match *event {
                    job::Event::Started { .. } => "started",
                    job::Event::Drained { .. } => "drained",
                    job::Event::Stopped { .. } => "stopped",
                    job::Event::Failed { .. } => "failed",
                    job::Event::Found { .. } => "found",
                    _ => "more",
                };
                format!("{job} {what}")
            }
            Action::Waits(job, shortage) => format!("{job} {shortage}"),
            Action::Move(job) => format!("move {job}"),
            Action::Draining(id) => format!("draining {}", self.name(&id)),
            Action::Drained(id) => format!("drained {}", self.name(&id)),
            Action::Lost(worker, reason) => format!("lost {}: {reason}", worker.name),
            Action::Gone(worker) => format!("gone {}", worker.name),
            Action::Answer(number, answer) => format!("answer {number}: {answer:?}"),
        }
    }

    fn told(&mut self, number: u128, event: job::Event) -> Vec<String> {
        let (worker, session, job) = (WorkerId::of(number), self.sessions[&number], self::job(1));
        self.event(Event::Told { worker, session, job, event })
    }

    fn beat(&mut self, number: u128) -> Vec<String> {
        self.event(Event::Heartbeat(WorkerId::of(number), self.sessions[&number]))
    }
}

const A1: Attempt = Attempt(1);

fn started() -> job::Event {
    job::Event::Started { attempt: A1 }
}

fn stopped() -> job::Event {
    job::Event::Stopped { attempt: A1 }
}

fn failed() -> job::Event {
    let failure = Failure { kind: Kind::Plugin, reason: "a trap".into() };
    job::Event::Failed { attempt: A1, failure }
}

#[test]
fn an_attempt_is_what_all_its_parts_are() {
    let mut script = Script::with(&[(1, 2), (2, 2)]);
    assert_eq!(script.event(Event::Wanted(job(1), request(1, 3))), ["deploy job-1 1 on w1.0 w2.0 w1.1"]);
    assert_eq!(script.told(1, started()), [""; 0]);
    assert_eq!(script.told(2, started()), ["job-1 started"]);
    assert_eq!(script.told(2, job::Event::Drained { attempt: A1 }), [""; 0]);
    assert_eq!(script.told(1, job::Event::Drained { attempt: A1 }), ["job-1 drained"]);
    assert_eq!(script.it.workers_of(&job(1), A1).len(), 2);
    assert_eq!(script.told(1, stopped()), [""; 0]);
    assert_eq!(script.told(2, stopped()), ["job-1 stopped"]);
    assert_eq!(script.it.workers_of(&job(1), A1).len(), 0);
    let free: Vec<u32> = script.it.workers().iter().map(|worker| worker.slots.free).collect();
    assert_eq!(free, [2, 2]);
}

#[test]
fn the_failure_of_a_part_ends_the_others() {
    let mut script = Script::with(&[(1, 1), (2, 1)]);
    script.event(Event::Wanted(job(1), request(1, 2)));
    assert_eq!(script.told(1, failed()), ["cancel job-1 1 on w1", "cancel job-1 1 on w2", "job-1 failed"]);
    assert_eq!(script.told(2, failed()), [""; 0], "one failure is enough");
    assert_eq!(script.event(Event::Cancel(job(1), A1)), [""; 0], "it is being stopped");
    assert_eq!(script.told(2, stopped()), [""; 0]);
    assert_eq!(script.told(1, stopped()), ["job-1 stopped"]);
}

#[test]
fn a_worker_that_is_silent_is_lost_and_its_parts_count_as_stopped() {
    let mut script = Script::with(&[(1, 1), (2, 1)]);
    script.event(Event::Wanted(job(1), request(1, 2)));
    for now in [100, 200, 300, 400] {
        script.now = now;
        assert_eq!(script.beat(1), [""; 0]);
    }
    assert_eq!(script.it.workers()[1].state, WorkerState::Suspected);
    script.now = LOST;
    assert_eq!(script.it.next_deadline(), Some(LOST));
    let expected = ["lost w2: it was not heard of for 500 ms", "cancel job-1 1 on w1", "job-1 failed"];
    assert_eq!(script.event(Event::Tick), expected);
    assert_eq!(script.told(1, stopped()), ["job-1 stopped"]);
    // It wakes: nothing that it says counts, and what it runs is stopped.
    assert_eq!(script.told(2, started()), ["ended w2"]);
    assert_eq!(script.beat(2), ["ended w2"]);
    let waits = "job-1 needs 2 slots and 1 worker offers 1; add a worker, or scale the job down";
    assert_eq!(script.event(Event::Wanted(job(1), request(2, 2))), [waits]);
    let part = part(&script.deployed[&job(1)], A1);
    let back = script.register(worker(2, 1), vec![part]);
    assert_eq!(back, ["welcome w2", "cancel job-1 1 on w2", "deploy job-1 2 on w1.0 w2.0"]);
}

fn part(assignment: &Assignment, attempt: Attempt) -> Part {
    Part {
        job: job(1),
        incarnation: Incarnation::of(1),
        attempt,
        assignment: assignment.clone(),
        stage: Stage::Started,
        restored: None,
        highest: CheckpointId::new(attempt, 4),
        progress: BTreeMap::new(),
    }
}

#[test]
fn a_leader_that_was_stopped_itself_loses_nobody() {
    let mut script = Script::with(&[(1, 1), (2, 1)]);
    script.now = 60_000;
    assert_eq!(script.event(Event::Tick), [""; 0]);
    script.now += LOST;
    assert_eq!(script.beat(1), [""; 0]);
    for _ in 0..5 {
        script.now += SUSPECTED / 2;
        script.beat(1);
    }
    assert!(script.it.workers().iter().any(|worker| worker.state == WorkerState::Lost), "the other one is silent");
}

#[test]
fn jobs_that_wait_get_slots_in_the_order_of_their_submission() {
    let mut script = Script::with(&[(1, 1)]);
    script.event(Event::Known(job(3), 10));
    script.event(Event::Known(job(2), 20));
    script.event(Event::Wanted(job(1), request(1, 1)));
    assert_eq!(script.event(Event::Wanted(job(2), request(1, 1))).len(), 1);
    assert_eq!(script.event(Event::Wanted(job(3), request(1, 1))).len(), 1);
    assert_eq!(script.event(Event::Wanted(job(4), request(1, 5))).len(), 1);
    assert!(script.it.waits_for(&job(4)).is_some());
    script.event(Event::Cancel(job(1), A1));
    assert_eq!(script.told(1, stopped()), ["job-1 stopped", "deploy job-3 1 on w1.0"]);
    assert_eq!(script.register(worker(2, 2), vec![]), ["welcome w2", "deploy job-2 1 on w2.0"]);
    assert_eq!(script.event(Event::Cancel(job(4), A1)), ["job-4 stopped"]);
}

#[test]
fn who_may_not_take_part_is_told_why() {
    let mut script = Script::with(&[(1, 1)]);
    let other = Worker { version: "2".into(), ..worker(2, 1) };
    let refusal = Refusal::Version { worker: other.clone(), theirs: "2".into(), ours: "1".into() };
    assert_eq!(script.register(other, vec![]), [format!("refuse w2: {refusal}")]);
    let twin = Worker { name: "w1".into(), ..worker(3, 1) };
    let refusal = Refusal::Name { worker: twin.clone(), other: worker(1, 1) };
    assert_eq!(script.register(twin.clone(), vec![]), [format!("refuse w3: {refusal}")]);
    // Nor where it says that it listens at the same place.
    let again = Worker { address: "host-1:7000".into(), ..twin };
    let refusal = Refusal::Name { worker: again.clone(), other: worker(1, 1) };
    assert_eq!(script.register(again.clone(), vec![]), [format!("refuse w3: {refusal}")]);
    // Its process was started again, and the end of its connection was not told.
    for _ in 0..3 {
        script.now += SUSPECTED / 2;
        script.event(Event::Tick);
    }
    assert_eq!(script.register(again, vec![]), ["lost w1: its process was started again", "welcome w3"]);
    let states: Vec<WorkerState> = script.it.workers().iter().map(|worker| worker.state).collect();
    assert_eq!(states, [WorkerState::Active], "it is not missed any more");
}

#[test]
fn a_worker_that_drains_gets_nothing_new_and_leaves_when_it_has_nothing() {
    let mut script = Script::with(&[(1, 2), (2, 2)]);
    script.event(Event::Wanted(job(1), request(1, 2)));
    let drains = script.event(Event::Drain(7, WorkerId::of(2)));
    assert_eq!(drains, ["draining w2", "move job-1", "answer 7: Ok(())"]);
    script.event(Event::Cancel(job(1), A1));
    script.told(1, stopped());
    assert_eq!(script.told(2, stopped()), ["job-1 stopped", "drained w2"]);
    assert_eq!(script.event(Event::Wanted(job(1), request(2, 2))), ["deploy job-1 2 on w1.0 w1.1"]);
    assert_eq!(script.it.workers()[1].state, WorkerState::Drained);
    let (worker, session) = (WorkerId::of(2), script.sessions[&2]);
    let free: Vec<u32> = script.it.workers().iter().map(|worker| worker.slots.free).collect();
    assert_eq!(free, [0, 0], "one has none, the other can't be given anything");
    assert_eq!(script.event(Event::Left(worker, session, "it was drained".into())), ["gone w2"]);
    assert_eq!(script.it.workers().len(), 1, "it is not missed");
    assert!(script.event(Event::Drain(8, WorkerId::of(9)))[0].starts_with("answer 8: Err"));
}

#[test]
fn a_new_leader_finds_an_attempt_when_all_its_parts_are_there() {
    let mut before = Script::with(&[(1, 1), (2, 1)]);
    before.event(Event::Wanted(job(1), request(5, 2)));
    let part = part(&before.deployed[&job(1)], Attempt(5));
    let check = |order: [u8; 3]| {
        let mut script = Script::new();
        script.event(Event::Known(job(1), 0));
        let mut said = Vec::new();
        for what in order {
            said.extend(match what {
                0 => script.event(Event::Find(job(1), Incarnation::of(1), Attempt(5))),
                number => script.register(worker(number.into(), 1), vec![part.clone()]),
            });
        }
        assert_eq!(said.iter().filter(|line| *line == "job-1 found").count(), 1, "{said:?}");
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(script.it.workers_of(&job(1), Attempt(5)).len(), 2);
        script
    };
    check([0, 1, 2]);
    check([1, 0, 2]);
    check([2, 1, 0]);
    // One of them does not come: what is there is stopped.
    let mut script = Script::new();
    script.event(Event::Find(job(1), Incarnation::of(1), Attempt(5)));
    script.register(worker(1, 1), vec![part.clone()]);
    assert_eq!(script.event(Event::Cancel(job(1), Attempt(5))), ["cancel job-1 5 on w1"]);
    assert_eq!(script.told(1, job::Event::Stopped { attempt: Attempt(5) }), ["job-1 stopped"]);
    assert_eq!(script.register(worker(2, 1), vec![part.clone()]), ["welcome w2"]);
    assert_eq!(script.event(Event::Wanted(job(1), request(6, 2)))[0], "cancel job-1 5 on w2");
    // Of a job that nobody knows nothing goes on.
    let mut script = Script::new();
    assert_eq!(script.register(worker(1, 1), vec![part]), ["welcome w1", "cancel job-1 5 on w1"]);
}

/// What a live worker runs, by job: attempt and slots.
type Runs = BTreeMap<JobId, (Attempt, BTreeSet<u32>)>;

struct Model {
    dice: Dice,
    script: Script,
    runs: BTreeMap<u128, Runs>,
    attempts: BTreeMap<JobId, u32>,
    next: u128,
}

impl Model {
    fn random_worker(&mut self) -> Option<u128> {
        let all: Vec<u128> = self.runs.keys().copied().collect();
        if all.is_empty() { None } else { Some(all[self.dice.roll(all.len() as u64) as usize]) }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match &action {
                Action::Welcome(id, _) => {
                    let number = u128::from_str_radix(id.as_str(), 16).expect("hexadecimal");
                    self.runs.entry(number).or_default();
                }
                Action::Deploy(job, request, assignment) => {
                    for (number, runs) in &mut self.runs {
                        let Some(participant) = assignment.number(&WorkerId::of(*number)) else { continue };
                        let mine = assignment.places.iter().filter(|place| place.participant == participant);
                        let slots: BTreeSet<u32> = mine.map(|place| place.slot).collect();
                        let taken = runs.values().flat_map(|(_, slots)| slots).copied().collect::<BTreeSet<u32>>();
                        assert!(taken.is_disjoint(&slots), "no slot is used twice");
                        assert!(slots.iter().all(|slot| *slot < 3), "no slot that there is not");
                        let before = runs.insert(job.clone(), (request.attempt, slots));
                        assert!(before.is_none(), "nothing of the attempt before runs any more");
                    }
                }
                Action::Tell(job, event) if matches!(**event, job::Event::Stopped { .. }) => {
                    let runs = self.runs.values().any(|runs| runs.contains_key(job));
                    assert!(!runs, "stopped, and a worker that takes part runs a part of it");
                }
                Action::Drained(id) => {
                    let number = u128::from_str_radix(id.as_str(), 16).expect("hexadecimal");
                    assert!(self.runs[&number].is_empty(), "drained, and it runs something");
                }
                Action::Lost(worker, _) | Action::Gone(worker) => {
                    let number = u128::from_str_radix(worker.id.as_str(), 16).expect("hexadecimal");
                    self.runs.remove(&number);
                }
                _ => {}
            }
            self.script.short(action);
        }
    }

    fn event(&mut self, event: Event) {
        let actions = self.script.it.handle(self.script.now, event);
        self.perform(actions);
    }

    fn step(&mut self) {
        self.script.now += self.dice.roll(30);
        let job = self::job(self.dice.roll(4));
        match self.dice.roll(12) {
            0 if self.runs.len() < 4 => {
                self.next += 1;
                let (worker, draining) = (worker(self.next, 3), self.dice.one_in(10));
                self.event(Event::Registered { worker, parts: vec![], draining });
            }
            1 => {
                let attempt = self.attempts.entry(job.clone()).or_default();
                let is_free = self.script.it.workers_of(&job, Attempt(*attempt)).is_empty();
                if is_free && self.script.it.waits_for(&job).is_none() {
                    *attempt += 1;
                    let request = request(*attempt, 1 + self.dice.roll(5) as u32);
                    self.event(Event::Wanted(job, request));
                }
            }
            2 => {
                let attempt = self.attempts.get(&job).copied().unwrap_or_default();
                self.event(Event::Cancel(job, Attempt(attempt)));
            }
            3 if self.dice.one_in(4) => {
                if let Some(worker) = self.random_worker() {
                    self.event(Event::Drain(1, WorkerId::of(worker)));
                }
            }
            4 if self.dice.one_in(4) => {
                // A zombie says something of a session that is over.
                let session = Session { term: 2, number: self.dice.roll(3) };
                let (worker, attempt) = (WorkerId::of(self.dice.roll(6).into()), Attempt(1));
                self.event(Event::Told { worker, session, job, event: job::Event::Stopped { attempt } });
            }
            5 => self.event(Event::Tick),
            _ => {
                let Some(number) = self.random_worker() else { return };
                let (worker, session) = (WorkerId::of(number), self.script.sessions[&number]);
                let part = self.runs[&number].iter().next().map(|(job, (attempt, _))| (job.clone(), *attempt));
                let event = match (part, self.dice.roll(6)) {
                    (Some((job, attempt)), 0) => {
                        let failure = Failure { kind: Kind::Retryable, reason: "x".into() };
                        Some((job, job::Event::Failed { attempt, failure }))
                    }
                    (Some((job, attempt)), 1 | 2) => {
                        self.runs.get_mut(&number).expect("it is there").remove(&job);
                        Some((job, job::Event::Stopped { attempt }))
                    }
                    (Some((job, attempt)), 3) => Some((job, job::Event::Started { attempt })),
                    _ => None,
                };
                self.event(match event {
                    Some((job, event)) => Event::Told { worker, session, job, event },
                    None => Event::Heartbeat(worker, session),
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_slot_is_used_twice_and_what_stopped_runs_nowhere(seed: u64) {
        let (dice, script) = (Dice(seed), Script::new());
        let mut model = Model { dice, script, runs: BTreeMap::new(), attempts: BTreeMap::new(), next: 0 };
        (0..600).for_each(|_| model.step());
    }
}
