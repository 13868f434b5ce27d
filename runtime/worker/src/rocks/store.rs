//! One subtask's store.

use std::path::Path;
use std::sync::Arc;

use flow_dataflow::state::run::value;
use flow_dataflow::state::{Generation, Progress, Store};
use flow_dataflow::{Barrier, Error};
use flow_frame::BytesBuilder;
use rocksdb::{DB, DEFAULT_COLUMN_FAMILY_NAME, Options, ReadOptions};

use super::failure::failure;
use super::runs::Runs;
use super::size::Size;
use super::writer::Writer;
use crate::disk;

/// Keys that are read in one call of RocksDB: what is found stays pinned until the call is over.
const READ_KEYS: usize = 1024;
/// Bytes that stay pinned at most; fewer keys are read at once where values are so large.
const READ_BYTES: usize = 32 << 20;

/// One RocksDB. Dropping it ends its thread and leaves generations that are not written yet; what was written is kept.
pub struct RocksStore {
    writer: Writer,
    db: Arc<DB>,
    /// Bytes of the longest value that was ever read.
    longest: usize,
    /// Scratch space of reads.
    order: Vec<u32>,
}

impl RocksStore {
    /// Opens the store of a directory, which is made if there is none.
    pub(super) fn open(options: &Options, dir: &Path) -> Result<RocksStore, Error> {
        RocksStore::of(open(options, dir)?, None, 0)
    }

    /// A store over an open RocksDB whose longest value has `longest` bytes, and which saves its generations in `runs`.
    pub(super) fn of(db: DB, runs: Option<Runs>, longest: usize) -> Result<RocksStore, Error> {
        let db = Arc::new(db);
        Ok(RocksStore { writer: Writer::start(db.clone(), runs)?, db, longest, order: Vec::new() })
    }

    /// How much it holds, as long as it is open.
    pub fn size(&self) -> Size {
        Size(Arc::downgrade(&self.db))
    }

    /// Writes everything and closes the store. Only after it has returned does the directory hold all generations.
    pub fn close(mut self) -> Result<(), Error> {
        self.progress(true)?;
        self.db.flush().map_err(|e| failure(&e, "closing", self.db.path()))
    }

    fn damaged(&self, error: value::Error) -> Error {
        Error::Fatal(format!("state in {}: {error}; remove the directory", self.db.path().display()))
    }

    /// Reads the keys from `from` to `to`, or as many as it takes for more than `most` bytes of values.
    fn read(
        &mut self,
        keys: &BytesBuilder,
        from: usize,
        to: usize,
        values: &mut BytesBuilder,
        most: usize,
    ) -> Result<(), Error> {
        let wanted = keys.column();
        self.order.clear();
        self.order.extend(from as u32..to as u32);
        self.order.sort_unstable_by_key(|row| wanted.raw(*row as usize));
        let family = self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).expect("opened with this family");
        let sorted = self.order.iter().map(|row| wanted.raw(*row as usize));
        let mut found = self.db.batched_multi_get_cf(family, sorted, true);
        // Back into the order of the keys.
        let mut at = vec![0; to - from];
        for (place, row) in self.order.iter().enumerate() {
            at[*row as usize - from] = place;
        }
        for place in at {
            if values.data.len() > most {
                break;
            }
            match std::mem::replace(&mut found[place], Ok(None)) {
                Ok(Some(stored)) => values.push(Some(value::decode(&stored).map_err(|e| self.damaged(e))?)),
                Ok(None) => values.push_null(),
                Err(error) => return Err(failure(&error, "reading", self.db.path())),
            }
        }
        Ok(())
    }
}

impl Store for RocksStore {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        while values.rows() < keys.rows() && values.data.len() <= most {
            let from = values.rows();
            let longest = self.longest.max(self.writer.longest());
            let at_once = (READ_BYTES / longest.max(1)).clamp(1, READ_KEYS);
            self.read(keys, from, keys.rows().min(from + at_once), values, most)?;
            self.longest = self.longest.max(longest_of(values, from));
        }
        Ok(())
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let mut options = ReadOptions::default();
        if let Some(end) = successor(prefix) {
            options.set_iterate_upper_bound(end);
        }
        let mut entries = self.db.raw_iterator_opt(options);
        entries.seek(after.unwrap_or(prefix));
        while let Some((key, stored)) = entries.item() {
            if after != Some(key) && !each(key, value::decode(stored).map_err(|e| self.damaged(e))?) {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(|e| failure(&e, "reading", self.db.path()))
    }

    fn seal(&mut self, changes: Generation, barrier: Option<Barrier>) -> Result<(), Error> {
        self.writer.seal(changes, barrier)
    }

    fn store(&mut self, changes: Generation) -> Result<(), Error> {
        self.writer.store(changes)
    }

    fn progress(&mut self, wait: bool) -> Result<Progress, Error> {
        self.writer.progress(wait)
    }
}

/// Opens the RocksDB of a directory, which is made if there is none.
pub(super) fn open(options: &Options, dir: &Path) -> Result<DB, Error> {
    std::fs::create_dir_all(dir).map_err(|e| disk::failure(&e, "making the state directory", dir))?;
    let families = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
    DB::open_cf_with_opts(options, dir, families).map_err(|e| failure(&e, "opening", dir))
}

/// Bytes of the longest of the rows from a number on.
fn longest_of(values: &BytesBuilder, from: usize) -> usize {
    let column = values.column();
    (from..values.rows()).map(|row| column.raw(row).len()).max().unwrap_or(0)
}

/// The first key behind all keys with a prefix; none where there is no such key.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn successors() {
        let check = |prefix: &[u8], expect: Option<&[u8]>| assert_eq!(successor(prefix).as_deref(), expect);
        check(b"ab", Some(b"ac"));
        check(&[1, 0xff, 0xff], Some(&[2]));
        check(&[0xff, 0xff], None);
        check(b"", None);
    }
}
