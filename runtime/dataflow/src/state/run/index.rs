//! Where in a run the entries of key groups lie.

use std::ops::{Range, RangeInclusive};

use super::{Error, MAGIC, VERSION};

/// Bytes of a run's footer.
pub const FOOTER: usize = 40;
/// Bytes of a group in the index.
const ENTRY: u64 = 10;

/// The end of a run, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Entries of the run, tombstones included.
    pub entries: u64,
    /// Where the blocks end.
    end: u64,
    /// Groups that have entries, and where they begin.
    groups: Vec<(u16, u64)>,
}

impl Index {
    /// How many bytes at the end of a run of `length` bytes [`Index::parse`] needs. `last` are its last bytes, at least
    /// [`FOOTER`] of them.
    ///
    /// # Errors
    /// [`Error`] where they are not the last bytes of a run.
    pub fn tail(last: &[u8], length: u64) -> Result<u64, Error> {
        let footer = footer(last, length)?;
        Ok(length - footer.index)
    }

    /// Reads the index. `tail` are the last bytes of a run of `length` bytes, as many as [`Index::tail`] says or more.
    ///
    /// # Errors
    /// [`Error`] where they are not the last bytes of a run, or damaged.
    pub fn parse(tail: &[u8], length: u64) -> Result<Index, Error> {
        let footer = footer(tail, length)?;
        let wanted = length - footer.index;
        let from = (tail.len() as u64).checked_sub(wanted).ok_or(Error::Short(footer.index))? as usize;
        let tail = &tail[from..];
        let (covered, rest) = tail.split_at(tail.len() - 16);
        if rest[..4] != crc32c::crc32c(covered).to_le_bytes() {
            return Err(Error::Checksum(footer.index));
        }
        let mut groups = Vec::with_capacity(footer.groups as usize);
        for entry in covered[..(u64::from(footer.groups) * ENTRY) as usize].as_chunks::<{ ENTRY as usize }>().0 {
            let group = u16::from_le_bytes([entry[0], entry[1]]);
            let offset = u64::from_le_bytes(*entry[2..].first_chunk().expect("ten bytes are two and eight"));
            groups.push((group, offset));
        }
        let ascend = groups.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1);
        if !ascend || groups.first().is_some_and(|g| g.1 != 0) || groups.last().is_some_and(|g| g.1 >= footer.index) {
            return Err(Error::Malformed(footer.index, "the groups of its index are not in order"));
        }
        Ok(Index { entries: footer.entries, end: footer.index, groups })
    }

    /// The bytes of the blocks of these groups.
    pub fn range(&self, groups: &RangeInclusive<u16>) -> Range<u64> {
        let begins = |at: usize| self.groups.get(at).map_or(self.end, |g| g.1);
        let from = self.groups.partition_point(|g| g.0 < *groups.start());
        let to = self.groups.partition_point(|g| g.0 <= *groups.end()).max(from);
        begins(from)..begins(to)
    }
}

struct Footer {
    index: u64,
    groups: u32,
    entries: u64,
}

fn footer(last: &[u8], length: u64) -> Result<Footer, Error> {
    let footer: &[u8; FOOTER] = last.last_chunk().ok_or(Error::Magic)?;
    let (fields, magic) = footer.split_at(FOOTER - MAGIC.len());
    if magic != MAGIC {
        return Err(Error::Magic);
    }
    let u64_at = |at: usize| u64::from_le_bytes(*fields[at..].first_chunk().expect("a footer is that long"));
    let u32_at = |at: usize| u32::from_le_bytes(*fields[at..].first_chunk().expect("a footer is that long"));
    if u32_at(28) != VERSION {
        return Err(Error::Version(u32_at(28)));
    }
    let (index, groups) = (u64_at(0), u32_at(8));
    let ends = index.checked_add(u64::from(groups) * ENTRY).and_then(|end| end.checked_add(FOOTER as u64));
    if ends != Some(length) {
        return Err(Error::Malformed(length.saturating_sub(FOOTER as u64), "its length is not what its footer says"));
    }
    Ok(Footer { index, groups, entries: u64_at(16) })
}
