//! The slow ordered store under the write-back cache, and where changes are saved before they reach it.

use flow_frame::BytesBuilder;

use super::generation::Generation;
use crate::Error;
use crate::element::Barrier;

/// How far a store has come, by the numbers of generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// All generations up to this one are saved: their segments are of no use to the store any more.
    pub saved: u32,
    /// All of them up to this one can be read in the store.
    pub stored: u32,
}

/// An ordered store of bytes with one user. Reads see every generation up to [`Progress::stored`], and may or may not see
/// later ones that [`Store::store`] got.
pub trait Store: Send {
    /// As [`super::StateBackend::get_many`].
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error>;

    /// As [`super::StateBackend::scan`].
    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;

    /// Takes what was changed since the last generation, which may be nothing, and returns at once. With a barrier, all that came so far
    /// belongs to its checkpoint; without, it is a part of the next one. Each generation has a higher number than the one before.
    fn seal(&mut self, changes: Generation, barrier: Option<Barrier>) -> Result<(), Error>;

    /// Begins to write all that was sealed and is not stored, up to the generation `changes.number`, and returns at once. `changes` has
    /// the newest record of each of their keys, and may have older ones.
    fn store(&mut self, changes: Generation) -> Result<(), Error>;

    /// How far it has come, or why it can't go on. With `wait`, waits until it has done all it was told.
    fn progress(&mut self, wait: bool) -> Result<Progress, Error>;
}
