//! An ordered map a key. Reads go through a cache of the key at hand, so that a record sees what earlier ones wrote;
//! writes gather and leave in one import at the end of the call.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Bound;

use flow_frame::layout::Type;
use flow_frame::{BytesBuilder, Frame, Parts, assemble, id};

use super::cell::{Cell, Keys};
use super::key::{KeyBytes, StateKey, bytes_of};
use super::stored::Stored;
use crate::error::{Failure, Result};
use crate::host;
use crate::operator::{StateDescriptor, StateKind};
use crate::record::bad_frame;

/// An ordered map a key.
///
/// ```
/// # use flow_sdk::prelude::*;
/// # fn example(by_shop: &mut MapState<String, u64>) -> Result<()> {
/// let visits = by_shop.get("corner")?.unwrap_or(0);
/// by_shop.insert("corner", &(visits + 1))?;
/// by_shop.remove("closed");
/// for entry in by_shop.iter() {
///     let (shop, visits): (String, u64) = entry?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MapState<K, V> {
    id: u32,
    key_row: u32,
    /// Entries of the key at hand that were read or written.
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Whether everything stored of this key is void.
    cleared: bool,
    undo: Vec<Undo>,
    /// What the keys that are done wrote.
    writes: Entries,
    clears: Vec<u8>,
    /// What rows want to be read ahead, and what came back, in the order of key rows.
    wanted: Entries,
    fetched: Vec<(u32, Vec<u8>, Option<Vec<u8>>)>,
    next_fetched: usize,
    of: PhantomData<(K, V)>,
}

/// An entry as the key's records so far see it.
#[derive(Clone, Debug)]
struct Entry {
    value: Option<Vec<u8>>,
    written: bool,
}

/// What takes back a write of the record at hand.
#[derive(Debug)]
enum Undo {
    Entry(Vec<u8>, Option<Entry>),
    Clear(BTreeMap<Vec<u8>, Entry>, bool),
}

/// Entries to be read or written, as the imports take them.
#[derive(Debug, Default)]
struct Entries {
    key_rows: Vec<u8>,
    keys: BytesBuilder,
    values: BytesBuilder,
}

impl Entries {
    fn push(&mut self, key_row: u32, key: &[u8]) {
        self.key_rows.extend(key_row.to_le_bytes());
        self.keys.push(Some(key));
    }

    fn frame(&self, with_values: bool) -> Vec<u8> {
        let keys = self.keys.parts(id::KEY);
        let parts = [key_rows(&self.key_rows), keys, self.values.parts(id::VALUE)];
        let mut frame = Vec::new();
        assemble(self.keys.rows(), &parts[..2 + usize::from(with_values)], &mut frame);
        frame
    }

    fn clear(&mut self) {
        self.key_rows.clear();
        self.keys.truncate(0);
        self.values.truncate(0);
    }
}

pub(super) fn key_rows(data: &[u8]) -> Parts<'_> {
    Parts { id: id::INPUT_ROW, ty: Type::U32, flags: 0, data, offsets: None, nulls: None }
}

impl<K: StateKey, V: Stored> MapState<K, V> {
    /// The entry's value.
    pub fn get<Q: KeyBytes + ?Sized>(&mut self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        let key = bytes_of(key);
        self.read(&key)?.map(V::decode).transpose()
    }

    /// Whether there is such an entry.
    pub fn contains<Q: KeyBytes + ?Sized>(&mut self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        let key = bytes_of(key);
        Ok(self.read(&key)?.is_some())
    }

    /// Sets an entry.
    pub fn insert<Q: KeyBytes + ?Sized>(&mut self, key: &Q, value: &V) -> Result<()>
    where
        K: Borrow<Q>,
    {
        let mut bytes = Vec::new();
        value.encode(&mut bytes)?;
        self.write(bytes_of(key), Some(bytes));
        Ok(())
    }

