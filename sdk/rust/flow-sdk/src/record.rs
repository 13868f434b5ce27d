//! A row of the batch at hand, as authors see it. Never a copy: everything borrows from the frame that came in.

use flow_frame::layout::PRESENT;
use flow_frame::{BytesColumn, Frame, headers, id};
use serde::Deserialize;

use crate::error::{Failure, Result, reject};

/// What a header's key reads as that is no UTF-8.
const NO_TEXT: &str = "\u{fffd}";

/// What of a record an operator reads. The host passes these columns and no others, so an operator that counts by key
/// never gets the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Column {
    /// The key.
    Key = id::KEY,
    /// The value.
    Value = id::VALUE,
    /// The event time.
    Timestamp = id::TIMESTAMP,
    /// The headers.
    Headers = id::HEADERS,
    /// Which part of the source, and where in it.
    Origin = id::SPLIT,
}

impl Column {
    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Ids of the columns to ask for.
    pub(crate) fn ids(columns: &[Column]) -> Vec<u16> {
        let mut ids: Vec<u16> = columns.iter().map(|c| *c as u16).collect();
        if columns.contains(&Column::Origin) {
            ids.push(id::POSITION);
        }
        ids
    }
}

/// The time that a call was made at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Processing time, milliseconds since the Unix epoch.
    pub now: i64,
    /// The event-time watermark in milliseconds since the Unix epoch; `i64::MIN` while there is none.
    pub watermark: i64,
}

type Words<'a> = (&'a [[u8; 8]], Option<&'a [u8]>);

/// A batch that was parsed once; records are row numbers in it.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub count: usize,
    pub at: Moment,
    reads: u16,
    key: Option<BytesColumn<'a>>,
    value: Option<BytesColumn<'a>>,
    timestamp: Option<Words<'a>>,
    headers: Option<BytesColumn<'a>>,
    split: Option<&'a [[u8; 4]]>,
    position: Option<Words<'a>>,
    /// Bytes of all values.
    pub value_bytes: usize,
    pub grouped: Option<Grouped<'a>>,
}

/// The keys of a keyed call.
#[derive(Debug)]
pub(crate) struct Grouped<'a> {
    pub keys: BytesColumn<'a>,
    /// For each key the row behind its last one.
    pub ends: Vec<u32>,
}

impl Grouped<'_> {
    fn key_of(&self, row: usize) -> &[u8] {
        self.keys.raw(self.ends.partition_point(|end| *end as usize <= row))
    }
}

impl<'a> Rows<'a> {
    pub fn parse(frame: &'a [u8], reads: &[Column], at: Moment) -> Result<Rows<'a>, Failure> {
        let f = Frame::parse(frame).map_err(bad_frame)?;
        let value = f.column(id::VALUE);
        Ok(Rows {
            count: f.rows(),
            at,
            reads: reads.iter().fold(0, |bits, c| bits | c.bit()),
            key: f.bytes(id::KEY).ok(),
            value_bytes: value.map_or(0, |c| c.data().len()),
            value: value.and_then(|c| c.as_bytes()),
            timestamp: f.i64s(id::TIMESTAMP).ok(),
            headers: f.bytes(id::HEADERS).ok(),
            split: f.u32s(id::SPLIT).ok(),
            position: f.i64s(id::POSITION).ok(),
            grouped: None,
        })
    }

    /// A batch without rows, for hooks that see none.
    pub fn none() -> Rows<'static> {
        Rows {
            count: 0,
            at: Moment { now: 0, watermark: i64::MIN },
            reads: 0,
            key: None,
            value: None,
            timestamp: None,
            headers: None,
            split: None,
            position: None,
            value_bytes: 0,
            grouped: None,
        }
    }

    /// Whether the rows of this column are at hand: it is declared, or part of the call.
    pub fn can_read(&self, column: Column) -> bool {
        self.reads & column.bit() != 0 || column == Column::Key && self.grouped.is_some()
    }

    pub fn key(&self, row: usize) -> Option<&[u8]> {
        match (&self.key, &self.grouped) {
            (Some(c), _) => c.get(row),
            (None, Some(grouped)) => Some(grouped.key_of(row)),
            (None, None) => None,
        }
    }

    pub fn value(&self, row: usize) -> Option<&'a [u8]> {
        self.value.and_then(|c| c.get(row))
    }

    pub fn timestamp(&self, row: usize) -> Option<i64> {
        self.timestamp.and_then(|c| word(c, row))
    }

    pub fn headers(&self, row: usize) -> &'a [u8] {
        self.headers.map_or(&[], |c| c.raw(row))
    }
}

fn word((data, nulls): Words<'_>, row: usize) -> Option<i64> {
    let null = nulls.is_some_and(|n| n.get(row) != Some(&PRESENT));
    if null { None } else { data.get(row).map(|b| i64::from_le_bytes(*b)) }
}

#[cold]
pub(crate) fn bad_frame(e: flow_frame::Error) -> Failure {
    Failure { code: "bad-frame".into(), message: e.to_string(), retryable: false }
}

