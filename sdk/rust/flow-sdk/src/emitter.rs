//! Output of operators that emit any number of records. Must keep its columns aligned, and leave nothing of a refused row.

use flow_frame::layout::Type;
use flow_frame::{FrameWriter, Parts, id};
use serde::Serialize;

use crate::changes::Changes;
use crate::error::{Failure, Result};
use crate::record::Rows;
use crate::value::ValueWriter;

/// Takes the records that an operator emits. A record keeps the key, the event time and the headers of the record that it
/// was made of; [`Emitter::record`] sets others.
#[derive(Debug)]
pub struct Emitter<'a> {
    input: &'a Rows<'a>,
    ports: &'static [&'static str],
    frame: FrameWriter,
    changes: Changes,
    /// The input row of each output row, 4 bytes each.
    input_rows: Vec<u8>,
    /// The port of each row, once one is not the main one.
    targets: Vec<u8>,
    target: u8,
    /// The input row at hand.
    row: usize,
    /// What the next row's end failed with: emitting itself never fails.
    failed: Option<crate::Error>,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(input: &'a Rows<'a>, ports: &'static [&'static str], rows: usize, bytes: usize) -> Self {
        Emitter {
            input,
            ports,
            frame: FrameWriter::with_capacity(rows, bytes),
            changes: Changes::default(),
            input_rows: Vec::with_capacity(rows * 4),
            targets: Vec::new(),
            target: 0,
            row: 0,
            failed: None,
        }
    }

    /// Emits a record with this value.
    #[inline]
    pub fn emit(&mut self, value: impl AsRef<[u8]>) {
        self.record().bytes(value);
    }

    /// Emits a record with something as JSON for its value, written in place.
    #[inline]
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.record().json(value)
    }

    /// Begins a record, to set more than its value. It is emitted once its value is set.
    ///
    /// ```
    /// # use flow_sdk::prelude::*;
    /// # fn example(out: &mut Emitter) -> Result<()> {
    /// out.record().key("k").timestamp(1_700_000_000_000).to("late").json(&[1, 2])?;
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn record(&mut self) -> Draft<'_, 'a> {
        self.changes.forget();
        self.target = 0;
        Draft { out: self }
    }

    /// Rows emitted so far.
    pub(crate) fn rows(&self) -> usize {
        self.frame.rows()
    }

    /// Bytes of values so far.
    pub(crate) fn bytes(&self) -> usize {
        self.frame.bytes()
    }

    /// Begins an input row.
    #[inline]
    pub(crate) fn begin(&mut self, row: usize) {
        self.row = row;
    }

    /// What emitting failed with since the last call.
    #[inline]
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.failed.take() {
            None => Ok(()),
            Some(e) => Err(e),
        }
    }

    /// Takes back the rows from `rows` on.
    #[cold]
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.frame.value().truncate(rows);
        self.changes.truncate(rows);
        self.input_rows.truncate(rows * 4);
        self.targets.truncate(rows);
        self.failed = None;
    }

    #[inline]
    fn end_row(&mut self) {
        let done = self.frame.rows() - 1;
        if self.target != 0 && self.targets.is_empty() {
            self.targets.resize(done, 0);
        }
        if self.target != 0 || !self.targets.is_empty() {
            self.targets.push(self.target);
        }
        let (input_rows, row) = (&self.input_rows, self.row);
        let has_input = self.input.count > 0;
        let input_of = |at: usize| {
            let row = input_rows.as_chunks::<4>().0.get(at).map_or(row, |b| u32::from_le_bytes(*b) as usize);
            has_input.then_some(row)
        };
        if let Err(e) = self.changes.end_row(self.input, done, input_of) {
            self.failed.get_or_insert(e);
        }
        self.input_rows.extend_from_slice(&(self.row as u32).to_le_bytes());
    }

    /// The frame of all rows; empty without any. Rows that belong to no input have no column that says so.
    pub(crate) fn finish(self) -> Vec<u8> {
        let rows = self.frame.rows();
        if rows == 0 {
            return Vec::new();
        }
        let mut parts: Vec<_> = self.changes.parts().collect();
        if self.input.count > 0 {
            let data = &self.input_rows;
            parts.push(Parts { id: id::INPUT_ROW, ty: Type::U32, flags: 0, data, offsets: None, nulls: None });
        }
        if !self.targets.is_empty() {
            let data = &self.targets;
            parts.push(Parts { id: id::TARGET, ty: Type::U8, flags: 0, data, offsets: None, nulls: None });
        }
        self.frame.finish(&parts)
    }

    /// Ends a hook, which has no rows to refuse.
    pub(crate) fn finish_hook(mut self, result: Result<()>) -> Result<Vec<u8>, Failure> {
        result.and_then(|()| self.check()).map_err(crate::Error::into_failure)?;
        Ok(self.finish())
    }
}

