//! A store, workers and up to two leaders, stepped by a seed.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::checkpoint::head::{Origin, PREVIOUS, Wanted};
use flow_model::checkpoint::snapshot::{Chain, Output, Part, Piece, Progress, Run, Segment};
use flow_model::checkpoint::{Attempt, CheckpointId, Chunk, Head, Incarnation, Manifest, ObjectName};
use flow_model::ids::OperatorName;
use flow_protocol::checkpoint::{self, Contribution, Contributions};
use flow_protocol::head::Answer;
use flow_protocol::job::{Action, Beginning, End, Event, Failure, Job, Life, Owed, Settings, State};
use flow_protocol::lanes::required;
use flow_protocol::restart::{self, Kind};
use flow_protocol::retention::{self, is_garbage};

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
    /// A lane tells that it has written what it has not.
    TellsTooMuch,
}

/// An attempt on its worker.
struct Running {
    incarnation: Incarnation,
    attempt: Attempt,
    /// It only writes.
    settles: bool,
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

/// What came about in a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub lives: u64,
    pub adopted: u64,
    pub savepoints: u64,
    pub stopped_with_one: u64,
    pub given_up: u64,
    pub settled: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.lives += other.lives;
        self.adopted += other.adopted;
        self.savepoints += other.savepoints;
        self.stopped_with_one += other.stopped_with_one;
        self.given_up += other.given_up;
        self.settled += other.settled;
    }
}

pub struct World {
    plant: Plant,
    dice: Dice,
    now: u64,
    version: u64,
    head: Option<(Head, String)>,
    /// Swaps that were sent, were not answered, and may still land.
    late: Vec<(Box<Head>, Option<String>)>,
    manifests: BTreeMap<ObjectName, Manifest>,
    objects: BTreeSet<ObjectName>,
    /// Output that stands where it was to go.
    written: BTreeSet<(Incarnation, CheckpointId)>,
    leaders: Vec<Leader>,
    lives: u128,
    /// The one that was deployed last.
    life: Option<Life>,
    confirmed: u64,
    /// What came about.
    counts: Counts,
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
        let mut world = World {
            plant,
            dice: Dice(seed),
            now: 1_000,
            version: 0,
            head: None,
            late: Vec::new(),
            manifests: BTreeMap::new(),
            objects: BTreeSet::new(),
            written: BTreeSet::new(),
            leaders: Vec::new(),
            lives: 0,
            life: None,
            confirmed: 0,
            counts: Counts::default(),
            ending: false,
            over: false,
            unique: 0,
            story: Vec::new(),
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
        let number = self.leaders.len();
        let (job, actions) = Job::new(settings(number), beginning, (self.unique, self.now), self.head.clone());
        self.leaders.push(Leader { job, running: None, inbox: Vec::new(), asleep: false });
        self.tell(format!("leader {number} begins"));
        self.perform(number, actions);
    }

    /// A life of its own, from nothing or from something of an earlier life.
    fn deploy_anew(&mut self) {
        self.lives += 1;
        self.counts.lives += 1;
        let incarnation = Incarnation::of(self.lives);
        let mut origin = None;
        if let Some((head, _)) = &self.head {
            let of = |incarnation: &Incarnation, checkpoint| Origin {
                job: "p".parse().expect("a name"),
                incarnation: incarnation.clone(),
                checkpoint,
                claim: false,
                dropped: Vec::new(),
            };
            let savepoints = head.savepoints.iter().map(|s| of(&s.incarnation, s.checkpoint));
            let retained = head.retained.iter().map(|retained| of(&head.incarnation, *retained));
            let mut all: Vec<Origin> = savepoints.chain(retained).collect();
            if !all.is_empty() && !self.dice.one_in(4) {
                let mut chosen = all.remove(self.dice.roll(all.len() as u64) as usize);
                chosen.claim = self.dice.one_in(2);
                origin = Some(chosen);
            }
        }
        let life = Life { incarnation, origin, owed: Owed::Write, take_over: false };
        self.life = Some(life.clone());
        self.lead(Beginning::Deployed(life));
    }

    /// A user wants something.
    fn ask(&mut self) {
        let which = self.dice.roll(self.leaders.len() as u64) as usize;
        let number = self.dice.roll(1000);
        let event = match self.dice.roll(8) {
            0..3 => {
                let name = format!("s{}", self.dice.roll(50)).parse().expect("a name");
                Event::Savepoint { number, name, stop: self.dice.one_in(6) }
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
            _ => Event::Cancel,
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
        if faults && self.dice.one_in(30) {
            return self.ask();
        }
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
                let life = life.clone();
                self.lead(Beginning::Resumed(life));
            }
            _ => self.deploy_anew(),
        }
    }

