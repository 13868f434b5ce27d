//! A store, workers and several leaders, stepped by a seed.
//!
//! - `attempt`: what workers run, in two parts, each of which obeys one leader
//! - `store`: HEAD, manifests and objects, and what has to hold of them

mod attempt;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use attempt::{Order, Running, What};
use flow_model::checkpoint::head::{FIRST, Origin, PREVIOUS, Wanted};
use flow_model::checkpoint::{Attempt, CheckpointId, Head, Incarnation, Manifest, ObjectName};
use flow_model::ids::{OperatorName, SavepointName};
use flow_protocol::checkpoint::{self, Contribution, Contributions};
use flow_protocol::head::Answer;
use flow_protocol::job::{
    Action, Beginning, End, Event, Failure, Former, InCluster, Job, Life, Owed, Settings, Spec, State,
};
use flow_protocol::restart::{self, Kind};
use flow_protocol::retention::{self, is_garbage};

use crate::dice::Dice;

/// What the world does wrong on purpose, to see that it would be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    Nothing,
    /// A checkpoint is confirmed when the swap of HEAD is sent, not when it is answered.
    ConfirmsBeforeTheSwap,
    /// The store swaps whatever the version is.
    IgnoresConditions,
    /// A manifest is told to be stored that is not.
    LosesManifests,
    /// Whatever nothing retained names is taken for garbage.
    SweepsTheNew,
    /// What is deleted is deleted without the checkpoints that stay being looked at.
    DeletesWhatIsShared,
    /// A lane tells that it has written what it has not.
    TellsTooMuch,
    /// Workers obey whoever gives an order.
    ObeysAnyTerm,
    /// An attempt is taken for found when one part of it is.
    FindsHalf,
    /// Workers that register do not tell which barriers they have seen.
    ForgetsBarriers,
    /// Output of the lanes that a narrower sink does not have is written by nobody.
    LeavesLanes,
}

/// A process that leads, or thinks so.
struct Leader {
    /// Its own for ever; a later one has a higher.
    term: u64,
    job: Job,
    /// How many subtasks the sink of what it deploys has.
    width: u32,
    /// By the number of a question: how many it is to have.
    scales: BTreeMap<u64, u32>,
    /// Answers on their way to it.
    inbox: Vec<Event>,
    asleep: bool,
}

/// What came about in a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub lives: u64,
    pub adopted: u64,
    pub savepoints: u64,
    pub stopped_with_one: u64,
    pub given_up: u64,
    pub settled: u64,
    pub found: u64,
    pub scaled: u64,
    pub late_orders: u64,
    pub taken_over: u64,
    pub abandoned: u64,
    pub written_anew: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.lives += other.lives;
        self.adopted += other.adopted;
        self.savepoints += other.savepoints;
        self.stopped_with_one += other.stopped_with_one;
        self.given_up += other.given_up;
        self.settled += other.settled;
        self.found += other.found;
        self.scaled += other.scaled;
        self.late_orders += other.late_orders;
        self.taken_over += other.taken_over;
        self.abandoned += other.abandoned;
        self.written_anew += other.written_anew;
    }
}

/// Questions for another parallelism have numbers from here on.
const FIRST_SCALE: u64 = 1_000_000;

