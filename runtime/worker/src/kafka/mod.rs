//! Kafka topics as a source and a sink: [`KafkaReader`] and [`KafkaWriter`], over librdkafka.
//!
//! - [`configured`]: from what a pipeline file says to what a reader or writer is made of
//! - [`connection`]: a cluster, and who we are there; [`token`]: tokens that say so
//! - [`settings`]: what librdkafka is told, and what a pipeline may not tell it
//! - [`reader`], [`writer`]: the source and the sink of one subtask
//! - [`front`]: what all sinks of topics share: topics, and where each row goes
//! - [`lane`]: the sink of one subtask that writes exactly once, and the lanes behind it; [`segment`]: what lies between them
//! - [`scout`]: which partitions there are to read; [`splits`]: their numbers, and how far each was read
//! - [`opening`]: waiting for a broker and asking it for a topic, on a thread of its own
//! - [`rows`]: rows as records, and where each goes; [`murmur2`]: which partition a key belongs to
//! - [`refusal`]: records that Kafka does not take, and what happens with them
//! - [`raw`]: the calls into librdkafka, the only unsafe code
//!
//! A slot's thread calls readers and writers, so nothing here waits but the threads of [`opening`]. Records go in and out by
//! librdkafka's batch calls: see `runtime/docs/adr/0004-kafka-batch-calls.md` for what that saves.

pub(crate) mod configured;
mod connection;
mod error;
mod front;
pub mod lane;
pub mod murmur2;
mod opening;
mod raw;
mod reader;
mod refusal;
mod rows;
mod scout;
mod segment;
mod settings;
mod splits;
mod token;
mod writer;

pub use connection::Connection;
pub use error::Error;
pub use opening::Warn;
pub use reader::{KafkaReader, Reading};
pub use settings::Settings;
pub use splits::Splits;
pub use writer::{KafkaWriter, Writing};

/// Which topics.
#[derive(Clone, Debug)]
pub enum Topics {
    /// These.
    Named(Vec<String>),
    /// All whose names match, but for Kafka's own.
    Pattern(regex::Regex),
}

impl Topics {
    /// Whether it is one of them.
    pub fn has(&self, topic: &str) -> bool {
        match self {
            Topics::Named(names) => names.iter().any(|name| name == topic),
            Topics::Pattern(pattern) => pattern.is_match(topic),
        }
    }

    /// Whether a split of a checkpoint is a partition of one of them.
    pub(crate) fn have_split(&self, split: &str) -> bool {
        scout::parse(split).is_some_and(|(topic, _)| self.has(topic))
    }
}

impl std::fmt::Display for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Topics::Named(names) => f.write_str(&names.join(", ")),
            Topics::Pattern(pattern) => write!(f, "/{pattern}/"),
        }
    }
}

/// Part `subtask` of `parallelism` equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of this subtask, from 0.
    pub subtask: u32,
    /// Number of subtasks, at least 1.
    pub parallelism: u32,
}
