//! What a worker and a leader have between them, from the worker's registration to the loss of either.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Assignment;
use crate::checkpoint::snapshot::Progress;
use crate::checkpoint::{Attempt, CheckpointId, Incarnation};
use crate::ids::{JobId, OperatorName};

/// A registration of a worker with a leader. What either says to the other carries it, and what carries another one is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Session {
    /// The leader's term.
    pub term: u64,
    /// Its number among the registrations of that term.
    pub number: u64,
}

/// How far a worker's part of an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its tasks are being made.
    Deploying,
    /// Its tasks are there.
    Started,
    /// All input was read, and all of it has passed its tasks.
    Drained,
}

/// A part of an attempt that a worker runs when it registers: what a leader has to know to go on with the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Part {
    /// The job.
    pub job: JobId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The attempt.
    pub attempt: Attempt,
    /// Where the whole attempt runs.
    pub assignment: Assignment,
    /// How far it is.
    pub stage: Stage,
    /// The checkpoint that the attempt went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<CheckpointId>,
    /// The highest barrier that it was told to send or that has come to it; [`CheckpointId::NONE`] before the first.
    pub highest: CheckpointId,
    /// What its lanes are known to have written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub progress: BTreeMap<OperatorName, BTreeMap<u32, Progress>>,
}
