//! Rows in columns, over shared buffers: a clone or a slice of a column costs a reference count. Laid out as in a frame, so
//! that going to and from one is copying bytes, never a row's work.

use bytes::Bytes;
use flow_frame::layout::{PRESENT, Type, id};
use flow_frame::{BytesColumn, Frame, Parts, read};

use crate::build::Gather;

/// One column of a batch. Its buffers have the lengths that the batch's rows ask for.
#[derive(Clone, Debug)]
pub struct Column {
    /// Id, see [`flow_frame::id`].
    pub id: u16,
    /// Type of its rows.
    pub ty: Type,
    /// Flags of its directory entries.
    pub flags: u32,
    /// The data buffer.
    pub data: Bytes,
    /// The offsets buffer of a bytes column.
    pub offsets: Option<Bytes>,
    /// The nulls buffer, one byte a row.
    pub nulls: Option<Bytes>,
}

impl Column {
    /// The rows of a bytes column.
    pub fn as_bytes(&self) -> Option<BytesColumn<'_>> {
        Some(BytesColumn::new(&self.data, self.offsets.as_deref()?, self.nulls.as_deref()))
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        let (offsets, nulls) = (self.offsets.as_deref(), self.nulls.as_deref());
        Parts { id: self.id, ty: self.ty, flags: self.flags, data: &self.data, offsets, nulls }
    }

    /// Bytes of its buffers.
    pub fn size(&self) -> usize {
        self.data.len() + self.offsets.as_ref().map_or(0, Bytes::len) + self.nulls.as_ref().map_or(0, Bytes::len)
    }
}

/// A number of rows, and columns that all have as many.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    rows: usize,
    columns: Vec<Column>,
}

impl Batch {
    /// A batch of so many rows, without columns.
    pub fn new(rows: usize) -> Batch {
        Batch { rows, columns: Vec::new() }
    }

    /// The batch of a frame: its buffers are shared, not copied. Everything in the frame is checked.
    pub fn from_frame(frame: Bytes) -> Result<Batch, read::Error> {
        let parsed = Frame::parse(&frame)?;
        let mut columns = Vec::with_capacity(parsed.columns().len());
        for c in parsed.columns() {
            c.check()?;
            let (data, offsets, nulls) = c.ranges();
            columns.push(Column {
                id: c.id,
                ty: c.ty,
                flags: c.flags,
                data: frame.slice(data),
                offsets: offsets.map(|r| frame.slice(r)),
                nulls: nulls.map(|r| frame.slice(r)),
            });
        }
        Ok(Batch { rows: parsed.rows(), columns })
    }

    /// Writes the columns of these ids that there are as one frame into `out`, which is cleared first.
    pub fn to_frame(&self, ids: &[u16], out: &mut Vec<u8>) {
        let parts: Vec<_> = self.columns.iter().filter(|c| ids.contains(&c.id)).map(Column::parts).collect();
        flow_frame::assemble(self.rows, &parts, out);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// All columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of an id.
    pub fn column(&self, id: u16) -> Option<&Column> {
        self.columns.iter().find(|c| c.id == id)
    }

    /// The rows of a bytes column.
    pub fn bytes(&self, id: u16) -> Option<BytesColumn<'_>> {
        self.column(id).and_then(Column::as_bytes)
    }

    /// The rows of a column of u32, as little-endian bytes.
    pub fn u32s(&self, id: u16) -> Option<&[[u8; 4]]> {
        self.column(id).filter(|c| c.ty == Type::U32).map(|c| c.data.as_chunks::<4>().0)
    }

    /// A row of a column of u32; none where it is null or there is no such column.
    pub fn u32(&self, id: u16, row: usize) -> Option<u32> {
        let null = self.column(id)?.nulls.as_ref().is_some_and(|n| n.get(row) != Some(&PRESENT));
        if null { None } else { self.u32s(id)?.get(row).map(|b| u32::from_le_bytes(*b)) }
    }

    /// The rows of a column of u8.
    pub fn u8s(&self, id: u16) -> Option<&[u8]> {
        self.column(id).filter(|c| c.ty == Type::U8).map(|c| &c.data[..])
    }

