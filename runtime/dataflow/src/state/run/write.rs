//! Writing a run, entry by entry, to anything that takes bytes.

use std::io::{self, Write};

use super::{BLOCK_HEAD, MAGIC, VERSION, group_of, varint};

/// Bytes of entries after which a block ends: large enough that its head counts for nothing, small enough to stay in a
/// processor's cache.
const BLOCK: usize = 32 << 10;

/// What a run turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// All its bytes.
    pub length: u64,
    /// Those of its blocks, which lie first.
    pub blocks: u64,
    /// CRC-32C of all.
    pub crc: u32,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Tombstones.
    pub tombstones: u64,
}

/// A run being written. What [`RunWriter::finish`] has not ended is none.
pub struct RunWriter<W> {
    out: W,
    /// The block at hand: its head, which is filled in at the end, and its entries.
    block: Vec<u8>,
    in_block: u32,
    last: Vec<u8>,
    group: Option<u16>,
    index: Vec<(u16, u64)>,
    done: Written,
}

impl<W: Write> RunWriter<W> {
    /// An empty run.
    pub fn new(out: W) -> RunWriter<W> {
        let mut block = Vec::with_capacity(BLOCK + BLOCK / 4);
        block.resize(BLOCK_HEAD, 0);
        RunWriter {
            out,
            block,
            in_block: 0,
            last: Vec::new(),
            group: None,
            index: Vec::new(),
            done: Written { length: 0, blocks: 0, crc: 0, entries: 0, tombstones: 0 },
        }
    }

    /// Adds an entry: a key, behind all that were added, with its stored value, or a tombstone.
    ///
    /// # Errors
    /// What `out` says, and [`io::ErrorKind::InvalidInput`] for a key that is not behind the last one or has no key group, or an entry
    /// beyond 2³² - 2 bytes.
    pub fn push(&mut self, key: &[u8], stored: Option<&[u8]>) -> io::Result<()> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let group = group_of(key).ok_or_else(|| wrong("a key without a key group"))?;
        if self.group.is_some() && key <= &self.last[..] {
            return Err(wrong("keys of a run have to ascend"));
        }
        let length = |bytes: &[u8]| {
            u32::try_from(bytes.len()).ok().filter(|n| *n < u32::MAX).ok_or_else(|| wrong("an entry is too long"))
        };
        let stored_length = match stored {
            Some(stored) => 1 + length(stored)?,
            None => 0,
        };
        let key_length = length(key)?;
        if self.group != Some(group) {
            self.end_block()?;
            self.index.push((group, self.done.length));
            self.group = Some(group);
        } else if self.block.len() >= BLOCK {
            self.end_block()?;
        }
        let shared = if self.in_block == 0 { 0 } else { shared(&self.last, key) };
        let (suffix, block) = (&key[shared..], &mut self.block);
        varint::put(shared as u32, block);
        varint::put(key_length - shared as u32, block);
        varint::put(stored_length, block);
        block.extend_from_slice(suffix);
        block.extend_from_slice(stored.unwrap_or_default());
        self.last.truncate(shared);
        self.last.extend_from_slice(suffix);
        self.in_block += 1;
        self.done.entries += 1;
        self.done.tombstones += u64::from(stored.is_none());
        Ok(())
    }

    /// Ends the run, and says what it turned out to be.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<(W, Written)> {
        self.end_block()?;
        self.done.blocks = self.done.length;
        let mut tail = Vec::with_capacity(self.index.len() * 10 + super::FOOTER);
        for (group, offset) in &self.index {
            tail.extend(group.to_le_bytes());
            tail.extend(offset.to_le_bytes());
        }
        tail.extend(self.done.length.to_le_bytes());
        tail.extend((self.index.len() as u32).to_le_bytes());
        tail.extend([0; 4]);
        tail.extend(self.done.entries.to_le_bytes());
        tail.extend(crc32c::crc32c(&tail).to_le_bytes());
        tail.extend(VERSION.to_le_bytes());
        tail.extend(MAGIC);
        self.write(&tail)?;
        self.out.flush()?;
        Ok((self.out, self.done))
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.in_block == 0 {
            return Ok(());
        }
        let mut block = std::mem::take(&mut self.block);
        let entries = (block.len() - BLOCK_HEAD) as u32;
        block[..4].copy_from_slice(&entries.to_le_bytes());
        block[4..8].copy_from_slice(&self.in_block.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[BLOCK_HEAD..]);
        block[12..BLOCK_HEAD].copy_from_slice(&crc.to_le_bytes());
        self.write(&block)?;
        block.truncate(BLOCK_HEAD);
        // One large entry must not be held for ever.
        block.shrink_to(4 * BLOCK);
        block.fill(0);
        self.block = block;
        self.in_block = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.done.crc = crc32c::crc32c_append(self.done.crc, bytes);
        self.done.length += bytes.len() as u64;
        Ok(())
    }
}

/// How many bytes two keys begin with in common.
fn shared(a: &[u8], b: &[u8]) -> usize {
    let eights = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let mut at = 0;
    for (x, y) in eights {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return at + differ.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(x, y)| x == y).count()
}