    /// Removes an entry, if there is one.
    pub fn remove<Q: KeyBytes + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.write(bytes_of(key), None);
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        self.undo.push(Undo::Clear(entries, self.cleared));
        self.cleared = true;
    }

    /// All entries in the order of their keys. Reads in pages: what is stored need not fit into memory.
    pub fn iter(&self) -> impl Iterator<Item = Result<(K, V)>> + use<'_, K, V> {
        self.scan(None)
    }

    /// The entries behind this key, in order.
    pub fn iter_after<Q: KeyBytes + ?Sized>(&self, key: &Q) -> impl Iterator<Item = Result<(K, V)>> + use<'_, K, V, Q>
    where
        K: Borrow<Q>,
    {
        self.scan(Some(bytes_of(key)))
    }

    /// In [`Process::prefetch`](crate::Process::prefetch): announces that this entry of the key at hand will be read, so
    /// that one import reads all of a batch.
    pub fn prefetch<Q: KeyBytes + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.wanted.push(self.key_row, &bytes_of(key));
    }

    fn read(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        // Two look-ups, since a borrow that is returned from one branch would last through the other.
        if !self.entries.contains_key(key) {
            let value = if self.cleared { None } else { self.get_one(key)? };
            self.entries.insert(key.to_vec(), Entry { value, written: false });
        }
        Ok(self.entries.get(key).and_then(|e| e.value.as_deref()))
    }

    #[cold]
    fn get_one(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut entries = Entries::default();
        entries.push(self.key_row, key);
        let found = host::get_many(self.id, &entries.frame(false));
        let values = Frame::parse(&found).and_then(|f| f.bytes(id::VALUE)).map_err(bad_frame)?;
        Ok(values.get(0).map(<[u8]>::to_vec))
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let before = self.entries.insert(key.clone(), Entry { value, written: true });
        self.undo.push(Undo::Entry(key, before));
    }

    fn scan(&self, after: Option<Vec<u8>>) -> impl Iterator<Item = Result<(K, V)>> + use<'_, K, V> {
        let from = after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut written = self.entries.range((from, Bound::Unbounded)).filter(|(_, e)| e.written).peekable();
        let mut stored = Scan::new(self.id, self.key_row, after, self.cleared).peekable();
        // A merge of what is stored with what was written, which hides what it replaces.
        std::iter::from_fn(move || {
            loop {
                let ours = match (written.peek(), stored.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => true,
                    (_, Some(Err(_))) | (None, Some(_)) => false,
                    (Some((ours, _)), Some(Ok((theirs, _)))) => {
                        if *ours == theirs {
                            stored.next();
                            continue;
                        }
                        ours.as_slice() < theirs.as_slice()
                    }
                };
                if !ours {
                    return stored.next().map(|e| e.and_then(|(k, v)| Ok((K::read(&k)?, V::decode(&v)?))));
                }
                if let Some((key, Entry { value: Some(value), .. })) = written.next() {
                    return Some(K::read(key).and_then(|k| Ok((k, V::decode(value)?))));
                }
            }
        })
    }
}

/// The stored entries of one key, page by page.
pub(super) struct Scan {
    state: u32,
    key_row: u32,
    after: Option<Vec<u8>>,
    page: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    done: bool,
}

/// Entries a page.
const PAGE: u32 = 256;

impl Scan {
    pub(super) fn new(state: u32, key_row: u32, after: Option<Vec<u8>>, nothing: bool) -> Scan {
        Scan { state, key_row, after, page: Vec::new().into_iter(), done: nothing }
    }

    fn turn(&mut self) -> Result<()> {
        let (page, more) = host::scan(self.state, self.key_row, self.after.as_deref(), PAGE);
        let f = Frame::parse(&page).map_err(bad_frame)?;
        self.done = !more || f.rows() == 0;
        if f.rows() > 0 {
            let (keys, values) = (f.bytes(id::KEY).map_err(bad_frame)?, f.bytes(id::VALUE).map_err(bad_frame)?);
            let entries: Vec<_> = (0..f.rows()).map(|row| (keys.raw(row).to_vec(), values.raw(row).to_vec())).collect();
            self.after = entries.last().map(|(key, _)| key.clone());
            self.page = entries.into_iter();
        }
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(entry));
            }
            if self.done {
                return None;
            }
            if let Err(e) = self.turn() {
                self.done = true;
                return Some(Err(e));
            }
        }
    }
}

