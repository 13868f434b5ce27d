//! What became of a job's checkpoints, as the REST API tells it. Times are milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

use crate::api::Job;
use crate::checkpoint::CheckpointId;

/// How far a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointState {
    /// Its barriers are on their way, or what they met is.
    InProgress,
    /// It counts.
    Completed,
    /// A later one was complete before it.
    Subsumed,
    /// It was given up.
    Failed,
}

impl CheckpointState {
    /// As in JSON: `in-progress`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Subsumed => "subsumed",
            Self::Failed => "failed",
        }
    }
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checkpoint {
    /// Its id: a higher one was begun later.
    pub id: CheckpointId,
    /// How far it is.
    pub state: CheckpointState,
    /// When its barriers were sent; absent if an earlier process did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<u64>,
    /// When it counted or was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Bytes that restoring from it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes of them that the checkpoint that counted before it did not name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_bytes: Option<u64>,
    /// It can be restored from: the store still has it.
    pub retained: bool,
    /// Why it was given up, or can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Checkpoint {
    /// How long it took, in milliseconds, once that is known.
    pub fn took(&self) -> Option<u64> {
        Some(self.ended?.saturating_sub(self.begun?))
    }
}

/// The checkpoints of a job in short. The counts begin with the process that runs the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckpointSummary {
    /// So many counted.
    pub completed: u64,
    /// So many were given up.
    pub failed: u64,
    /// The last one that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Checkpoint>,
    /// The attempt that runs, or ran last: it grows each time the job goes on from a checkpoint. 0 before the first.
    #[serde(default)]
    pub attempt: u32,
    /// Why the attempt before it ended; absent if there was none, or an earlier process saw it end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_ended: Option<String>,
    /// The one that the job went on from when it was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<CheckpointId>,
}

/// The checkpoints of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checkpoints {
    /// The job in short, its fields beside the others; absent where the server knows no more of it than its store says.
    #[serde(flatten)]
    pub job: Option<Job>,
    /// The server's clock.
    pub now: u64,
    /// All of them in short.
    pub summary: CheckpointSummary,
    /// Newest first: those that are retained, and the last ones of the others.
    pub checkpoints: Vec<Checkpoint>,
}

/// A checkpoint was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckpointAsked {
    /// What was asked for counts as soon as this one does, or a later one: should it fail, the next is taken in its place.
    pub checkpoint: CheckpointId,
}
