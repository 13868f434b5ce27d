//! The entries of the cache and their replacement: a hash table over slots, and a clock hand that passes over them
//! (second chance: an entry that was read again since the hand last passed stays).

use std::collections::BTreeSet;
use std::ops::Bound;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::state::key;

/// Number of an entry's place.
pub(super) type Slot = u32;

/// What an entry costs beside its bytes: the slot, its place in the hash table, what the allocator adds.
const OVERHEAD: usize = size_of::<Entry>() + 8 + 16;

/// How an entry stands to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// The place is free.
    Free,
    /// The store has the same.
    Clean,
    /// Changed since the last generation was sealed.
    Dirty,
    /// Sealed in this generation, which the store may not have yet; unchanged since.
    Sealed(u64),
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    /// The key, then the value.
    data: Box<[u8]>,
    key_len: u32,
    /// Whether there is a value; a known absence is an entry too.
    present: bool,
    /// Read again since the clock hand last passed.
    used: bool,
    status: Status,
}

impl Entry {
    fn key(&self) -> &[u8] {
        &self.data[..self.key_len as usize]
    }

    fn value(&self) -> Option<&[u8]> {
        self.present.then(|| &self.data[self.key_len as usize..])
    }

    fn cost(&self) -> usize {
        OVERHEAD + self.data.len()
    }
}

#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    free: Vec<Slot>,
    index: HashTable<Slot>,
    dirty: Vec<Slot>,
    dirty_bytes: usize,
    used: usize,
    hand: usize,
    scanned: Vec<u16>,
    /// Keys of scanned states whose entry is not clean, in order.
    ordered: BTreeSet<Box<[u8]>>,
}

impl Table {
    pub(super) fn new(scanned: &[u16]) -> Table {
        Table {
            entries: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            dirty: Vec::new(),
            dirty_bytes: 0,
            used: 0,
            hand: 0,
            scanned: scanned.to_vec(),
            ordered: BTreeSet::new(),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of entries that were changed since the last generation.
    pub(super) fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    pub(super) fn entry(&self, slot: Slot) -> (&[u8], Option<&[u8]>) {
        let entry = &self.entries[slot as usize];
        (entry.key(), entry.value())
    }

    /// Finds an entry and counts it as used.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<Slot> {
        let slot = self.lookup(xxh3_64(key), key)?;
        self.entries[slot as usize].used = true;
        Some(slot)
    }

    fn lookup(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        let same = |slot: &Slot| {
            let entry = &self.entries[*slot as usize];
            entry.hash == hash && entry.key() == key
        };
        self.index.find(hash, same).copied()
    }

    /// Adds what the store said of a key. The same key may be loaded twice in one batch; the first stays.
    pub(super) fn load(&mut self, key: &[u8], value: Option<&[u8]>) -> Slot {
        let hash = xxh3_64(key);
        self.lookup(hash, key).unwrap_or_else(|| self.insert(hash, key, value, Status::Clean))
    }

    /// Sets or removes a key's value.
    pub(super) fn change(&mut self, key: &[u8], value: Option<&[u8]>) {
        let hash = xxh3_64(key);
        let Some(slot) = self.lookup(hash, key) else {
            let slot = self.insert(hash, key, value, Status::Dirty);
            self.dirty.push(slot);
            self.dirty_bytes += self.entries[slot as usize].cost();
            self.note_changed(key);
            return;
        };
        let entry = &mut self.entries[slot as usize];
        let before = entry.cost();
        let new_len = key.len() + value.map_or(0, <[u8]>::len);
        if entry.data.len() == new_len {
            entry.data[key.len()..].copy_from_slice(value.unwrap_or_default());
        } else {
            entry.data = [key, value.unwrap_or_default()].concat().into();
        }
        entry.present = value.is_some();
        self.used = self.used - before + entry.cost();
        if entry.status == Status::Dirty {
            self.dirty_bytes = self.dirty_bytes - before + entry.cost();
        } else {
            entry.status = Status::Dirty;
            self.dirty.push(slot);
            self.dirty_bytes += self.entries[slot as usize].cost();
            self.note_changed(key);
        }
    }

    fn insert(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>, status: Status) -> Slot {
        let entry = Entry {
            hash,
            data: [key, value.unwrap_or_default()].concat().into(),
            key_len: key.len() as u32,
            present: value.is_some(),
            // An entry earns its stay when it is read again, not by being loaded or by the write that follows a read.
            used: false,
            status,
        };
        self.used += entry.cost();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Slot
            }
        };
        let entries = &self.entries;
        self.index.insert_unique(hash, slot, |slot| entries[*slot as usize].hash);
        slot
    }

    fn note_changed(&mut self, key: &[u8]) {
        if self.is_ordered(key) {
            self.ordered.insert(key.into());
        }
    }

    /// Whether changes to the state of this key are kept in order.
    pub(super) fn is_ordered(&self, key: &[u8]) -> bool {
        key::state_of(key).is_some_and(|state| self.scanned.contains(&state))
    }

    /// Entries of scanned states that the store may not have as they are, in order.
    pub(super) fn changed<'a>(&'a self, from: Bound<&'a [u8]>) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.ordered
            .range::<[u8], _>((from, Bound::Unbounded))
            .filter_map(|key| self.lookup(xxh3_64(key), key).map(|slot| self.entry(slot)))
    }

    /// Seals the changed entries in this generation and returns them.
    pub(super) fn take_dirty(&mut self, generation: u64) -> Vec<Slot> {
        for slot in &self.dirty {
            self.entries[*slot as usize].status = Status::Sealed(generation);
        }
        self.dirty_bytes = 0;
        std::mem::take(&mut self.dirty)
    }

    /// The store has all generations up to this one: entries that did not change since are clean.
    pub(super) fn settled(&mut self, slots: &[Slot], generation: u64) {
        for slot in slots {
            let entry = &mut self.entries[*slot as usize];
            if matches!(entry.status, Status::Sealed(g) if g <= generation) {
                entry.status = Status::Clean;
                if !self.ordered.is_empty() {
                    self.ordered.remove(&entry.data[..entry.key_len as usize]);
                }
            }
        }
    }

    /// Evicts clean entries until at most `budget` bytes are used, or there are no more; returns how many. The hand passes
    /// over each entry at most twice.
    pub(super) fn evict_to(&mut self, budget: usize) -> u64 {
        let mut evicted = 0;
        for _ in 0..self.entries.len() * 2 {
            if self.used <= budget {
                break;
            }
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &mut self.entries[self.hand];
            if entry.status != Status::Clean {
                continue;
            }
            if std::mem::take(&mut entry.used) {
                continue;
            }
            self.used -= entry.cost();
            let slot = self.hand as Slot;
            if let Ok(found) = self.index.find_entry(entry.hash, |s| *s == slot) {
                found.remove();
            }
            entry.data = Box::default();
            entry.key_len = 0;
            entry.status = Status::Free;
            self.free.push(slot);
            evicted += 1;
        }
        evicted
    }
}
