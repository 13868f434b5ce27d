//! The write-back cache with a byte budget in front of a slow [`Store`].
//!
//! An entry has three places: changed in the current generation; sealed in an earlier one that the store does not have; in
//! the store. The store gets generations when the budget needs room, not with each barrier: a key that is changed a
//! thousand times in between is written once.
//!
//! Invariants (each is checked by `tests/cache.rs` against the memory backend):
//! - An entry that the store does not have yet (of the current generation, or sealed) never leaves memory.
//! - Every change is in exactly one sealed generation, and generations are sealed in order: what evicts seals first.
//! - A read looks here first, then in the store; what is read from the store is therefore never older than an entry here.
//!
//! [`table`] holds the entries and the replacement policy; this file decides when to seal, when to store and when to hold
//! the task back.

mod table;

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flow_frame::BytesBuilder;

use self::table::{Place, Table};
use super::run::value;
use super::store::Store;
use super::{StateBackend, key};
use crate::Error;
use crate::element::Barrier;

/// The largest segment of a cache's memory, and the part of the budget that one takes at most.
const SEGMENT: usize = 256 << 10;
const SEGMENTS: usize = 64;

/// A store's keys and values, kept in memory as far as the budget allows.
pub struct Cached<S> {
    store: S,
    table: Table,
    budget: usize,
    /// The last generation that the store was told to write.
    storing: u32,
    /// The last one that it has written.
    stored: u32,
    stats: Arc<Stats>,
}

/// What a cache has done so far, and what it holds. Written by the cache's thread, read by any.
#[derive(Debug, Default)]
pub struct Stats {
    /// Keys that were read and found here.
    pub hits: AtomicU64,
    /// Keys that were read from the store.
    pub misses: AtomicU64,
    /// Entries that left memory.
    pub evicted: AtomicU64,
    /// Entries that were sealed in generations.
    pub written: AtomicU64,
    /// Times that the task waited for the store.
    pub stalls: AtomicU64,
    /// Bytes in use, bookkeeping included.
    pub bytes: AtomicU64,
    /// Entries that it holds, keys that are known to have no value among them.
    pub entries: AtomicU64,
}

impl<S: Store> Cached<S> {
    /// A cache of at most about `budget` bytes. `scanned` are the numbers of the states that are ever scanned: changes to
    /// them are kept in order too.
    pub fn new(store: S, budget: usize, scanned: &[u16]) -> Cached<S> {
        let table = Table::new((budget / SEGMENTS).clamp(1, SEGMENT), scanned);
        Cached { store, table, budget, storing: 0, stored: 0, stats: Arc::default() }
    }

    /// What it has done so far, and goes on to do.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Bytes in use, bookkeeping included.
    pub fn used(&self) -> usize {
        self.table.used()
    }

    /// Hands all changes so far over as one generation, which may be empty for a barrier.
    fn seal(&mut self, barrier: Option<Barrier>) -> Result<(), Error> {
        let changes = self.table.changes();
        if changes == 0 && barrier.is_none() {
            return Ok(());
        }
        self.stats.written.fetch_add(changes as u64, Relaxed);
        self.store.seal(self.table.seal(), barrier)
    }

    /// Has the store write what it does not have.
    fn store(&mut self) -> Result<(), Error> {
        let sealed = self.table.sealed();
        if sealed.number == self.storing {
            return Ok(());
        }
        self.storing = sealed.number;
        self.store.store(sealed)
    }

    /// Takes note of how far the store has come; what it has may be replaced from now on.
    fn settle(&mut self, wait: bool) -> Result<(), Error> {
        let progress = self.store.progress(wait)?;
        self.stored = progress.stored;
        self.table.settle(progress, wait);
        Ok(())
    }

    fn make_room(&mut self, budget: usize, cheaply: bool) {
        let evicted = self.table.make_room(budget, cheaply);
        self.stats.evicted.fetch_add(evicted, Relaxed);
    }

