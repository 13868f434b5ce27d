//! What flows through gates and exchanges. Nothing here knows how it travels.

use crate::Batch;

/// Id of a checkpoint: attempt · 2³² + counter, so never used twice in a job's life.
pub type CheckpointId = u64;

/// Milliseconds since the Unix epoch.
pub type Timestamp = i64;

/// One element of a stream.
#[derive(Clone, Debug)]
pub enum Element {
    /// Rows.
    Batch(Batch),
    /// No row with an earlier event time follows.
    Watermark(Timestamp),
    /// Everything before it belongs to the checkpoint, nothing after it does.
    Barrier(CheckpointId),
    /// Nothing follows.
    EndOfInput,
}

/// The time that a call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Processing time.
    pub now: Timestamp,
    /// Event-time watermark; [`Timestamp::MIN`] while there is none.
    pub watermark: Timestamp,
}
