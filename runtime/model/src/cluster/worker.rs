//! A worker, as it introduces itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::WorkerId;

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Worker {
    /// This life of its process.
    pub id: WorkerId,
    /// What people call it, and what it is called again when it is started again: its host's name, or one that it was given. No two
    /// workers that live have the same.
    pub name: String,
    /// Where other workers reach its exchange, `host:port`.
    pub address: String,
    /// How many slots it has; they count from 0.
    pub slots: u32,
    /// Its version of Flow. All nodes of a cluster have the same.
    pub version: String,
    /// What it can beyond what its version says, by name: two workers use between them what both can.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
}

impl std::fmt::Display for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}
