//! Exactly once into a log that has transactions, without any of them open across a checkpoint: the output travels in the
//! checkpoint, and a **lane** writes it afterwards. A lane is {incarnation, sink, index}, one transactional id; several subtasks
//! of the sink may share it. Must know no Kafka, clock or thread: events in, actions out.
//!
//! - [`machine`]: [`Lane`], what a lane does next, whatever became of what it did last
//! - [`order`]: in which order sealed output is written, and how it is numbered
//! - [`sealed`]: [`Sealed`], what one subtask has sealed: what its snapshots name, and when they are complete
//! - [`record`]: the records that a lane leaves beside its output: how far it came, and which attempt owns it
//!
//! Its invariants (`runtime/dataflow/tests/lane/` breaks each on purpose and sees it found):
//! 1. A transaction that carries progress is begun only by a producer that *after its own init* read a lower progress and no
//!    higher attempt.
//! 2. A snapshot names *every* segment that its subtask has sealed and not yet seen as written, those of aborted checkpoints
//!    included.
//! 3. A segment stays until progress past it was seen.
//! 4. A lane is settled at a checkpoint when its progress is past all that this checkpoint's manifest names for it.

pub mod machine;
pub mod order;
pub mod record;
pub mod sealed;

pub use machine::{Action, Event, Lane, Outcome, Refusal, Settled};
pub use record::{Identity, Standing};
pub use sealed::{Ack, Sealed};
