//! Writing frames. Never copies a value twice when rows come one by one: [`FrameWriter`] builds the value column in place.

use crate::BytesColumn;
use crate::layout::{ENTRY, HEADER, MAGIC, NULL, PRESENT, Role, Type, id};

/// The buffers of a column, as [`assemble`] takes them.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The column's id.
    pub id: u16,
    /// Type of its rows.
    pub ty: Type,
    /// Flags of its directory entries.
    pub flags: u32,
    /// The data buffer.
    pub data: &'a [u8],
    /// The offsets buffer of a bytes column.
    pub offsets: Option<&'a [u8]>,
    /// The nulls buffer.
    pub nulls: Option<&'a [u8]>,
}

/// Lays columns out as one frame. The buffers must have the lengths that their roles ask for.
pub fn assemble(rows: usize, columns: &[Parts<'_>], out: &mut Vec<u8>) {
    out.clear();
    let buffers = || {
        columns.iter().flat_map(|c| {
            let part = move |role, bytes| (c.id, c.ty, c.flags, role, bytes);
            [
                Some(part(Role::Data, c.data)),
                c.offsets.map(|b| part(Role::Offsets, b)),
                c.nulls.map(|b| part(Role::Nulls, b)),
            ]
            .into_iter()
            .flatten()
        })
    };
    let count = buffers().count();
    let mut at = HEADER + count * ENTRY;
    let length = buffers().fold(at, |at, b| at.next_multiple_of(8) + b.4.len());
    out.reserve(length);
    header(out, rows, count, length);
    for (id, ty, flags, role, bytes) in buffers() {
        at = at.next_multiple_of(8);
        entry(out, id, ty, flags, role, at, bytes.len());
        at += bytes.len();
    }
    for (.., bytes) in buffers() {
        align(out);
        out.extend_from_slice(bytes);
    }
}

fn header(out: &mut Vec<u8>, rows: usize, entries: usize, length: usize) {
    out.extend(MAGIC);
    for n in [rows, entries, length] {
        out.extend((n as u32).to_le_bytes());
    }
}

fn entry(out: &mut Vec<u8>, id: u16, ty: Type, flags: u32, role: Role, offset: usize, length: usize) {
    out.extend(id.to_le_bytes());
    out.extend([role.code(), ty.code()]);
    out.extend(flags.to_le_bytes());
    out.extend((offset as u32).to_le_bytes());
    out.extend((length as u32).to_le_bytes());
}

fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

/// A bytes column under construction.
#[derive(Clone, Debug)]
pub struct BytesBuilder {
    /// The rows' contents so far, and what the row at hand has got.
    pub data: Vec<u8>,
    /// Where the first row begins in `data`.
    base: usize,
    offsets: Vec<u8>,
    nulls: Vec<u8>,
    any_null: bool,
}

impl Default for BytesBuilder {
    fn default() -> Self {
        Self::with_capacity(0, 0)
    }
}

impl BytesBuilder {
    /// Room for so many rows and bytes.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows * 4 + 4);
        offsets.extend([0; 4]);
        BytesBuilder { data: Vec::with_capacity(bytes), base: 0, offsets, nulls: Vec::new(), any_null: false }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len() / 4 - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Adds a row.
    #[inline]
    pub fn push(&mut self, row: Option<&[u8]>) {
        match row {
            Some(bytes) => {
                self.data.extend_from_slice(bytes);
                self.end_row();
            }
            None => self.push_null(),
        }
    }

    /// Ends a row whose bytes were appended to `data`.
    #[inline]
    pub fn end_row(&mut self) {
        self.push_marked(PRESENT);
    }

    /// Adds a row without a value.
    pub fn push_null(&mut self) {
        self.push_marked(NULL);
    }

    /// Ends a row with a mark of its own in the nulls buffer.
    #[inline]
    pub fn push_marked(&mut self, mark: u8) {
        if mark != PRESENT && !self.any_null {
            self.any_null = true;
            self.nulls = vec![PRESENT; self.rows()];
        }
        if self.any_null {
            self.nulls.push(mark);
        }
        self.offsets.extend_from_slice(&((self.data.len() - self.base) as u32).to_le_bytes());
    }

    /// Takes back the rows from `rows` on, and any bytes of a row at hand.
    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows * 4 + 4);
        let end = self.offsets.last_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        self.data.truncate(self.base + end as usize);
        self.nulls.truncate(rows);
    }

    /// The rows so far, to be read. Not for a value column that a [`FrameWriter`] builds.
    pub fn column(&self) -> BytesColumn<'_> {
        BytesColumn::new(&self.data, &self.offsets, self.any_null.then_some(&self.nulls[..]))
    }

    /// The column as [`assemble`] takes it.
    pub fn parts(&self, id: u16) -> Parts<'_> {
        let nulls = self.any_null.then_some(&self.nulls[..]);
        Parts { id, ty: Type::Bytes, flags: 0, data: &self.data, offsets: Some(&self.offsets), nulls }
    }

    /// The buffers: data, offsets and, if a row is null, nulls.
    pub fn into_buffers(self) -> (Vec<u8>, Vec<u8>, Option<Vec<u8>>) {
        let nulls = self.any_null.then_some(self.nulls);
        (self.data, self.offsets, nulls)
    }
}