pub struct World {
    plant: Plant,
    /// Attempts outlive their leaders, and are looked for.
    in_cluster: bool,
    /// The term of the last leader.
    newest: u64,
    dice: Dice,
    now: u64,
    version: u64,
    head: Option<(Head, String)>,
    /// Swaps that were sent, were not answered, and may still land.
    late: Vec<(Box<Head>, Option<String>)>,
    manifests: BTreeMap<ObjectName, Manifest>,
    objects: BTreeSet<ObjectName>,
    /// Output that stands where it was to go, by lane and checkpoint.
    written: BTreeSet<(Incarnation, u32, CheckpointId)>,
    /// All that workers run, wanted or not.
    attempts: Vec<Running>,
    /// Leaders that look for an attempt.
    finding: Vec<(u64, Incarnation, Attempt)>,
    /// Orders on their way.
    orders: Vec<Order>,
    /// Which leader has begun a checkpoint.
    begun: BTreeMap<(Incarnation, CheckpointId), u64>,
    /// By revision: how many subtasks the sink has.
    widths: BTreeMap<u64, u32>,
    leaders: Vec<Leader>,
    lives: u128,
    /// The one that was deployed last.
    life: Option<Life>,
    /// Those that a user let take over, and give up what the former one owes.
    may_take_over: BTreeSet<Incarnation>,
    may_abandon: BTreeSet<Incarnation>,
    /// Those that are to go on where the former one ended.
    repeats_nothing: BTreeSet<Incarnation>,
    confirmed: u64,
    /// What came about.
    counts: Counts,
    ending: bool,
    over: bool,
    unique: u128,
    story: Vec<String>,
    questions: u64,
    /// Savepoints that were asked for, and whether the job is to end with it.
    asked: BTreeMap<u64, (SavepointName, bool)>,
    /// Those that the job is to end with, by the leader's term.
    last: BTreeSet<(u64, SavepointName)>,
}

fn name(text: &str) -> OperatorName {
    text.parse().expect("a name")
}

fn contributions(width: u32) -> Contributions {
    let states = vec![("count".into(), "value".into())];
    let plain = |parallelism| Contribution { parallelism, states: vec![], output: false };
    Contributions::from([
        (name("in"), plain(2)),
        (name("counts"), Contribution { states, ..plain(1) }),
        (name("out"), Contribution { output: true, ..plain(width) }),
    ])
}

/// How a leader names itself in HEAD.
fn leader_name(term: u64) -> String {
    format!("leader {term}")
}

fn settings(leader: u64, width: u32, in_cluster: bool) -> Settings {
    Settings {
        pipeline: "p".parse().expect("a name"),
        key_groups: Default::default(),
        contributions: contributions(width),
        checkpoints: checkpoint::Settings { interval: 100, timeout: 400, min_pause: 0, concurrent: 2, tolerated: 2 },
        restart: restart::Settings { attempts: u32::MAX, pause: 10, longest: 50 },
        retained: 2,
        leader: leader_name(leader),
        head: "/store/p/HEAD".to_owned(),
        cluster: in_cluster.then_some(InCluster { term: leader, finding: 150 }),
    }
}

impl World {
    pub fn new(seed: u64, plant: Plant, in_cluster: bool) -> World {
        let mut world = World {
            plant,
            in_cluster,
            newest: 0,
            dice: Dice(seed),
            now: 1_000,
            version: 0,
            head: None,
            late: Vec::new(),
            manifests: BTreeMap::new(),
            objects: BTreeSet::new(),
            written: BTreeSet::new(),
            attempts: Vec::new(),
            finding: Vec::new(),
            orders: Vec::new(),
            begun: BTreeMap::new(),
            widths: BTreeMap::from([(FIRST, 1)]),
            leaders: Vec::new(),
            lives: 0,
            life: None,
            may_take_over: BTreeSet::new(),
            may_abandon: BTreeSet::new(),
            repeats_nothing: BTreeSet::new(),
            confirmed: 0,
            counts: Counts::default(),
            ending: false,
            over: false,
            unique: 0,
            story: Vec::new(),
            questions: 0,
            asked: BTreeMap::new(),
            last: BTreeSet::new(),
        };
        world.deploy_anew();
        world
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// How many checkpoints were confirmed.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn story(&self) -> String {
        self.story[self.story.len().saturating_sub(400)..].join("\n")
    }

    /// From now on the input ends.
    pub fn let_end(&mut self) {
        self.ending = true;
        self.leaders.iter_mut().for_each(|leader| leader.asleep = false);
    }

    fn tell(&mut self, line: String) {
        self.story.push(format!("{} {line}", self.now));
    }

