//! The sink of one subtask: rows into parts of segments, which are uploaded; what each snapshot names is [`Sealed`]'s to say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow_dataflow::element::Barrier;
use flow_dataflow::lane::{Ack, Sealed};
use flow_dataflow::{Batch, Error, Sink};
use flow_frame::layout::id;
use flow_model::checkpoint::snapshot::{Part, Piece};
use flow_model::checkpoint::{Attempt, CheckpointId, Chunk, Incarnation, ObjectName};
use flow_model::ids::OperatorName;
use flow_protocol::job::Event;

use crate::broker::Record;
use crate::outbox::{Names, Outbox, Ticket, Wish};
use crate::plant::Plant;
use crate::store::Body;

/// Partitions that one life of the job writes.
pub const PARTITIONS: u32 = 3;
/// From the first partition of one life to that of the next: what a former one wrote is no output of this one.
const LIFE: u32 = 10;
/// What a record counts of a transaction's bytes: some parts fill one.
const WEIGHT: u64 = 1 << 20;

/// Whose output it is.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The life of the job.
    pub incarnation: Incarnation,
    /// The attempt.
    pub attempt: Attempt,
    /// The sink.
    pub node: OperatorName,
    /// Its subtask.
    pub subtask: usize,
    /// The lane by which it writes.
    pub lane: u32,
}

struct Shared {
    owner: Owner,
    sealed: Sealed,
    part: Vec<(u32, Record)>,
    /// Records of a whole part.
    whole: usize,
    /// What the next object is begun for.
    next: CheckpointId,
    /// Parts that are not stored: with too many of them it takes nothing.
    uploading: usize,
    names: Names,
    outbox: Outbox,
    plant: Plant,
}

/// A handle to the sink of one subtask.
#[derive(Clone)]
pub struct LaneSink(Arc<Mutex<Shared>>);

impl LaneSink {
    /// A sink whose parts have so many records.
    pub fn new(owner: Owner, whole: usize, (names, outbox): (Names, Outbox), plant: Plant) -> LaneSink {
        let (sealed, next) = (Sealed::new(owner.lane), CheckpointId::new(owner.attempt, 1));
        let part = Vec::new();
        LaneSink(Arc::new(Mutex::new(Shared { owner, sealed, part, whole, next, uploading: 0, names, outbox, plant })))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part is stored.
    pub fn stored(&self, object: &ObjectName) {
        let mut shared = self.lock();
        shared.uploading -= 1;
        shared.sealed.stored(object);
        shared.acknowledge();
    }

    /// The lane has written all up to a checkpoint.
    pub fn written(&self, lane: u32, through: CheckpointId) {
        let mut shared = self.lock();
        if shared.owner.lane == lane {
            shared.sealed.written(through);
        }
    }
}

impl Shared {
    fn close(&mut self) {
        let records = std::mem::take(&mut self.part);
        if records.is_empty() {
            return;
        }
        let object = ObjectName::new(&self.owner.incarnation, self.next, self.names.next());
        let count = records.len() as u64;
        let chunk = Chunk { object: object.clone(), offset: 0, length: count * WEIGHT, crc: 0 };
        self.sealed.add(Part { chunk, records: count });
        self.uploading += 1;
        let ticket = Ticket::Part(self.owner.subtask, object.clone());
        self.outbox.put(Wish::Upload(ticket, object.clone(), Body::Part(records.into())));
        if self.plant == Plant::AcknowledgesUploads {
            self.sealed.stored(&object);
        }
    }

    fn acknowledge(&mut self) {
        while let Some(Ack { checkpoint, mut output }) = self.sealed.ack() {
            if self.plant == Plant::ForgetsTheAborted {
                output.segments.retain(|segment| segment.checkpoint == checkpoint);
            }
            let Owner { attempt, node, subtask, .. } = self.owner.clone();
            let (subtask, piece) = (subtask as u32, Piece::Output(output));
            self.outbox.put(Wish::Tell(Event::Acknowledged { attempt, checkpoint, node, subtask, piece }));
        }
    }
}

/// An incarnation of a run: those of one run differ in their last digit.
pub fn incarnation(seed: u64, life: u32) -> Incarnation {
    Incarnation::of(u128::from(seed) << 4 | u128::from(life))
}

/// The first of the partitions that an incarnation writes.
pub fn first_partition(incarnation: &Incarnation) -> u32 {
    incarnation.as_str().chars().last().and_then(|digit| digit.to_digit(16)).unwrap_or(0) * LIFE
}

/// The partition of a key, among those of a life.
fn partition(key: &[u8]) -> u32 {
    key.iter().map(|byte| u32::from(*byte)).sum::<u32>() % PARTITIONS
}

impl Sink for LaneSink {
    fn ready(&mut self) -> Result<bool, Error> {
        Ok(self.lock().uploading < 4)
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        let mut shared = self.lock();
        let wrong = || Error::Fatal("output without keys or values".into());
        let keys = batch.bytes(id::KEY).ok_or_else(wrong)?;
        let values = batch.bytes(id::VALUE).ok_or_else(wrong)?;
        let first = first_partition(&shared.owner.incarnation);
        for row in 0..batch.rows() {
            let record = Record { key: keys.raw(row).to_vec(), value: values.raw(row).to_vec() };
            shared.part.push((first + partition(&record.key), record));
            if shared.part.len() >= shared.whole {
                shared.close();
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        let mut shared = self.lock();
        shared.close();
        shared.next = CheckpointId(barrier.checkpoint.0 + 1);
        if let Some(segment) = shared.sealed.seal(barrier.checkpoint) {
            let subtask = shared.owner.subtask;
            shared.outbox.put(Wish::Sealed(subtask, segment));
        }
        shared.acknowledge();
        Ok(())
    }

    fn unwritten(&self) -> usize {
        self.lock().part.len()
    }

    fn finish(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}
