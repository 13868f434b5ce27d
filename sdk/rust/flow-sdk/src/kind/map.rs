//! Maps: one record in, one record out. Must never change the number or the order of rows.

use flow_frame::{FrameWriter, assemble};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::changes::{Changes, undeclared};
use crate::error::{Failure, Result};
use crate::operator::{self, Answer, Context, Description, Kind, Refusals, Runner};
use crate::record::{Column, Moment, Record, Rows};
use crate::value::ValueWriter;

/// One record in, one record out. What the output does not set stays as it is.
///
/// ```
/// use flow_sdk::prelude::*;
///
/// struct Shout;
///
/// impl Map for Shout {
///     type Config = ();
///
///     fn new(_: (), _: &Context) -> Result<Self> {
///         Ok(Shout)
///     }
///
///     fn map(&mut self, record: &Record, out: &mut MapOutput) -> Result<()> {
///         out.bytes(record.text()?.to_uppercase());
///         Ok(())
///     }
/// }
/// flow_sdk::export!(map Shout);
///
/// let output = flow_sdk::testing::Harness::<Shout>::new(())?.run(["hello"])?;
/// assert_eq!(output.texts(), ["HELLO"]);
/// # Ok::<(), flow_sdk::Failure>(())
/// ```
pub trait Map: Sized + 'static {
    /// The operator's `config` in the pipeline file.
    type Config: DeserializeOwned;

    /// What of a record it reads.
    const READS: &'static [Column] = &[Column::Value];

    /// A new instance. An error stops the job with its message.
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Maps a record: what of it changes is set in `out`.
    fn map(&mut self, record: &Record<'_>, out: &mut MapOutput<'_>) -> Result<()>;
}

/// What becomes of the record at hand: each part that is set replaces the record's own.
#[derive(Debug)]
pub struct MapOutput<'a> {
    input: &'a Rows<'a>,
    frame: FrameWriter,
    changes: Changes,
    /// Whether a row so far has set its value, so that the frame holds all of them.
    writes_values: bool,
    value: Value,
    /// Where the value of the row at hand begins.
    start: usize,
}

/// What the row at hand does with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Keep,
    Set,
    Null,
}

impl<'a> MapOutput<'a> {
    fn new(input: &'a Rows<'a>, bytes: usize) -> Self {
        let mut frame = FrameWriter::with_capacity(input.count, bytes);
        let start = frame.value().data.len();
        MapOutput { input, frame, changes: Changes::default(), writes_values: false, value: Value::Keep, start }
    }

    /// Sets the value.
    #[inline]
    pub fn bytes(&mut self, value: impl AsRef<[u8]>) {
        self.begin().push(value.as_ref());
    }

