//! The entries of the cache and their replacement.
//!
//! Entries lie in segments ([`Segment`]), which are only appended to: changes in those of the current generation, what was
//! read from the store in others. A change within the generation overwrites an entry of the same size in place; another one
//! leaves a dead record behind. Sealing a generation freezes its segments: nothing is copied.
//!
//! Room is made from the oldest segment on: an entry that was read again since it came there moves to a new one (second
//! chance), one that the store does not have moves too, the others are evicted.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::state::generation::Generation;
use crate::state::key;
use crate::state::segment::{Record, Segment};
use crate::state::store::Progress;

/// What an entry costs in the hash table, which is between 7/16 and 7/8 full.
const OVERHEAD: usize = size_of::<Entry>() * 3 / 2;
/// What a key of a scanned state costs beside its bytes.
const ORDERED: usize = 64;
/// Segments whose memory is kept for new ones: the system takes longer to give than to fill it.
const SPARE: usize = 8;
/// Keys of scanned states that are looked at again in one go.
const AT_ONCE: usize = 4096;
/// The bit of an offset that says: read again since it lies there.
const USED: u32 = 1 << 31;

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    segment: u32,
    offset: u32,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    segment: u32,
    /// With [`USED`].
    offset: u32,
}

impl Entry {
    fn place(&self) -> Place {
        Place { segment: self.segment, offset: self.offset & !USED }
    }

    fn set(&mut self, place: Place) {
        (self.segment, self.offset) = (place.segment, place.offset);
    }
}

#[derive(Debug)]
enum Memory {
    /// May be changed.
    Open(Segment),
    /// Sealed; whoever writes it may hold it too.
    Frozen(Arc<Segment>),
}

impl Memory {
    fn read(&self) -> &Segment {
        match self {
            Memory::Open(segment) => segment,
            Memory::Frozen(segment) => segment,
        }
    }
}

#[derive(Debug)]
struct Held {
    memory: Memory,
    /// The newest generation of its records; 0 where the store has them all.
    newest: u32,
    /// Bytes of records that are entries.
    live: usize,
}

/// The segments that are appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Changes of the current generation.
    Changed,
    /// What the store has.
    Clean,
    /// What is sealed, and the store has not, on its way from an older segment.
    Moved,
}

#[derive(Debug)]
pub(super) struct Table {
    index: HashTable<Entry>,
    /// By number; none where the number is free.
    segments: Vec<Option<Held>>,
    free: Vec<u32>,
    /// Numbers of segments, oldest first.
    order: VecDeque<u32>,
    /// The segment that each of [`To`] is appended to.
    open: [Option<u32>; 3],
    /// Segments of the current generation.
    current: Vec<u32>,
    generation: u32,
    /// Entries of the current generation.
    changes: usize,
    progress: Progress,
    used: usize,
    /// Memory of segments that are gone, for those that come.
    spare: Vec<Segment>,
    /// Bytes of a segment.
    segment: usize,
    scanned: Vec<u16>,
    /// Keys of scanned states that the store may not have as they are, in order.
    ordered: BTreeSet<Arc<[u8]>>,
    /// The same keys by the generation that changed them.
    ordered_by: VecDeque<(u32, Arc<[u8]>)>,
}

impl Table {
    /// `segment` is what a segment has room for.
    pub(super) fn new(segment: usize, scanned: &[u16]) -> Table {
        Table {
            index: HashTable::new(),
            segments: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            open: [None; 3],
            current: Vec::new(),
            generation: 1,
            changes: 0,
            progress: Progress::default(),
            used: 0,
            spare: Vec::new(),
            segment,
            scanned: scanned.to_vec(),
            ordered: BTreeSet::new(),
            ordered_by: VecDeque::new(),
        }
    }

    /// Bytes in use, bookkeeping included.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Entries that were changed since the last generation.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// Bytes of entries that the store does not have: those of the current generation, and all.
    pub(super) fn unstored(&self) -> (usize, usize) {
        let live = |numbers: &mut dyn Iterator<Item = u32>| -> usize {
            numbers.map(|number| self.held(number)).filter(|h| h.newest > self.progress.stored).map(|h| h.live).sum()
        };
        (live(&mut self.current.iter().copied()), live(&mut self.order.iter().copied()))
    }

    fn held(&self, number: u32) -> &Held {
        self.segments[number as usize].as_ref().expect("a number in use")
    }

    fn held_mut(&mut self, number: u32) -> &mut Held {
        self.segments[number as usize].as_mut().expect("a number in use")
    }

    /// Whether its records are of the generation that is not sealed.
    fn is_current(&self, number: u32) -> bool {
        self.held(number).newest == self.generation
    }

