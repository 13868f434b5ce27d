//! Elements as messages. A batch is the frame that it is everywhere, packed with LZ4 where that was asked for and pays, in pieces of at
//! most [`PIECE`] bytes: so a message has a bounded length and a large record does not keep other channels waiting. What comes is
//! checked: its order, its lengths, the whole frame.

use std::collections::HashMap;

use bytes::Bytes;
use flow_dataflow::{Barrier, Batch, Element};
use flow_model::checkpoint::CheckpointId;
use flow_rpc::exchange::{self, Data, Piece, data::Content};

/// Bytes of a piece, at most.
pub(super) const PIECE: usize = 1 << 20;
/// Bytes of a message, at most: a piece and what is around it.
pub(super) const MESSAGE: usize = PIECE + 1024;
/// A frame that is shorter is copied out of the network's buffers, which it would keep in memory with all that lies beside it.
const SMALL: usize = 32 << 10;
/// How often a byte of LZ4 can stand for another one, at most.
const RATIO: usize = 255;

/// A message that no worker sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("message {found} of a channel came where {expected} was due")]
    Sequence { found: u64, expected: u64 },
    #[error("a message without content")]
    Empty,
    #[error("a batch that can't be read: {0}")]
    Frame(#[from] flow_frame::read::Error),
    #[error("a packed batch that can't be unpacked: {0}")]
    Packed(String),
    #[error("a batch of more than 4 GiB")]
    TooLarge,
}

/// A batch on its way out.
pub(super) struct Outgoing {
    rest: Bytes,
    unpacked: u32,
}

impl Outgoing {
    /// The frame of a batch; packed if it is at least `pack_from` bytes long and shrinks by a fifth.
    pub(super) fn new(batch: &Batch, pack_from: Option<usize>) -> Result<Outgoing, Error> {
        let ids: Vec<u16> = batch.columns().iter().map(|column| column.id).collect();
        // A frame has little beside its buffers: the directory, and gaps of at most 7 bytes.
        if batch.size() > u32::MAX as usize - PIECE {
            return Err(Error::TooLarge);
        }
        let mut frame = Vec::new();
        batch.to_frame(&ids, &mut frame);
        if pack_from.is_some_and(|from| frame.len() >= from) {
            let packed = lz4_flex::block::compress(&frame);
            if packed.len() <= frame.len() / 5 * 4 {
                return Ok(Outgoing { rest: packed.into(), unpacked: frame.len() as u32 });
            }
        }
        Ok(Outgoing { rest: frame.into(), unpacked: 0 })
    }

    /// The next piece.
    pub(super) fn piece(&mut self) -> Piece {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE));
        let more = !self.is_sent();
        Piece { bytes, more, unpacked: if more { 0 } else { self.unpacked } }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.rest.is_empty()
    }
}

/// What is no batch, as a message.
pub(super) fn control(element: &Element) -> Option<Content> {
    match element {
        Element::Batch(_) => None,
        Element::Watermark(time) => Some(Content::Watermark(*time)),
        Element::Barrier(Barrier { checkpoint, confirmed }) => {
            Some(Content::Barrier(exchange::Barrier { checkpoint: checkpoint.0, confirmed: confirmed.0 }))
        }
        Element::EndOfInput => Some(Content::EndOfInput(exchange::EndOfInput {})),
    }
}

#[derive(Default)]
struct Channel {
    sequence: u64,
    /// Pieces of the batch that is on its way.
    pieces: Vec<u8>,
}

/// Makes elements of what comes on one stream.
#[derive(Default)]
pub(super) struct Incoming(HashMap<u32, Channel>);

impl Incoming {
    /// Takes a message; the element that it completes.
    pub(super) fn take(&mut self, data: Data) -> Result<Option<Element>, Error> {
        let channel = self.0.entry(data.number).or_default();
        if data.sequence != channel.sequence {
            return Err(Error::Sequence { found: data.sequence, expected: channel.sequence });
        }
        channel.sequence += 1;
        let piece = match data.content.ok_or(Error::Empty)? {
            Content::Watermark(time) => return Ok(Some(Element::Watermark(time))),
            Content::Barrier(exchange::Barrier { checkpoint, confirmed }) => {
                let (checkpoint, confirmed) = (CheckpointId(checkpoint), CheckpointId(confirmed));
                return Ok(Some(Element::Barrier(Barrier { checkpoint, confirmed })));
            }
            Content::EndOfInput(_) => return Ok(Some(Element::EndOfInput)),
            Content::Piece(piece) => piece,
        };
        if channel.pieces.len() + piece.bytes.len() > u32::MAX as usize {
            return Err(Error::TooLarge);
        }
        if piece.more {
            channel.pieces.extend_from_slice(&piece.bytes);
            return Ok(None);
        }
        let whole = if channel.pieces.is_empty() {
            piece.bytes
        } else {
            channel.pieces.extend_from_slice(&piece.bytes);
            std::mem::take(&mut channel.pieces).into()
        };
        let frame = match piece.unpacked as usize {
            0 if whole.len() < SMALL => Bytes::copy_from_slice(&whole),
            0 => whole,
            length => unpack(&whole, length)?,
        };
        Ok(Some(Element::Batch(Batch::from_frame(frame)?)))
    }

