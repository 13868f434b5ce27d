//! What happens to a job, and what is to be done about it.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::checkpoint::head::Origin;
use flow_model::checkpoint::snapshot::{Piece, Progress};
use flow_model::checkpoint::{Attempt, CheckpointId, Head, Incarnation, Manifest, ObjectName};
use flow_model::ids::{OperatorName, SavepointName};

use super::End;
use crate::checkpoint::Contributions;
use crate::head::{Answer, Version};
use crate::lanes::LaneId;
use crate::restart::Kind;

/// Why an attempt, or a whole job, failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind it is: that decides what follows.
    pub kind: Kind,
    /// For people.
    pub reason: String,
}

/// What is known of an attempt that a former leader had deployed, by those who run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The checkpoint that it went on from.
    pub restored: Option<CheckpointId>,
    /// The highest barrier that any of them was told of. The former leader can't make them take another one.
    pub highest: CheckpointId,
    /// What its lanes are known to have written.
    pub progress: BTreeMap<LaneId, Progress>,
    /// All of its tasks are there.
    pub started: bool,
    /// All input was read, and all of it has passed all tasks.
    pub drained: bool,
}

/// Another description of a job, in the same life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The number of its document, above that of the one before.
    pub revision: u64,
    /// What the job's nodes contribute to a checkpoint by it.
    pub contributions: Contributions,
}

/// What happens. What carries an attempt is dropped when that one does not run any more.
#[derive(Debug, Clone)]
pub enum Event {
    /// The store answered [`Action::Swap`].
    Swapped(Answer),
    /// What [`Action::ReadHead`] found.
    HeadRead(Box<Option<(Head, Version)>>),
    /// What [`Action::ReadHead`] found is no HEAD, and stays so: why.
    HeadUnreadable(String),
    /// What [`Action::LoadManifest`] found.
    ManifestLoaded(Incarnation, CheckpointId, Result<Box<Manifest>, Failure>),
    /// [`Action::Adopt`] is done, or can't be: why.
    Adopted(Result<Box<Manifest>, Failure>),
    /// [`Action::StoreManifest`] is done, or can't be: why.
    ManifestStored(CheckpointId, Result<(), String>),
    /// What [`Action::Delete`] named is deleted.
    Deleted,
    /// What [`Action::Find`] looked for runs.
    Found {
        /// Which.
        attempt: Attempt,
        /// What is known of it.
        found: Found,
    },
    /// All tasks of an attempt are there: barriers may come.
    Started {
        /// Which.
        attempt: Attempt,
    },
    /// A piece of a snapshot is durable.
    Acknowledged {
        /// Which.
        attempt: Attempt,
        /// Of which checkpoint.
        checkpoint: CheckpointId,
        /// By which node.
        node: OperatorName,
        /// By which of its subtasks.
        subtask: u32,
        /// The piece.
        piece: Piece,
    },
    /// A checkpoint can't be completed.
    Declined {
        /// By which attempt.
        attempt: Attempt,
        /// Which.
        checkpoint: CheckpointId,
        /// Why.
        reason: String,
    },
    /// A lane has written so far.
    Progressed {
        /// By which attempt.
        attempt: Attempt,
        /// Which lane.
        lane: LaneId,
        /// How far.
        progress: Progress,
    },
    /// All input was read, and all of it has passed all tasks.
    Drained {
        /// Which.
        attempt: Attempt,
    },
    /// An attempt can't go on.
    Failed {
        /// Which.
        attempt: Attempt,
        /// Why.
        failure: Failure,
    },
    /// Nothing of an attempt runs any more.
    Stopped {
        /// Which.
        attempt: Attempt,
    },
    /// Its user wants it stopped.
    Cancel,
    /// Its user wants a checkpoint now. Answered by [`Action::Answer`] with this number.
    Checkpoint(u64),
    /// Its user wants a savepoint. Answered by [`Action::Accepted`] with this number; what becomes of it is told by
    /// [`Action::SavepointOver`].
    Savepoint {
        /// The number.
        number: u64,
        /// Its name.
        name: SavepointName,
        /// Its sources give nothing after it, and the job ends with it.
        stop: bool,
    },
    /// It is to go on as another attempt: elsewhere, or by another description. A checkpoint is taken first, behind which sources
    /// give nothing. Answered by [`Action::Accepted`] with this number when HEAD says so.
    Redeploy {
        /// The number.
        number: u64,
        /// The description, if it is another one.
        spec: Option<Spec>,
    },
    /// Its user gives a savepoint up. Answered by [`Action::Accepted`] with this number.
    GiveUp {
        /// The number.
        number: u64,
        /// Its name.
        name: SavepointName,
    },
    /// The deadline has come.
    Tick,
}