    fn lead(&mut self, beginning: Beginning) {
        self.unique += 1;
        let term = self.unique as u64;
        self.newest = term;
        // The description that HEAD names, if it is of this life.
        let life = match &beginning {
            Beginning::Deployed(life) | Beginning::Resumed(life) | Beginning::Continued(life) => &life.incarnation,
            Beginning::Settled(_) => panic!("nobody asks for it here"),
        };
        let head = self.head.as_ref().filter(|(head, _)| head.incarnation == *life);
        let width = head.map_or(1, |(head, _)| self.widths[&head.revision]);
        let settings = settings(term, width, self.in_cluster);
        let (job, actions) = Job::new(settings, beginning, (self.unique, self.now), self.head.clone());
        let (inbox, scales) = (Vec::new(), BTreeMap::new());
        self.leaders.push(Leader { term, job, width, scales, inbox, asleep: false });
        self.tell(format!("leader {term} begins"));
        self.perform(self.leaders.len() - 1, actions);
    }

    /// A life of its own, from nothing or from something of an earlier life.
    fn deploy_anew(&mut self) {
        self.lives += 1;
        self.counts.lives += 1;
        let incarnation = Incarnation::of(self.lives);
        let mut origin = None;
        if let Some((head, _)) = &self.head {
            let of = |incarnation: &Incarnation, checkpoint, savepoint: Option<&SavepointName>| Origin {
                job: "p".parse().expect("a name"),
                incarnation: incarnation.clone(),
                checkpoint,
                savepoint: savepoint.cloned(),
                claim: false,
                dropped: Vec::new(),
            };
            let savepoints = head.savepoints.iter().map(|s| of(&s.incarnation, s.checkpoint, Some(&s.name)));
            let retained = head.retained.iter().map(|retained| of(&head.incarnation, *retained, None));
            let mut all: Vec<Origin> = savepoints.chain(retained).collect();
            if !all.is_empty() && !self.dice.one_in(4) {
                let mut chosen = all.remove(self.dice.roll(all.len() as u64) as usize);
                chosen.claim = self.dice.one_in(2);
                origin = Some(chosen);
            }
        }
        let follows = self.head.as_ref().map(|(head, _)| Former::of(head));
        let owed = match self.dice.roll(5) {
            0 => Owed::Abandon,
            1 => Owed::WriteAnew,
            _ => Owed::Write,
        };
        let take_over = self.head.as_ref().is_some_and(|(head, _)| head.wanted == Wanted::Running);
        if take_over {
            self.may_take_over.insert(incarnation.clone());
        }
        if owed == Owed::Abandon {
            self.may_abandon.insert(incarnation.clone());
        }
        let last = self.head.as_ref().and_then(|(head, _)| Some((head.incarnation.clone(), head.latest?)));
        if origin.as_ref().map(|origin| (origin.incarnation.clone(), origin.checkpoint)) == last {
            self.repeats_nothing.insert(incarnation.clone());
        }
        let life = Life { incarnation, follows, origin, owed, take_over };
        self.life = Some(life.clone());
        self.lead(Beginning::Deployed(life));
    }

    /// A leader that another one has replaced sees that in the document that names the cluster's leader.
    fn find_out(&mut self) {
        let oldest = self.leaders.iter().position(|leader| leader.term < self.newest && !leader.asleep);
        if let Some(at) = oldest {
            let term = self.leaders.remove(at).term;
            self.tell(format!("leader {term} leads no more"));
            self.leader_gone(term);
        }
    }

