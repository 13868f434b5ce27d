//! Key, timestamp and headers of output rows, and where a sink sends them. An operator that never sets one costs nothing: the
//! column comes into being when the first row sets it. The rows before and the rows that do not set it get their input's; of
//! where a sink sends them the host knows, so those are null.

use flow_frame::layout::{NULL, PRESENT, Type, id};
use flow_frame::{BytesBuilder, Parts, headers};

use crate::error::{Failure, Result};
use crate::record::{Column, Rows};

const KEY: u8 = 1;
const TIMESTAMP: u8 = 2;
const HEADERS: u8 = 4;
const TOPIC: u8 = 8;
const PARTITION: u8 = 16;

/// The columns, aligned with the rows of the output.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// What the row at hand has set, as bits.
    set: u8,
    row_key: Option<Vec<u8>>,
    row_timestamp: Option<i64>,
    row_headers: Vec<u8>,
    row_topic: Vec<u8>,
    row_partition: u32,
    key: Option<BytesBuilder>,
    timestamp: Option<Timestamps>,
    headers: Option<BytesBuilder>,
    topic: Option<BytesBuilder>,
    partition: Option<Partitions>,
}

#[derive(Debug, Default)]
struct Partitions {
    data: Vec<u8>,
    nulls: Vec<u8>,
}

impl Partitions {
    fn push(&mut self, partition: Option<u32>) {
        self.data.extend(partition.unwrap_or(0).to_le_bytes());
        self.nulls.push(if partition.is_some() { PRESENT } else { NULL });
    }
}

#[derive(Debug, Default)]
struct Timestamps {
    data: Vec<u8>,
    nulls: Vec<u8>,
}

impl Timestamps {
    fn push(&mut self, timestamp: Option<i64>) {
        self.data.extend(timestamp.unwrap_or(0).to_le_bytes());
        self.nulls.push(if timestamp.is_some() { PRESENT } else { NULL });
    }
}

impl Changes {
    pub fn key(&mut self, key: Option<&[u8]>) {
        self.set |= KEY;
        match key {
            Some(key) => {
                let row = self.row_key.get_or_insert_default();
                row.clear();
                row.extend_from_slice(key);
            }
            None => self.row_key = None,
        }
    }

    pub fn timestamp(&mut self, timestamp: Option<i64>) {
        self.set |= TIMESTAMP;
        self.row_timestamp = timestamp;
    }

