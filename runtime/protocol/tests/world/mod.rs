//! A store, workers and up to two leaders, stepped by a seed.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::checkpoint::head::Wanted;
use flow_model::checkpoint::snapshot::{Chain, Output, Part, Piece, Progress, Run, Segment};
use flow_model::checkpoint::{Attempt, CheckpointId, Chunk, Head, Incarnation, Manifest, ObjectName};
use flow_model::ids::OperatorName;
use flow_protocol::checkpoint::{self, Contribution, Contributions};
use flow_protocol::head::Answer;
use flow_protocol::job::{Action, Beginning, End, Event, Failure, Job, Settings, State};
use flow_protocol::restart::{self, Kind};
use flow_protocol::retention::is_garbage;

/// Pseudo-random numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

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
}

/// An attempt on its worker.
struct Running {
    attempt: Attempt,
    /// Barriers on their way: checkpoint and confirmed.
    barriers: Vec<(CheckpointId, CheckpointId)>,
    /// Runs of its keyed state, oldest first.
    runs: Vec<ObjectName>,
    /// Output that is not known to be written.
    segments: Vec<CheckpointId>,
    /// Confirmed, and not yet written.
    to_write: Vec<CheckpointId>,
    written: Option<Progress>,
    released: bool,
    drained: bool,
}

/// A process that leads, or thinks so.
struct Leader {
    job: Job,
    running: Option<Running>,
    /// Answers on their way to it.
    inbox: Vec<Event>,
    asleep: bool,
}

pub struct World {
    plant: Plant,
    dice: Dice,
    now: u64,
    version: u64,
    head: Option<(Head, String)>,
    /// Swaps that were sent, were not answered, and may still land.
    late: Vec<(Box<Head>, Option<String>)>,
    manifests: BTreeMap<CheckpointId, Manifest>,
    objects: BTreeSet<ObjectName>,
    leaders: Vec<Leader>,
    incarnation: Incarnation,
    confirmed: u64,
    ending: bool,
    over: bool,
    unique: u128,
    story: Vec<String>,
}

fn name(text: &str) -> OperatorName {
    text.parse().expect("a name")
}

fn contributions() -> Contributions {
    let states = vec![("count".into(), "value".into())];
    let plain = |parallelism| Contribution { parallelism, states: vec![], output: false };
    Contributions::from([
        (name("in"), plain(2)),
        (name("counts"), Contribution { states, ..plain(1) }),
        (name("out"), Contribution { output: true, ..plain(1) }),
    ])
}

fn settings(leader: usize) -> Settings {
    Settings {
        pipeline: "p".parse().expect("a name"),
        key_groups: Default::default(),
        contributions: contributions(),
        checkpoints: checkpoint::Settings { interval: 100, timeout: 400, min_pause: 0, concurrent: 2, tolerated: 2 },
        restart: restart::Settings { attempts: u32::MAX, pause: 10, longest: 50 },
        retained: 2,
        leader: format!("leader {leader}"),
    }
}

impl World {
    pub fn new(seed: u64, plant: Plant) -> World {
        let incarnation = Incarnation::of(1);
        let mut world = World {
            plant,
            dice: Dice(seed),
            now: 1_000,
            version: 0,
            head: None,
            late: Vec::new(),
            manifests: BTreeMap::new(),
            objects: BTreeSet::new(),
            leaders: Vec::new(),
            incarnation: incarnation.clone(),
            confirmed: 0,
            ending: false,
            over: false,
            unique: 0,
            story: Vec::new(),
        };
        world.lead(Beginning::Deployed(incarnation));
        world
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// How many checkpoints were confirmed.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
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
        let number = self.leaders.len();
        let (job, actions) = Job::new(settings(number), beginning, self.unique, self.head.clone());
        self.leaders.push(Leader { job, running: None, inbox: Vec::new(), asleep: false });
        self.tell(format!("leader {number} begins"));
        self.perform(number, actions);
    }

