//! Where rows go.

use crate::element::Barrier;
use crate::{Batch, Error};

/// Records that a sink does not write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

/// The part of a sink that one subtask writes.
pub trait Sink: Send {
    /// Goes on with what it has taken, without waiting. True when it can take another batch.
    fn ready(&mut self) -> Result<bool, Error>;

    /// Takes a batch whole. Called only after `ready` said true.
    fn write(&mut self, batch: Batch) -> Result<(), Error>;

    /// A barrier has passed: everything taken before it is to become durable. `ready` stays false until it is.
    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error>;

    /// Rows that were taken and are not written yet: they are lost if the process ends now.
    fn unwritten(&self) -> usize;

    /// What it has taken and will never write, since it is refused for its own sake, so far.
    fn refused(&self) -> Refused {
        Refused::default()
    }

    /// Nothing but barriers follows. Called until it says true: everything is durable, or will be with the checkpoint of a
    /// barrier that follows.
    fn finish(&mut self) -> Result<bool, Error>;
}