    fn record(&self, place: Place) -> Record<'_> {
        self.held(place.segment).memory.read().record(place.offset)
    }

    /// A key's stored value.
    pub(super) fn stored(&self, place: Place) -> Option<&[u8]> {
        self.record(place).stored
    }

    /// Finds an entry and counts it as used.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<Place> {
        let (hash, segments) = (xxh3_64(key), &self.segments);
        let entry = self.index.find_mut(hash, |entry| is(segments, entry, hash, key))?;
        entry.offset |= USED;
        Some(entry.place())
    }

    fn lookup(&self, hash: u64, key: &[u8]) -> Option<Place> {
        self.index.find(hash, |entry| is(&self.segments, entry, hash, key)).map(Entry::place)
    }

    /// Adds what the store said of a key. The same key may be loaded twice in one batch; the first stays.
    pub(super) fn load(&mut self, key: &[u8], value: Option<&[u8]>) -> Place {
        let hash = xxh3_64(key);
        self.lookup(hash, key).unwrap_or_else(|| {
            // An entry earns its stay when it is read again, not by being loaded or by the write that follows a read.
            let place = self.append(To::Clean, record_size(key, value), |s| s.push(hash, 0, key, value));
            self.insert(hash, place);
            place
        })
    }

    /// Sets or removes a key's value.
    pub(super) fn change(&mut self, key: &[u8], value: Option<&[u8]>) {
        let (hash, generation) = (xxh3_64(key), self.generation);
        let before = self.lookup(hash, key);
        if let Some(before) = before {
            let (old, size) = {
                let record = self.record(before);
                (record.generation, record.size())
            };
            let held = self.held_mut(before.segment);
            if let (true, Memory::Open(segment)) = (old == generation, &mut held.memory) {
                if segment.overwrite(before.offset, value) {
                    return;
                }
                segment.bury(before.offset);
                self.changes -= 1;
            }
            self.held_mut(before.segment).live -= size;
        }
        let place = self.append(To::Changed, record_size(key, value), |s| s.push(hash, generation, key, value));
        self.changes += 1;
        match before {
            None => self.insert(hash, place),
            Some(before) => {
                let entry = self.index.find_mut(hash, |entry| entry.place() == before).expect("it was found above");
                let used = entry.offset & USED;
                entry.set(Place { offset: place.offset | used, ..place });
            }
        }
        if self.is_ordered(key) {
            self.note_changed(key);
        }
    }

    fn insert(&mut self, hash: u64, place: Place) {
        let entry = Entry { hash, segment: place.segment, offset: place.offset };
        self.index.insert_unique(hash, entry, |entry| entry.hash);
        self.used += OVERHEAD;
    }

    /// Appends a record of `size` bytes that is an entry from now on.
    fn append(&mut self, to: To, size: usize, push: impl FnOnce(&mut Segment) -> u32) -> Place {
        let number = match self.open[to as usize] {
            Some(number) if self.held(number).memory.read().len() + size <= self.segment => number,
            _ => self.begin(to, size),
        };
        self.used += size;
        let newest = if to == To::Changed { self.generation } else { 0 };
        let held = self.held_mut(number);
        held.live += size;
        held.newest = held.newest.max(newest);
        let Memory::Open(segment) = &mut held.memory else { unreachable!("what is appended to is open") };
        Place { segment: number, offset: push(segment) }
    }

    fn begin(&mut self, to: To, size: usize) -> u32 {
        let spare = if size <= self.segment { self.spare.pop() } else { None };
        let memory = Memory::Open(spare.unwrap_or_else(|| Segment::with_capacity(self.segment.max(size))));
        let held = Some(Held { memory, newest: 0, live: 0 });
        let number = match self.free.pop() {
            Some(number) => {
                self.segments[number as usize] = held;
                number
            }
            None => {
                self.segments.push(held);
                (self.segments.len() - 1) as u32
            }
        };
        self.order.push_back(number);
        self.open[to as usize] = Some(number);
        if to == To::Changed {
            self.current.push(number);
        }
        number
    }

    fn note_changed(&mut self, key: &[u8]) {
        let key: Arc<[u8]> = match self.ordered.get(key) {
            Some(known) => known.clone(),
            None => {
                let key: Arc<[u8]> = key.into();
                self.used += ORDERED + key.len();
                self.ordered.insert(key.clone());
                key
            }
        };
        self.used += ORDERED;
        self.ordered_by.push_back((self.generation, key));
    }

    /// Whether changes to the state of this key are kept in order.
    pub(super) fn is_ordered(&self, key: &[u8]) -> bool {
        key::state_of(key).is_some_and(|state| self.scanned.contains(&state))
    }

    /// Entries of scanned states that the store may not have as they are, in order, with their stored values.
    pub(super) fn changed<'a>(&'a self, from: Bound<&'a [u8]>) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.ordered
            .range::<[u8], _>((from, Bound::Unbounded))
            .filter_map(|key| self.lookup(xxh3_64(key), key).map(|place| (&**key, self.stored(place))))
    }

    /// Seals the changed entries in a generation.
    pub(super) fn seal(&mut self) -> Generation {
        let current = std::mem::take(&mut self.current);
        let mut segments = Vec::with_capacity(current.len());
        for number in current {
            if self.held(number).live > 0 {
                segments.push(self.freeze(number));
            } else {
                // All of it was replaced within the generation.
                self.drop_segment(number);
                self.order.retain(|n| *n != number);
            }
        }
        self.open[To::Changed as usize] = None;
        self.changes = 0;
        let number = self.generation;
        self.generation += 1;
        Generation { number, segments }
    }

    /// Everything that is sealed and that the store does not have.
    pub(super) fn sealed(&mut self) -> Generation {
        self.open[To::Moved as usize] = None;
        let stored = self.progress.stored;
        let sealed: Vec<u32> =
            self.order.iter().copied().filter(|n| self.held(*n).newest > stored && !self.is_current(*n)).collect();
        let segments = sealed.into_iter().map(|number| self.freeze(number)).collect();
        Generation { number: self.generation - 1, segments }
    }

    fn freeze(&mut self, number: u32) -> Arc<Segment> {
        let held = self.held_mut(number);
        let segment = match std::mem::replace(&mut held.memory, Memory::Open(Segment::default())) {
            Memory::Open(mut segment) => {
                segment.shrink();
                Arc::new(segment)
            }
            Memory::Frozen(segment) => segment,
        };
        held.memory = Memory::Frozen(segment.clone());
        segment
    }

    /// The store has come so far: what it has may be replaced from now on. With `all`, nothing of it is left for later.
    pub(super) fn settle(&mut self, progress: Progress, all: bool) {
        self.progress = progress;
        let mut looks = 0;
        while let Some((generation, key)) = self.ordered_by.front()
            && *generation <= progress.stored
            && (all || looks < AT_ONCE)
        {
            let key = key.clone();
            self.ordered_by.pop_front();
            self.used -= ORDERED;
            looks += 1;
            let newer = self.lookup(xxh3_64(&key), &key).is_some_and(|at| self.record(at).generation > progress.stored);
            if !newer && self.ordered.remove(&key) {
                self.used -= ORDERED + key.len();
            }
        }
    }

    /// Makes room until at most `budget` bytes are used, or there is nothing more to gain; returns how many entries were
    /// evicted. Segments full of entries that the store does not have are left alone, with `cheaply` those that are half full too:
    /// there is little to gain for much to move.
    pub(super) fn make_room(&mut self, budget: usize, cheaply: bool) -> u64 {
        let (mut evicted, mut at) = (0, 0);
        // Each segment at most twice: the second time nothing of it has been read again.
        let mut looks = 2 * self.order.len();
        while self.used > budget && at < self.order.len() && looks > 0 {
            looks -= 1;
            let number = self.order[at];
            let held = self.held(number);
            let open = self.open.contains(&Some(number));
            let kept = held.newest > self.progress.stored;
            let saved = held.newest <= self.progress.saved;
            let (live, all) = (held.live, held.memory.read().len());
            let most = if cheaply { all / 2 } else { all / 8 * 7 };
            if !saved || kept && (open || live > most) {
                at += 1;
                continue;
            }
            if let Some(to) = self.open.iter().position(|n| *n == Some(number)) {
                self.open[to] = None;
            }
            self.order.remove(at);
            evicted += self.empty(number);
        }
        evicted
    }

    /// Moves or evicts what lies in a segment, and gives its memory back.
    fn empty(&mut self, number: u32) -> u64 {
        let mut evicted = 0;
        let held = self.segments[number as usize].take().expect("a number in use");
        let segment = held.memory.read();
        self.used -= segment.len();
        if held.live > 0 {
            for (offset, record) in segment.records() {
                let (hash, place) = (segment.hash(offset), Place { segment: number, offset });
                let Ok(found) = self.index.find_entry(hash, |entry| entry.place() == place) else { continue };
                let (clean, used) = (record.generation <= self.progress.stored, found.get().offset & USED != 0);
                if clean && !used {
                    found.remove();
                    self.used -= OVERHEAD;
                    evicted += 1;
                    continue;
                }
                let to = if clean { To::Clean } else { To::Moved };
                let place = self.append(to, record.size(), |s| s.copy(hash, &record));
                let to = self.held_mut(place.segment);
                to.newest = to.newest.max(if clean { 0 } else { record.generation });
                let same = |entry: &Entry| entry.place() == Place { segment: number, offset };
                self.index.find_mut(hash, same).expect("it was found above").set(place);
            }
        }
        let memory = match held.memory {
            Memory::Open(segment) => Some(segment),
            Memory::Frozen(segment) => Arc::into_inner(segment),
        };
        if self.spare.len() < SPARE {
            self.spare.extend(memory.and_then(|segment| segment.emptied(self.segment)));
        }
        self.free.push(number);
        evicted
    }

    fn drop_segment(&mut self, number: u32) {
        if let Some(held) = self.segments[number as usize].take() {
            self.used -= held.memory.read().len();
            self.free.push(number);
        }
    }
}

fn is(segments: &[Option<Held>], entry: &Entry, hash: u64, key: &[u8]) -> bool {
    let at = entry.place();
    entry.hash == hash
        && segments[at.segment as usize].as_ref().is_some_and(|held| held.memory.read().key(at.offset) == key)
}

/// Bytes of a record to be.
fn record_size(key: &[u8], value: Option<&[u8]>) -> usize {
    Record { generation: 0, key, stored: None }.size()
        + value.map_or(0, |v| v.len() + crate::state::run::value::HEAD.len())
}
