//! The write-back cache with a byte budget in front of a slow [`Store`].
//!
//! Invariants (each is checked by `tests/cache.rs` against the memory backend):
//! - An entry that the store does not have yet (dirty, or in a generation on its way) never leaves memory.
//! - Generations reach the store in the order in which they were sealed, each key once in each.
//! - A read looks here first, then in the store; what is read from the store is therefore never older than an entry here.
//!
//! [`table`] holds the entries and the replacement policy; this file decides when to seal and when to hold the task back.

mod table;

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flow_frame::BytesBuilder;

use self::table::{Slot, Table};
use super::store::{Generation, Store};
use super::{StateBackend, key};
use crate::Error;
use crate::element::Barrier;

/// A store's keys and values, kept in memory as far as the budget allows.
pub struct Cached<S> {
    store: S,
    table: Table,
    budget: usize,
    /// Sealed generations that the store has not confirmed: number and slots.
    on_the_way: VecDeque<(u64, Vec<Slot>)>,
    sealed: u64,
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
    /// Entries that went to the store.
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
        Cached {
            store,
            table: Table::new(scanned),
            budget,
            on_the_way: VecDeque::new(),
            sealed: 0,
            stats: Arc::default(),
        }
    }

    /// What it has done so far, and goes on to do.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Bytes in use, bookkeeping included.
    pub fn used(&self) -> usize {
        self.table.used()
    }

    /// Hands all changes so far to the store as one generation.
    fn seal(&mut self) -> Result<(), Error> {
        let slots = self.table.take_dirty(self.sealed + 1);
        if slots.is_empty() {
            return Ok(());
        }
        let mut generation = Generation::default();
        for slot in &slots {
            let (key, value) = self.table.entry(*slot);
            generation.keys.push(Some(key));
            generation.values.push(value);
        }
        self.sealed += 1;
        self.stats.written.fetch_add(slots.len() as u64, Relaxed);
        self.on_the_way.push_back((self.sealed, slots));
        self.store.write(generation)
    }

    /// Takes note of what the store has written; the entries may be replaced from now on.
    fn settle(&mut self, wait: bool) -> Result<(), Error> {
        if self.on_the_way.is_empty() {
            return Ok(());
        }
        let written = self.store.written(wait)?;
        while let Some((_, slots)) = self.on_the_way.pop_front_if(|(number, _)| *number <= written) {
            self.table.settled(&slots, written);
        }
        Ok(())
    }

    fn evict(&mut self) {
        let evicted = self.table.evict_to(self.budget);
        self.stats.evicted.fetch_add(evicted, Relaxed);
    }

    /// Says what it holds by now.
    fn tell(&self) {
        self.stats.bytes.store(self.table.used() as u64, Relaxed);
        self.stats.entries.store(self.table.len() as u64, Relaxed);
    }

    /// Brings the cache back under its budget. Writing begins early, so that there is something to evict by the time the
    /// budget is full; when there is not, the task waits here.
    fn shrink(&mut self) -> Result<(), Error> {
        if self.table.used() < self.budget - self.budget / 8 {
            return Ok(());
        }
        self.settle(false)?;
        if self.on_the_way.is_empty() && self.table.dirty_bytes() > self.budget / 4 {
            self.seal()?;
        }
        self.evict();
        if self.table.used() > self.budget {
            self.stats.stalls.fetch_add(1, Relaxed);
            self.settle(true)?;
            self.evict();
        }
        if self.table.used() > self.budget {
            self.seal()?;
            self.settle(true)?;
            self.evict();
        }
        Ok(())
    }
}

impl<S: Store> StateBackend for Cached<S> {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        let wanted = keys.column();
        let mut slots: Vec<Option<Slot>> = Vec::with_capacity(keys.rows());
        let mut missing = BytesBuilder::default();
        for row in 0..keys.rows() {
            let key = wanted.raw(row);
            let slot = self.table.find(key);
            if slot.is_none() {
                missing.push(Some(key));
            }
            slots.push(slot);
        }
        self.stats.misses.fetch_add(missing.rows() as u64, Relaxed);
        self.stats.hits.fetch_add((keys.rows() - missing.rows()) as u64, Relaxed);
        let mut loaded = BytesBuilder::default();
        if !missing.is_empty() {
            self.store.get_many(&missing, &mut loaded, most)?;
        }
        let (found, mut next) = (loaded.column(), 0);
        for (row, slot) in slots.into_iter().enumerate() {
            if values.data.len() > most {
                break;
            }
            let slot = match slot {
                Some(slot) => slot,
                None if next == loaded.rows() => break,
                None => {
                    let value = found.get(next);
                    next += 1;
                    self.table.load(wanted.raw(row), value)
                }
            };
            values.push(self.table.entry(slot).1);
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
        let mut changed = self.table.changed(from).take_while(|(k, _)| k.starts_with(prefix)).peekable();
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

    fn snapshot(&mut self, _barrier: Barrier) -> Result<(), Error> {
        self.seal()
    }
}