    /// A user wants something.
    fn ask(&mut self) {
        let which = self.dice.roll(self.leaders.len() as u64) as usize;
        self.questions += 1;
        let number = self.questions;
        let event = match self.dice.roll(if self.in_cluster { 12 } else { 8 }) {
            0..3 => {
                let name: SavepointName = format!("s{}", self.dice.roll(50)).parse().expect("a name");
                let stop = self.dice.one_in(6);
                self.asked.insert(number, (name.clone(), stop));
                Event::Savepoint { number, name, stop }
            }
            3..7 => {
                let savepoints = self.head.iter().flat_map(|(head, _)| &head.savepoints);
                let names: Vec<_> = savepoints.map(|savepoint| savepoint.name.clone()).collect();
                if names.is_empty() {
                    return;
                }
                let name = names[self.dice.roll(names.len() as u64) as usize].clone();
                Event::GiveUp { number, name }
            }
            7 => Event::Cancel,
            _ => {
                let spec = (!self.dice.one_in(3)).then(|| {
                    let (revision, width) = (self.widths.len() as u64 + 1, 1 + self.dice.roll(3) as u32);
                    self.widths.insert(revision, width);
                    Spec { revision, contributions: contributions(width) }
                });
                // No two questions have the same number.
                self.unique += 1;
                let number = FIRST_SCALE + self.unique as u64;
                if let Some(spec) = &spec {
                    self.leaders[which].scales.insert(number, self.widths[&spec.revision]);
                }
                Event::Redeploy { number, spec }
            }
        };
        if self.leaders[which].asleep {
            return;
        }
        self.deliver(which, event);
    }

    /// Something happens somewhere.
    pub fn step(&mut self, faults: bool) {
        self.now += self.dice.roll(20);
        if self.over {
            return;
        }
        self.leaders.retain(|leader| !matches!(leader.job.state(), State::Over(_)));
        if self.leaders.is_empty() {
            return self.go_on();
        }
        if self.in_cluster && self.dice.one_in(150) {
            return self.find_out();
        }
        if faults && self.dice.one_in(30) {
            return self.ask();
        }
        if faults && self.dice.one_in(60) {
            return self.crash();
        }
        if faults && self.dice.one_in(300) {
            // A user says that who runs it is gone for good, be it true or not.
            return self.deploy_anew();
        }
        if faults && self.dice.one_in(40) && self.leaders.len() > 1 {
            let which = self.dice.roll(self.leaders.len() as u64) as usize;
            self.leaders[which].asleep = !self.leaders[which].asleep;
            return;
        }
        if !self.late.is_empty() && self.dice.one_in(5) {
            let at = self.dice.roll(self.late.len() as u64) as usize;
            let (head, expected) = self.late.remove(at);
            self.swap(*head, expected);
            return;
        }
        self.run_attempts(faults);
        let which = self.dice.roll(self.leaders.len() as u64) as usize;
        if self.leaders[which].asleep {
            return;
        }
        let due = self.leaders[which].job.next_deadline().is_some_and(|due| due <= self.now);
        let inbox = self.leaders[which].inbox.len() as u64;
        let event = match inbox {
            0 if due => Event::Tick,
            0 => return,
            _ => {
                // Answers of the store overtake what a worker tells, which comes in order.
                let is_of_store = |event: &Event| {
                    use Event::{Adopted, Deleted, HeadRead, ManifestLoaded, ManifestStored, Swapped};
                    matches!(
                        event,
                        Swapped(_) | HeadRead(_) | ManifestLoaded(..) | ManifestStored(..) | Adopted(_) | Deleted
                    )
                };
                let overtaking = self.leaders[which].inbox.iter().position(is_of_store);
                let at = if self.dice.one_in(2) { overtaking.unwrap_or(0) } else { 0 };
                self.leaders[which].inbox.remove(at)
            }
        };
        self.deliver(which, event);
    }

    fn deliver(&mut self, which: usize, event: Event) {
        self.tell(format!("leader {} < {event:?}", self.leaders[which].term));
        let now = self.now;
        let actions = self.leaders[which].job.handle(now, event);
        self.perform(which, actions);
    }

