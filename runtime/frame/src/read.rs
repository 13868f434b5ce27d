//! Reading a frame without copying it. Never trusts a number in it: every range is checked once in [`Frame::parse`], the
//! order of offsets in [`Column::check`].

use std::ops::Range;

use crate::layout::{ENTRY, HEADER, MAGIC, MAX_ENTRIES, MUST_UNDERSTAND, NULL, PRESENT, Role, Type, UNCHANGED, id};

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Shorter than a header, or than the header's own length says.
    Truncated {
        /// Bytes that a reader needs.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// Another format, or another version of this one.
    Magic([u8; 4]),
    /// More directory entries than allowed.
    Entries(u32),
    /// A directory entry with an unknown type or role, twice the same role, or a type that differs within a column.
    Entry {
        /// The column.
        column: u16,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A buffer outside of the frame, unaligned or of a wrong length.
    Buffer {
        /// The column.
        column: u16,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A column that a reader must understand and does not.
    Unknown(u16),
    /// A column that was expected is not there, or has another type.
    Missing(u16),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Truncated { need, have } => write!(f, "frame is cut off: {need} bytes needed, {have} there"),
            Error::Magic(m) => write!(f, "not a frame of version 1: it begins with {m:02x?}"),
            Error::Entries(n) => write!(f, "frame with {n} directory entries; at most {MAX_ENTRIES} are allowed"),
            Error::Entry { column, cause } => write!(f, "directory of column {column}: {cause}"),
            Error::Buffer { column, cause } => write!(f, "column {column}: {cause}"),
            Error::Unknown(c) => write!(f, "column {c} must be understood, and is not known here"),
            Error::Missing(c) => write!(f, "column {c} is missing or has another type"),
        }
    }
}

impl std::error::Error for Error {}

/// One column of a frame.
#[derive(Clone, Debug)]
pub struct Column<'a> {
    /// The column's id.
    pub id: u16,
    /// Type of its rows.
    pub ty: Type,
    /// Flags of its directory entries.
    pub flags: u32,
    frame: &'a [u8],
    data: Range<usize>,
    offsets: Option<Range<usize>>,
    nulls: Option<Range<usize>>,
}

/// A parsed frame: its columns are views into the bytes.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    rows: usize,
    columns: Vec<Column<'a>>,
}

/// The rows of a column of i64, each as its little-endian bytes, and the nulls buffer.
pub type I64s<'a> = (&'a [[u8; 8]], Option<&'a [u8]>);

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(b) => u32::from_le_bytes(*b),
        None => 0,
    }
}