/// One record: a key, a value, an event time, headers, and where it came from. Borrowed from the batch, so its parts
/// live as long as the call.
///
/// Reading a part that the operator did not list in its `READS` panics with a message that says so; in Wasm that ends up
/// in the job's log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) rows: &'a Rows<'a>,
    pub(crate) row: usize,
}

impl<'a> Record<'a> {
    /// The key; none if the record has no key.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.declared(Column::Key);
        self.rows.key(self.row)
    }

    /// The value; none where it is null (in Kafka, a tombstone).
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.declared(Column::Value);
        self.rows.value(self.row)
    }

    /// The value as text. Refuses the record with `no-value` where it is null, with `bad-utf8` where it is no UTF-8.
    #[inline]
    pub fn text(&self) -> Result<&'a str> {
        Ok(std::str::from_utf8(self.some_value()?)?)
    }

    /// The value parsed as JSON; strings may be borrowed from the record. Refuses the record with `no-value` where it is
    /// null, with `bad-json` where it does not fit.
    ///
    /// ```
    /// # use flow_sdk::prelude::*;
    /// #[derive(serde::Deserialize)]
    /// struct Order<'a> {
    ///     customer: &'a str,
    ///     amount: f64,
    /// }
    /// # fn example(record: &Record) -> Result<()> {
    /// let order: Order = record.json()?;
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T> {
        Ok(serde_json::from_slice(self.some_value()?)?)
    }

    /// Event time in milliseconds since the Unix epoch; none if the record has none.
    #[inline]
    pub fn timestamp(&self) -> Option<i64> {
        self.declared(Column::Timestamp);
        self.rows.timestamp(self.row)
    }

    /// Key and value of each header, in order; keys may repeat, values may be null. A key that is no UTF-8 (Kafka lets
    /// them be any bytes) reads as `\u{fffd}`, the character that stands for what is no text.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        self.declared(Column::Headers);
        headers::decode(self.rows.headers(self.row))
            .map(|(key, value)| (std::str::from_utf8(key).unwrap_or(NO_TEXT), value))
    }

    /// The last header of this key that has a value.
    pub fn header(&self, key: &str) -> Option<&'a [u8]> {
        self.declared(Column::Headers);
        let named = headers::decode(self.rows.headers(self.row)).filter(|(k, _)| *k == key.as_bytes());
        named.filter_map(|(_, value)| value).last()
    }

    /// Where the record came from: which part of the source (partition, file), and where in it (offset, line).
    pub fn origin(&self) -> Option<(u32, i64)> {
        self.declared(Column::Origin);
        let split = self.rows.split?.get(self.row)?;
        Some((u32::from_le_bytes(*split), word(self.rows.position?, self.row)?))
    }

    /// Processing time of the call in milliseconds since the Unix epoch. Operators have no other clock, so that a replay
    /// gives the same answers.
    pub fn now(&self) -> i64 {
        self.rows.at.now
    }

    /// The event-time watermark in milliseconds since the Unix epoch: no record with an earlier event time is expected.
    /// None while there is none.
    pub fn watermark(&self) -> Option<i64> {
        (self.rows.at.watermark != i64::MIN).then_some(self.rows.at.watermark)
    }

    #[inline]
    fn some_value(&self) -> Result<&'a [u8]> {
        match self.value() {
            Some(value) => Ok(value),
            None => Err(reject("no-value", "the record's value is null")),
        }
    }

    #[inline]
    fn declared(&self, column: Column) {
        if !self.rows.can_read(column) {
            undeclared(column);
        }
    }
}

#[cold]
fn undeclared(column: Column) -> ! {
    panic!("the operator reads Column::{column:?}, which its READS does not list")
}

#[cfg(test)]
mod tests {
    use flow_frame::{BytesBuilder, assemble};

    use super::*;

    #[test]
    fn a_header_whose_name_is_no_text_is_told_from_one_without_a_name() {
        let all: [(&[u8], Option<&[u8]>); 4] =
            [(b"a", Some(b"1")), (b"\xff", Some(b"2")), (b"", Some(b"3")), (b"\xfe", None)];
        let mut blobs = BytesBuilder::default();
        headers::encode(all.into_iter(), &mut blobs.data);
        blobs.end_row();
        let mut frame = Vec::new();
        assemble(1, &[blobs.parts(id::HEADERS)], &mut frame);
        let at = Moment { now: 0, watermark: i64::MIN };
        let rows = Rows::parse(&frame, &[Column::Headers], at).expect("a frame");
        let record = Record { rows: &rows, row: 0 };
        let names: Vec<&str> = record.headers().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "\u{fffd}", "", "\u{fffd}"]);
        assert_eq!(record.header("a"), Some(b"1".as_slice()));
        assert_eq!(record.header(""), Some(b"3".as_slice()));
        assert_eq!(record.header("\u{fffd}"), None, "no header has this name");
    }
}
