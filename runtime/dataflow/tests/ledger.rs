//! The ledger of runs against a model of everything around it: late and failed uploads and merges, parts between barriers, aborted
//! checkpoints, two in flight, garbage collection at every point, crashes. Each invariant is planted broken, and found.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flow_dataflow::state::ledger::{Action, Ledger, Merge, Number};
use flow_dataflow::state::run::Written;
use flow_dataflow::{Barrier, Error};
use flow_model::checkpoint::snapshot::Chain;
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation, ObjectName};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

type Values = BTreeMap<u8, u32>;
type Changes = BTreeMap<u8, Option<u32>>;

/// A fault that is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    Nothing,
    /// A checkpoint does not wait for what it names.
    AcknowledgesAtOnce,
    /// It forgets what an aborted one sealed.
    ForgetsTheAborted,
    /// A part that was sealed between barriers is in no delta.
    LosesParts,
    /// It bears the id of the last barrier.
    NamesPartsByTheLastBarrier,
    /// A part hides what came after it.
    SwapsParts,
    /// A merge is not named before it is complete.
    KeepsMergesSecret,
    /// A merge drops tombstones that something older needs.
    DropsTombstones,
    /// Of several runs the oldest counts.
    MergesBackwards,
    /// A merge has changes from after the barrier at which it takes the place of its inputs.
    MergesTheFuture,
    /// A merge takes the place of its inputs before it is uploaded.
    ReplacesTooEarly,
    /// A restart gives the name of the confirmed checkpoint to what comes next.
    RestartsOneTooLow,
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Option<u32>),
    Part,
    Barrier,
    Upload { at: usize, succeeds: bool },
    Merge { succeeds: bool },
    Confirm,
    Abort(usize),
    Collect,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u8..12, prop::option::weighted(0.6, any::<u32>())).prop_map(|(key, value)| Step::Put(key, value)),
        4 => Just(Step::Part),
        8 => Just(Step::Barrier),
        14 => (any::<usize>(), prop::bool::weighted(0.92)).prop_map(|(at, succeeds)| Step::Upload { at, succeeds }),
        4 => prop::bool::weighted(0.9).prop_map(|succeeds| Step::Merge { succeeds }),
        8 => Just(Step::Confirm),
        1 => any::<usize>().prop_map(Step::Abort),
        5 => Just(Step::Collect),
        1 => Just(Step::Crash),
    ]
}

struct World {
    plant: Plant,
    /// Bytes of an entry, as a power of two: how many of them are worth merging with the oldest run.
    scale: u32,
    ledger: Ledger,
    unique: u128,
    truth: Values,
    /// What was changed since the last part or barrier.
    dirty: Changes,
    /// Local files.
    files: BTreeMap<Number, Changes>,
    objects: BTreeMap<ObjectName, Changes>,
    uploads: VecDeque<(Number, ObjectName)>,
    merging: Option<Merge>,
    attempt: u32,
    counter: u32,
    last: CheckpointId,
    confirmed: CheckpointId,
    /// In flight: what was confirmed when each began, and what was there.
    flying: BTreeMap<CheckpointId, (CheckpointId, Values)>,
    acked: BTreeMap<CheckpointId, Chain>,
    aborted: BTreeSet<CheckpointId>,
    manifests: BTreeMap<CheckpointId, (Chain, Values)>,
}

fn names(chain: &Chain) -> impl Iterator<Item = &ObjectName> {
    chain.runs.iter().map(|run| &run.chunk.object).chain(&chain.pending)
}

fn merged<'a>(runs: impl Iterator<Item = &'a Changes>) -> Changes {
    runs.fold(Changes::new(), |mut all, run| {
        all.extend(run.clone());
        all
    })
}

impl World {
    fn new(plant: Plant, scale: u32) -> World {
        World {
            plant,
            scale,
            ledger: Ledger::new(Incarnation::of(1), 0..=7, CheckpointId::NONE),
            unique: 0,
            truth: Values::new(),
            dirty: Changes::new(),
            files: BTreeMap::new(),
            objects: BTreeMap::new(),
            uploads: VecDeque::new(),
            merging: None,
            attempt: 1,
            counter: 0,
            last: CheckpointId::NONE,
            confirmed: CheckpointId::NONE,
            flying: BTreeMap::new(),
            acked: BTreeMap::new(),
            aborted: BTreeSet::new(),
            manifests: BTreeMap::new(),
        }
    }

    fn written(&self, changes: &Changes) -> Written {
        let (entries, bytes) = (changes.len() as u64, (changes.len() as u64) << self.scale);
        let tombstones = changes.values().filter(|v| v.is_none()).count() as u64;
        Written { length: bytes, blocks: bytes, crc: 0, entries, tombstones }
    }

    fn unique(&mut self) -> u128 {
        self.unique += 1;
        self.unique
    }