    /// The process of a leader ends, or a worker does; another one resumes the job.
    fn crash(&mut self) {
        if self.dice.one_in(2) {
            return self.crash_worker();
        }
        // A zombie stays behind, sometimes.
        if self.leaders.len() > 2 || self.dice.one_in(2) {
            let which = self.dice.roll(self.leaders.len() as u64) as usize;
            let term = self.leaders.remove(which).term;
            self.leader_gone(term);
        }
        if self.head.as_ref().is_some_and(|(head, _)| head.wanted == Wanted::Running) || self.leaders.is_empty() {
            self.go_on();
        }
    }

    /// The job is resumed where HEAD says so, and deployed anew where it is over.
    fn go_on(&mut self) {
        let is_over = |(head, _): &(Head, String), life: &Life| {
            head.incarnation == life.incarnation && head.wanted != Wanted::Running
        };
        match (&self.life, &self.head) {
            (Some(life), Some(head)) if !is_over(head, life) => {
                let mut life = life.clone();
                let follows = life.follows.as_ref().map(|former| &former.incarnation);
                let takes_over = life.take_over && follows == Some(&head.0.incarnation);
                if head.0.wanted == Wanted::Running && head.0.incarnation != life.incarnation && !takes_over {
                    // A deploy of before was done after all.
                    (life.incarnation, life.origin) = (head.0.incarnation.clone(), head.0.origin.clone());
                    self.life = Some(life.clone());
                }
                let goes_on = if self.in_cluster { Beginning::Continued } else { Beginning::Resumed };
                self.lead(goes_on(life));
            }
            _ => self.deploy_anew(),
        }
    }

    fn perform(&mut self, which: usize, actions: Vec<Action>) {
        for action in actions {
            self.tell(format!("leader {} > {action:?}", self.leaders[which].term));
            self.act(which, action);
            self.check();
        }
    }

