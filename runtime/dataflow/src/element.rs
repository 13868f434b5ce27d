//! What flows through gates and exchanges. Nothing here knows how it travels.

use flow_model::checkpoint::CheckpointId;

use crate::Batch;

/// Milliseconds since the Unix epoch.
pub type Timestamp = i64;

/// The marker that divides a stream into what belongs to a checkpoint and what does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The last one that was confirmed when this one was triggered: a snapshot names only objects of its manifest, or with
    /// higher ids. [`CheckpointId::NONE`] before the first.
    pub confirmed: CheckpointId,
}

impl Barrier {
    /// A barrier of a job that has no confirmed checkpoint.
    pub fn first(checkpoint: CheckpointId) -> Barrier {
        Barrier { checkpoint, confirmed: CheckpointId::NONE }
    }
}

/// One element of a stream.
#[derive(Clone, Debug)]
pub enum Element {
    /// Rows.
    Batch(Batch),
    /// No row with an earlier event time follows.
    Watermark(Timestamp),
    /// Everything before it belongs to the checkpoint, nothing after it does.
    Barrier(Barrier),
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
