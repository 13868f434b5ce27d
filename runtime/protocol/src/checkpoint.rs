//! The checkpoints of one attempt: when one begins, which acknowledgements it still lacks, when it is complete and when it is
//! given up. Must never decide that one counts: that is HEAD's.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::checkpoint::snapshot::{Node, Piece, Snapshot, StateName};
use flow_model::checkpoint::{Attempt, CheckpointId, Manifest};
use flow_model::ids::{OperatorName, SavepointName};

use crate::Time;
use crate::patience::Patience;

/// How often and how patiently checkpoints are taken. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// From the beginning of one to that of the next.
    pub interval: Time,
    /// After so long without all acknowledgements one is given up; the next ones have more time ([`Patience`]).
    pub timeout: Time,
    /// From the end of one to the beginning of the next, at least.
    pub min_pause: Time,
    /// So many may be under way at once, at least 1.
    pub concurrent: usize,
    /// So many in a row may fail; one more fails the attempt.
    pub tolerated: u32,
}

/// What a node of a job contributes to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// Its subtasks.
    pub parallelism: u32,
    /// Its states by name and kind: empty unless it is an operator with keyed state, whose subtasks each acknowledge a chain.
    pub states: Vec<(String, String)>,
    /// Its subtasks each acknowledge output: it is a sink that writes exactly once.
    pub output: bool,
}

/// All nodes of a job.
pub type Contributions = BTreeMap<OperatorName, Contribution>;

/// Why a checkpoint was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// It was time to.
    Periodic,
    /// All input was read and passed: what is left of the output has to be committed.
    Final,
    /// Somebody asked for it.
    Asked,
    /// The attempt is to make room for another one.
    Redeploy,
    /// It is to be the savepoint of that name.
    Savepoint(SavepointName),
}

struct Pending {
    begun: Time,
    purposes: Vec<Purpose>,
    /// What has not come: by node and subtask, and which of the three.
    missing: BTreeSet<(OperatorName, u32, Kind)>,
    nodes: BTreeMap<OperatorName, Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Passed,
    State,
    Output,
}

/// A checkpoint with all its acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// Why it was taken.
    pub purposes: Vec<Purpose>,
    /// When it was begun.
    pub begun: Time,
    /// What was acknowledged.
    pub nodes: BTreeMap<OperatorName, Node>,
}

/// The checkpoints of one attempt.
pub struct Checkpoints {
    settings: Settings,
    patience: Patience,
    attempt: Attempt,
    contributions: Contributions,
    /// The states of operators that have any, with their numbers.
    states: BTreeMap<OperatorName, Vec<StateName>>,
    counter: u32,
    pending: BTreeMap<CheckpointId, Pending>,
    /// When the last one began.
    begun: Option<Time>,
    /// When the last one was complete or given up.
    over: Option<Time>,
    failed_in_row: u32,
    /// What is wanted as soon as one may begin.
    wanted: Vec<Purpose>,
}

impl Checkpoints {
    /// Of an attempt that has taken none, and goes on from the checkpoint of that manifest, if from one. Its patience is what those
    /// before it have learned.
    pub fn new(
        (settings, patience): (Settings, Patience),
        attempt: Attempt,
        contributions: Contributions,
        from: Option<&Manifest>,
    ) -> Checkpoints {
        let states = contributions.iter().filter_map(|(name, of)| {
            let before = from.and_then(|from| from.nodes.get(name)).map_or(&[][..], |node| &node.states);
            // The worker refuses to run an operator for which there are no numbers left.
            Some((name.clone(), StateName::number(&of.states, before)?))
        });
        Checkpoints {
            states: states.collect(),
            settings,
            patience,
            attempt,
            contributions,
            counter: 0,
            pending: BTreeMap::new(),
            begun: None,
            over: None,
            failed_in_row: 0,
            wanted: Vec::new(),
        }
    }

    /// Wants one beside the periodic ones: it begins as soon as one may. Says which it will be; should that one fail, a later one is
    /// taken in its place.
    pub fn want(&mut self, purpose: Purpose) -> CheckpointId {
        self.wanted.push(purpose);
        CheckpointId::new(self.attempt, self.counter + 1)
    }

    /// Whether one is wanted for this, and not begun.
    pub fn wants(&self, purpose: &Purpose) -> bool {
        self.wanted.contains(purpose)
    }

    /// The attempt begins with a checkpoint that was restored: the next is due after an interval.
    pub fn restored(&mut self, now: Time) {
        self.begun = Some(now);
    }

    /// Others of this attempt were begun, this one the last: ids go on above it. The next is due at once.
    pub fn go_on_above(&mut self, highest: CheckpointId) {
        self.begun = None;
        if highest.attempt() == self.attempt {
            self.counter = self.counter.max(highest.counter());
        }
    }

    /// When the next may begin, if none of those under way ends before.
    fn due(&self) -> Option<Time> {
        if self.pending.len() >= self.settings.concurrent.max(1) {
            return None;
        }
        let after_pause = self.over.map_or(0, |over| over.saturating_add(self.settings.min_pause));
        let Some(begun) = self.begun else { return Some(0) };
        let after_interval = begun.saturating_add(self.settings.interval);
        Some(if self.wanted.is_empty() { after_interval.max(after_pause) } else { after_pause })
    }

