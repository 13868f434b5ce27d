//! How many bytes a guest may still ask of the host. Never gives back what was spent: the work is done.

/// What a row costs beside its bytes: its place in the structures that hold it.
pub(super) const ROW_BYTES: usize = 64;

/// Bytes that are left of a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// All of a limit.
    pub(super) fn of(limit: usize) -> Budget {
        Budget(limit)
    }

    /// Bytes that are left.
    pub(super) fn left(self) -> usize {
        self.0
    }

    /// Takes so many bytes; none when they are not left.
    pub(super) fn spend(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.checked_sub(bytes)?;
        Some(())
    }
}