    /// Something happens somewhere.
    pub fn step(&mut self, faults: bool) {
        self.now += self.dice.roll(20);
        if faults && self.dice.one_in(60) {
            return self.crash();
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
        let which = self.dice.roll(self.leaders.len() as u64) as usize;
        if self.leaders[which].asleep {
            return;
        }
        self.work(which, faults);
        let due = self.leaders[which].job.next_deadline().is_some_and(|due| due <= self.now);
        let inbox = self.leaders[which].inbox.len() as u64;
        let event = match inbox {
            0 if due => Event::Tick,
            0 => return,
            _ => {
                // Answers of the store overtake what a worker tells, which comes in order.
                let is_of_store = |event: &Event| {
                    use Event::{Deleted, HeadRead, ManifestLoaded, ManifestStored, Swapped};
                    matches!(event, Swapped(_) | HeadRead(_) | ManifestLoaded(..) | ManifestStored(..) | Deleted)
                };
                let overtaking = self.leaders[which].inbox.iter().position(is_of_store);
                let at = if self.dice.one_in(2) { overtaking.unwrap_or(0) } else { 0 };
                self.leaders[which].inbox.remove(at)
            }
        };
        self.deliver(which, event);
    }

    fn deliver(&mut self, which: usize, event: Event) {
        self.tell(format!("leader {which} < {event:?}"));
        let now = self.now;
        let actions = self.leaders[which].job.handle(now, event);
        self.perform(which, actions);
    }

    /// The process of a leader ends with its worker, or only its attempt does; another one resumes the job.
    fn crash(&mut self) {
        if self.dice.one_in(2) {
            let which = self.dice.roll(self.leaders.len() as u64) as usize;
            if let Some(running) = self.leaders[which].running.take() {
                let attempt = running.attempt;
                let failure = Failure { kind: Kind::Retryable, reason: "killed".into() };
                self.leaders[which].inbox.push(Event::Failed { attempt, failure });
                self.leaders[which].inbox.push(Event::Stopped { attempt });
            }
            return;
        }
        // A zombie stays behind, sometimes.
        if self.leaders.len() > 2 || self.dice.one_in(2) {
            let which = self.dice.roll(self.leaders.len() as u64) as usize;
            self.leaders.remove(which);
        }
        if self.head.as_ref().is_some_and(|(head, _)| head.wanted == Wanted::Running) {
            let incarnation = self.incarnation.clone();
            self.lead(Beginning::Resumed(incarnation));
        } else if self.leaders.is_empty() {
            let incarnation = self.incarnation.clone();
            self.lead(Beginning::Deployed(incarnation));
        }
    }

    fn object(&mut self, checkpoint: CheckpointId) -> ObjectName {
        self.unique += 1;
        let object = ObjectName::new(&self.incarnation, checkpoint, self.unique);
        self.objects.insert(object.clone());
        object
    }

    /// What the worker of a leader does by itself.
    fn work(&mut self, which: usize, faults: bool) {
        let Some(mut running) = self.leaders[which].running.take() else { return };
        let attempt = running.attempt;
        let mut told = Vec::new();
        if let Some((checkpoint, _)) = running.barriers.first().copied()
            && self.dice.one_in(3)
        {
            running.barriers.remove(0);
            if faults && self.dice.one_in(10) {
                told.push(Event::Declined { attempt, checkpoint, reason: "no room".into() });
            } else if !(faults && self.dice.one_in(10)) {
                self.snapshot(&mut running, checkpoint, &mut told);
            }
        }
        if let Some(checkpoint) = running.to_write.first().copied()
            && self.dice.one_in(3)
        {
            running.to_write.remove(0);
            let progress = Progress { checkpoint, part: 1 };
            running.written = Some(progress);
            running.segments.retain(|segment| *segment > checkpoint);
            told.push(Event::Progressed { attempt, lane: (name("out"), 0), progress });
        }
        if self.ending && running.released && !running.drained {
            running.drained = true;
            told.push(Event::Drained { attempt });
        }
        self.leaders[which].inbox.extend(told);
        self.leaders[which].running = Some(running);
    }

    fn snapshot(&mut self, running: &mut Running, checkpoint: CheckpointId, told: &mut Vec<Event>) {
        let chunk = |object: ObjectName| Chunk { object, offset: 0, length: 1, crc: 0 };
        let delta = self.object(checkpoint);
        running.runs.push(delta);
        if running.runs.len() > 4 {
            // A new base, named for the first time.
            running.runs = vec![self.object(checkpoint)];
        }
        running.segments.push(checkpoint);
        let run = |object: &ObjectName| Run { chunk: chunk(object.clone()), entries: 1, groups: None };
        let chain = Chain { groups: 0..=127, runs: running.runs.iter().map(run).collect(), pending: vec![] };
        let mut segments = Vec::new();
        for segment in running.segments.clone() {
            let part = Part { chunk: chunk(self.object(checkpoint)), records: 1 };
            segments.push(Segment { checkpoint: segment, parts: vec![part] });
        }
        let attempt = running.attempt;
        let mut ack = |node: &str, subtask, piece| {
            told.push(Event::Acknowledged { attempt, checkpoint, node: name(node), subtask, piece });
        };
        let ended = running.drained;
        let passed = || Piece::Passed { ended, splits: vec![] };
        ack("out", 0, Piece::Output(Output { lane: 0, segments, files: vec![] }));
        ack("in", 0, passed());
        ack("in", 1, passed());
        ack("counts", 0, Piece::State(chain));
        ack("counts", 0, passed());
        ack("out", 0, passed());
    }

    fn perform(&mut self, which: usize, actions: Vec<Action>) {
        for action in actions {
            self.tell(format!("leader {which} > {action:?}"));
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
                    self.confirm(which, head.attempt, latest);
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
            Action::LoadManifest(_, checkpoint) => {
                let loaded = self.manifests.get(&checkpoint).cloned().map(Box::new);
                let missing = || Failure { kind: Kind::Fatal, reason: "missing".into() };
                let head_names = self.head.as_ref().is_some_and(|(head, _)| head.retained.contains(&checkpoint));
                assert!(loaded.is_some() || !head_names, "{checkpoint:?} is gone:\n{}", self.story());
                let event = Event::ManifestLoaded(checkpoint, loaded.ok_or_else(missing));
                self.leaders[which].inbox.push(event);
            }
            Action::StoreManifest(manifest) => {
                let (checkpoint, fails) = (manifest.checkpoint, faulty && self.dice.one_in(15));
                let is_lost = self.plant == Plant::LosesManifests && self.dice.one_in(5);
                if !is_lost && (!fails || self.dice.one_in(2)) {
                    self.objects.insert(manifest.name());
                    self.manifests.insert(checkpoint, *manifest);
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
            Action::Sweep { until, kept, .. } => {
                let until = if self.plant == Plant::SweepsTheNew { CheckpointId(u64::MAX) } else { until };
                self.delete(|object| is_garbage(object, &kept, until));
            }
            Action::Deploy { attempt, from, .. } => self.deploy(which, attempt, from.map(|from| *from)),
            Action::Release { attempt } => self.running(which, attempt, |running| running.released = true),
            Action::Trigger { attempt, checkpoint, confirmed } => {
                self.running(which, attempt, |running| running.barriers.push((checkpoint, confirmed)));
            }
            Action::Confirm { attempt, checkpoint } => self.confirm(which, attempt, checkpoint),
            Action::Finish { attempt } | Action::Cancel { attempt } => {
                if self.leaders[which].running.take_if(|running| running.attempt == attempt).is_some() {
                    self.leaders[which].inbox.push(Event::Stopped { attempt });
                }
            }
            Action::Ended(End::Finished) => self.over = true,
            Action::Answer(..) | Action::Abandoned(..) | Action::Tell(..) | Action::Ended(_) => {}
        }
    }

    fn running(&mut self, which: usize, attempt: Attempt, then: impl FnOnce(&mut Running)) {
        if let Some(running) = &mut self.leaders[which].running
            && running.attempt == attempt
        {
            then(running);
        }
    }

    /// An attempt may be deployed only once HEAD has said so.
    fn deploy(&mut self, which: usize, attempt: Attempt, from: Option<Manifest>) {
        let (head, _) = self.head.as_ref().expect("HEAD comes first");
        assert!(head.attempt >= attempt, "attempt {attempt} before HEAD says so:\n{}", self.story());
        if head.attempt == attempt {
            let latest = from.as_ref().map(|from| from.checkpoint);
            assert_eq!(latest, head.latest, "another checkpoint than the latest:\n{}", self.story());
        }
        let mut running = Running {
            attempt,
            barriers: vec![],
            runs: vec![],
            segments: vec![],
            to_write: vec![],
            written: None,
            released: false,
            drained: false,
        };
        if let Some(from) = from {
            let counts = &from.nodes[&name("counts")].subtasks[0];
            let chain = counts.state.as_ref().expect("it has state");
            running.runs = chain.runs.iter().map(|run| run.chunk.object.clone()).collect();
            let output = from.nodes[&name("out")].subtasks[0].output.as_ref().expect("it has output");
            running.to_write = output.segments.iter().map(|segment| segment.checkpoint).collect();
            running.segments = running.to_write.clone();
            for object in from.objects() {
                // One that was deposed and does not know it may find anything.
                let there = head.attempt != attempt || self.objects.contains(object);
                assert!(there, "{object}, which the restored checkpoint names, is gone:\n{}", self.story());
            }
        }
        self.leaders[which].running = Some(running);
        self.leaders[which].inbox.push(Event::Started { attempt });
    }

    /// Output may be written only when HEAD names the checkpoint that carries it, or a later one.
    fn confirm(&mut self, which: usize, attempt: Attempt, checkpoint: CheckpointId) {
        self.confirmed += 1;
        let latest = self.head.as_ref().and_then(|(head, _)| head.latest);
        assert!(latest >= Some(checkpoint), "{checkpoint:?} is confirmed before HEAD names it:\n{}", self.story());
        self.running(which, attempt, |running| {
            let written = running.written.map_or(CheckpointId::NONE, |written| written.checkpoint);
            let known: BTreeSet<CheckpointId> = running.to_write.iter().copied().collect();
            let due = running.segments.iter().copied().filter(|s| *s <= checkpoint && *s > written);
            running.to_write.extend(due.filter(|segment| !known.contains(segment)));
        });
    }

    fn swap(&mut self, head: Head, expected: Option<String>) -> Answer {
        let is_expected = self.head.as_ref().map(|(_, version)| version.clone()) == expected;
        if !is_expected && self.plant != Plant::IgnoresConditions {
            return Answer::Conflict;
        }
        if let Some((before, _)) = &self.head {
            assert!(head.term >= before.term, "the term falls:\n{}", self.story());
            assert!(head.latest >= before.latest, "a checkpoint is taken back:\n{}", self.story());
            assert!(head.attempt >= before.attempt, "an attempt is taken back:\n{}", self.story());
        }
        self.version += 1;
        let version = self.version.to_string();
        self.head = Some((head, version.clone()));
        Answer::Done(version)
    }

    fn delete(&mut self, is_garbage: impl Fn(&ObjectName) -> bool) {
        self.objects.retain(|object| !is_garbage(object));
        let objects = &self.objects;
        self.manifests.retain(|_, manifest| objects.contains(&manifest.name()));
    }

    /// What HEAD names is there.
    fn check(&self) {
        let Some((head, _)) = &self.head else { return };
        for checkpoint in &head.retained {
            let manifest = self.manifests.get(checkpoint);
            assert!(manifest.is_some(), "{checkpoint:?} is retained and gone:\n{}", self.story());
            for object in manifest.into_iter().flat_map(Manifest::objects) {
                assert!(self.objects.contains(object), "{object} of {checkpoint:?} is gone:\n{}", self.story());
            }
        }
        let over = self.leaders.iter().filter(|leader| leader.job.state() == State::Over(End::Finished)).count();
        assert!(over <= 1 || head.wanted == Wanted::Finished);
    }
}
