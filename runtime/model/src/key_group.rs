//! Key → key group → subtask.
//!
//! State is stored, moved and restored by key group, so this mapping never changes: not the hash, not the ranges.
//! The ranges are those of Flink's `KeyGroupRangeAssignment`: contiguous, and no two differ by more than one group.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::SubtaskIndex;

/// How many key groups a job has unless its pipeline says otherwise.
pub const DEFAULT_KEY_GROUPS: u16 = 128;

/// The most key groups that a job can have (2¹⁵, as in Flink).
pub const MAX_KEY_GROUPS: u16 = 1 << 15;

/// One key group, from 0. Stored big-endian in front of each key of a state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyGroup(pub u16);

/// The number of key groups of a job, 1 to [`MAX_KEY_GROUPS`]; fixed for its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct KeyGroups(u16);

/// A number of key groups that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Zero, or more than [`MAX_KEY_GROUPS`].
    #[error("{0} key groups are not possible; 1 to 32768 are")]
    Count(u64),
}

impl KeyGroups {
    /// `count` key groups.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ `count` ≤ [`MAX_KEY_GROUPS`].
    pub fn new(count: u64) -> Result<Self, Error> {
        match u16::try_from(count) {
            Ok(n) if (1..=MAX_KEY_GROUPS).contains(&n) => Ok(Self(n)),
            _ => Err(Error::Count(count)),
        }
    }

    /// How many.
    pub fn get(self) -> u16 {
        self.0
    }

    /// The key group of `key`: its XXH3 (64 bits, seed 0) modulo the number of groups.
    pub fn of(self, key: &[u8]) -> KeyGroup {
        // The remainder is below 2¹⁵.
        KeyGroup((xxh3_64(key) % u64::from(self.0)) as u16)
    }

    /// The subtask that owns `group` when the operator has `parallelism` subtasks. `group` must be one of these
    /// groups.
    pub fn subtask(self, group: KeyGroup, parallelism: u32) -> SubtaskIndex {
        // Below `parallelism`, since group < self.0.
        SubtaskIndex((u64::from(group.0) * u64::from(parallelism) / u64::from(self.0)) as u32)
    }

    /// The groups that `subtask` of `parallelism` owns; empty for an index that does not exist, and for some subtasks
    /// when there are more of them than groups. A `parallelism` of 0 counts as 1.
    pub fn range(self, subtask: SubtaskIndex, parallelism: u32) -> Range<u16> {
        // First group of subtask i = ⌈i · groups / parallelism⌉, at most `groups`.
        let first = |i: u64| (i * u64::from(self.0)).div_ceil(u64::from(parallelism.max(1))).min(self.0.into()) as u16;
        first(subtask.0.into())..first(u64::from(subtask.0) + 1)
    }
}

impl Default for KeyGroups {
    fn default() -> Self {
        Self(DEFAULT_KEY_GROUPS)
    }
}

impl TryFrom<u16> for KeyGroups {
    type Error = Error;

    fn try_from(count: u16) -> Result<Self, Error> {
        Self::new(count.into())
    }
}

impl From<KeyGroups> for u16 {
    fn from(groups: KeyGroups) -> Self {
        groups.0
    }
}
