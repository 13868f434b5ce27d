//! Kafka topics as a source and a sink: [`KafkaReader`] and [`KafkaWriter`], over librdkafka.
//!
//! - [`settings`]: what librdkafka is told, and what a pipeline may not tell it
//! - [`reader`], [`writer`]: the source and the sink of one subtask
//! - [`opening`]: waiting for a broker and asking it for a topic, on a thread of its own
//! - [`murmur2`]: which partition a key belongs to
//! - [`raw`]: the calls into librdkafka, the only unsafe code
//!
//! A slot's thread calls readers and writers, so nothing here waits but the threads of [`opening`]. Records go in and out by
//! librdkafka's batch calls: see `runtime/docs/adr/0004-kafka-batch-calls.md` for what that saves.

mod error;
pub mod murmur2;
mod opening;
mod raw;
mod reader;
mod settings;
mod writer;

pub use error::Error;
pub use opening::Warn;
pub use reader::{KafkaReader, Positions, Reading};
pub use settings::Settings;
pub use writer::{KafkaWriter, Writing};

/// Part `subtask` of `parallelism` equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of this subtask, from 0.
    pub subtask: u32,
    /// Number of subtasks, at least 1.
    pub parallelism: u32,
}