    pub fn headers<'h>(&mut self, all: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>) {
        self.set |= HEADERS;
        self.row_headers.clear();
        let all: Vec<_> = all.into_iter().map(|(k, v)| (k.as_bytes(), v)).collect();
        headers::encode(all.into_iter(), &mut self.row_headers);
    }

    pub fn topic(&mut self, topic: &str) {
        self.set |= TOPIC;
        self.row_topic.clear();
        self.row_topic.extend_from_slice(topic.as_bytes());
    }

    pub fn partition(&mut self, partition: u32) {
        self.set |= PARTITION;
        self.row_partition = partition;
    }

    /// Ends a row that stands for nothing: what it has set is forgotten.
    pub fn fill_row(&mut self) {
        self.set = 0;
        self.key.iter_mut().for_each(BytesBuilder::push_null);
        self.timestamp.iter_mut().for_each(|c| c.push(None));
        self.headers.iter_mut().for_each(|c| c.push(Some(&[])));
        self.topic.iter_mut().for_each(BytesBuilder::push_null);
        self.partition.iter_mut().for_each(|c| c.push(None));
    }

    /// Forgets what the row at hand has set.
    pub fn forget(&mut self) {
        self.set = 0;
    }

    /// Ends a row: `done` rows are there before it, `input_of` says which input row each of them and this one belongs to.
    #[inline]
    pub fn end_row(&mut self, input: &Rows<'_>, done: usize, input_of: impl Fn(usize) -> Option<usize>) -> Result<()> {
        let no_column = self.key.is_none() && self.timestamp.is_none() && self.headers.is_none();
        if self.set == 0 && no_column && self.topic.is_none() && self.partition.is_none() {
            return Ok(());
        }
        self.end_changed_row(input, done, &input_of)
    }

    fn end_changed_row(
        &mut self,
        input: &Rows<'_>,
        done: usize,
        input_of: &dyn Fn(usize) -> Option<usize>,
    ) -> Result<()> {
        let set = std::mem::take(&mut self.set);
        let here = input_of(done);
        self.end_destination(set, done);
        if set & KEY != 0 {
            if self.key.is_none() {
                may_keep(input, Column::Key, done)?;
                let mut column = BytesBuilder::default();
                (0..done).for_each(|row| column.push(input_of(row).and_then(|r| input.key(r))));
                self.key = Some(column);
            }
            self.key.iter_mut().for_each(|c| c.push(self.row_key.as_deref()));
        } else if let Some(column) = &mut self.key {
            may_keep(input, Column::Key, 1)?;
            column.push(here.and_then(|r| input.key(r)));
        }
        if set & TIMESTAMP != 0 {
            if self.timestamp.is_none() {
                may_keep(input, Column::Timestamp, done)?;
                let mut column = Timestamps::default();
                (0..done).for_each(|row| column.push(input_of(row).and_then(|r| input.timestamp(r))));
                self.timestamp = Some(column);
            }
            self.timestamp.iter_mut().for_each(|c| c.push(self.row_timestamp));
        } else if let Some(column) = &mut self.timestamp {
            may_keep(input, Column::Timestamp, 1)?;
            column.push(here.and_then(|r| input.timestamp(r)));
        }
        if set & HEADERS != 0 {
            if self.headers.is_none() {
                may_keep(input, Column::Headers, done)?;
                let mut column = BytesBuilder::default();
                (0..done).for_each(|row| column.push(Some(input_of(row).map_or(&[], |r| input.headers(r)))));
                self.headers = Some(column);
            }
            self.headers.iter_mut().for_each(|c| c.push(Some(&self.row_headers)));
        } else if let Some(column) = &mut self.headers {
            may_keep(input, Column::Headers, 1)?;
            column.push(Some(here.map_or(&[], |r| input.headers(r))));
        }
        Ok(())
    }

    fn end_destination(&mut self, set: u8, done: usize) {
        if set & TOPIC != 0 && self.topic.is_none() {
            let mut column = BytesBuilder::default();
            (0..done).for_each(|_| column.push_null());
            self.topic = Some(column);
        }
        if let Some(column) = &mut self.topic {
            column.push((set & TOPIC != 0).then_some(self.row_topic.as_slice()));
        }
        if set & PARTITION != 0 && self.partition.is_none() {
            let mut column = Partitions::default();
            (0..done).for_each(|_| column.push(None));
            self.partition = Some(column);
        }
        if let Some(column) = &mut self.partition {
            column.push((set & PARTITION != 0).then_some(self.row_partition));
        }
    }

    /// Takes back the rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.set = 0;
        self.key.iter_mut().for_each(|c| c.truncate(rows));
        self.headers.iter_mut().for_each(|c| c.truncate(rows));
        self.topic.iter_mut().for_each(|c| c.truncate(rows));
        if let Some(column) = &mut self.partition {
            column.data.truncate(rows * 4);
            column.nulls.truncate(rows);
        }
        if let Some(column) = &mut self.timestamp {
            column.data.truncate(rows * 8);
            column.nulls.truncate(rows);
        }
    }

    /// The columns that came into being.
    pub fn parts(&self) -> impl Iterator<Item = Parts<'_>> {
        let timestamp = self.timestamp.as_ref().map(|c| Parts {
            id: id::TIMESTAMP,
            ty: Type::I64,
            flags: 0,
            data: &c.data,
            offsets: None,
            nulls: Some(&c.nulls),
        });
        let partition = self.partition.as_ref().map(|c| Parts {
            id: id::TO_PARTITION,
            ty: Type::U32,
            flags: 0,
            data: &c.data,
            offsets: None,
            nulls: Some(&c.nulls),
        });
        let key = self.key.as_ref().map(|c| c.parts(id::KEY));
        let headers = self.headers.as_ref().map(|c| c.parts(id::HEADERS));
        let topic = self.topic.as_ref().map(|c| c.parts(id::TO_TOPIC));
        [key, timestamp, headers, topic, partition].into_iter().flatten()
    }
}

/// Rows that keep their input's part need it to be at hand.
fn may_keep(input: &Rows<'_>, column: Column, rows: usize) -> Result<()> {
    // Without input rows (in a hook) there is nothing to keep.
    if rows == 0 || input.count == 0 || input.can_read(column) {
        return Ok(());
    }
    Err(undeclared(column))
}

/// A row that is to keep its own part of the record needs that part to be read.
#[cold]
pub(crate) fn undeclared(column: Column) -> crate::Error {
    let message =
        format!("some rows set Column::{column:?} and some keep it: list it in READS, so that it is there to be kept");
    Failure { code: "undeclared-column".into(), message, retryable: false }.into()
}
