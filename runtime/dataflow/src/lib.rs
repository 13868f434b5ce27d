//! The data plane without I/O: everything between a source's batch and a sink's batch that can be tested by calling it.
//!
//! Must never block, spawn, read a clock or know of Kafka, RocksDB, wasmtime or tokio: shells hand those in behind the
//! traits below, and step the tasks.
//!
//! - [`batch`]: [`Batch`], rows in columns; [`build`]: making them; [`element`]: what flows
//! - [`exchange`]: the queues between subtasks; [`credit`]: what bounds them where a network is between
//! - [`function`]: what a component (or a native stand-in) offers: one transactional call a batch
//! - [`operator`], [`source`], [`sink`]: the traits that a task steps
//! - [`dead_letter`]: records that an operator did not take, and what is told of them
//! - [`state`]: keyed state: backends, the write-back cache, one call's transaction
//! - [`lane`]: output that travels in checkpoints, and is written exactly once
//! - [`report`]: what tasks tell about themselves; [`counters`]: what their nodes have done
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod batch;
pub mod build;
pub mod call;
pub mod counters;
pub mod credit;
pub mod dead_letter;
pub mod durations;
pub mod element;
pub mod error;
pub mod exchange;
pub mod function;
pub mod input_gate;
pub mod key_by;
pub mod lane;
pub mod operator;
pub mod output_gate;
pub mod report;
pub mod sink;
pub mod source;
pub mod state;
pub mod task;
mod unwritten;

pub use batch::{Batch, Column};
pub use build::{BatchBuilder, Row};
pub use element::{Barrier, Element, Moment};
pub use error::Error;
pub use function::Function;
pub use operator::Operator;
pub use sink::Sink;
pub use source::{Polled, Source};
