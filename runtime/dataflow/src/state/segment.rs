//! Where the bytes of the cache's entries lie: append-only pieces of memory, so that sealing a generation hands its pieces
//! over as they are, and nobody copies an entry.
//!
//! A record is: hash of the key (u64), generation in which it was changed (u32; 0 for one that was only read, and for one
//! that a later record of its generation has replaced), bytes of the key (u32), bytes of the stored value (u32; 0 where there
//! is none); the key; the stored value ([`super::run::value`]).

use super::run::value;

/// Bytes of a record in front of its key.
pub(super) const HEAD: usize = 20;

/// Records, one behind the other.
#[derive(Debug, Default)]
pub struct Segment {
    bytes: Vec<u8>,
}

/// One record of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The generation in which it was changed; 0 for none.
    pub generation: u32,
    /// The full key.
    pub key: &'a [u8],
    /// The stored form of its value; none where the key was removed.
    pub stored: Option<&'a [u8]>,
}

impl Record<'_> {
    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        HEAD + self.key.len() + self.stored.map_or(0, <[u8]>::len)
    }
}

impl Segment {
    pub(super) fn with_capacity(bytes: usize) -> Segment {
        Segment { bytes: Vec::with_capacity(bytes) }
    }

    /// Bytes of its records.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The same memory without records, if it has room for so many bytes and not for many more.
    pub(super) fn emptied(mut self, capacity: usize) -> Option<Segment> {
        let fits = (capacity..=2 * capacity).contains(&self.bytes.capacity());
        self.bytes.clear();
        fits.then_some(self)
    }

    /// Gives back room that no record fills, if that is much.
    pub(super) fn shrink(&mut self) {
        if self.bytes.len() < self.bytes.capacity() / 4 * 3 {
            self.bytes.shrink_to_fit();
        }
    }

    /// Appends a record with the value in pieces, and returns where it lies.
    pub(super) fn push(&mut self, hash: u64, generation: u32, key: &[u8], value: Option<&[u8]>) -> u32 {
        let stored = value.map_or(0, |value| value::HEAD.len() + value.len());
        let at = self.head(hash, generation, key, stored);
        if let Some(value) = value {
            self.bytes.extend_from_slice(&value::HEAD);
            self.bytes.extend_from_slice(value);
        }
        at
    }

    /// Appends a record as another segment has it.
    pub(super) fn copy(&mut self, hash: u64, record: &Record<'_>) -> u32 {
        let at = self.head(hash, record.generation, record.key, record.stored.map_or(0, <[u8]>::len));
        self.bytes.extend_from_slice(record.stored.unwrap_or_default());
        at
    }

    fn head(&mut self, hash: u64, generation: u32, key: &[u8], stored: usize) -> u32 {
        let at = self.bytes.len() as u32;
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&hash.to_le_bytes());
        head[8..12].copy_from_slice(&generation.to_le_bytes());
        head[12..16].copy_from_slice(&(key.len() as u32).to_le_bytes());
        head[16..].copy_from_slice(&(stored as u32).to_le_bytes());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(key);
        at
    }

    fn field(&self, at: usize) -> u32 {
        u32::from_le_bytes(*self.bytes[at..].first_chunk().expect("a record begins with its head"))
    }

    pub(super) fn hash(&self, at: u32) -> u64 {
        u64::from_le_bytes(*self.bytes[at as usize..].first_chunk().expect("a record begins with its head"))
    }

    pub(super) fn key(&self, at: u32) -> &[u8] {
        let from = at as usize + HEAD;
        &self.bytes[from..from + self.field(at as usize + 12) as usize]
    }

    pub(super) fn record(&self, at: u32) -> Record<'_> {
        let key = self.key(at);
        let (from, stored) = (at as usize + HEAD + key.len(), self.field(at as usize + 16) as usize);
        let stored = (stored > 0).then(|| &self.bytes[from..from + stored]);
        Record { generation: self.field(at as usize + 8), key, stored }
    }

    /// Overwrites a record's value by one of the same length, or says that it is of another one.
    pub(super) fn overwrite(&mut self, at: u32, value: Option<&[u8]>) -> bool {
        let stored = value.map_or(0, |value| value::HEAD.len() + value.len());
        if self.field(at as usize + 16) as usize != stored {
            return false;
        }
        let from = at as usize + HEAD + self.field(at as usize + 12) as usize;
        if let Some(value) = value {
            self.bytes[from + value::HEAD.len()..from + stored].copy_from_slice(value);
        }
        true
    }

    /// Takes a record out of its generation.
    pub(super) fn bury(&mut self, at: u32) {
        self.bytes[at as usize + 8..at as usize + 12].fill(0);
    }

    /// All records, and where they lie.
    pub(super) fn records(&self) -> impl Iterator<Item = (u32, Record<'_>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            (at < self.bytes.len()).then(|| {
                let (place, record) = (at as u32, self.record(at as u32));
                at += record.size();
                (place, record)
            })
        })
    }
}