    /// When something is to be done without any event; `may_begin` says whether one may begin now.
    pub fn deadline(&self, may_begin: bool) -> Option<Time> {
        let timeout = self.pending.values().map(|pending| pending.begun.saturating_add(self.patience.get())).min();
        let due = if may_begin { self.due() } else { None };
        [timeout, due].into_iter().flatten().min()
    }

    /// Begins one if it is time to. The first begins at once.
    pub fn begin(&mut self, now: Time) -> Option<CheckpointId> {
        if self.due()? > now {
            return None;
        }
        self.counter += 1;
        let id = CheckpointId::new(self.attempt, self.counter);
        let mut missing = BTreeSet::new();
        let mut nodes = BTreeMap::new();
        for (name, of) in &self.contributions {
            for subtask in 0..of.parallelism {
                missing.insert((name.clone(), subtask, Kind::Passed));
                if !of.states.is_empty() {
                    missing.insert((name.clone(), subtask, Kind::State));
                }
                if of.output {
                    missing.insert((name.clone(), subtask, Kind::Output));
                }
            }
            let subtasks = vec![Snapshot::default(); of.parallelism as usize];
            let states = self.states.get(name).cloned().unwrap_or_default();
            nodes.insert(name.clone(), Node { subtasks, states, lanes: BTreeMap::new() });
        }
        let purposes = std::mem::take(&mut self.wanted);
        let purposes = if purposes.is_empty() { vec![Purpose::Periodic] } else { purposes };
        self.pending.insert(id, Pending { begun: now, purposes, missing, nodes });
        self.begun = Some(now);
        Some(id)
    }

    /// Takes an acknowledgement. What belongs to no pending checkpoint is dropped: it came late.
    pub fn acknowledged(
        &mut self,
        now: Time,
        checkpoint: CheckpointId,
        (node, subtask): (&OperatorName, u32),
        piece: Piece,
    ) -> Option<Complete> {
        let pending = self.pending.get_mut(&checkpoint)?;
        let kind = match piece {
            Piece::Passed { .. } => Kind::Passed,
            Piece::State(_) => Kind::State,
            Piece::Output(_) => Kind::Output,
        };
        if !pending.missing.remove(&(node.clone(), subtask, kind)) {
            return None;
        }
        let snapshot = pending.nodes.get_mut(node)?.subtasks.get_mut(subtask as usize)?;
        match piece {
            Piece::Passed { ended, splits } => (snapshot.ended, snapshot.splits) = (ended, splits),
            Piece::State(chain) => snapshot.state = Some(chain),
            Piece::Output(output) => snapshot.output = Some(output),
        }
        if !pending.missing.is_empty() {
            return None;
        }
        let Pending { begun, mut purposes, nodes, .. } = self.pending.remove(&checkpoint)?;
        // What began before it is worth nothing any more; what was asked of those is answered by this one.
        let later = self.pending.split_off(&checkpoint);
        for (_, earlier) in std::mem::replace(&mut self.pending, later) {
            purposes.extend(earlier.purposes);
        }
        self.over = Some(now);
        self.patience.complete(now.saturating_sub(begun));
        Some(Complete { checkpoint, purposes, begun, nodes })
    }

    /// A complete one counts.
    pub fn succeeded(&mut self) {
        self.failed_in_row = 0;
    }

    /// One could not be completed. True when that was one too many.
    pub fn failed(&mut self, purposes: Vec<Purpose>) -> bool {
        self.failed_in_row += 1;
        self.wanted.extend(purposes.into_iter().filter(|purpose| *purpose != Purpose::Periodic));
        self.failed_in_row > self.settings.tolerated
    }

    /// A subtask can't contribute. Whether that was one failure too many; none if nobody waits for that checkpoint.
    pub fn declined(&mut self, now: Time, checkpoint: CheckpointId) -> Option<bool> {
        let pending = self.pending.remove(&checkpoint)?;
        self.over = Some(now);
        Some(self.failed(pending.purposes))
    }

    /// How long one is waited for by now.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Gives up one that took too long, if there is any. Those that began after it have more time then.
    pub fn expire(&mut self, now: Time) -> Option<Expired> {
        let waited = self.patience.get();
        let is_late = |pending: &Pending| pending.begun.saturating_add(waited) <= now;
        let checkpoint = self.pending.iter().find(|(_, pending)| is_late(pending)).map(|(id, _)| *id)?;
        let pending = self.pending.remove(&checkpoint)?;
        self.over = Some(now);
        self.patience.expired();
        let missing = pending.missing.len();
        let first = pending.missing.into_iter().next().map(|(node, subtask, _)| (node, subtask));
        let too_many = self.failed(pending.purposes);
        Some(Expired { checkpoint, waited, missing, first, too_many })
    }
}

/// A checkpoint that took too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// For so long it was waited, in milliseconds.
    pub waited: Time,
    /// How many acknowledgements did not come.
    pub missing: usize,
    /// Who owes one of them.
    pub first: Option<(OperatorName, u32)>,
    /// More than is tolerated have failed in a row.
    pub too_many: bool,
}
