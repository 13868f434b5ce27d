//! The control plane as plain calls: events in, actions out. It reads no clock, draws no random number and does no I/O, so that
//! a test, a simulation and the real coordinator run the same code.
//!
//! | module | what it decides |
//! |---|---|
//! | [`job`] | the life of one job: lead, load, run, restart, stop |
//! | [`head`] | a document that counts, changed by compare-and-swap: which swap is in flight, what an answer means |
//! | [`leadership`] | which coordinator leads a cluster |
//! | [`following`] | whom a worker obeys, and for how long it goes on alone |
//! | [`cluster`] | which workers there are, and what of which job they run |
//! | [`checkpoint`] | when a checkpoint begins, when it is complete, when it is given up |
//! | [`patience`] | how long a checkpoint is waited for |
//! | [`lanes`] | which output is known to be written |
//! | [`scheduler`] | which worker runs which subtasks, and owns which lanes |
//! | [`restart`] | whether and when a job that failed starts again |
//! | [`retention`] | which checkpoints stay, and which objects nobody needs any more |
//!
//! Rules for whoever performs the actions: in their order; every one that is durable comes back as an event; what depends on a
//! write comes only after the event that the write is done, so nothing may be performed ahead of the protocol.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod checkpoint;
pub mod cluster;
pub mod following;
pub mod head;
pub mod job;
pub mod lanes;
pub mod leadership;
pub mod patience;
pub mod restart;
pub mod retention;
pub mod scheduler;

pub use job::{Action, Event, Job};

/// Milliseconds of a clock that never goes back. Only differences count.
pub type Time = u64;