    fn apply(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Put(key, value) => {
                match value {
                    Some(value) => drop(self.truth.insert(*key, *value)),
                    None => drop(self.truth.remove(key)),
                }
                self.dirty.insert(*key, *value);
            }
            Step::Part if self.plant == Plant::LosesParts => self.dirty.clear(),
            Step::Part => self.seal(None)?,
            // Two in flight at most, as a coordinator would.
            Step::Barrier if self.flying.len() < 2 => self.barrier()?,
            Step::Barrier => {}
            Step::Upload { at, succeeds } => self.upload(*at, *succeeds)?,
            Step::Merge { succeeds } => self.merge(*succeeds)?,
            Step::Confirm => self.confirm()?,
            Step::Abort(at) => {
                if let Some(id) = self.flying.keys().nth(at % self.flying.len().max(1)).copied() {
                    self.flying.remove(&id);
                    self.aborted.insert(id);
                }
            }
            Step::Collect => self.collect(),
            Step::Crash => self.crash()?,
        }
        let unique = self.unique();
        if let Some(merge) = self.ledger.next_merge(unique)
            && self.merging.replace(merge).is_some()
        {
            return Err("two merges at once".into());
        }
        Ok(())
    }

    fn seal(&mut self, barrier: Option<Barrier>) -> Result<(), String> {
        let changes = std::mem::take(&mut self.dirty);
        if changes.is_empty() {
            return Ok(());
        }
        let unique = self.unique();
        let named_by = match barrier {
            None if self.plant == Plant::NamesPartsByTheLastBarrier => Some(Barrier::first(self.last)),
            barrier => barrier,
        };
        let name = self.ledger.begin(named_by, unique);
        let changes = if self.plant == Plant::SwapsParts && barrier.is_some() {
            // What a part said before counts.
            let parts = self.files.values().next_back().cloned().unwrap_or_default();
            changes.into_iter().map(|(key, value)| (key, parts.get(&key).copied().unwrap_or(value))).collect()
        } else {
            changes
        };
        let (number, actions) = self.ledger.sealed(name, &self.written(&changes));
        self.files.insert(number, changes);
        self.perform(actions)
    }

    fn barrier(&mut self) -> Result<(), String> {
        self.counter += 1;
        let checkpoint = CheckpointId::new(Attempt(self.attempt), self.counter);
        let barrier = Barrier { checkpoint, confirmed: self.confirmed };
        self.seal(Some(barrier))?;
        self.flying.insert(checkpoint, (self.confirmed, self.truth.clone()));
        self.last = checkpoint;
        let actions = self.ledger.barrier(barrier);
        self.perform(actions)
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), String> {
        for action in actions {
            match action {
                Action::Upload(number, name) => {
                    if !self.files.contains_key(&number) {
                        return Err(format!("run {number} is to be uploaded and is not there"));
                    }
                    self.uploads.push_back((number, name));
                    let early = match self.plant {
                        Plant::AcknowledgesAtOnce => true,
                        Plant::ReplacesTooEarly => !self.ledger.runs().any(|(n, _)| n == number),
                        _ => false,
                    };
                    if early {
                        let actions = self.ledger.uploaded(number, Ok(()));
                        self.perform(actions)?;
                    }
                }
                Action::Ack(id, mut chain) => {
                    match self.plant {
                        Plant::KeepsMergesSecret => chain.pending.clear(),
                        Plant::ForgetsTheAborted => {
                            chain.runs.retain(|run| !self.aborted.contains(&run.chunk.object.checkpoint()));
                        }
                        _ => {}
                    }
                    if self.acked.insert(id, chain).is_some() {
                        return Err(format!("{id:?} is acknowledged twice"));
                    }
                }
                Action::Decline(id, _) => {
                    self.flying.remove(&id);
                    self.aborted.insert(id);
                }
                Action::Forget(number) => drop(self.files.remove(&number)),
            }
        }
        Ok(())
    }

    fn upload(&mut self, at: usize, succeeds: bool) -> Result<(), String> {
        if self.uploads.is_empty() {
            return Ok(());
        }
        let (number, name) = self.uploads.remove(at % self.uploads.len()).expect("within bounds");
        let result = if succeeds {
            let file = self.files.get(&number).ok_or_else(|| format!("run {number} is gone before it is uploaded"))?;
            self.objects.insert(name, file.clone());
            Ok(())
        } else {
            Err(Error::Retryable("no answer".into()))
        };
        let actions = self.ledger.uploaded(number, result);
        self.perform(actions)
    }

    fn merge(&mut self, succeeds: bool) -> Result<(), String> {
        let Some(merge) = self.merging.take() else { return Ok(()) };
        if !succeeds {
            let actions = self.ledger.merged(merge.number, None);
            return self.perform(actions);
        }
        let mut inputs: Vec<&Changes> = Vec::new();
        for number in &merge.inputs {
            inputs.push(self.files.get(number).ok_or_else(|| format!("run {number} is gone before it is merged"))?);
        }
        if self.plant == Plant::MergesBackwards {
            inputs.reverse();
        }
        let mut changes = merged(inputs.into_iter());
        if merge.oldest || self.plant == Plant::DropsTombstones {
            changes.retain(|_, value| value.is_some());
        }
        if self.plant == Plant::MergesTheFuture {
            let newer = self.truth.iter().filter(|(key, _)| changes.contains_key(key)).map(|(k, v)| (*k, Some(*v)));
            let newer: Changes = newer.collect();
            // What is dirty reaches the base, and is gone from the delta.
            self.dirty.retain(|key, _| !newer.contains_key(key));
            changes.extend(newer);
        }
        let written = self.written(&changes);
        self.files.insert(merge.number, changes);
        let actions = self.ledger.merged(merge.number, Some(&written));
        self.perform(actions)
    }

    fn confirm(&mut self) -> Result<(), String> {
        let Some(id) = self.flying.keys().rev().find(|id| self.acked.contains_key(id)).copied() else { return Ok(()) };
        let (since, values) = self.flying.remove(&id).expect("it was found there");
        self.flying.retain(|other, _| *other > id);
        let chain = self.acked[&id].clone();
        let known: BTreeSet<_> = self.manifests.get(&since).iter().flat_map(|(chain, _)| names(chain)).collect();
        for name in names(&chain) {
            if name.checkpoint() <= since && !known.contains(name) {
                return Err(format!("{id:?} names {name}, which {since:?} does not"));
            }
        }
        self.confirmed = id;
        self.manifests.insert(id, (chain, values));
        self.check(id)
    }

    /// Whether a restore from a manifest would give what was there at its barrier.
    fn check(&self, id: CheckpointId) -> Result<(), String> {
        let (chain, values) = &self.manifests[&id];
        let mut runs = Vec::new();
        for run in &chain.runs {
            let name = &run.chunk.object;
            runs.push(self.objects.get(name).ok_or_else(|| format!("{id:?} names {name}, which is not there"))?);
        }
        let restored: Values = merged(runs.into_iter()).into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
        if restored == *values { Ok(()) } else { Err(format!("{id:?} restores {restored:?}, not {values:?}")) }
    }

    fn collect(&mut self) {
        let least = self.flying.values().map(|(since, _)| *since).min().unwrap_or(self.confirmed);
        // Two are retained.
        while self.manifests.len() > 2 && self.manifests.keys().next().is_some_and(|id| *id < least) {
            self.manifests.pop_first();
        }
        let named: BTreeSet<_> = self.manifests.values().flat_map(|(chain, _)| names(chain)).collect();
        self.objects.retain(|name, _| name.checkpoint() > least || named.contains(name));
    }

    fn crash(&mut self) -> Result<(), String> {
        for (number, name) in std::mem::take(&mut self.uploads) {
            // Some were done, and nobody heard of it.
            if number % 2 == 0 {
                self.objects.extend(self.files.get(&number).map(|file| (name, file.clone())));
            }
        }
        let below = CheckpointId(self.confirmed.0.saturating_sub(1));
        let from = if self.plant == Plant::RestartsOneTooLow { below } else { self.confirmed };
        self.ledger = Ledger::new(Incarnation::of(1), 0..=7, from);
        self.files.clear();
        (self.merging, self.dirty, self.truth) = (None, Changes::new(), Values::new());
        if self.manifests.contains_key(&self.confirmed) {
            self.check(self.confirmed)?;
            let (chain, values) = &self.manifests[&self.confirmed];
            self.truth = values.clone();
            for run in &chain.runs {
                let number = self.ledger.restored(run.clone());
                self.files.insert(number, self.objects[&run.chunk.object].clone());
            }
        }
        self.flying.clear();
        self.acked.clear();
        (self.attempt, self.counter, self.last) = (self.attempt + 1, 0, self.confirmed);
        Ok(())
    }
}