    /// A row of a column of i64; none where it is null or there is no such column.
    pub fn i64(&self, id: u16, row: usize) -> Option<i64> {
        let c = self.column(id).filter(|c| c.ty == Type::I64)?;
        let null = c.nulls.as_ref().is_some_and(|n| n.get(row) != Some(&PRESENT));
        if null { None } else { c.data.as_chunks::<8>().0.get(row).map(|b| i64::from_le_bytes(*b)) }
    }

    /// Where a row came from: source split and position.
    pub fn origin(&self, row: usize) -> Option<(u32, i64)> {
        let split = self.u32s(id::SPLIT)?.get(row)?;
        Some((u32::from_le_bytes(*split), self.i64(id::POSITION, row)?))
    }

    /// Sets a column, in place of one with the same id. It must have as many rows as the batch.
    pub fn set(&mut self, column: Column) {
        debug_assert!(column.ty.width().is_none_or(|w| column.data.len() == w * self.rows));
        match self.columns.iter_mut().find(|c| c.id == column.id) {
            Some(c) => *c = column,
            None => self.columns.push(column),
        }
    }

    /// Removes a column.
    pub fn remove(&mut self, id: u16) -> Option<Column> {
        let at = self.columns.iter().position(|c| c.id == id)?;
        Some(self.columns.swap_remove(at))
    }

    /// The columns of these ids, as a batch of its own.
    pub fn project(&self, ids: &[u16]) -> Batch {
        let columns = self.columns.iter().filter(|c| ids.contains(&c.id)).cloned().collect();
        Batch { rows: self.rows, columns }
    }

    /// Copies the rows of these numbers, in their order. Numbers beyond the end are a caller's fault and panic.
    pub fn select(&self, rows: &[u32]) -> Batch {
        let mut gather = Gather::like(self);
        gather.append(self, rows);
        gather.finish()
    }

    /// Rows `from..to` as a batch that shares the data. The range must lie in the batch.
    pub fn slice(&self, from: usize, to: usize) -> Batch {
        let columns = self.columns.iter().map(|c| {
            let (data, offsets) = match (c.ty.width(), &c.offsets) {
                (Some(w), _) => (c.data.slice(from * w..to * w), None),
                (None, Some(offsets)) => slice_bytes(&c.data, &offsets[from * 4..to * 4 + 4]),
                (None, None) => (c.data.clone(), None),
            };
            Column { data, offsets, nulls: c.nulls.as_ref().map(|n| n.slice(from..to)), ..*c }
        });
        Batch { rows: to - from, columns: columns.collect() }
    }

    /// Bytes of all buffers: what the batch costs in a queue.
    pub fn size(&self) -> usize {
        self.columns.iter().map(Column::size).sum()
    }
}

impl FromIterator<Column> for Batch {
    /// A batch of columns, with the rows of the first.
    fn from_iter<I: IntoIterator<Item = Column>>(columns: I) -> Batch {
        let columns: Vec<Column> = columns.into_iter().collect();
        let rows = columns.first().map_or(0, |c| match (c.ty.width(), &c.offsets) {
            (Some(w), _) => c.data.len() / w,
            (None, Some(o)) => o.len() / 4 - 1,
            (None, None) => 0,
        });
        Batch { rows, columns }
    }
}

/// The data that these offsets span, and the offsets counted from its start: a slice must not drag the rest along.
fn slice_bytes(data: &Bytes, offsets: &[u8]) -> (Bytes, Option<Bytes>) {
    let at = |b: Option<&[u8; 4]>| b.map_or(0, |b| u32::from_le_bytes(*b));
    let (first, last) = (at(offsets.first_chunk()), at(offsets.last_chunk()));
    let rebased: Vec<u8> =
        offsets.as_chunks::<4>().0.iter().flat_map(|b| (u32::from_le_bytes(*b) - first).to_le_bytes()).collect();
    (data.slice(first as usize..last as usize), Some(rebased.into()))
}
