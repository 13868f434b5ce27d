//! How many bytes the states of one key may hold, all together: the values, and the entries of maps and lists with their keys.
//!
//! The bytes of values are known with each call. Those of entries are counted at most: what a call writes is added to a number
//! that is kept beside the key's entries, and what it removes or replaces is not taken off. Only when that number says that the
//! limit is passed the entries are counted again, so that a key far from its limit costs one more read and write a call, and
//! one at its limit the reading of what it holds.

use flow_frame::layout::{PRESENT, UNCHANGED, id};
use flow_frame::{BytesBuilder, BytesColumn};

use super::{StateBackend, key};
use crate::{Batch, Column, Error};

/// The state that the numbers are kept as; no component can declare so many.
const COUNTS: u16 = u16::MAX;

/// The limit, and what the keys of the call at hand hold.
#[derive(Debug)]
pub(super) struct Quota {
    limit: usize,
    /// For each key the bytes of all its values before the call, by value state.
    values: Vec<(u16, Vec<usize>)>,
    /// For each key the most bytes of all its entries; without operators that have maps or lists, empty.
    entries: Vec<usize>,
    /// For each key that it changes for: the number to keep.
    counted: Vec<(usize, usize)>,
}

/// The states of a key would hold too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// What its states would hold.
    pub bytes: usize,
    /// What they may.
    pub limit: usize,
}

/// One key of a call, and what the call does to its entries.
pub(super) struct Touched<'a> {
    pub(super) row: usize,
    pub(super) key: &'a [u8],
    /// Bytes of the entries that the call writes.
    pub(super) written: usize,
}

impl Quota {
    pub(super) fn of(limit: usize) -> Quota {
        Quota { limit, values: Vec::new(), entries: Vec::new(), counted: Vec::new() }
    }

    /// Begins a call whose keys have these values.
    pub(super) fn begin(&mut self, columns: &[Column], rows: usize) {
        let size = |column: BytesColumn<'_>| (0..rows).map(|row| column.get(row).map_or(0, <[u8]>::len)).collect();
        let of = |column: &Column| Some((column.id - id::DECLARED, size(column.as_bytes()?)));
        self.values = columns.iter().filter_map(of).collect();
        self.entries.clear();
        self.counted.clear();
    }

    /// Reads what is kept of the entries of these keys.
    pub(super) fn read(&mut self, at: &BytesBuilder, backend: &mut dyn StateBackend) -> Result<(), Error> {
        let mut found = BytesBuilder::default();
        backend.get_many(at, &mut found, usize::MAX)?;
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b) as usize);
        self.entries = (0..found.rows()).map(|row| found.column().get(row).map_or(0, number)).collect();
        Ok(())
    }

    /// Whether a key may hold what a call leaves it with; `states` are the call's new values, and `count` counts all bytes of
    /// the key's entries.
    pub(super) fn check(
        &mut self,
        touched: &Touched<'_>,
        states: &Batch,
        count: impl FnOnce() -> Result<usize, Error>,
    ) -> Result<Result<(), TooMuch>, Error> {
        let Touched { row, key, written } = *touched;
        let (mut values, mut grows) = (0, written > 0);
        for (state, before) in &self.values {
            values += match states.bytes(id::DECLARED + state) {
                Some(column) if column.presence(row) == PRESENT => {
                    grows = true;
                    column.raw(row).len()
                }
                Some(column) if column.presence(row) != UNCHANGED => 0,
                _ => before[row],
            };
        }
        let mut entries = self.entries.get(row).map_or(0, |before| before + written);
        if grows && entries > 0 && values + entries > self.limit {
            entries = count()?;
        }
        let bytes = values + entries;
        if grows && bytes > self.limit {
            return Ok(Err(TooMuch { key: key.to_vec(), bytes, limit: self.limit }));
        }
        if self.entries.get(row).is_some_and(|before| *before != entries) {
            self.counted.push((row, entries));
        }
        Ok(Ok(()))
    }

    /// What is to be kept now, by the row of its key.
    pub(super) fn take_counted(&mut self) -> Vec<(usize, [u8; 8])> {
        std::mem::take(&mut self.counted).into_iter().map(|(row, bytes)| (row, (bytes as u64).to_le_bytes())).collect()
    }
}

/// Where the number of a key is kept.
pub(super) fn place(group: u16, key: &[u8], out: &mut Vec<u8>) {
    key::encode(group, COUNTS, key, out);
}
