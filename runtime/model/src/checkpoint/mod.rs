//! The nouns of checkpoints: their ids, the names of their objects, what each subtask puts into one, and the two documents that
//! make them whole. Must never decide anything: which checkpoint counts, what is deleted, is the protocol's.
//!
//! - [`CheckpointId`], [`Attempt`], [`Incarnation`]: who is who
//! - [`ObjectName`], [`Chunk`]: where bytes lie in the store
//! - [`snapshot`]: what one subtask of one source, operator or sink contributes
//! - [`manifest`]: a complete checkpoint, immutable
//! - [`matching`]: a checkpoint held against the pipeline that is to begin with it
//! - [`head`]: the one document of a job that changes, by compare-and-swap

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub mod head;
pub mod manifest;
pub mod matching;
pub mod snapshot;

pub use crate::ids::Incarnation;
pub use head::Head;
pub use manifest::Manifest;

use crate::ids::is_hex;

/// What is wrong with a text that names a part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not 16 lower-case hexadecimal digits.
    #[error("{0:?} is no checkpoint id: 16 lower-case hexadecimal digits")]
    Checkpoint(String),
    /// Not `incarnation/checkpoint-id/name`.
    #[error("{0:?} is no object of a checkpoint: incarnation/checkpoint-id/name")]
    Object(String),
    /// A document of a format that this program does not read.
    #[error(
        "{what} has format {found}, and this program reads format {known}; use the version of Flow that wrote it, or a newer one"
    )]
    Format {
        /// Which document.
        what: &'static str,
        /// The format that it says.
        found: u64,
        /// The format that is read here.
        known: u64,
    },
    /// A document that is not what it should be.
    #[error("{what} can't be read: {cause}")]
    Document {
        /// Which document.
        what: &'static str,
        /// Why.
        cause: String,
    },
}

/// One deployment of a job on its tasks; counts up in the life of an incarnation. It fences: who has a higher one is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Id of a checkpoint: attempt · 2³² + counter, so never used twice in an incarnation, not even by one that was aborted. Its
/// text, 16 hexadecimal digits, sorts as it does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckpointId(pub u64);

impl CheckpointId {
    /// Before all checkpoints.
    pub const NONE: CheckpointId = CheckpointId(0);
    /// Of a life that begins with a checkpoint of another one: that one's copy. It is before all that its attempts take.
    pub const ADOPTED: CheckpointId = CheckpointId(1);

    /// The `counter`th checkpoint of an attempt.
    pub const fn new(attempt: Attempt, counter: u32) -> CheckpointId {
        CheckpointId((attempt.0 as u64) << 32 | counter as u64)
    }

    /// The attempt that began it.
    pub const fn attempt(self) -> Attempt {
        Attempt((self.0 >> 32) as u32)
    }

    /// Its number in that attempt.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.attempt(), self.counter())
    }
}

impl FromStr for CheckpointId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = if is_hex(text, 16) { u64::from_str_radix(text, 16).ok() } else { None };
        number.map(CheckpointId).ok_or_else(|| Error::Checkpoint(text.to_owned()))
    }
}

impl TryFrom<String> for CheckpointId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<CheckpointId> for String {
    fn from(id: CheckpointId) -> String {
        id.to_string()
    }
}

/// The name of an immutable object below a job's root in the store: `incarnation/checkpoint-id/unique`. The id is that of the
/// checkpoint for which it was begun; the last part is unique for ever, so that nobody ever writes a name twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName(String);

impl ObjectName {
    /// An object of a checkpoint; `unique` is 128 random bits.
    pub fn new(incarnation: &Incarnation, checkpoint: CheckpointId, unique: u128) -> ObjectName {
        ObjectName(format!("{incarnation}/{checkpoint}/{unique:032x}"))
    }

    /// The manifest of a checkpoint.
    pub fn manifest(incarnation: &Incarnation, checkpoint: CheckpointId) -> ObjectName {
        ObjectName(format!("{incarnation}/{checkpoint}/manifest"))
    }

    /// The same object in a life that begins with a checkpoint of another one.
    pub fn adopted(&self, incarnation: &Incarnation) -> ObjectName {
        ObjectName(format!("{incarnation}/{}/{}", CheckpointId::ADOPTED, self.unique()))
    }

    /// As text, relative to the job's root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The checkpoint for which it was begun.
    pub fn checkpoint(&self) -> CheckpointId {
        self.0.split('/').nth(1).and_then(|id| id.parse().ok()).expect("checked when it was made")
    }

    /// The part that no other object has.
    pub fn unique(&self) -> &str {
        self.0.rsplit('/').next().expect("checked when it was made")
    }
}

impl TryFrom<String> for ObjectName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let mut parts = text.split('/');
        let whole = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(incarnation), Some(checkpoint), Some(name), None) => {
                is_hex(incarnation, 32) && is_hex(checkpoint, 16) && (name == "manifest" || is_hex(name, 32))
            }
            _ => false,
        };
        if whole { Ok(ObjectName(text)) } else { Err(Error::Object(text)) }
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> String {
        name.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Bytes of an object: all of it, or a part, since small pieces of several subtasks may lie in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chunk {
    /// The object.
    pub object: ObjectName,
    /// Where in it the bytes begin.
    pub offset: u64,
    /// How many.
    pub length: u64,
    /// CRC-32C of them.
    pub crc: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_as_their_texts_do() {
        let ids = [(0, 1), (0, 7), (1, 0), (1, u32::MAX), (2, 3), (u32::MAX, 0)];
        let ids = ids.map(|(attempt, counter)| CheckpointId::new(Attempt(attempt), counter));
        assert!(ids.is_sorted());
        assert!(ids.map(|id| id.to_string()).is_sorted());
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(CheckpointId::new(id.attempt(), id.counter()), id);
        }
        assert!("12".parse::<CheckpointId>().is_err());
        assert!("00000000FFFFFFFF".parse::<CheckpointId>().is_err());
    }

    #[test]
    fn names_of_objects() {
        let (incarnation, checkpoint) = (Incarnation::of(7), CheckpointId::new(Attempt(2), 5));
        let name = ObjectName::new(&incarnation, checkpoint, 3);
        assert_eq!(name.checkpoint(), checkpoint);
        assert_eq!(name.unique(), format!("{:032x}", 3));
        let check = |text: String, valid: bool| assert_eq!(ObjectName::try_from(text.clone()).is_ok(), valid, "{text}");
        check(name.to_string(), true);
        check(ObjectName::manifest(&incarnation, checkpoint).to_string(), true);
        check(format!("{name}/x"), false);
        check(format!("../{}", name), false);
        check(format!("{incarnation}/{checkpoint}/other"), false);
        check(String::new(), false);
    }
}
