//! Which runs a checkpoint of one subtask's state is made of: pure bookkeeping, told of what happens to files and uploads.
//! Must never read, write or wait.
//!
//! A chain is a list of runs, oldest first. Each barrier adds what was changed since the one before (in parts, where the cache
//! had to make room), and asks for the chain as it is then. Runs that lie beside each other are merged now and then, which
//! bounds how much a restore reads and how long the list is.
//!
//! Invariants (`tests/ledger.rs` finds each of them broken when it is planted):
//! - A checkpoint is acknowledged once every run that it names is uploaded, those of aborted checkpoints included.
//! - A checkpoint names only objects that the manifest of the last confirmed one names, or with higher ids. So an object gets
//!   the id of the barrier that it is sealed at, or one above that of the last barrier: no checkpoint that this subtask has not
//!   acknowledged can be confirmed. What a merge writes is named as pending from its beginning on.
//! - A merge takes the place of its inputs whole, at a barrier, when it is uploaded.
//! - Tombstones are dropped only where nothing older is left for them to hide.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use flow_model::checkpoint::snapshot::{Chain, Run};
use flow_model::checkpoint::{CheckpointId, Chunk, Incarnation, ObjectName};

use super::run::Written;
use crate::Error;
use crate::element::Barrier;

/// So many runs of a level make one of the next.
const FAN_IN: usize = 16;
/// The least bytes of younger runs that are worth merging with the oldest one.
const LEAST: u64 = 4 << 20;

/// Number of a run in this ledger.
pub type Number = u64;

/// What is to be done, in any order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Upload a run, and tell [`Ledger::uploaded`].
    Upload(Number, ObjectName),
    /// The subtask's part of a checkpoint is complete.
    Ack(CheckpointId, Chain),
    /// It can't be, since a run of it was not uploaded.
    Decline(CheckpointId, Error),
    /// Nobody needs the local file of a run any more.
    Forget(Number),
}

/// Runs that are to become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// What it will be.
    pub number: Number,
    /// Where it will lie.
    pub name: ObjectName,
    /// Of what, oldest first.
    pub inputs: Vec<Number>,
    /// Whether nothing is older than these: tombstones are to be dropped.
    pub oldest: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Upload {
    Running,
    /// To be begun again with the next barrier.
    Failed,
    Done,
}

#[derive(Debug)]
struct Held {
    number: Number,
    run: Run,
    /// How many merges it went through; [`OLDEST`] for the first of the chain, which is merged only with all others.
    level: u32,
    upload: Upload,
}

/// The level of the first run of a chain.
const OLDEST: u32 = u32::MAX;

#[derive(Debug)]
enum Stage {
    Writing,
    Uploading(Run),
    /// To take the place of its inputs at the next barrier; nothing where all of them was deleted.
    Complete(Option<Run>),
}

#[derive(Debug)]
struct Merging {
    merge: Merge,
    level: u32,
    stage: Stage,
}

#[derive(Debug)]
struct Waiting {
    checkpoint: CheckpointId,
    chain: Chain,
    missing: BTreeSet<Number>,
}

/// The runs of one subtask.
#[derive(Debug)]
pub struct Ledger {
    incarnation: Incarnation,
    groups: RangeInclusive<u16>,
    /// The last barrier, or what was confirmed when the subtask began.
    last: CheckpointId,
    next: Number,
    /// Oldest first.
    runs: Vec<Held>,
    merging: Option<Merging>,
    /// Checkpoints that wait for uploads.
    waiting: Vec<Waiting>,
    /// Runs that left the chain, by the checkpoint from which on it does without them.
    gone: VecDeque<(CheckpointId, Vec<Number>)>,
}

impl Ledger {
    /// The ledger of a subtask that owns these key groups. `confirmed` is the last confirmed checkpoint of the incarnation.
    pub fn new(incarnation: Incarnation, groups: RangeInclusive<u16>, confirmed: CheckpointId) -> Ledger {
        Ledger {
            incarnation,
            groups,
            last: confirmed,
            next: 0,
            runs: Vec::new(),
            merging: None,
            waiting: Vec::new(),
            gone: VecDeque::new(),
        }
    }

    /// Adds a run of the confirmed checkpoint, behind those that were added before.
    pub fn restored(&mut self, run: Run) -> Number {
        self.add(run, Upload::Done)
    }

    /// The number and name of a run that is about to be written: of a barrier's, or of a part that comes before one. `unique` are
    /// 128 random bits.
    pub fn begin(&mut self, barrier: Option<Barrier>, unique: u128) -> ObjectName {
        let checkpoint = barrier.map_or_else(|| self.after_last(), |barrier| barrier.checkpoint);
        ObjectName::new(&self.incarnation, checkpoint, unique)
    }

    /// A run is written, and hides what all runs before it say.
    pub fn sealed(&mut self, name: ObjectName, written: &Written) -> (Number, Vec<Action>) {
        let run = run(name.clone(), written);
        let number = self.add(run, Upload::Running);
        (number, vec![Action::Upload(number, name)])
    }

