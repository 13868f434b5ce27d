//! What a chain is made of.

use crate::element::{Barrier, Moment, Timestamp};
use crate::{Batch, Error};

/// Takes batches and emits batches. Called by one thread at a time, never while its output is pending.
pub trait Operator: Send {
    /// Takes a batch and appends what comes of it to `out`.
    fn process(&mut self, batch: Batch, at: Moment, out: &mut Vec<Batch>) -> Result<(), Error>;

    /// Rows that it was given wait in it until then, milliseconds since the Unix epoch. What is given to it meanwhile waits
    /// behind them, and it gets nothing but rows.
    fn held(&self) -> Option<Timestamp> {
        None
    }

    /// Goes on with rows that wait, once their time has come.
    fn resume(&mut self, _at: Moment, _out: &mut Vec<Batch>) -> Result<(), Error> {
        Ok(())
    }

    /// A barrier is about to pass: emits what has to go ahead of it.
    fn before_barrier(&mut self, barrier: Barrier, out: &mut Vec<Batch>) -> Result<(), Error>;

    /// The barrier has passed: hands every state change before it to the backend.
    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error>;

    /// Nothing follows: emits what is left, and makes state durable.
    fn end_of_input(&mut self, out: &mut Vec<Batch>) -> Result<(), Error>;
}
