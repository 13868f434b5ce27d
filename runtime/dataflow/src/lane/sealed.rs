//! What one subtask of a sink has sealed: it stands in every snapshot until it was seen as written, whatever became of the
//! checkpoint that sealed it. A snapshot is complete when all parts that it names are stored.

use std::collections::{BTreeSet, VecDeque};

use flow_model::checkpoint::snapshot::{Output, Part, Segment};
use flow_model::checkpoint::{CheckpointId, ObjectName};

/// A subtask's complete part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// What it names.
    pub output: Output,
}

/// The bookkeeping of one subtask.
#[derive(Clone, Debug)]
pub struct Sealed {
    lane: u32,
    /// Parts of the segment that the next barrier seals.
    open: Vec<Part>,
    /// Sealed and not seen as written, oldest first.
    segments: Vec<Segment>,
    /// Parts on their way to the store.
    uploading: BTreeSet<ObjectName>,
    /// Snapshots that wait for uploads, oldest first.
    waiting: VecDeque<Ack>,
}

impl Sealed {
    /// Of a subtask that writes by this lane.
    pub fn new(lane: u32) -> Sealed {
        Sealed { lane, open: Vec::new(), segments: Vec::new(), uploading: BTreeSet::new(), waiting: VecDeque::new() }
    }

    /// A part of the open segment is whole and on its way to the store.
    pub fn add(&mut self, part: Part) {
        self.uploading.insert(part.chunk.object.clone());
        self.open.push(part);
    }

    /// A barrier: seals the open segment, none if it has no part, and takes a snapshot.
    pub fn seal(&mut self, checkpoint: CheckpointId) -> Option<Segment> {
        let parts = std::mem::take(&mut self.open);
        let segment = (!parts.is_empty()).then_some(Segment { checkpoint, parts });
        self.segments.extend(segment.clone());
        let output = Output { lane: self.lane, segments: self.segments.clone(), files: Vec::new() };
        self.waiting.push_back(Ack { checkpoint, output });
        segment
    }

    /// A part is stored.
    pub fn stored(&mut self, object: &ObjectName) {
        self.uploading.remove(object);
    }

    /// All segments of checkpoints up to this one are written. Gives those that were not known to be.
    pub fn written(&mut self, through: CheckpointId) -> Vec<Segment> {
        self.segments.extract_if(.., |segment| segment.checkpoint <= through).collect()
    }

    /// The next snapshot of which all is stored.
    pub fn ack(&mut self) -> Option<Ack> {
        let parts = self.waiting.front()?.output.segments.iter().flat_map(|segment| &segment.parts);
        let complete = !parts.into_iter().any(|part| self.uploading.contains(&part.chunk.object));
        if complete { self.waiting.pop_front() } else { None }
    }

    /// Whether something of it is not seen as written: sealed, or waiting for a barrier.
    pub fn is_written(&self) -> bool {
        self.open.is_empty() && self.segments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use flow_model::checkpoint::{Attempt, Chunk, Incarnation};

    use super::*;

    fn id(counter: u32) -> CheckpointId {
        CheckpointId::new(Attempt(1), counter)
    }

    fn part(unique: u128) -> Part {
        let object = ObjectName::new(&Incarnation::of(1), id(1), unique);
        Part { chunk: Chunk { object, offset: 0, length: 10, crc: 0 }, records: 1 }
    }

    fn named(ack: Option<Ack>) -> Option<(u32, Vec<(u32, usize)>)> {
        let segments = |output: Output| {
            output.segments.iter().map(|segment| (segment.checkpoint.counter(), segment.parts.len())).collect()
        };
        ack.map(|ack| (ack.checkpoint.counter(), segments(ack.output)))
    }

    #[test]
    fn a_snapshot_names_all_that_is_not_written_and_waits_for_its_uploads() {
        let mut sealed = Sealed::new(0);
        sealed.add(part(1));
        sealed.add(part(2));
        assert_eq!(sealed.seal(id(1)).map(|segment| segment.parts.len()), Some(2));
        sealed.add(part(3));
        assert!(sealed.seal(id(2)).is_some());
        assert_eq!(sealed.seal(id(3)), None, "nothing came in between");
        assert_eq!(named(sealed.ack()), None);
        // The last part is stored first: nobody is to hear of it before what stands in front of it.
        sealed.stored(&part(3).chunk.object);
        sealed.stored(&part(1).chunk.object);
        assert_eq!(named(sealed.ack()), None);
        sealed.stored(&part(2).chunk.object);
        assert_eq!(named(sealed.ack()), Some((1, vec![(1, 2)])));
        assert_eq!(named(sealed.ack()), Some((2, vec![(1, 2), (2, 1)])));
        assert_eq!(named(sealed.ack()), Some((3, vec![(1, 2), (2, 1)])));
        assert_eq!(named(sealed.ack()), None);
        sealed.written(id(1));
        sealed.seal(id(4));
        assert_eq!(named(sealed.ack()), Some((4, vec![(2, 1)])));
        assert!(!sealed.is_written());
        sealed.written(id(4));
        assert!(sealed.is_written());
    }
}