impl<'a> Frame<'a> {
    /// Parses the directory and checks that every buffer lies in the frame with the length that its role asks for.
    /// Offsets and nulls are not looked at: see [`Column::check`].
    pub fn parse(frame: &'a [u8]) -> Result<Frame<'a>, Error> {
        if frame.is_empty() {
            return Ok(Frame { rows: 0, columns: Vec::new() });
        }
        if frame.len() < HEADER {
            return Err(Error::Truncated { need: HEADER, have: frame.len() });
        }
        if frame[..4] != MAGIC {
            return Err(Error::Magic([frame[0], frame[1], frame[2], frame[3]]));
        }
        let (rows, entries, length) = (u32_at(frame, 4) as usize, u32_at(frame, 8), u32_at(frame, 12) as usize);
        if entries as usize > MAX_ENTRIES {
            return Err(Error::Entries(entries));
        }
        let need = length.max(HEADER + entries as usize * ENTRY);
        if need != length || frame.len() != length {
            return Err(Error::Truncated { need, have: frame.len() });
        }
        let mut columns: Vec<Column<'a>> = Vec::with_capacity(entries as usize);
        let mut has_data = [false; MAX_ENTRIES];
        for e in frame[HEADER..HEADER + entries as usize * ENTRY].as_chunks::<ENTRY>().0 {
            let column = u16::from_le_bytes([e[0], e[1]]);
            let bad = |cause| Error::Entry { column, cause };
            let role = Role::from_code(e[2]).ok_or(bad("unknown role"))?;
            let flags = u32_at(e, 4);
            let Some(ty) = Type::from_code(e[3]) else {
                // A later version's type may be skipped like any unknown column.
                if flags & MUST_UNDERSTAND != 0 || column < id::DECLARED {
                    return Err(bad("unknown type"));
                }
                continue;
            };
            let range = buffer(column, role, ty, rows, length, u32_at(e, 8), u32_at(e, 12))?;
            let at = match columns.iter().position(|c| c.id == column) {
                Some(at) => at,
                None => {
                    if flags & MUST_UNDERSTAND != 0 && (column < id::DECLARED && column > id::GROUP_ROWS || column == 0)
                    {
                        return Err(Error::Unknown(column));
                    }
                    columns.push(Column { id: column, ty, flags, frame, data: 0..0, offsets: None, nulls: None });
                    columns.len() - 1
                }
            };
            let c = &mut columns[at];
            if c.ty != ty || c.flags != flags {
                return Err(bad("type or flags differ between its buffers"));
            }
            let twice = match role {
                Role::Data => {
                    c.data = range;
                    std::mem::replace(&mut has_data[at], true)
                }
                Role::Offsets => c.offsets.replace(range).is_some(),
                Role::Nulls => c.nulls.replace(range).is_some(),
            };
            if twice {
                return Err(bad("two buffers of one role"));
            }
        }
        for (c, has_data) in columns.iter().zip(has_data) {
            if !has_data || (c.ty == Type::Bytes) != c.offsets.is_some() {
                return Err(Error::Entry { column: c.id, cause: "a buffer is missing" });
            }
        }
        Ok(Frame { rows, columns })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// All columns, in the order of the directory.
    pub fn columns(&self) -> &[Column<'a>] {
        &self.columns
    }

    /// The column of an id, whatever its type.
    pub fn column(&self, id: u16) -> Option<&Column<'a>> {
        self.columns.iter().find(|c| c.id == id)
    }

    /// A column of byte strings.
    pub fn bytes(&self, id: u16) -> Result<BytesColumn<'a>, Error> {
        self.column(id).and_then(Column::as_bytes).ok_or(Error::Missing(id))
    }

    /// A column of bytes, one a row.
    pub fn u8s(&self, id: u16) -> Result<&'a [u8], Error> {
        self.column(id).filter(|c| c.ty == Type::U8).map(|c| c.data()).ok_or(Error::Missing(id))
    }

    /// A column of u32, each as its little-endian bytes.
    pub fn u32s(&self, id: u16) -> Result<&'a [[u8; 4]], Error> {
        let c = self.column(id).filter(|c| c.ty == Type::U32).ok_or(Error::Missing(id))?;
        Ok(c.data().as_chunks::<4>().0)
    }

    /// A column of i64, each as its little-endian bytes, and its nulls buffer.
    pub fn i64s(&self, id: u16) -> Result<I64s<'a>, Error> {
        let c = self.column(id).filter(|c| c.ty == Type::I64).ok_or(Error::Missing(id))?;
        Ok((c.data().as_chunks::<8>().0, c.nulls()))
    }
}

fn buffer(
    column: u16,
    role: Role,
    ty: Type,
    rows: usize,
    frame: usize,
    offset: u32,
    length: u32,
) -> Result<Range<usize>, Error> {
    let bad = |cause| Error::Buffer { column, cause };
    let (offset, length) = (offset as usize, length as usize);
    if !offset.is_multiple_of(8) {
        return Err(bad("a buffer is not aligned to 8"));
    }
    let end =
        offset.checked_add(length).filter(|end| *end <= frame).ok_or(bad("a buffer ends outside of the frame"))?;
    let want = match (role, ty.width()) {
        (Role::Data, None) => None,
        (Role::Data, Some(width)) => rows.checked_mul(width),
        (Role::Offsets, None) => rows.checked_add(1).and_then(|n| n.checked_mul(4)),
        (Role::Offsets, Some(_)) => return Err(bad("offsets of a column of fixed width")),
        (Role::Nulls, _) => Some(rows),
    };
    if want.is_some_and(|want| want != length) {
        return Err(bad("a buffer's length does not fit the number of rows"));
    }
    Ok(offset..end)
}