/// Most buffers beside the value's that a [`FrameWriter`] can take.
const RESERVED: usize = 16;
const START: usize = HEADER + RESERVED * ENTRY;

/// A frame whose value column is written in place: rows are appended to the frame's own bytes, what else there is follows
/// behind at the end.
#[derive(Clone, Debug)]
pub struct FrameWriter {
    value: BytesBuilder,
}

impl FrameWriter {
    /// Room for so many rows and bytes of values.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut value = BytesBuilder::with_capacity(rows, START + bytes + rows * 4 + 64);
        value.data.resize(START, 0);
        value.base = START;
        FrameWriter { value }
    }

    /// The value column: its `data` already holds the room for the frame's head, so append only.
    pub fn value(&mut self) -> &mut BytesBuilder {
        &mut self.value
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.value.rows()
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> usize {
        self.value.data.len()
    }

    /// Ends the frame with further columns of as many rows (at most 4 bytes columns with nulls, or 13 others).
    pub fn finish(self, columns: &[Parts<'_>]) -> Vec<u8> {
        let BytesBuilder { data: mut out, offsets, nulls, any_null, base: _ } = self.value;
        let rows = offsets.len() / 4 - 1;
        let mut head = Vec::with_capacity(START);
        let mut entries = Vec::with_capacity(RESERVED * ENTRY);
        let length = out.len() - START;
        entry(&mut entries, id::VALUE, Type::Bytes, 0, Role::Data, START, length);
        append(&mut out, &mut entries, id::VALUE, Type::Bytes, 0, Role::Offsets, &offsets);
        if any_null {
            append(&mut out, &mut entries, id::VALUE, Type::Bytes, 0, Role::Nulls, &nulls);
        }
        for c in columns {
            append(&mut out, &mut entries, c.id, c.ty, c.flags, Role::Data, c.data);
            if let Some(offsets) = c.offsets {
                append(&mut out, &mut entries, c.id, c.ty, c.flags, Role::Offsets, offsets);
            }
            if let Some(nulls) = c.nulls {
                append(&mut out, &mut entries, c.id, c.ty, c.flags, Role::Nulls, nulls);
            }
        }
        header(&mut head, rows, entries.len() / ENTRY, out.len());
        head.extend(&entries);
        assert!(head.len() <= START, "more buffers than a frame writer has room for");
        out[..head.len()].copy_from_slice(&head);
        out
    }
}

fn append(out: &mut Vec<u8>, entries: &mut Vec<u8>, id: u16, ty: Type, flags: u32, role: Role, bytes: &[u8]) {
    align(out);
    entry(entries, id, ty, flags, role, out.len(), bytes.len());
    out.extend_from_slice(bytes);
}