    /// Everything sealed so far belongs to the barrier's checkpoint.
    pub fn barrier(&mut self, barrier: Barrier) -> Vec<Action> {
        let mut actions = Vec::new();
        self.replace(barrier.checkpoint);
        self.last = barrier.checkpoint;
        while let Some((_, runs)) = self.gone.pop_front_if(|(id, _)| *id <= barrier.confirmed) {
            actions.extend(runs.into_iter().map(Action::Forget));
        }
        self.waiting.retain(|waiting| waiting.checkpoint > barrier.confirmed);
        for held in self.runs.iter_mut().filter(|held| held.upload == Upload::Failed) {
            held.upload = Upload::Running;
            actions.push(Action::Upload(held.number, held.run.chunk.object.clone()));
        }
        let runs = self.runs.iter().map(|held| held.run.clone()).collect();
        let pending = self.merging.iter().map(|merging| merging.merge.name.clone()).collect();
        let chain = Chain { groups: self.groups.clone(), runs, pending };
        let missing = self.runs.iter().filter(|held| held.upload != Upload::Done).map(|held| held.number).collect();
        self.waiting.push(Waiting { checkpoint: barrier.checkpoint, chain, missing });
        self.acknowledge(&mut actions);
        actions
    }

    /// A run was uploaded, or can't be.
    pub fn uploaded(&mut self, number: Number, result: Result<(), Error>) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(merging) = &mut self.merging
            && merging.merge.number == number
        {
            match (std::mem::replace(&mut merging.stage, Stage::Writing), result) {
                (Stage::Uploading(run), Ok(())) => merging.stage = Stage::Complete(Some(run)),
                // Its inputs are as good; another merge will come.
                _ => {
                    self.merging = None;
                    actions.push(Action::Forget(number));
                }
            }
            return actions;
        }
        let Some(held) = self.runs.iter_mut().find(|held| held.number == number) else { return actions };
        match result {
            Ok(()) => {
                held.upload = Upload::Done;
                for waiting in &mut self.waiting {
                    waiting.missing.remove(&number);
                }
                self.acknowledge(&mut actions);
            }
            Err(error) => {
                held.upload = Upload::Failed;
                let hopeless = self.waiting.extract_if(.., |waiting| waiting.missing.contains(&number));
                actions.extend(hopeless.map(|waiting| Action::Decline(waiting.checkpoint, error.clone())));
            }
        }
        actions
    }

    /// What is to be merged now, if anything. It has begun then. `unique` are 128 random bits.
    pub fn next_merge(&mut self, unique: u128) -> Option<Merge> {
        if self.merging.is_some() {
            return None;
        }
        let (inputs, level) = self.due()?;
        let merge = Merge {
            number: self.next,
            name: ObjectName::new(&self.incarnation, self.after_last(), unique),
            oldest: inputs.start == 0,
            inputs: self.runs[inputs].iter().map(|held| held.number).collect(),
        };
        self.next += 1;
        self.merging = Some(Merging { merge: merge.clone(), level, stage: Stage::Writing });
        Some(merge)
    }

    /// The merge was written, or none where it failed.
    pub fn merged(&mut self, number: Number, written: Option<&Written>) -> Vec<Action> {
        let Some(merging) = self.merging.as_mut().filter(|merging| merging.merge.number == number) else {
            return Vec::new();
        };
        match written {
            None => {
                self.merging = None;
                Vec::new()
            }
            Some(written) if written.entries == 0 => {
                merging.stage = Stage::Complete(None);
                vec![Action::Forget(number)]
            }
            Some(written) => {
                let name = merging.merge.name.clone();
                merging.stage = Stage::Uploading(run(name.clone(), written));
                vec![Action::Upload(number, name)]
            }
        }
    }

    /// The runs as they stand.
    pub fn runs(&self) -> impl Iterator<Item = (Number, &Run)> {
        self.runs.iter().map(|held| (held.number, &held.run))
    }

    fn after_last(&self) -> CheckpointId {
        CheckpointId(self.last.0 + 1)
    }

    fn add(&mut self, run: Run, upload: Upload) -> Number {
        let level = if self.runs.is_empty() { OLDEST } else { 0 };
        let number = self.next;
        self.next += 1;
        self.runs.push(Held { number, run, level, upload });
        number
    }

    /// Where the runs lie that are to be merged, and the level of what they become. Only what is uploaded: what waits is read.
    fn due(&self) -> Option<(std::ops::Range<usize>, u32)> {
        let uploaded = self.runs.iter().take_while(|held| held.upload == Upload::Done).count();
        let runs = &self.runs[..uploaded];
        let (first, younger) = runs.split_first()?;
        let bytes = younger.iter().map(|held| held.run.chunk.length).sum::<u64>();
        if bytes >= first.run.chunk.length.max(LEAST) {
            return Some((0..uploaded, OLDEST));
        }
        let mut from = 0;
        for same in runs.chunk_by(|a, b| a.level == b.level) {
            if same.len() >= FAN_IN {
                return Some((from..from + same.len(), same[0].level.saturating_add(1)));
            }
            from += same.len();
        }
        None
    }

    fn replace(&mut self, checkpoint: CheckpointId) {
        let Some(merging) = self.merging.take_if(|merging| matches!(merging.stage, Stage::Complete(_))) else { return };
        let Merging { merge, level, stage: Stage::Complete(run) } = merging else { return };
        let from = self.runs.iter().position(|held| Some(&held.number) == merge.inputs.first());
        let from = from.expect("runs leave the chain only here, and one merge runs at a time");
        let whole = run.map(|run| Held { number: merge.number, run, level, upload: Upload::Done });
        self.runs.splice(from..from + merge.inputs.len(), whole);
        self.gone.push_back((checkpoint, merge.inputs));
    }

    fn acknowledge(&mut self, actions: &mut Vec<Action>) {
        let complete = self.waiting.extract_if(.., |waiting| waiting.missing.is_empty());
        actions.extend(complete.map(|waiting| Action::Ack(waiting.checkpoint, waiting.chain)));
    }
}

/// All of an object.
fn run(object: ObjectName, written: &Written) -> Run {
    let chunk = Chunk { object, offset: 0, length: written.length, crc: written.crc };
    Run { chunk, entries: written.entries, groups: None }
}
