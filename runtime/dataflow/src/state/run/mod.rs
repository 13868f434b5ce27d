//! Sorted runs: the files that checkpoints of keyed state are made of.
//!
//! A run is blocks, then an index of key groups, then a footer; all numbers are little endian.
//!
//! | part | layout |
//! |---|---|
//! | block | length of its entries in bytes (u32), their number (u32), flags (u32, none is known yet), CRC-32C of these and of the entries (u32), the entries |
//! | entry | bytes shared with the key before it in the block, bytes of the rest of the key, 0 for a tombstone or 1 + bytes of the stored value (each a varint); the rest of the key; the stored value ([`value`]) |
//! | index | for each key group that has entries, in order: the group (u16), where its first block begins (u64) |
//! | footer | where the index begins (u64), groups in it (u32), 0 (u32), entries (u64), CRC-32C of index and footer up to here (u32), version (u32), [`MAGIC`] |
//!
//! A block holds entries of one key group, keys strictly ascend, so a range of groups is one range of bytes that can be read
//! alone. Nothing that is read is believed: a run that was cut off or damaged is an error, never a panic.
//!
//! - [`RunWriter`] writes one; [`Index`] finds groups in it; [`Entries`] reads blocks; [`merge`] reads several at once

mod index;
mod merge;
mod read;
pub mod value;
mod varint;
mod write;

pub use index::{FOOTER, Index};
pub use merge::Merge;
pub use read::Entries;
pub use write::{RunWriter, Written};

/// The last bytes of every run.
pub const MAGIC: [u8; 8] = *b"flow-run";

/// The version that is written and read.
const VERSION: u32 = 1;

/// Bytes in front of a block's entries.
const BLOCK_HEAD: usize = 16;

/// Why a run can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not end as a run does.
    #[error("it is cut off, or no run of state: its last bytes are not those of one")]
    Magic,
    /// Of a version that this program does not know.
    #[error(
        "it has format version {0}, and this program reads version {VERSION}; use the version of Flow that wrote it, or a newer one"
    )]
    Version(u32),
    /// A block with flags that this program does not know.
    #[error(
        "the block at byte {0} has flags {1:#x}, which this program does not know; use the version of Flow that wrote it, or a newer one"
    )]
    Flags(u64, u32),
    /// Fewer bytes than it says.
    #[error("it is cut off at byte {0}")]
    Short(u64),
    /// Its bytes are not those that were written.
    #[error("it is damaged: the checksum at byte {0} does not fit")]
    Checksum(u64),
    /// Whoever wrote it made a mistake.
    #[error("it is malformed at byte {0}: {1}")]
    Malformed(u64, &'static str),
    /// Its file can't be read.
    #[error("it can't be read at byte {0}: {1}")]
    Io(u64, String),
}

/// The key group that a full key begins with.
fn group_of(key: &[u8]) -> Option<u16> {
    key.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}