impl<'a> Column<'a> {
    /// The data buffer.
    pub fn data(&self) -> &'a [u8] {
        &self.frame[self.data.clone()]
    }

    /// The offsets buffer of a bytes column.
    pub fn offsets(&self) -> Option<&'a [u8]> {
        self.offsets.clone().map(|r| &self.frame[r])
    }

    /// The nulls buffer.
    pub fn nulls(&self) -> Option<&'a [u8]> {
        self.nulls.clone().map(|r| &self.frame[r])
    }

    /// Where data, offsets and nulls lie in the frame.
    pub fn ranges(&self) -> (Range<usize>, Option<Range<usize>>, Option<Range<usize>>) {
        (self.data.clone(), self.offsets.clone(), self.nulls.clone())
    }

    /// Checks what [`Frame::parse`] did not: offsets never fall and stay in the data, nulls hold numbers that the column
    /// may have: [`UNCHANGED`] is for states alone.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |cause| Error::Buffer { column: self.id, cause };
        if let Some(offsets) = self.offsets() {
            let offsets = offsets.as_chunks::<4>().0;
            let mut rises = true;
            for (a, b) in offsets.iter().zip(offsets.iter().skip(1)) {
                rises &= u32::from_le_bytes(*a) <= u32::from_le_bytes(*b);
            }
            let last = offsets.last().map_or(0, |b| u32::from_le_bytes(*b));
            if !rises || last as usize > self.data.len() {
                return Err(bad("row ends fall or lie outside of the data"));
            }
        }
        let highest = self.nulls().map_or(NULL, |nulls| nulls.iter().fold(NULL, |max, n| *n.max(&max)));
        match highest {
            NULL | PRESENT => Ok(()),
            // States have the ids that operators declare.
            UNCHANGED if self.id >= id::DECLARED => Ok(()),
            UNCHANGED => Err(bad("a row is unchanged; only the states of keys can be")),
            _ => Err(bad("unknown number in the nulls")),
        }
    }

    /// The column as byte strings, if it is of that type.
    pub fn as_bytes(&self) -> Option<BytesColumn<'a>> {
        Some(BytesColumn { data: self.data(), offsets: self.offsets()?.as_chunks::<4>().0, nulls: self.nulls() })
    }
}

/// A column of byte strings. Rows beyond the end, and rows whose offsets are wrong, read as empty.
#[derive(Clone, Copy, Debug)]
pub struct BytesColumn<'a> {
    data: &'a [u8],
    offsets: &'a [[u8; 4]],
    nulls: Option<&'a [u8]>,
}

impl<'a> BytesColumn<'a> {
    /// A column over buffers at hand, as [`Column::as_bytes`] gives one.
    pub fn new(data: &'a [u8], offsets: &'a [u8], nulls: Option<&'a [u8]>) -> Self {
        BytesColumn { data, offsets: offsets.as_chunks::<4>().0, nulls }
    }

    /// The row's contents, whether or not it is null.
    #[inline]
    pub fn raw(&self, row: usize) -> &'a [u8] {
        match self.offsets.get(row..row + 2) {
            Some([a, b]) => {
                self.data.get(u32::from_le_bytes(*a) as usize..u32::from_le_bytes(*b) as usize).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The content of the nulls buffer for a row, [`crate::layout::PRESENT`] when there is none.
    #[inline]
    pub fn presence(&self, row: usize) -> u8 {
        self.nulls.map_or(crate::layout::PRESENT, |n| n.get(row).copied().unwrap_or(0))
    }

    /// The row, none if it is null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a [u8]> {
        (self.presence(row) == crate::layout::PRESENT).then(|| self.raw(row))
    }

    /// Whether any row may be null.
    pub fn has_nulls(&self) -> bool {
        self.nulls.is_some()
    }
}
