//! Keyed state.
//!
//! - [`StateBackend`]: an ordered store of bytes; [`memory`] is the one for tests and small jobs
//! - [`cache`]: the write-back cache in front of a slow one; [`store`]: what that one has to do; [`generation`]: the changes
//!   that it gets
//! - [`run`]: sorted runs, the files of checkpoints; [`ledger`]: which of them a checkpoint is made of
//! - [`call`]: [`KeyedState`], what one guest call sees and may undo
//! - [`key`]: how keys of states are laid out

mod budget;
pub mod cache;
pub mod call;
pub mod generation;
pub mod key;
pub mod ledger;
pub mod memory;
mod quota;
pub mod run;
mod segment;
pub mod store;

pub use cache::Cached;
pub use call::KeyedState;
pub use generation::Generation;
pub use memory::MemoryBackend;
pub use quota::TooMuch;
pub use segment::Segment;
pub use store::{Progress, Store};

use flow_frame::BytesBuilder;

use crate::Error;
use crate::element::Barrier;

/// An ordered map from byte strings to byte strings, used by one thread.
pub trait StateBackend: Send {
    /// Pushes the value of each of the keys, or null, to the empty `values`, in order. Stops when those have more than `most`
    /// bytes in all, so that what is held stays bounded: `values` then has fewer rows than `keys`, but one at least.
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error>;

    /// Writes `values[i]` at `keys[i]`, or removes it where the value is null; of equal keys the last one counts. All of
    /// them become readable at once; whether they are durable is up to the next snapshot.
    fn put_many(&mut self, keys: &BytesBuilder, values: &BytesBuilder) -> Result<(), Error>;

    /// Calls `each` with the entries whose key starts with `prefix` and lies behind `after`, in the order of their bytes, until it
    /// returns false. `after`, where given, starts with `prefix`.
    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;

    /// Everything written so far belongs to the checkpoint.
    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error>;
}