fn run(plant: Plant, scale: u32, steps: &[Step]) -> Result<(), String> {
    let mut world = World::new(plant, scale);
    for step in steps {
        world.apply(step)?;
        for id in world.manifests.keys().rev().take(2) {
            world.check(*id)?;
        }
    }
    world.crash()
}

/// The same cases in each run, so that what is found today is found tomorrow.
fn check(plant: Plant) -> Result<(), String> {
    let config = Config { cases: 1500, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let cases = (16u32..=20, prop::collection::vec(step(), 1..400));
    runner
        .run(&cases, |(scale, steps)| run(plant, scale, &steps).map_err(TestCaseError::fail))
        .map_err(|e| e.to_string())
}

#[test]
fn every_restore_gives_what_was_there_at_its_barrier() {
    check(Plant::Nothing).expect("the invariants hold");
}

#[test]
fn planted_faults_are_found() {
    for plant in [
        Plant::AcknowledgesAtOnce,
        Plant::ForgetsTheAborted,
        Plant::LosesParts,
        Plant::NamesPartsByTheLastBarrier,
        Plant::SwapsParts,
        Plant::KeepsMergesSecret,
        Plant::DropsTombstones,
        Plant::MergesBackwards,
        Plant::MergesTheFuture,
        Plant::ReplacesTooEarly,
        Plant::RestartsOneTooLow,
    ] {
        assert!(check(plant).is_err(), "{plant:?} is not found");
    }
}
