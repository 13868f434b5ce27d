//! What a chain is made of.

use crate::element::{CheckpointId, Moment};
use crate::{Batch, Error};

/// Takes batches and emits batches. Called by one thread at a time, never while its output is pending.
pub trait Operator: Send {
    /// Takes a batch and appends what comes of it to `out`.
    fn process(&mut self, batch: Batch, at: Moment, out: &mut Vec<Batch>) -> Result<(), Error>;

    /// A barrier is about to pass: emits what has to go ahead of it.
    fn before_barrier(&mut self, checkpoint: CheckpointId, out: &mut Vec<Batch>) -> Result<(), Error>;

    /// The barrier has passed: hands every state change before it to the backend.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<(), Error>;

    /// Nothing follows: emits what is left, and makes state durable.
    fn end_of_input(&mut self, out: &mut Vec<Batch>) -> Result<(), Error>;
}