    fn object(&mut self, incarnation: &Incarnation, checkpoint: CheckpointId) -> ObjectName {
        self.unique += 1;
        let object = ObjectName::new(incarnation, checkpoint, self.unique);
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
            if self.plant != Plant::TellsTooMuch || self.dice.one_in(2) {
                self.written.insert((running.incarnation.clone(), checkpoint));
            }
            let progress = Progress { checkpoint, part: 1 };
            running.written = Some(progress);
            running.segments.retain(|segment| *segment > checkpoint);
            told.push(Event::Progressed { attempt, lane: (name("out"), 0), progress });
        }
        if self.ending && running.released && !running.drained && !running.settles {
            running.drained = true;
            told.push(Event::Drained { attempt });
        }
        self.leaders[which].inbox.extend(told);
        self.leaders[which].running = Some(running);
    }

    fn snapshot(&mut self, running: &mut Running, checkpoint: CheckpointId, told: &mut Vec<Event>) {
        let chunk = |object: ObjectName| Chunk { object, offset: 0, length: 1, crc: 0 };
        let life = running.incarnation.clone();
        let delta = self.object(&life, checkpoint);
        running.runs.push(delta);
        if running.runs.len() > 4 {
            // A new base, named for the first time.
            running.runs = vec![self.object(&life, checkpoint)];
        }
        running.segments.push(checkpoint);
        let run = |object: &ObjectName| Run { chunk: chunk(object.clone()), entries: 1, groups: None };
        let chain = Chain { groups: 0..=127, runs: running.runs.iter().map(run).collect(), pending: vec![] };
        let mut segments = Vec::new();
        for segment in running.segments.clone() {
            let part = Part { chunk: chunk(self.object(&life, checkpoint)), records: 1 };
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
                let running = self.deploy(incarnation, attempt, from.map(|from| *from));
                self.leaders[which].running = Some(running);
                self.leaders[which].inbox.push(Event::Started { attempt });
            }
            Action::Settle { incarnation, attempt, from } => {
                self.counts.settled += 1;
                let running = self.deploy(incarnation, attempt, Some(*from));
                self.leaders[which].running = Some(Running { settles: true, ..running });
            }
            Action::Adopt { incarnation, origin } => {
                let adopted = if faulty && self.dice.one_in(4) {
                    Err(Failure { kind: Kind::Retryable, reason: "no answer".into() })
                } else {
                    self.adopt(&incarnation, &origin).map(Box::new)
                };
                self.leaders[which].inbox.push(Event::Adopted(adopted));
            }
            Action::Release { attempt } => self.running(which, attempt, |running| running.released = true),
            Action::Hold { attempt } => self.running(which, attempt, |running| running.released = false),
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
            Action::SavepointOver(name, Ok(_)) => {
                self.counts.savepoints += 1;
                assert_ne!(name.as_str(), PREVIOUS);
                if self.leaders[which].running.as_ref().is_some_and(|running| !running.released) {
                    self.counts.stopped_with_one += 1;
                }
            }
            Action::Accepted(_, Ok(())) => self.counts.given_up += 1,
            Action::Answer(..)
            | Action::Accepted(..)
            | Action::SavepointOver(..)
            | Action::Abandoned(..)
            | Action::Tell(..)
            | Action::Ended(_) => {}
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
    fn deploy(&mut self, incarnation: Incarnation, attempt: Attempt, from: Option<Manifest>) -> Running {
        let (head, _) = self.head.as_ref().expect("HEAD comes first");
        let is_mine = head.incarnation == incarnation;
        assert!(!is_mine || head.attempt >= attempt, "attempt {attempt} before HEAD says so:\n{}", self.story());
        let is_latest = is_mine && head.attempt == attempt;
        if is_latest {
            let latest = from.as_ref().map(|from| from.checkpoint);
            assert_eq!(latest, head.latest, "another checkpoint than the latest:\n{}", self.story());
            let is_adopted = head.origin.is_none() || latest.is_some();
            assert!(is_adopted, "it begins without what it was to begin with:\n{}", self.story());
        }
        let mut running = Running {
            incarnation,
            attempt,
            settles: false,
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
            let output = from.nodes[&name("out")].subtasks[0].output.as_ref();
            let segments = output.iter().flat_map(|output| &output.segments);
            running.to_write = segments.map(|segment| segment.checkpoint).collect();
            running.segments = running.to_write.clone();
            for object in from.objects() {
                // One that was deposed and does not know it may find anything.
                let there = !is_latest || self.objects.contains(object);
                assert!(there, "{object}, which the restored checkpoint names, is gone:\n{}", self.story());
            }
        }
        running
    }

    /// The manifest of a life that begins with a checkpoint of another one.
    fn adopt(&mut self, incarnation: &Incarnation, origin: &Origin) -> Result<Manifest, Failure> {
        // One that was deposed and does not know it may find nothing any more.
        let is_mine = |(head, _): &(Head, String)| head.incarnation == *incarnation && head.latest.is_none();
        let is_mine = self.head.as_ref().is_some_and(is_mine);
        let from = self.manifests.get(&ObjectName::manifest(&origin.incarnation, origin.checkpoint)).cloned();
        assert!(from.is_some() || !is_mine, "the origin is gone:\n{}", self.story());
        let gone = || Failure { kind: Kind::Fatal, reason: "gone".into() };
        let mut manifest = from.ok_or_else(gone)?;
        for snapshot in manifest.nodes.values_mut().flat_map(|node| &mut node.subtasks) {
            snapshot.output = None;
            for run in snapshot.state.iter_mut().flat_map(|chain| &mut chain.runs) {
                let is_there = self.objects.contains(&run.chunk.object);
                assert!(is_there || !is_mine, "{} of the origin is gone:\n{}", run.chunk.object, self.story());
                if !is_there {
                    return Err(gone());
                }
                if !origin.claim {
                    // Who does it twice does the same.
                    let unique = u128::from_str_radix(run.chunk.object.unique(), 16).expect("hexadecimal");
                    run.chunk.object = ObjectName::new(incarnation, CheckpointId::ADOPTED, unique);
                    self.objects.insert(run.chunk.object.clone());
                }
            }
        }
        manifest.nodes.values_mut().for_each(|node| node.lanes.clear());
        (manifest.incarnation, manifest.checkpoint) = (incarnation.clone(), CheckpointId::ADOPTED);
        self.objects.insert(manifest.name());
        self.manifests.insert(manifest.name(), manifest.clone());
        self.counts.adopted += 1;
        Ok(manifest)
    }

    /// Output may be written only when HEAD names the checkpoint that carries it, or a later one.
    fn confirm(&mut self, which: usize, attempt: Attempt, checkpoint: CheckpointId) {
        self.confirmed += 1;
        let head = self.head.as_ref().map(|(head, _)| head);
        let of = self.leaders[which].running.as_ref().map(|running| running.incarnation.clone());
        // One that is behind by a life was right in its own.
        if of.as_ref() == head.map(|head| &head.incarnation) {
            let latest = head.and_then(|head| head.latest);
            assert!(latest >= Some(checkpoint), "{checkpoint:?} is confirmed before HEAD names it:\n{}", self.story());
        }
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
            if head.incarnation == before.incarnation {
                assert!(head.latest >= before.latest, "a checkpoint is taken back:\n{}", self.story());
                assert!(head.attempt >= before.attempt, "an attempt is taken back:\n{}", self.story());
            } else {
                assert_ne!(before.wanted, Wanted::Running, "a life is cut off:\n{}", self.story());
                assert!(self.is_written(before), "a life ends and owes output:\n{}", self.story());
            }
            if head.wanted != Wanted::Running && !head.unwritten {
                assert!(self.is_written(&head), "HEAD says that all is written:\n{}", self.story());
            }
            for savepoint in head.savepoints.iter().filter(|new| !before.savepoints.contains(new)) {
                let is_whole = self.is_all_written(&savepoint.incarnation, savepoint.checkpoint);
                assert!(is_whole, "a savepoint carries output that is not written:\n{}", self.story());
            }
        }
        self.version += 1;
        let version = self.version.to_string();
        self.head = Some((head, version.clone()));
        Answer::Done(version)
    }

    /// Whether all that a checkpoint carries stands where it was to go.
    fn is_all_written(&self, incarnation: &Incarnation, checkpoint: CheckpointId) -> bool {
        let Some(manifest) = self.manifests.get(&ObjectName::manifest(incarnation, checkpoint)) else { return true };
        let mut segments = manifest.nodes[&name("out")].subtasks[0].output.iter().flat_map(|output| &output.segments);
        debug_assert_eq!(required(&manifest.nodes).len(), usize::from(segments.clone().next().is_some()));
        segments.all(|segment| self.written.contains(&(incarnation.clone(), segment.checkpoint)))
    }

    fn is_written(&self, head: &Head) -> bool {
        head.latest.is_none_or(|latest| self.is_all_written(&head.incarnation, latest))
    }

    fn delete(&mut self, is_garbage: impl Fn(&ObjectName) -> bool) {
        self.objects.retain(|object| !is_garbage(object));
        let objects = &self.objects;
        self.manifests.retain(|_, manifest| objects.contains(&manifest.name()));
    }

    /// What HEAD names is there.
    fn check(&self) {
        let Some((head, _)) = &self.head else { return };
        for (incarnation, checkpoint) in retention::named(head) {
            let manifest = self.manifests.get(&ObjectName::manifest(&incarnation, checkpoint));
            assert!(manifest.is_some(), "{checkpoint:?} is retained and gone:\n{}", self.story());
            for object in manifest.into_iter().flat_map(Manifest::objects) {
                assert!(self.objects.contains(object), "{object} of {checkpoint:?} is gone:\n{}", self.story());
            }
        }
        let over = self.leaders.iter().filter(|leader| leader.job.state() == State::Over(End::Finished)).count();
        assert!(over <= 1 || head.wanted == Wanted::Finished);
    }
}
