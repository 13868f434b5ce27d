//! A part of a segment: records on their way into topics, as bytes that lie in the store from a checkpoint until a lane has
//! written them. Where each record goes is fixed in it. Must stay readable: what a checkpoint names, a later version writes.
//!
//! Little-endian, nothing aligned. A part begins with `FLSG`, the version (one byte, 1) and three bytes of zero. Blocks follow, to
//! the end, each with a tag of one byte:
//! - 1, a topic: its largest batch in bytes (`i64`, 0 if that is not known), the length of its name (`u16`), the name. Topics
//!   are numbered in the order of their blocks, from 0; each comes before the first run that goes there.
//! - 2, a run of records of one partition: the topic's number (`u16`), partition (`u32`), number of records (`u32`), form (one
//!   byte), and the records. A record is the lengths of key and value (`u32`, all ones for null), with bit 0 of the form its
//!   timestamp (`i64`, the least one for none), with bit 1 the length of its headers (`u32`), and then key, value, headers.
//!   Headers are a blob as [`flow_frame::headers`] has it.
//!
//! Runs lie together since a broker's thread then walks memory in order (ADR 0004). The sum over all of it stands where the part is
//! named, not in it.

mod read;
mod write;

pub(super) use read::{Block, Broken, Reader};
pub(super) use write::Builder;

const MAGIC: [u8; 8] = *b"FLSG\x01\0\0\0";
const TOPIC: u8 = 1;
const RUN: u8 = 2;
const TIMESTAMPS: u8 = 1;
const HEADERS: u8 = 2;
/// The length of what is null.
const NULL: u32 = u32::MAX;
/// The timestamp of a record without one.
const NO_TIMESTAMP: i64 = i64::MIN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::raw::Record;

    fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Record<'a> {
        Record { key, value, ..Record::default() }
    }

    fn built() -> Vec<u8> {
        let mut builder = Builder::default();
        let stamped = Record { timestamp: Some(-5), headers: b"blob", ..record(Some(b"k"), None) };
        builder.run((3, "orders", Some(1000)), 7, [record(Some(b"key"), Some(b"value")), record(None, Some(b""))]);
        builder.run((0, "other", None), 0, [stamped, record(None, None)]);
        builder.run((3, "orders", Some(1000)), 8, [record(Some(b""), Some(b"x"))]);
        builder.run((3, "orders", Some(1000)), 8, []);
        assert_eq!(builder.records(), 5);
        builder.take().0
    }

    /// All blocks as text.
    fn shown(bytes: &[u8]) -> Result<Vec<String>, Broken> {
        let (mut reader, mut shown, mut records) = (Reader::new(bytes)?, Vec::new(), Vec::new());
        while let Some(block) = reader.next()? {
            match block {
                Block::Topic { name, limit } => shown.push(format!("{name} {limit:?}")),
                Block::Run { topic, partition } => {
                    shown.push(format!("{topic}[{partition}]"));
                    while reader.records(2, &mut records)? {
                        let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
                        shown.extend(records.iter().map(|r: &Record<'_>| {
                            format!("{:?} {:?} {:?} {}", text(r.key), text(r.value), r.timestamp, r.headers.len())
                        }));
                    }
                }
            }
        }
        Ok(shown)
    }

    #[test]
    fn records_come_back_as_they_were() {
        let expected = [
            "orders Some(1000)",
            "0[7]",
            "Some(\"key\") Some(\"value\") None 0",
            "None Some(\"\") None 0",
            "other None",
            "1[0]",
            "Some(\"k\") None Some(-5) 4",
            "None None None 0",
            "0[8]",
            "Some(\"\") Some(\"x\") None 0",
        ];
        assert_eq!(shown(&built()).expect("readable"), expected);
    }

    /// The bytes of version 1, which stay readable.
    #[test]
    fn version_1_stays_as_it_is() {
        let mut builder = Builder::default();
        builder.run((0, "t", Some(9)), 2, [record(Some(b"k"), Some(b"v"))]);
        let mut golden = b"FLSG\x01\0\0\0\x01\x09\0\0\0\0\0\0\0\x01\0t".to_vec();
        golden.extend(b"\x02\0\0\x02\0\0\0\x01\0\0\0\0\x01\0\0\0\x01\0\0\0kv");
        assert_eq!(builder.take().0, golden);
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_refused() {
        let whole = built();
        let whole_blocks = shown(&whole).expect("readable").len();
        for length in 0..whole.len() {
            if let Ok(blocks) = shown(&whole[..length]) {
                assert!(blocks.len() < whole_blocks, "cut at {length}");
            }
        }
        let mut newer = whole.clone();
        newer[4] = 2;
        assert_eq!(shown(&newer), Err(Broken::Version(2)));
        let mut other = whole;
        other[8] = 9;
        assert_eq!(shown(&other), Err(Broken::Block { at: 8 }));
        assert_eq!(shown(b"x"), Err(Broken::Magic));
    }
}
