//! Parts on their way from a sink to its lane: in memory as long as there is room, and in the store in any case. So memory is
//! bounded without a local disk: what has no room is read back when it is its turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flow_dataflow::Error as TaskError;
use flow_model::checkpoint::{Chunk, ObjectName};

/// Called when a part is stored, or why it is not.
pub type Stored = Box<dyn FnOnce(Result<(), TaskError>) + Send>;
/// Called with the bytes of a part, or why they can't be had.
pub type Got = Box<dyn FnOnce(Result<Bytes, TaskError>) + Send>;

/// Where parts are kept from a barrier until they are written. Neither call waits; what passes is tried again behind them, and
/// an error ends the attempt.
pub trait PartStore: Send + Sync {
    /// Stores an object under a name that no other has.
    fn put(&self, name: ObjectName, bytes: Bytes, done: Stored);

    /// Reads a part of an object.
    fn get(&self, chunk: Chunk, done: Got);
}

struct Part {
    name: ObjectName,
    bytes: Bytes,
    stored: bool,
}

/// Parts in memory, oldest first.
#[derive(Default)]
struct Held {
    parts: Vec<Part>,
    bytes: usize,
}

pub(super) struct Shelf {
    pub(super) store: Arc<dyn PartStore>,
    limit: usize,
    held: Mutex<Held>,
}

impl Shelf {
    pub(super) fn new(store: Arc<dyn PartStore>, limit: usize) -> Shelf {
        Shelf { store, limit, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a part that goes to the store now.
    pub(super) fn keep(&self, name: ObjectName, bytes: Bytes) {
        let mut held = self.held();
        held.bytes += bytes.len();
        held.parts.push(Part { name, bytes, stored: false });
        held.make_room(self.limit);
    }

    /// A part is in the store.
    pub(super) fn stored(&self, name: &ObjectName) {
        let mut held = self.held();
        if let Some(part) = held.parts.iter_mut().find(|part| part.name == *name) {
            part.stored = true;
        }
        held.make_room(self.limit);
    }

    /// A part, if it is in memory.
    pub(super) fn get(&self, name: &ObjectName) -> Option<Bytes> {
        self.held().parts.iter().find(|part| part.name == *name).map(|part| part.bytes.clone())
    }

    /// Parts are written.
    pub(super) fn forget<'a>(&self, names: impl IntoIterator<Item = &'a ObjectName>) {
        let mut held = self.held();
        for name in names {
            if let Some(at) = held.parts.iter().position(|part| part.name == *name) {
                held.bytes -= held.parts.remove(at).bytes.len();
            }
        }
    }

    /// Whether too much is on its way to the store.
    pub(super) fn is_full(&self) -> bool {
        self.held().bytes > self.limit
    }
}

impl Held {
    /// Leaves out the newest ones that the store has: the oldest are written first.
    fn make_room(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some(at) = self.parts.iter().rposition(|part| part.stored)
        {
            self.bytes -= self.parts.remove(at).bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use flow_model::checkpoint::{CheckpointId, Incarnation};

    use super::*;

    struct Nowhere;

    impl PartStore for Nowhere {
        fn put(&self, _: ObjectName, _: Bytes, _: Stored) {}
        fn get(&self, _: Chunk, _: Got) {}
    }

    #[test]
    fn the_newest_that_is_stored_goes_first() {
        let shelf = Shelf::new(Arc::new(Nowhere), 25);
        let name = |unique| ObjectName::new(&Incarnation::of(1), CheckpointId::NONE, unique);
        let kept = || (0..4).filter(|n| shelf.get(&name(*n)).is_some()).collect::<Vec<_>>();
        (0..3).for_each(|n| shelf.keep(name(n), Bytes::from_static(&[0; 10])));
        assert!(shelf.is_full(), "nothing of it is stored");
        shelf.stored(&name(0));
        assert_eq!((kept(), shelf.is_full()), (vec![1, 2], false));
        shelf.stored(&name(1));
        shelf.keep(name(3), Bytes::from_static(&[0; 10]));
        assert_eq!((kept(), shelf.is_full()), (vec![2, 3], false));
        shelf.forget([&name(2), &name(0)]);
        assert_eq!(kept(), [3]);
    }
}
