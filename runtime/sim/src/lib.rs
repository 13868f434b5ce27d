//! Models of the outside world that run in one thread, and the contracts that tie them to the real ones. Must never touch a
//! file, a socket, a clock or randomness: whoever drives a model decides what happens when.
//!
//! - [`broker`]: transactions as a Kafka broker makes them
//! - [`contract`]: what both the model and a real Kafka do
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod broker;
pub mod contract;

pub use broker::Broker;
