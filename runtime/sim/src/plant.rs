//! Faults that are planted in the simulation's own parts, to see that it would find such ones.

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plant {
    /// Nothing.
    #[default]
    Nothing,
    /// A checkpoint is confirmed to its lanes when the swap of HEAD is sent, not when it is answered.
    ConfirmsBeforeTheSwap,
    /// A lane believes what it remembers instead of reading its progress after init.
    TrustsItsMemory,
    /// A snapshot of a sink names what its own barrier sealed, and nothing of aborted checkpoints.
    ForgetsTheAborted,
    /// A piece is acknowledged when its upload begins, not when it is stored.
    AcknowledgesUploads,
    /// A new attempt does not say that it owns its lanes.
    ClaimsNothing,
    /// The producer of a transaction makes the next one too.
    KeepsItsProducer,
    /// What no retained checkpoint names is deleted, however new it is.
    SweepsTheNew,
    /// Acknowledgements are taken by the number of the checkpoint in its attempt, whichever attempt they come from.
    TakesStaleAcknowledgements,
    /// A snapshot of a source says where it was before its last batch.
    ReadsBehind,
}

impl Plant {
    /// All that are wrong.
    pub const ALL: [Plant; 9] = [
        Plant::ConfirmsBeforeTheSwap,
        Plant::TrustsItsMemory,
        Plant::ForgetsTheAborted,
        Plant::AcknowledgesUploads,
        Plant::ClaimsNothing,
        Plant::KeepsItsProducer,
        Plant::SweepsTheNew,
        Plant::TakesStaleAcknowledgements,
        Plant::ReadsBehind,
    ];
}