    /// Sets the value to something as JSON, written in place.
    #[inline]
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.begin().json(value)
    }

    /// Sets the value to what is written to the result, piece by piece.
    #[inline]
    pub fn begin(&mut self) -> ValueWriter<'_> {
        self.value = Value::Set;
        let data = &mut self.frame.value().data;
        data.truncate(self.start);
        ValueWriter::new(data)
    }

    /// Sets the value to null (in Kafka, a tombstone).
    pub fn null(&mut self) {
        self.begin();
        self.value = Value::Null;
    }

    /// Sets the key.
    pub fn key(&mut self, key: impl AsRef<[u8]>) {
        self.changes.key(Some(key.as_ref()));
    }

    /// Removes the key.
    pub fn no_key(&mut self) {
        self.changes.key(None);
    }

    /// Sets the event time, in milliseconds since the Unix epoch, or removes it.
    pub fn timestamp(&mut self, timestamp: impl Into<Option<i64>>) {
        self.changes.timestamp(timestamp.into());
    }

    /// Replaces all headers.
    pub fn headers<'h>(&mut self, headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>) {
        self.changes.headers(headers);
    }

    /// Sends the record to this topic, if its sink writes to Kafka and allows it: `topics` or `pattern` of the sink. Empty for the
    /// sink's own.
    pub fn topic(&mut self, topic: &str) {
        self.changes.topic(topic);
    }

    /// Sends the record to this partition of its topic instead of that of its key, if its sink writes to Kafka. A partition that
    /// the topic does not have fails the job.
    pub fn partition(&mut self, partition: u32) {
        self.changes.partition(partition);
    }

    #[inline]
    fn end_row(&mut self, row: usize) -> Result<()> {
        match std::mem::replace(&mut self.value, Value::Keep) {
            Value::Keep if !self.writes_values => {}
            Value::Keep => self.keep_value(row)?,
            Value::Set => {
                if !self.writes_values {
                    self.keep_values_before(row)?;
                }
                self.frame.value().end_row();
            }
            Value::Null => {
                if !self.writes_values {
                    self.keep_values_before(row)?;
                }
                self.frame.value().push_null();
            }
        }
        self.start = self.frame.value().data.len();
        self.changes.end_row(self.input, row, Some)
    }

    /// Leaves nothing of a refused row. Its place stays: a map answers a row for each row.
    #[cold]
    fn reject_row(&mut self) {
        self.value = Value::Keep;
        self.frame.value().data.truncate(self.start);
        if self.writes_values {
            self.frame.value().push_null();
        }
        self.changes.fill_row();
    }

    #[cold]
    fn keep_value(&mut self, row: usize) -> Result<()> {
        if !self.input.can_read(Column::Value) {
            return Err(undeclared(Column::Value));
        }
        self.frame.value().push(self.input.value(row));
        Ok(())
    }

    /// The first row that sets its value: those before it get theirs, in front of what this one has written.
    #[cold]
    fn keep_values_before(&mut self, row: usize) -> Result<()> {
        self.writes_values = true;
        if row > 0 {
            let written = self.frame.value().data.split_off(self.start);
            (0..row).try_for_each(|row| self.keep_value(row))?;
            self.frame.value().data.extend(written);
        }
        Ok(())
    }

    fn finish(self) -> Vec<u8> {
        let parts: Vec<_> = self.changes.parts().collect();
        if self.writes_values {
            return self.frame.finish(&parts);
        }
        let mut out = Vec::new();
        if !parts.is_empty() {
            assemble(self.input.count, &parts, &mut out);
        }
        out
    }
}

/// Each row. A function of its own, as all that runs once a row should be: in line with what runs once a call it would not
/// keep its variables in registers.
#[inline(never)]
fn map_rows<M: Map>(
    map: &mut M,
    rows: &Rows<'_>,
    out: &mut MapOutput<'_>,
    refusals: &mut Refusals,
) -> Result<(), Failure> {
    for row in 0..rows.count {
        let mapped = map.map(&Record { rows, row }, out).and_then(|()| out.end_row(row));
        if let Err(e) = mapped {
            refusals.add(row, e)?;
            out.reject_row();
        }
    }
    Ok(())
}

/// Runs a map over frames.
#[derive(Debug)]
pub struct MapRunner<M> {
    map: M,
    /// How many bytes a row the last call wrote: room for the next.
    row_bytes: Option<usize>,
}

impl<M: Map> Runner for MapRunner<M> {
    fn description() -> Description {
        Description {
            kind: Kind::Map,
            columns: Column::ids(M::READS),
            ports: &["main"],
            states: Vec::new(),
            unordered: false,
        }
    }

    fn create(config: &str, context: &Context) -> Result<Self, Failure> {
        let map = M::new(operator::parse_config(config)?, context).map_err(operator::refuse_config)?;
        Ok(MapRunner { map, row_bytes: None })
    }

    fn call(&mut self, rows: &[u8], _keys: &[u8], at: Moment) -> Result<Answer, Failure> {
        let rows = Rows::parse(rows, M::READS, at)?;
        let mut refusals = Refusals::default();
        let room = self.row_bytes.map_or(rows.value_bytes, |bytes| bytes * rows.count);
        let mut out = MapOutput::new(&rows, room);
        map_rows(&mut self.map, &rows, &mut out, &mut refusals)?;
        if let Some(average) = out.frame.bytes().checked_div(rows.count) {
            // An eighth more, since batches differ.
            self.row_bytes = Some(average * 9 / 8 + 1);
        }
        Ok(Answer { rows: out.finish(), states: Vec::new(), rejected: refusals.finish() })
    }

    fn before_barrier(&mut self, _checkpoint: u64) -> Result<Answer, Failure> {
        Ok(Answer::default())
    }

    fn end_of_input(&mut self) -> Result<Answer, Failure> {
        Ok(Answer::default())
    }
}
