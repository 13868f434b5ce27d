//! A whole job in one thread, from a seed: the real protocol, the real tasks and the real lanes against models of the store, of the
//! broker and of everything that may go wrong on the way. Must never touch a file, a socket, a clock or other randomness than
//! that of the seed.
//!
//! - [`world`]: a run; [`clock`], [`dice`]: its time and its chance; [`trace`]: what happened
//! - `coordinator`, `worker`: the shells around the real protocol and the real attempt; [`network`], [`faults`]: what goes wrong
//! - [`attempt`]: tasks, and what they stand on: [`input`], [`counter`], [`state`], [`sink`], [`lane`], [`outbox`]
//! - [`store`], [`broker`]: the models; [`contract`]: what both the model of the broker and a real Kafka do
//! - [`oracle`]: what must hold; [`plant`]: what is done wrong on purpose, to see that it is found
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod attempt;
pub mod broker;
pub mod clock;
pub mod contract;
mod coordinator;
pub mod counter;
pub mod dice;
pub mod faults;
pub mod input;
pub mod lane;
pub mod network;
pub mod oracle;
pub mod outbox;
pub mod plant;
pub mod sink;
pub mod state;
pub mod store;
pub mod trace;
mod worker;
pub mod world;

pub use broker::Broker;
pub use plant::Plant;
pub use world::{Outcome, World};
