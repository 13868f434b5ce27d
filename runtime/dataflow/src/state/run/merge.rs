//! Several runs read as one: each key once, with what the newest of them says of it.

use std::cmp::Ordering;
use std::io::Read;

use super::{Entries, Error};

/// Runs, read together.
pub struct Merge<R> {
    /// Oldest first.
    runs: Vec<Entries<R>>,
    /// Numbers of runs that have entries left: a heap whose top has the least key, of equal keys the newest.
    heap: Vec<usize>,
    /// The key at hand.
    key: Vec<u8>,
    begun: bool,
}

impl<R: Read> Merge<R> {
    /// The entries of these runs, oldest first. An error names the run by its place among them.
    ///
    /// # Errors
    /// As [`Merge::advance`].
    pub fn new(mut runs: Vec<Entries<R>>) -> Result<Merge<R>, (usize, Error)> {
        let mut heap = Vec::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            if run.advance().map_err(|e| (number, e))? {
                heap.push(number);
            }
        }
        let mut merge = Merge { runs, heap, key: Vec::new(), begun: false };
        (0..merge.heap.len() / 2).rev().for_each(|at| merge.sink(at));
        Ok(merge)
    }

    /// Goes to the next key, at first to the first one. False where there is none.
    ///
    /// # Errors
    /// The place of the run that can't be read on, and why.
    pub fn advance(&mut self) -> Result<bool, (usize, Error)> {
        if std::mem::replace(&mut self.begun, true) {
            let Some(top) = self.heap.first() else { return Ok(false) };
            self.key.clear();
            self.key.extend_from_slice(self.runs[*top].key());
            // What older runs say of the same key is hidden.
            while let Some(top) = self.heap.first().copied()
                && self.runs[top].key() == self.key
            {
                if !self.runs[top].advance().map_err(|e| (top, e))? {
                    self.heap.swap_remove(0);
                }
                self.sink(0);
            }
        }
        Ok(!self.heap.is_empty())
    }

    /// The key at hand. To be asked after [`Merge::advance`] said true.
    pub fn key(&self) -> &[u8] {
        self.heap.first().map_or(&[], |top| self.runs[*top].key())
    }

    /// Its stored value; none for a tombstone.
    pub fn stored(&self) -> Option<&[u8]> {
        self.heap.first().and_then(|top| self.runs[*top].stored())
    }

    fn before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heap[a], self.heap[b]);
        match self.runs[a].key().cmp(self.runs[b].key()) {
            Ordering::Less => true,
            Ordering::Equal => a > b,
            Ordering::Greater => false,
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.before(child, least) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}
