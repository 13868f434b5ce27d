//! Numbers of the layout: ids of the package's columns, types, roles, sizes. Never anything that a reader could get wrong
//! silently: a number here is part of `flow:operator@0.1.0` and does not change.

/// Ids of columns that the package defines; ids from [`id::DECLARED`] up are declared by operators.
pub mod id {
    /// The record's key, bytes with nulls.
    pub const KEY: u16 = 1;
    /// The record's value, bytes with nulls.
    pub const VALUE: u16 = 2;
    /// Event time in milliseconds since the Unix epoch, i64 with nulls.
    pub const TIMESTAMP: u16 = 3;
    /// A blob of headers a row, see [`crate::headers`].
    pub const HEADERS: u16 = 4;
    /// Which part of the source (partition, file) the record came from, u32.
    pub const SPLIT: u16 = 5;
    /// Where in that part (offset, line), i64.
    pub const POSITION: u16 = 6;
    /// Insert, update or delete, u8.
    pub const CHANGE: u16 = 7;
    /// Number of the output port, u8.
    pub const TARGET: u16 = 8;
    /// The input row that a row belongs to, u32.
    pub const INPUT_ROW: u16 = 9;
    /// A filter's answer, u8: 1 keeps the row.
    pub const MASK: u16 = 10;
    /// Rows of a key in a keyed call, u32.
    pub const GROUP_ROWS: u16 = 11;
    /// The topic that a sink sends the record to, bytes with nulls; null for the sink's own.
    pub const TO_TOPIC: u16 = 12;
    /// The partition that a sink sends the record to, u32 with nulls; null for the sink's choice.
    pub const TO_PARTITION: u16 = 13;
    /// The first id that operators declare; value state `i` is `DECLARED + i`.
    pub const DECLARED: u16 = 16;
}

/// Bytes 0..4 of every frame: `FLW` and the version.
pub const MAGIC: [u8; 4] = *b"FLW\x01";
/// Length of the header in bytes.
pub const HEADER: usize = 16;
/// Length of a directory entry in bytes.
pub const ENTRY: usize = 16;
/// Most directory entries that a frame may have.
pub const MAX_ENTRIES: usize = 256;
/// Flag of a column that a reader has to know.
pub const MUST_UNDERSTAND: u32 = 1;

/// Content of a nulls buffer: the row has no value.
pub const NULL: u8 = 0;
/// Content of a nulls buffer: the row has a value.
pub const PRESENT: u8 = 1;
/// Content of a nulls buffer in the states of a keyed answer: the state stays as it is.
pub const UNCHANGED: u8 = 2;

/// Type of a column's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Byte strings, with an offsets buffer.
    Bytes,
    /// One byte a row.
    U8,
    /// Four bytes a row.
    U32,
    /// Eight bytes a row, signed.
    I64,
}

impl Type {
    /// The number in the directory.
    pub const fn code(self) -> u8 {
        match self {
            Type::Bytes => 0,
            Type::U8 => 1,
            Type::U32 => 2,
            Type::I64 => 3,
        }
    }

    /// The type of a number in a directory.
    pub const fn from_code(code: u8) -> Option<Type> {
        match code {
            0 => Some(Type::Bytes),
            1 => Some(Type::U8),
            2 => Some(Type::U32),
            3 => Some(Type::I64),
            _ => None,
        }
    }

    /// Bytes a row, or none for byte strings.
    pub const fn width(self) -> Option<usize> {
        match self {
            Type::Bytes => None,
            Type::U8 => Some(1),
            Type::U32 => Some(4),
            Type::I64 => Some(8),
        }
    }
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The contents.
    Data,
    /// Where each row of a bytes column begins and ends.
    Offsets,
    /// Which rows are null.
    Nulls,
}

impl Role {
    /// The number in the directory.
    pub const fn code(self) -> u8 {
        match self {
            Role::Data => 0,
            Role::Offsets => 1,
            Role::Nulls => 2,
        }
    }

    /// The role of a number in a directory.
    pub const fn from_code(code: u8) -> Option<Role> {
        match code {
            0 => Some(Role::Data),
            1 => Some(Role::Offsets),
            2 => Some(Role::Nulls),
            _ => None,
        }
    }
}
