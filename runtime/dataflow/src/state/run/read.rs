//! Reading blocks of a run, one after the other, from anything that gives bytes.

use std::io::Read;
use std::ops::Range;

use super::{BLOCK_HEAD, Error, group_of, varint};

/// The entries of a run, or of some of its blocks, in order.
pub struct Entries<R> {
    from: R,
    /// Where in the run the block after this one begins.
    at: u64,
    /// Where the last one ends.
    end: u64,
    /// The entries of the block at hand.
    block: Vec<u8>,
    /// What of it is not read.
    rest: Range<usize>,
    in_block: u32,
    key: Vec<u8>,
    /// Where in the block the stored value lies; none for a tombstone.
    stored: Option<Range<usize>>,
    begun: bool,
}

impl<R: Read> Entries<R> {
    /// The entries of the blocks at `range` of a run, which `from` gives, nothing else before them.
    pub fn new(from: R, range: Range<u64>) -> Entries<R> {
        Entries {
            from,
            at: range.start,
            end: range.end,
            block: Vec::new(),
            rest: 0..0,
            in_block: 0,
            key: Vec::new(),
            stored: None,
            begun: false,
        }
    }

    /// Goes to the next entry, at first to the first one. False where there is none.
    ///
    /// # Errors
    /// [`Error`] where the run can't be read on.
    pub fn advance(&mut self) -> Result<bool, Error> {
        if self.in_block == 0 {
            if !self.rest.is_empty() {
                return Err(self.malformed("a block has more bytes than entries"));
            }
            if self.at >= self.end {
                return Ok(false);
            }
            self.load()?;
        }
        let mut left = &self.block[self.rest.clone()];
        let mut number = || varint::take(&mut left).map(|n| n as usize);
        let (Some(shared), Some(own), Some(stored)) = (number(), number(), number()) else {
            return Err(self.malformed("an entry is cut off"));
        };
        let key_from = self.rest.end - left.len();
        let Some(rest) = left.get(own..).and_then(|rest| rest.get(stored.saturating_sub(1)..)) else {
            return Err(self.malformed("an entry is cut off"));
        };
        let after = self.rest.end - rest.len();
        let suffix = &self.block[key_from..key_from + own];
        // The first byte that differs tells the order; the first entry of a block says its key whole.
        let first = self.in_block_first();
        let ascends = match (first, self.key.get(shared)) {
            (true, _) => shared == 0 && (!self.begun || suffix > &self.key[..]),
            (false, Some(byte)) => suffix.first().is_some_and(|b| b > byte),
            (false, None) => shared == self.key.len() && own > 0,
        };
        if !ascends {
            return Err(self.malformed("keys do not ascend"));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        self.stored = (stored > 0).then(|| key_from + own..after);
        self.rest.start = after;
        self.in_block -= 1;
        self.begun = true;
        if group_of(&self.key).is_none() { Err(self.malformed("a key has no key group")) } else { Ok(true) }
    }

    /// The full key of the entry at hand.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its stored value; none for a tombstone.
    pub fn stored(&self) -> Option<&[u8]> {
        self.stored.clone().map(|at| &self.block[at])
    }

    fn in_block_first(&self) -> bool {
        self.rest.start == 0
    }

    fn load(&mut self) -> Result<(), Error> {
        let mut head = [0; BLOCK_HEAD];
        let left = self.end - self.at;
        if left < BLOCK_HEAD as u64 {
            return Err(Error::Short(self.end));
        }
        self.read(|from, _| from.read_exact(&mut head))?;
        let field = |at: usize| u32::from_le_bytes(*head[at..].first_chunk().expect("a head is that long"));
        let (length, entries, flags, crc) = (field(0), field(4), field(8), field(12));
        if u64::from(length) > left - BLOCK_HEAD as u64 {
            return Err(Error::Short(self.end));
        }
        self.block.clear();
        self.block.resize(length as usize, 0);
        self.read(|from, block| from.read_exact(block))?;
        if crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &self.block) != crc {
            return Err(Error::Checksum(self.at));
        }
        if flags != 0 {
            return Err(Error::Flags(self.at, flags));
        }
        if entries == 0 {
            return Err(self.malformed("a block without entries"));
        }
        self.at += BLOCK_HEAD as u64 + u64::from(length);
        self.rest = 0..self.block.len();
        self.in_block = entries;
        Ok(())
    }

    fn read(&mut self, read: impl FnOnce(&mut R, &mut [u8]) -> std::io::Result<()>) -> Result<(), Error> {
        read(&mut self.from, &mut self.block).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::Short(self.at),
            _ => Error::Io(self.at, error.to_string()),
        })
    }

    fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed(self.at, what)
    }
}
