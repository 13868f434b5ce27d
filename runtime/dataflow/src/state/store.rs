//! The slow ordered store under the write-back cache.

use flow_frame::BytesBuilder;

use crate::Error;

/// Changes that go to the store together: `values[i]` at `keys[i]`, null removes; each key once, in any order.
#[derive(Debug, Default)]
pub struct Generation {
    /// Full keys.
    pub keys: BytesBuilder,
    /// As many values.
    pub values: BytesBuilder,
}

/// An ordered store of bytes with one user. Reads see every generation that [`Store::written`] has counted, and may or may
/// not see later ones.
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

    /// Begins to write a generation and returns at once. Generations are written in the order in which they come.
    fn write(&mut self, generation: Generation) -> Result<(), Error>;

    /// How many generations have been written whole, or why one could not be. With `wait`, waits until that is all of
    /// them.
    fn written(&mut self, wait: bool) -> Result<u64, Error>;
}
