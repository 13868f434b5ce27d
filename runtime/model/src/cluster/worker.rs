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

/// The most slots that a worker offers.
pub const SLOTS_MAX: u32 = 1024;

impl Worker {
    /// What no worker says of itself: why.
    ///
    /// # Errors
    /// Its name is none, or it has no slots or too many.
    pub fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        if self.slots == 0 || self.slots > SLOTS_MAX {
            return Err(format!("a worker has 1 to {SLOTS_MAX} slots, and this one says {}", self.slots));
        }
        Ok(())
    }
}

/// Whether a worker can be called so.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 60 && name.chars().all(is_plain) {
        return Ok(());
    }
    Err("a worker's name has letters and digits, \"-\", \"_\" and \".\" inside, and at most 60 of them".to_owned())
}

#[test]
fn what_is_no_worker_is_found() {
    for good in ["w1", "worker-3f9a", "10.0.0.7", "a_b.example"] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    for bad in ["", "..", "-a", "a b", "a\n", "a/b", "\u{1b}[1m", &"a".repeat(61)] {
        assert!(check_name(bad).is_err(), "{bad:?}");
    }
    let worker = |slots| Worker {
        id: WorkerId::of(1),
        name: "w".to_owned(),
        address: "w:1".to_owned(),
        slots,
        version: "1".to_owned(),
        features: BTreeSet::new(),
    };
    assert!(worker(0).check().is_err() && worker(SLOTS_MAX + 1).check().is_err() && worker(SLOTS_MAX).check().is_ok());
}

impl std::fmt::Display for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}