impl<K: StateKey, V: Stored> Cell for MapState<K, V> {
    fn open(id: u32, _name: &'static str) -> Self {
        MapState {
            id,
            key_row: 0,
            entries: BTreeMap::new(),
            cleared: false,
            undo: Vec::new(),
            writes: Entries::default(),
            clears: Vec::new(),
            wanted: Entries::default(),
            fetched: Vec::new(),
            next_fetched: 0,
            of: PhantomData,
        }
    }

    fn descriptor(name: &'static str, version: u32) -> StateDescriptor {
        let encoding = format!("{} -> {}", K::ENCODING, V::ENCODING);
        StateDescriptor { name, kind: StateKind::Map, version, encoding }
    }

    fn begin_call(&mut self) {
        self.entries.clear();
        self.undo.clear();
        self.writes.clear();
        self.clears.clear();
        self.wanted.clear();
        self.fetched.clear();
        self.next_fetched = 0;
    }

    fn begin_key(&mut self, key_row: u32, _keys: &Keys<'_>) {
        self.key_row = key_row;
        self.cleared = false;
        while let Some((row, key, value)) = self.fetched.get_mut(self.next_fetched)
            && *row <= key_row
        {
            if *row == key_row {
                let entry = Entry { value: value.take(), written: false };
                self.entries.entry(std::mem::take(key)).or_insert(entry);
            }
            self.next_fetched += 1;
        }
    }

    fn end_row(&mut self, keep: bool) {
        if keep {
            self.undo.clear();
            return;
        }
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Entry(key, Some(before)) => drop(self.entries.insert(key, before)),
                Undo::Entry(key, None) => drop(self.entries.remove(&key)),
                Undo::Clear(entries, cleared) => (self.entries, self.cleared) = (entries, cleared),
            }
        }
    }

    fn end_key(&mut self) -> Result<(), Failure> {
        if self.cleared {
            self.clears.extend(self.key_row.to_le_bytes());
        }
        for (key, entry) in std::mem::take(&mut self.entries) {
            // What a clear removes need not be removed again.
            if entry.written && !(self.cleared && entry.value.is_none()) {
                self.writes.push(self.key_row, &key);
                self.writes.values.push(entry.value.as_deref());
            }
        }
        Ok(())
    }

    fn announce(&mut self, key_row: u32) {
        self.key_row = key_row;
    }

    fn fetch(&mut self) {
        let rows = self.wanted.keys.rows();
        if rows == 0 {
            return;
        }
        let found = host::get_many(self.id, &self.wanted.frame(false));
        // A malformed answer leaves the cache empty; reads one by one will name the error.
        if let Ok(values) = Frame::parse(&found).and_then(|f| f.bytes(id::VALUE)) {
            let at = self.wanted.key_rows.as_chunks::<4>().0;
            let keys = self.wanted.keys.column();
            self.fetched.extend(at.iter().enumerate().map(|(row, at)| {
                (u32::from_le_bytes(*at), keys.raw(row).to_vec(), values.get(row).map(<[u8]>::to_vec))
            }));
        }
    }

    fn end_call(&mut self) {
        if !self.clears.is_empty() {
            let mut frame = Vec::new();
            assemble(self.clears.len() / 4, &[key_rows(&self.clears)], &mut frame);
            host::clear_many(self.id, &frame);
        }
        if self.writes.keys.rows() > 0 {
            host::put_many(self.id, &self.writes.frame(true));
        }
    }

    fn column(&self) -> Option<Parts<'_>> {
        None
    }
}