    /// Says what it holds by now.
    fn tell(&self) {
        self.stats.bytes.store(self.table.used() as u64, Relaxed);
        self.stats.entries.store(self.table.len() as u64, Relaxed);
    }

    /// Brings the cache back under its budget. The store begins to write early, so that there is something to evict by the
    /// time the budget is full; when there is not, the task waits here.
    fn shrink(&mut self) -> Result<(), Error> {
        let soft = self.budget - self.budget / 8;
        if self.table.used() < soft {
            return Ok(());
        }
        self.settle(false)?;
        let (changed, unstored) = self.table.unstored();
        if self.storing == self.stored && unstored > self.budget / 2 {
            if changed > self.budget / 4 {
                self.seal(None)?;
            }
            self.store()?;
        }
        self.make_room(soft, true);
        if self.table.used() > self.budget {
            self.make_room(self.budget, false);
        }
        if self.table.used() > self.budget {
            self.stats.stalls.fetch_add(1, Relaxed);
            self.settle(true)?;
            self.make_room(self.budget, false);
        }
        if self.table.used() > self.budget {
            self.seal(None)?;
            self.store()?;
            self.settle(true)?;
            self.make_room(self.budget, false);
        }
        Ok(())
    }
}

/// The value of a stored form. The cache has checked or made what it holds.
fn plain(stored: Option<&[u8]>) -> Option<&[u8]> {
    stored.map(|stored| &stored[value::HEAD.len()..])
}

impl<S: Store> StateBackend for Cached<S> {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        let wanted = keys.column();
        let mut places: Vec<Option<Place>> = Vec::with_capacity(keys.rows());
        let mut missing = BytesBuilder::default();
        for row in 0..keys.rows() {
            let key = wanted.raw(row);
            let place = self.table.find(key);
            if place.is_none() {
                missing.push(Some(key));
            }
            places.push(place);
        }
        self.stats.misses.fetch_add(missing.rows() as u64, Relaxed);
        self.stats.hits.fetch_add((keys.rows() - missing.rows()) as u64, Relaxed);
        let mut loaded = BytesBuilder::default();
        if !missing.is_empty() {
            self.store.get_many(&missing, &mut loaded, most)?;
        }
        let (found, mut next) = (loaded.column(), 0);
        for (row, place) in places.into_iter().enumerate() {
            if values.data.len() > most {
                break;
            }
            let place = match place {
                Some(place) => place,
                None if next == loaded.rows() => break,
                None => {
                    let value = found.get(next);
                    next += 1;
                    self.table.load(wanted.raw(row), value)
                }
            };
            values.push(plain(self.table.stored(place)));
        }
        self.shrink()?;
        self.tell();
        Ok(())
    }

    fn put_many(&mut self, keys: &BytesBuilder, values: &BytesBuilder) -> Result<(), Error> {
        let (at, to) = (keys.column(), values.column());
        for row in 0..keys.rows() {
            self.table.change(at.raw(row), to.get(row));
        }
        self.shrink()?;
        self.tell();
        Ok(())
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.settle(false)?;
        debug_assert!(self.table.is_ordered(prefix), "state {:?} was not declared as scanned", key::state_of(prefix));
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let changed = self.table.changed(from).take_while(|(k, _)| k.starts_with(prefix));
        let mut changed = changed.map(|(k, stored)| (k, plain(stored))).peekable();
        let mut going = true;
        self.store.scan(prefix, after, &mut |key, value| {
            while let Some((k, v)) = changed.next_if(|(k, _)| *k < key) {
                going = going && v.is_none_or(|v| each(k, v));
            }
            going = going
                && match changed.next_if(|(k, _)| *k == key) {
                    Some((k, v)) => v.is_none_or(|v| each(k, v)),
                    None => each(key, value),
                };
            going
        })?;
        for (k, v) in changed {
            going = going && v.is_none_or(|v| each(k, v));
        }
        Ok(())
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.seal(Some(barrier))
    }
}
