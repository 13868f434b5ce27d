//! Making batches: row by row ([`BatchBuilder`], for sources and tests), or from rows of others ([`Gather`], for exchanges
//! and grouping).

use bytes::Bytes;
use flow_frame::layout::{PRESENT, Type, id};
use flow_frame::{BytesBuilder, BytesColumn};

use crate::{Batch, Column};

/// A column of bytes from its builder.
pub fn bytes_column(id: u16, builder: BytesBuilder) -> Column {
    let (data, offsets, nulls) = builder.into_buffers();
    Column {
        id,
        ty: Type::Bytes,
        flags: 0,
        data: data.into(),
        offsets: Some(offsets.into()),
        nulls: nulls.map(Bytes::from),
    }
}

/// A column of fixed width from the little-endian bytes of its rows.
pub fn fixed_column(id: u16, ty: Type, data: Vec<u8>, nulls: Option<Vec<u8>>) -> Column {
    Column { id, ty, flags: 0, data: data.into(), offsets: None, nulls: nulls.map(Bytes::from) }
}

/// A record as sources give it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row<'a> {
    /// Key, none for null.
    pub key: Option<&'a [u8]>,
    /// Value, none for null.
    pub value: Option<&'a [u8]>,
    /// Event time, milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// Blob of headers, see [`flow_frame::headers`]; empty for none.
    pub headers: &'a [u8],
    /// Part of the source.
    pub split: u32,
    /// Where in that part.
    pub position: i64,
}

/// Builds a batch of records row by row. Columns that no row has are left out.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    key: Option<BytesBuilder>,
    value: BytesBuilder,
    timestamps: Option<(Vec<u8>, Vec<u8>)>,
    headers: Option<BytesBuilder>,
    splits: Vec<u8>,
    positions: Vec<u8>,
}

impl BatchBuilder {
    /// Room for so many rows and bytes of values.
    pub fn with_capacity(rows: usize, bytes: usize) -> BatchBuilder {
        BatchBuilder {
            value: BytesBuilder::with_capacity(rows, bytes),
            splits: Vec::with_capacity(rows * 4),
            positions: Vec::with_capacity(rows * 8),
            ..Default::default()
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.value.rows()
    }

    /// Bytes of values so far.
    pub fn bytes(&self) -> usize {
        self.value.data.len()
    }

    /// Adds a record.
    #[inline]
    pub fn push(&mut self, row: Row<'_>) {
        let rows = self.rows();
        if row.key.is_some() && self.key.is_none() {
            self.key = Some(filled(rows, BytesBuilder::push_null));
        }
        if !row.headers.is_empty() && self.headers.is_none() {
            self.headers = Some(filled(rows, BytesBuilder::end_row));
        }
        if row.timestamp.is_some() && self.timestamps.is_none() {
            self.timestamps = Some((vec![0; rows * 8], vec![0; rows]));
        }
        if let Some(keys) = &mut self.key {
            keys.push(row.key);
        }
        if let Some(headers) = &mut self.headers {
            headers.push(Some(row.headers));
        }
        if let Some((data, nulls)) = &mut self.timestamps {
            data.extend_from_slice(&row.timestamp.unwrap_or(0).to_le_bytes());
            nulls.push(row.timestamp.is_some().into());
        }
        self.value.push(row.value);
        self.splits.extend_from_slice(&row.split.to_le_bytes());
        self.positions.extend_from_slice(&row.position.to_le_bytes());
    }

    /// The batch of the rows pushed; the builder is empty again.
    pub fn finish(&mut self) -> Batch {
        let all = std::mem::take(self);
        let value = bytes_column(id::VALUE, all.value);
        let timestamps = all.timestamps.map(|(data, nulls)| {
            let any_null = nulls.contains(&0);
            fixed_column(id::TIMESTAMP, Type::I64, data, any_null.then_some(nulls))
        });
        [value]
            .into_iter()
            .chain(all.key.map(|b| bytes_column(id::KEY, b)))
            .chain(timestamps)
            .chain(all.headers.map(|b| bytes_column(id::HEADERS, b)))
            .chain([
                fixed_column(id::SPLIT, Type::U32, all.splits, None),
                fixed_column(id::POSITION, Type::I64, all.positions, None),
            ])
            .collect()
    }
}

fn filled(rows: usize, mut push: impl FnMut(&mut BytesBuilder)) -> BytesBuilder {
    let mut builder = BytesBuilder::with_capacity(rows + 1, 0);
    (0..rows).for_each(|_| push(&mut builder));
    builder
}

/// Collects rows of batches that have the same columns.
#[derive(Debug)]
pub struct Gather {
    rows: usize,
    columns: Vec<GatherColumn>,
}

#[derive(Debug)]
struct GatherColumn {
    id: u16,
    flags: u32,
    kind: GatherKind,
}

#[derive(Debug)]
enum GatherKind {
    Bytes(BytesBuilder),
    Fixed { ty: Type, data: Vec<u8>, nulls: Option<Vec<u8>> },
}

impl Gather {
    /// For batches with the columns of this one.
    pub fn like(batch: &Batch) -> Gather {
        let column = |c: &Column| {
            let kind = match c.ty {
                Type::Bytes => GatherKind::Bytes(BytesBuilder::default()),
                ty => GatherKind::Fixed { ty, data: Vec::new(), nulls: None },
            };
            GatherColumn { id: c.id, flags: c.flags, kind }
        };
        Gather { rows: 0, columns: batch.columns().iter().map(column).collect() }
    }