    fn act(&mut self, which: usize, action: Action) {
        let faulty = !self.ending;
        match action {
            Action::Swap { head, expected } => {
                if self.plant == Plant::ConfirmsBeforeTheSwap
                    && let Some(latest) = head.latest
                {
                    self.confirm(which, &head.incarnation, head.attempt, latest);
                }
                let answer = if faulty && self.dice.one_in(8) {
                    // Nobody knows: it lands now, later or never.
                    match self.dice.roll(3) {
                        0 => _ = self.swap(*head, expected),
                        1 => self.late.push((head, expected)),
                        _ => {}
                    }
                    Answer::Again
                } else {
                    self.swap(*head, expected)
                };
                self.leaders[which].inbox.push(Event::Swapped(answer));
            }
            Action::ReadHead => {
                let read = self.head.clone();
                self.leaders[which].inbox.push(Event::HeadRead(Box::new(read)));
            }
            Action::LoadManifest(incarnation, checkpoint) => {
                let loaded = self.manifests.get(&ObjectName::manifest(&incarnation, checkpoint)).cloned().map(Box::new);
                let missing = || Failure { kind: Kind::Fatal, reason: "missing".into() };
                let mut named = self.head.iter().flat_map(|(head, _)| retention::named(head));
                let is_named = named.any(|of| of == (incarnation.clone(), checkpoint));
                assert!(loaded.is_some() || !is_named, "{checkpoint:?} is gone:\n{}", self.story());
                let event = Event::ManifestLoaded(incarnation, checkpoint, loaded.ok_or_else(missing));
                self.leaders[which].inbox.push(event);
            }
            Action::StoreManifest(manifest) => {
                let (checkpoint, fails) = (manifest.checkpoint, faulty && self.dice.one_in(15));
                let is_lost = self.plant == Plant::LosesManifests && self.dice.one_in(5);
                if !is_lost && (!fails || self.dice.one_in(2)) {
                    self.objects.insert(manifest.name());
                    self.manifests.insert(manifest.name(), *manifest);
                }
                let result = if fails { Err("no answer".to_owned()) } else { Ok(()) };
                self.leaders[which].inbox.push(Event::ManifestStored(checkpoint, result));
            }
            Action::Delete(objects) => {
                let all = self.plant == Plant::DeletesWhatIsShared;
                let checkpoints: BTreeSet<_> = objects.iter().map(ObjectName::checkpoint).collect();
                self.delete(|object| objects.contains(object) || all && checkpoints.contains(&object.checkpoint()));
                self.leaders[which].inbox.push(Event::Deleted);
            }
            Action::Sweep { incarnation, until, kept } => {
                let until = if self.plant == Plant::SweepsTheNew { CheckpointId(u64::MAX) } else { until };
                let prefix = format!("{incarnation}/");
                self.delete(|object| object.as_str().starts_with(&prefix) && is_garbage(object, &kept, until));
            }
            Action::Deploy { incarnation, attempt, from } => {
                self.deploy(which, (incarnation, attempt), from.map(|from| *from), false);
                self.leaders[which].inbox.push(Event::Started { attempt });
            }
            Action::Settle { incarnation, attempt, from, .. } => {
                self.counts.settled += 1;
                self.deploy(which, (incarnation, attempt), Some(*from), true);
            }
            Action::Find { incarnation, attempt } => {
                let term = self.leaders[which].term;
                self.finding.push((term, incarnation, attempt));
            }
            Action::Adopt { incarnation, origin } => {
                let adopted = if faulty && self.dice.one_in(4) {
                    Err(Failure { kind: Kind::Retryable, reason: "no answer".into() })
                } else {
                    self.adopt(&incarnation, &origin).map(Box::new)
                };
                self.leaders[which].inbox.push(Event::Adopted(adopted));
            }
            Action::Release { attempt } => self.order(which, attempt, What::Release),
            Action::Hold { attempt } => self.order(which, attempt, What::Hold),
            Action::Trigger { attempt, checkpoint, .. } => {
                self.check_settled(which, attempt);
                self.order(which, attempt, What::Trigger(checkpoint));
            }
            Action::Confirm { attempt, checkpoint } => {
                let of = self.leaders[which].job.head().map(|head| head.incarnation.clone());
                self.confirm(which, &of.expect("it leads"), attempt, checkpoint);
            }
            Action::Finish { attempt } | Action::Cancel { attempt } => self.stop(which, attempt),
            Action::Ended(End::Finished) => self.over = true,
            Action::Ended(End::Refused(_)) => {
                // Its user does something else, if it did not begin.
                let began =
                    |life: &Life| self.head.as_ref().is_some_and(|(head, _)| head.incarnation == life.incarnation);
                self.life = self.life.take().filter(began);
            }
            Action::Tell(_, text) => self.counts.written_anew += u64::from(text.starts_with("--reset-progress")),
            Action::SavepointOver(name, Ok(checkpoint)) => {
                let term = self.leaders[which].term;
                if self.last.remove(&(term, name.clone())) {
                    self.is_last(term, &name, checkpoint);
                }
                self.counts.savepoints += 1;
                assert_ne!(name.as_str(), PREVIOUS);
                if self.attempts.iter().any(|running| running.obeys(term) && !running.is_released()) {
                    self.counts.stopped_with_one += 1;
                }
            }
            Action::Accepted(number, answer) if number >= FIRST_SCALE => {
                let scale = self.leaders[which].scales.remove(&number);
                if let (Some(width), Ok(())) = (scale, answer) {
                    self.leaders[which].width = width;
                    self.counts.scaled += 1;
                }
            }
            Action::Accepted(number, Ok(())) => match self.asked.remove(&number) {
                Some((name, true)) => _ = self.last.insert((self.leaders[which].term, name)),
                Some((name, false)) => _ = self.last.remove(&(self.leaders[which].term, name)),
                None => self.counts.given_up += 1,
            },
            Action::Answer(..)
            | Action::Accepted(..)
            | Action::SavepointOver(..)
            | Action::Abandoned(..)
            | Action::Ended(_) => {}
        }
    }
}
