//! Names and numbers that must not be mixed up. Each is a thin wrapper with no behaviour beyond its own form.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 63;

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not of the form `[a-z0-9]([a-z0-9-]*[a-z0-9])?` or longer than [`NAME_MAX`].
    #[error(
        "{} is no valid name: lower-case letters, digits and \"-\" inside, at most 63 characters",
        crate::nearest::quoted(_0)
    )]
    Name(String),
    /// Not so many lower-case hexadecimal digits.
    #[error("{} is no {what}: {digits} lower-case hexadecimal digits", crate::nearest::quoted(.text))]
    Hex {
        /// What it was to be.
        what: &'static str,
        /// How many digits that has.
        digits: usize,
        /// What it is.
        text: String,
    },
}

/// Whether `text` is so many lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether `text` has the form of a name.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= NAME_MAX
        && text.bytes().all(|b| inner(b) || b == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the form `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, at most [`NAME_MAX`] bytes.
            ///
            /// # Errors
            /// [`Error::Name`] for everything else.
            pub fn new(text: impl Into<String>) -> Result<Self, Error> {
                let text = text.into();
                if is_name(&text) { Ok(Self(text)) } else { Err(Error::Name(text)) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a pipeline (`metadata.name`).
    PipelineName
}

name! {
    /// The name of a source, operator or sink, unique in its pipeline. It is a stable id: state restore depends on it.
    OperatorName
}

name! {
    /// One deployment of a pipeline, as people and the REST API name it.
    JobId
}

name! {
    /// The name of a savepoint, unique in its job.
    SavepointName
}

macro_rules! hex {
    ($(#[$doc:meta])* $type:ident($what:literal, $digits:literal)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                if is_hex(&text, $digits) {
                    Ok($type(text))
                } else {
                    Err(Error::Hex { what: $what, digits: $digits, text })
                }
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

macro_rules! random {
    ($(#[$doc:meta])* $type:ident($what:literal)) => {
        hex! {
            $(#[$doc])*
            $type($what, 32)
        }

        impl $type {
            /// Of 128 random bits.
            pub fn of(bits: u128) -> Self {
                Self(format!("{bits:032x}"))
            }
        }
    };
}

random! {
    /// One life of a job, from a deploy to its end: what a later deploy under the same name makes has another one, so the two
    /// never mix. 128 random bits as 32 hexadecimal digits.
    Incarnation("incarnation")
}

impl Incarnation {
    /// The name by which what this life owes is written to a Kafka whose word on this life does not count. It is the same for all who
    /// write that to the cluster of this id, whichever process they are in: they find what was written under it, and fence each other.
    pub fn anew(&self, cluster: &str) -> Incarnation {
        Self::of(xxh3_128(format!("reset-progress/{self}/{cluster}").as_bytes()))
    }
}

random! {
    /// One life of a worker process: started again, it has another one. 128 random bits as 32 hexadecimal digits.
    WorkerId("worker id")
}

random! {
    /// A cluster, from its first leader on. 128 random bits as 32 hexadecimal digits.
    ClusterId("cluster id")
}

hex! {
    /// What a component is found by: the SHA-256 of its bytes, as 64 hexadecimal digits.
    Digest("digest", 64)
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $int);

        impl $type {
            /// As an index into the list that it counts.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A node of the logical graph: its index in [`crate::graph::Graph::nodes`], which is a topological order.
    NodeId(u32)
}

number! {
    /// A task of a plan: its index in [`crate::plan::Plan::tasks`], which is a topological order.
    TaskId(u32)
}

number! {
    /// An exchange of a plan: its index in [`crate::plan::Plan::exchanges`].
    ExchangeId(u32)
}

number! {
    /// One parallel instance of a task, from 0 to its parallelism - 1.
    SubtaskIndex(u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |text: &str, valid: bool| assert_eq!(OperatorName::new(text).is_ok(), valid, "{text:?}");
        for text in ["a", "0", "a-b", "word-count-2", "a--b", &"x".repeat(63)] {
            check(text, true);
        }
        for text in ["", "-", "a-", "-a", "A", "a_b", "a.b", "ä", "a b", "$key", &"x".repeat(64)] {
            check(text, false);
        }
        assert!(serde_json::from_str::<OperatorName>("\"Not\"").is_err());
    }

    /// What one version has written has to be found by the next.
    #[test]
    fn the_name_of_what_is_written_anew_stays() {
        let life = Incarnation::of(7);
        let anew = life.anew("cluster");
        assert_eq!(anew.as_str(), "9906bc452652322e3b4ea3f23136f138");
        assert_eq!(Incarnation::try_from(anew.to_string()), Ok(anew.clone()));
        for other in [life.anew("another"), Incarnation::of(8).anew("cluster"), life] {
            assert_ne!(other, anew);
        }
    }

    #[test]
    fn hexadecimal_ids() {
        let id = WorkerId::of(0xab);
        assert_eq!(id.as_str(), format!("{:0>32}", "ab"));
        assert_eq!(WorkerId::try_from(id.to_string()), Ok(id));
        let error = Digest::try_from("AB".to_owned()).expect_err("it is short");
        assert_eq!(error.to_string(), "\"AB\" is no digest: 64 lower-case hexadecimal digits");
    }
}