    /// Whether a batch has just the columns of this one.
    pub fn fits(&self, batch: &Batch) -> bool {
        self.columns.len() == batch.columns().len()
            && self.columns.iter().all(|g| {
                batch.column(g.id).is_some_and(|c| {
                    c.flags == g.flags
                        && match &g.kind {
                            GatherKind::Bytes(_) => c.ty == Type::Bytes,
                            GatherKind::Fixed { ty, .. } => c.ty == *ty,
                        }
                })
            })
    }

    /// Number of rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of data so far.
    pub fn size(&self) -> usize {
        let size = |c: &GatherColumn| match &c.kind {
            GatherKind::Bytes(b) => b.data.len() + b.rows() * 4,
            GatherKind::Fixed { data, .. } => data.len(),
        };
        self.columns.iter().map(size).sum()
    }

    /// Appends the rows of these numbers, in their order. The batch must fit; a number beyond its end panics.
    pub fn append(&mut self, batch: &Batch, rows: &[u32]) {
        let before = self.rows;
        for g in &mut self.columns {
            let Some(c) = batch.column(g.id) else { continue };
            match &mut g.kind {
                GatherKind::Bytes(out) => {
                    if let Some(column) = c.as_bytes() {
                        gather_bytes(column, rows, out);
                    }
                }
                GatherKind::Fixed { ty, data, nulls } => {
                    match ty.width() {
                        Some(4) => gather_fixed::<4>(&c.data, rows, data),
                        Some(8) => gather_fixed::<8>(&c.data, rows, data),
                        _ => gather_fixed::<1>(&c.data, rows, data),
                    }
                    if c.nulls.is_some() && nulls.is_none() {
                        *nulls = Some(vec![PRESENT; before]);
                    }
                    if let Some(out) = nulls {
                        match &c.nulls {
                            Some(n) => gather_fixed::<1>(n, rows, out),
                            None => out.resize(before + rows.len(), PRESENT),
                        }
                    }
                }
            }
        }
        self.rows += rows.len();
    }

    /// The batch of the rows collected.
    pub fn finish(self) -> Batch {
        let mut batch = Batch::new(self.rows);
        for g in self.columns {
            let column = match g.kind {
                GatherKind::Bytes(b) => bytes_column(g.id, b),
                GatherKind::Fixed { ty, data, nulls } => fixed_column(g.id, ty, data, nulls),
            };
            batch.set(Column { flags: g.flags, ..column });
        }
        batch
    }
}

fn gather_bytes(column: BytesColumn<'_>, rows: &[u32], out: &mut BytesBuilder) {
    for &row in rows {
        let row = row as usize;
        match column.presence(row) {
            PRESENT => out.push(Some(column.raw(row))),
            mark => out.push_marked(mark),
        }
    }
}

fn gather_fixed<const W: usize>(from: &[u8], rows: &[u32], out: &mut Vec<u8>) {
    let from = from.as_chunks::<W>().0;
    out.reserve(rows.len() * W);
    for &row in rows {
        out.extend_from_slice(&from[row as usize]);
    }
}
