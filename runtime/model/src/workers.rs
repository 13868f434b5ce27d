//! The workers of a cluster, as the REST API tells of them. Times are milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, WorkerId};

/// What a worker is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerState {
    /// It runs what it is given.
    Active,
    /// It was not heard of for a while, and gets nothing new until it is.
    Suspected,
    /// It gets nothing new, and what it runs is moved to others.
    Draining,
    /// It runs nothing any more and may be stopped.
    Drained,
    /// It was not heard of for so long that what it ran was given up.
    Lost,
}

impl WorkerState {
    /// As in JSON: `active`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspected => "suspected",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Lost => "lost",
        }
    }
}

impl std::fmt::Display for WorkerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many slots of a worker are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Slots {
    /// So many it has.
    pub total: u32,
    /// So many run subtasks.
    pub used: u32,
    /// So many can be given subtasks: of a worker that is active, those that run none.
    pub free: u32,
}

/// What a worker runs of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunningPart {
    /// The job.
    pub job: JobId,
    /// In how many of its slots.
    pub slots: u32,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkerStatus {
    /// This life of its process.
    pub id: WorkerId,
    /// What it is called.
    pub name: String,
    /// Where its exchange is reached.
    pub address: String,
    /// Its version of Flow.
    pub version: String,
    /// What it is good for.
    pub state: WorkerState,
    /// Since when it is in that state.
    pub since: u64,
    /// Its slots.
    pub slots: Slots,
    /// What it runs, by job.
    #[serde(default)]
    pub running: Vec<RunningPart>,
}

/// All workers that the leader knows, and those that it has lost and that have not come back under their names: the last 32.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Workers {
    /// The server's clock.
    pub now: u64,
    /// By name.
    pub workers: Vec<WorkerStatus>,
}
