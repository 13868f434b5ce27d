//! HEAD: the one document of a job in the store that changes, only by compare-and-swap. What it says is what counts: which
//! leader may act, which attempt runs, which checkpoint a job goes on from. It is never deleted.

use serde::{Deserialize, Serialize};

use super::{Attempt, CheckpointId, Error, Incarnation};

/// The format that is written and read.
const FORMAT: u64 = 1;

/// The name of HEAD below a job's root.
pub const NAME: &str = "HEAD";

/// What its user wants of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// It runs.
    Running,
    /// It was stopped by a person.
    Canceled,
    /// It has processed all its input.
    Finished,
    /// It was given up: it failed in a way that starting again does not help, or too often.
    Failed,
}

/// A savepoint: a checkpoint that its user owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Savepoint {
    /// How people name it.
    pub name: String,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

/// What HEAD says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    format: u64,
    /// Counts up with each process that leads. No swap lowers it.
    pub term: u64,
    /// Who leads, for people: an address.
    pub leader: String,
    /// The life of the job.
    pub incarnation: Incarnation,
    /// Which deployment of it on tasks may act.
    pub attempt: Attempt,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// The checkpoint that it goes on from; none before the first.
    pub latest: Option<CheckpointId>,
    /// Checkpoints whose objects stay, the latest included, oldest first.
    pub retained: Vec<CheckpointId>,
    /// Checkpoints whose objects may be deleted and may not be yet.
    pub retired: Vec<CheckpointId>,
    /// Those of them that users own: they stay until they are given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub savepoints: Vec<Savepoint>,
    /// 128 random bits in hexadecimal, new with each swap: who finds its own there knows that its swap was done.
    pub nonce: String,
}

impl Head {
    /// A job's first, or that of its next life: `term` is above that of a former one.
    pub fn new(term: u64, leader: String, incarnation: Incarnation, nonce: String) -> Head {
        Head {
            format: FORMAT,
            term,
            leader,
            incarnation,
            attempt: Attempt(1),
            wanted: Wanted::Running,
            latest: None,
            retained: Vec::new(),
            retired: Vec::new(),
            savepoints: Vec::new(),
            nonce,
        }
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("all keys are texts")
    }

    /// From what is stored.
    ///
    /// # Errors
    /// [`Error::Format`] for one of a future version, [`Error::Document`] for what is no HEAD.
    pub fn from_bytes(bytes: &[u8]) -> Result<Head, Error> {
        super::manifest::read(bytes, "HEAD", FORMAT)
    }
}