impl Event {
    /// The attempt that it is about.
    pub fn attempt(&self) -> Option<Attempt> {
        match self {
            Event::Found { attempt, .. }
            | Event::Started { attempt }
            | Event::Acknowledged { attempt, .. }
            | Event::Declined { attempt, .. }
            | Event::Progressed { attempt, .. }
            | Event::Drained { attempt }
            | Event::Failed { attempt, .. }
            | Event::Stopped { attempt } => Some(*attempt),
            _ => None,
        }
    }
}

/// How much people are to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It is as it should be.
    Info,
    /// It may become a trouble.
    Warn,
    /// It went wrong.
    Error,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Action {
    /// Swap HEAD: over this version, or where there is none. Answered by [`Event::Swapped`].
    Swap {
        /// What it is to say.
        head: Box<Head>,
        /// The version that it is to replace.
        expected: Option<Version>,
    },
    /// Read HEAD. Answered by [`Event::HeadRead`].
    ReadHead,
    /// Read the manifest of a checkpoint. Answered by [`Event::ManifestLoaded`].
    LoadManifest(Incarnation, CheckpointId),
    /// Write a manifest. Answered by [`Event::ManifestStored`].
    StoreManifest(Box<Manifest>),
    /// Delete objects. Answered by [`Event::Deleted`] when that is done.
    Delete(BTreeSet<ObjectName>),
    /// Look for objects of an incarnation that are garbage (see [`crate::retention::is_garbage`]) and delete them.
    Sweep {
        /// Whose.
        incarnation: Incarnation,
        /// None that was begun later.
        until: CheckpointId,
        /// These stay.
        kept: BTreeSet<ObjectName>,
    },
    /// Make the tasks of an attempt and start them, sources held back until [`Action::Release`]. Answered by
    /// [`Event::Started`], or [`Event::Failed`] and [`Event::Stopped`].
    Deploy {
        /// The life of the job.
        incarnation: Incarnation,
        /// The attempt.
        attempt: Attempt,
        /// The checkpoint that it goes on from.
        from: Option<Box<Manifest>>,
    },
    /// Write what a confirmed checkpoint carries, and nothing else: no task is made. Answered by [`Event::Progressed`], or
    /// [`Event::Failed`] and [`Event::Stopped`]; it stays until [`Action::Cancel`].
    Settle {
        /// The life of the job.
        incarnation: Incarnation,
        /// The attempt.
        attempt: Attempt,
        /// The checkpoint.
        from: Box<Manifest>,
        /// What Kafka says of its lanes does not count: it is another one.
        anew: bool,
    },
    /// Look for an attempt that a former leader may have deployed. Answered by [`Event::Found`] or [`Event::Failed`], or not at all.
    Find {
        /// The life of the job.
        incarnation: Incarnation,
        /// The attempt.
        attempt: Attempt,
    },
    /// Copy what a life begins with (nothing, if it is claimed) and write the manifest that names it,
    /// [`CheckpointId::ADOPTED`]. Answered by [`Event::Adopted`].
    Adopt {
        /// The life that begins.
        incarnation: Incarnation,
        /// What it begins with.
        origin: Box<Origin>,
    },
    /// Let sources read.
    Release {
        /// Of which attempt.
        attempt: Attempt,
    },
    /// Let sources give nothing but barriers from now on.
    Hold {
        /// Of which attempt.
        attempt: Attempt,
    },
    /// Send barriers from all sources.
    Trigger {
        /// Of which attempt.
        attempt: Attempt,
        /// For which checkpoint.
        checkpoint: CheckpointId,
        /// The last one that counts.
        confirmed: CheckpointId,
    },
    /// A checkpoint counts: its output may be written.
    Confirm {
        /// Of which attempt.
        attempt: Attempt,
        /// Which.
        checkpoint: CheckpointId,
    },
    /// Everything is done: tasks may go. Answered by [`Event::Stopped`].
    Finish {
        /// Of which attempt.
        attempt: Attempt,
    },
    /// Stop an attempt, whatever it is at. Answered by [`Event::Stopped`].
    Cancel {
        /// Which.
        attempt: Attempt,
    },
    /// A checkpoint was asked for under this number. It counts as soon as this one or a later one does; or none is taken: why.
    Answer(u64, Result<CheckpointId, String>),
    /// What was asked for under this number is under way or done; or it is not done: why.
    Accepted(u64, Result<(), String>),
    /// A savepoint that was asked for is one, or none comes: why.
    SavepointOver(SavepointName, Result<CheckpointId, String>),
    /// A checkpoint was given up: tell people why.
    Abandoned(CheckpointId, String),
    /// Tell people.
    Tell(Level, String),
    /// It is over.
    Ended(End),
}
