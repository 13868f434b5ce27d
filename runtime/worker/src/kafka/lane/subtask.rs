//! What is known of one subtask's output, between its sink, the store and its lane.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flow_dataflow::exchange::Wake;
use flow_dataflow::lane::{Ack, Sealed};
use flow_model::checkpoint::CheckpointId;

use super::{LaneEvent, Shared};

pub(super) struct Subtask {
    pub(super) index: u32,
    pub(super) lane: u32,
    sealed: Mutex<Sealed>,
    /// Rows that are written.
    pub(super) written: AtomicU64,
    /// Calls its slot.
    pub(super) wake: Wake,
}

impl Subtask {
    pub(super) fn new(index: u32, lane: u32, wake: Wake) -> Subtask {
        Subtask { index, lane, sealed: Mutex::new(Sealed::new(lane)), written: AtomicU64::new(0), wake }
    }

    pub(super) fn sealed(&self) -> MutexGuard<'_, Sealed> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of the snapshots that are complete by now.
    pub(super) fn ack(&self, shared: &Shared) {
        // Held while it is told, so that they are told in their order.
        let mut sealed = self.sealed();
        while let Some(Ack { checkpoint, output }) = sealed.ack() {
            (shared.tell)(LaneEvent::Acked { subtask: self.index, checkpoint, output });
        }
    }

    /// Its lane has written all up to a checkpoint.
    pub(super) fn written(&self, through: CheckpointId, shared: &Shared) {
        let segments = self.sealed().written(through);
        let parts = || segments.iter().flat_map(|segment| &segment.parts);
        shared.shelf.forget(parts().map(|part| &part.chunk.object));
        self.written.fetch_add(parts().map(|part| part.records).sum(), SeqCst);
        (self.wake)();
    }
}
