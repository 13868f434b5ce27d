//! What was changed between two moments, sealed: unordered records in the cache's own memory, and how they are put in order.
//! Ordering is work for a background thread; must never be done by the one that steps the task.

use std::sync::Arc;

use flow_frame::BytesBuilder;
use xxhash_rust::xxh3::xxh3_64;

use super::segment::{Record, Segment};

/// Changes that belong together. Of the records of one key the one with the highest generation counts.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// Its number; later ones have higher numbers.
    pub number: u32,
    /// Where its records lie, and others with the generation 0, which do not count.
    pub segments: Vec<Arc<Segment>>,
}

/// A record, by where it lies.
#[derive(Clone, Copy)]
struct Item {
    /// Bytes of the key, big endian, from where the keys of the group at hand differ on.
    prefix: u64,
    segment: u32,
    offset: u32,
}

/// So few items are sorted by whole keys.
const FEW: usize = 24;

impl Generation {
    /// The changes `values[i]` at `keys[i]`, where null removes.
    pub fn of(number: u32, keys: &BytesBuilder, values: &BytesBuilder) -> Generation {
        let mut segment = Segment::default();
        for row in 0..keys.rows() {
            let key = keys.column().raw(row);
            segment.push(xxh3_64(key), number, key, values.column().get(row));
        }
        Generation { number, segments: vec![Arc::new(segment)] }
    }

    /// Its changes in the order of their keys, each key once.
    pub fn sorted(&self) -> Sorted<'_> {
        let mut items = self.by_group();
        let mut rest = &mut items[..];
        while let Some(first) = rest.first() {
            let group = first.prefix;
            let of_group = rest.iter().take_while(|item| item.prefix == group).count();
            let (bucket, others) = rest.split_at_mut(of_group);
            self.sort(bucket, 2);
            rest = others;
        }
        Sorted { generation: self, items: items.into_iter(), last: None }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.records().all(|(_, record)| record.generation == 0))
    }

    /// All items, those of a key group together, in the order of groups, which stand as their prefix.
    fn by_group(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut counts = Vec::new();
        for (segment, records) in self.segments.iter().enumerate() {
            for (offset, record) in records.records() {
                if record.generation == 0 {
                    continue;
                }
                let group = super::key::group_of(record.key).map_or(0, usize::from);
                if group >= counts.len() {
                    counts.resize(group + 1, 0u32);
                }
                counts[group] += 1;
                items.push(Item { prefix: group as u64, segment: segment as u32, offset });
            }
        }
        let mut next = 0;
        for count in &mut counts {
            next += std::mem::replace(count, next);
        }
        let mut grouped = items.clone();
        for item in items {
            let at = &mut counts[item.prefix as usize];
            grouped[*at as usize] = item;
            *at += 1;
        }
        grouped
    }

    fn record(&self, item: &Item) -> Record<'_> {
        self.segments[item.segment as usize].record(item.offset)
    }

    fn key(&self, item: &Item) -> &[u8] {
        self.segments[item.segment as usize].key(item.offset)
    }

    /// Sorts items whose keys have their first `depth` bytes in common: by the eight bytes from where they begin to differ,
    /// which lie beside each other, then those that still are equal among themselves.
    fn sort(&self, items: &mut [Item], depth: usize) {
        if items.len() <= FEW {
            return self.sort_whole(items);
        }
        let first = self.key(&items[0]);
        let mut common = first.len();
        for item in &items[1..] {
            let same = first[depth..common].iter().zip(&self.key(item)[depth..]).take_while(|(a, b)| a == b);
            common = depth + same.count();
        }
        let mut short = false;
        for item in &mut *items {
            let rest = &self.segments[item.segment as usize].key(item.offset)[common..];
            item.prefix = match rest.first_chunk() {
                Some(eight) => u64::from_be_bytes(*eight),
                None => {
                    short = true;
                    let mut padded = [0; 8];
                    padded[..rest.len()].copy_from_slice(rest);
                    u64::from_be_bytes(padded)
                }
            };
        }
        items.sort_unstable_by_key(|item| item.prefix);
        for equal in items.chunk_by_mut(|a, b| a.prefix == b.prefix).filter(|equal| equal.len() > 1) {
            // A key that ends here may look like one that goes on with zeros.
            if short { self.sort_whole(equal) } else { self.sort(equal, common + 8) }
        }
    }

    fn sort_whole(&self, items: &mut [Item]) {
        items.sort_unstable_by(|a, b| {
            let (a, b) = (self.record(a), self.record(b));
            a.key.cmp(b.key).then(b.generation.cmp(&a.generation))
        });
    }
}

/// The changes of a generation, in order.
pub struct Sorted<'a> {
    generation: &'a Generation,
    items: std::vec::IntoIter<Item>,
    last: Option<&'a [u8]>,
}

impl<'a> Iterator for Sorted<'a> {
    /// A key and its stored value, none where it was removed.
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = self.generation.record(&self.items.next()?);
            if self.last.replace(record.key) != Some(record.key) {
                return Some((record.key, record.stored));
            }
        }
    }
}