    /// Nothing follows on a channel.
    pub(super) fn close(&mut self, number: u32) {
        self.0.remove(&number);
    }
}

fn unpack(packed: &[u8], length: usize) -> Result<Bytes, Error> {
    if length > packed.len().saturating_mul(RATIO) {
        return Err(Error::Packed(format!("{} bytes can't have been {length}", packed.len())));
    }
    let frame = lz4_flex::block::decompress(packed, length).map_err(|error| Error::Packed(error.to_string()))?;
    if frame.len() == length { Ok(frame.into()) } else { Err(Error::Packed("it has another length".into())) }
}

#[cfg(test)]
mod tests {
    use flow_dataflow::{BatchBuilder, Row};
    use flow_frame::id;

    use super::*;

    fn batch(rows: usize, bytes: usize) -> Batch {
        let mut builder = BatchBuilder::default();
        for row in 0..rows {
            let value: Vec<u8> = (0..bytes).map(|at| (at * row % 251) as u8).collect();
            builder.push(Row { key: (row % 2 == 0).then_some(b"key"), value: Some(&value), ..Row::default() });
        }
        builder.finish()
    }

    fn messages(batch: &Batch, pack_from: Option<usize>) -> Vec<Data> {
        let mut outgoing = Outgoing::new(batch, pack_from).expect("small");
        let mut messages = Vec::new();
        while messages.is_empty() || !outgoing.is_sent() {
            let content = Some(Content::Piece(outgoing.piece()));
            messages.push(Data { number: 1, sequence: messages.len() as u64, content });
        }
        messages
    }

    fn there_and_back(batch: &Batch, pack_from: Option<usize>) -> usize {
        let (mut incoming, all) = (Incoming::default(), messages(batch, pack_from));
        let count = all.len();
        let elements: Vec<Element> = all.into_iter().filter_map(|data| incoming.take(data).expect("good")).collect();
        let [Element::Batch(back)] = &elements[..] else { panic!("one batch, not {elements:?}") };
        assert_eq!((back.rows(), back.size()), (batch.rows(), batch.size()));
        for (there, back) in batch.columns().iter().zip(back.columns()) {
            assert_eq!(
                (there.id, &there.data, &there.offsets, &there.nulls),
                (back.id, &back.data, &back.offsets, &back.nulls)
            );
        }
        count
    }

    #[test]
    fn batches_come_back_as_they_were() {
        for pack_from in [None, Some(0)] {
            assert_eq!(there_and_back(&batch(0, 0), pack_from), 1);
            assert_eq!(there_and_back(&batch(7, 100), pack_from), 1);
            assert_eq!(there_and_back(&Batch::new(3), pack_from), 1);
        }
        assert_eq!(there_and_back(&batch(3, PIECE), None), 4);
        assert_eq!(there_and_back(&batch(3, PIECE), Some(0)), 1, "it repeats itself");
        assert_eq!(there_and_back(&batch(3, PIECE), Some(PIECE * 4)), 4);
    }

    #[test]
    fn what_no_worker_sends_is_refused() {
        let check = |change: fn(&mut Vec<Data>), expected: &str| {
            let (mut incoming, mut all) = (Incoming::default(), messages(&batch(10, 1000), Some(0)));
            change(&mut all);
            let error = all.into_iter().find_map(|data| incoming.take(data).err()).expect(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        fn piece(data: &mut Data) -> &mut Piece {
            let Some(Content::Piece(piece)) = &mut data.content else { panic!("a piece") };
            piece
        }
        check(|all| all.push(all[0].clone()), "message 0 of a channel came where 1 was due");
        check(|all| all[0].sequence = 1, "message 1 of a channel came where 0 was due");
        check(|all| all[0].content = None, "without content");
        check(|all| piece(&mut all[0]).unpacked = u32::MAX, "can't have been");
        check(|all| piece(&mut all[0]).unpacked += 1, "another length");
        check(|all| piece(&mut all[0]).unpacked = 0, "a batch that can't be read");
        check(|all| piece(&mut all[0]).bytes = Bytes::from_static(b"FLW\x02garbage that is long"), "unpacked");
    }

    #[test]
    fn small_frames_keep_no_buffer_of_the_network_and_large_ones_are_not_copied() {
        let address = |rows: usize| {
            let data = messages(&batch(rows, 100), None).remove(0);
            let Some(Content::Piece(piece)) = &data.content else { panic!("a piece") };
            let range = piece.bytes.as_ptr_range();
            let element = Incoming::default().take(data.clone()).expect("good").expect("whole");
            let Element::Batch(batch) = element else { panic!("a batch") };
            range.contains(&batch.column(id::VALUE).expect("a value").data.as_ptr())
        };
        assert!(!address(10));
        assert!(address(1000));
    }
}