/// A record about to be emitted: set its parts, then its value, which emits it. What is not set is as in the record that
/// came in.
#[derive(Debug)]
#[must_use = "a record is emitted by setting its value: bytes, json, write or null"]
pub struct Draft<'e, 'a> {
    out: &'e mut Emitter<'a>,
}

impl Draft<'_, '_> {
    /// Sets the key.
    #[inline]
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        self.out.changes.key(Some(key.as_ref()));
        self
    }

    /// Removes the key.
    pub fn no_key(self) -> Self {
        self.out.changes.key(None);
        self
    }

    /// Sets the event time, in milliseconds since the Unix epoch, or removes it.
    #[inline]
    pub fn timestamp(self, timestamp: impl Into<Option<i64>>) -> Self {
        self.out.changes.timestamp(timestamp.into());
        self
    }

    /// Replaces all headers.
    pub fn headers<'h>(self, headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>) -> Self {
        self.out.changes.headers(headers);
        self
    }

    /// Sends the record to this topic, if its sink writes to Kafka and allows it: `topics` or `pattern` of the sink. Empty for the
    /// sink's own.
    #[inline]
    pub fn topic(self, topic: &str) -> Self {
        self.out.changes.topic(topic);
        self
    }

    /// Sends the record to this partition of its topic instead of that of its key, if its sink writes to Kafka. A partition that
    /// the topic does not have fails the job.
    #[inline]
    pub fn partition(self, partition: u32) -> Self {
        self.out.changes.partition(partition);
        self
    }

    /// Sends the record to a named output, which the operator must list in its `PORTS`; another name panics.
    pub fn to(self, port: &str) -> Self {
        match self.out.ports.iter().position(|p| *p == port) {
            Some(at) => self.out.target = at as u8,
            None => unknown_port(port, self.out.ports),
        }
        self
    }

    /// Emits the record with this value.
    #[inline]
    pub fn bytes(self, value: impl AsRef<[u8]>) {
        self.out.frame.value().push(Some(value.as_ref()));
        self.out.end_row();
    }

    /// Emits the record with something as JSON for its value.
    #[inline]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        self.write(|out| out.json(value))
    }

    /// Emits the record with the value that `write` writes, in place.
    #[inline]
    pub fn write(self, write: impl FnOnce(&mut ValueWriter<'_>) -> Result<()>) -> Result<()> {
        let start = self.out.frame.bytes();
        match write(&mut ValueWriter::new(&mut self.out.frame.value().data)) {
            Ok(()) => {
                self.out.frame.value().end_row();
                self.out.end_row();
                Ok(())
            }
            Err(e) => {
                self.out.frame.value().data.truncate(start);
                Err(e)
            }
        }
    }

    /// Emits the record with a null value (in Kafka, a tombstone).
    pub fn null(self) {
        self.out.frame.value().push_null();
        self.out.end_row();
    }
}

#[cold]
fn unknown_port(port: &str, ports: &[&str]) -> ! {
    panic!("the operator emits to port `{port}`; its PORTS are {ports:?}")
}
