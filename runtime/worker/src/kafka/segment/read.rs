//! Reading a part, without a copy of its records.

use super::{HEADERS, MAGIC, NO_TIMESTAMP, NULL, RUN, TIMESTAMPS, TOPIC};
use crate::kafka::raw::Record;

/// Why bytes are no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum Broken {
    #[error("it does not begin as a part of a segment does")]
    Magic,
    #[error("it has version {0}, and this program reads version 1; use a newer version of Flow")]
    Version(u8),
    #[error("what stands at byte {at} is no block of a part")]
    Block { at: usize },
    #[error("it ends in the middle of a record")]
    Cut,
}

/// What a part has next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Block<'a> {
    /// The next topic, with the largest batch that it takes.
    Topic { name: &'a str, limit: Option<i64> },
    /// Records for a partition of a topic, which [`Reader::records`] gives.
    Run { topic: usize, partition: u32 },
}

/// Reads a part from its beginning.
pub(in crate::kafka) struct Reader<'a> {
    all: usize,
    rest: &'a [u8],
    /// Records of the run that were not read yet, and their form.
    left: (u32, u8),
}

impl<'a> Reader<'a> {
    pub(in crate::kafka) fn new(part: &'a [u8]) -> Result<Reader<'a>, Broken> {
        match part.split_first_chunk::<8>() {
            Some((head, rest)) if *head == MAGIC => Ok(Reader { all: part.len(), rest, left: (0, 0) }),
            Some((head, _)) if head[..4] == MAGIC[..4] => Err(Broken::Version(head[4])),
            _ => Err(Broken::Magic),
        }
    }

    /// The next block, none at the end. What was not read of a run is passed over.
    pub(in crate::kafka) fn next(&mut self) -> Result<Option<Block<'a>>, Broken> {
        while self.left.0 > 0 {
            self.record()?;
        }
        let at = self.all - self.rest.len();
        let Some((tag, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        match *tag {
            TOPIC => {
                let limit = i64::from_le_bytes(self.number()?);
                let length = u16::from_le_bytes(self.number()?);
                let name = std::str::from_utf8(self.bytes(length.into())?).map_err(|_| Broken::Block { at })?;
                Ok(Some(Block::Topic { name, limit: (limit > 0).then_some(limit) }))
            }
            RUN => {
                let topic = u16::from_le_bytes(self.number()?).into();
                let partition = u32::from_le_bytes(self.number()?);
                let records = u32::from_le_bytes(self.number()?);
                let [form] = self.number()?;
                self.left = (records, form);
                Ok(Some(Block::Run { topic, partition }))
            }
            _ => Err(Broken::Block { at }),
        }
    }

    /// The next records of the run, at most so many, in place of what `out` has. False when none is left.
    pub(in crate::kafka) fn records(&mut self, most: usize, out: &mut Vec<Record<'a>>) -> Result<bool, Broken> {
        out.clear();
        while self.left.0 > 0 && out.len() < most {
            out.push(self.record()?);
        }
        Ok(!out.is_empty())
    }

    fn record(&mut self) -> Result<Record<'a>, Broken> {
        let (key, value) = (u32::from_le_bytes(self.number()?), u32::from_le_bytes(self.number()?));
        let form = self.left.1;
        let timestamp = if form & TIMESTAMPS != 0 { i64::from_le_bytes(self.number()?) } else { NO_TIMESTAMP };
        let headers = if form & HEADERS != 0 { u32::from_le_bytes(self.number()?) } else { 0 };
        self.left.0 -= 1;
        let mut bytes = |length| if length == NULL { Ok(None) } else { self.bytes(length as usize).map(Some) };
        Ok(Record {
            key: bytes(key)?,
            value: bytes(value)?,
            timestamp: (timestamp != NO_TIMESTAMP).then_some(timestamp),
            headers: bytes(headers)?.unwrap_or_default(),
            origin: None,
        })
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(Broken::Cut)?;
        self.rest = rest;
        Ok(*number)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Broken::Cut)?;
        self.rest = rest;
        Ok(bytes)
    }
}
