//! The edge between two subtasks: a queue of elements with one writer and one reader. Between subtasks of one worker it is bounded: a
//! push never waits, a full queue gives the element back, and whoever waits for the other side is woken by its [`Wake`]. Where the other
//! subtask is elsewhere, one end is a carrier's: it reads from a bounded queue on the sender's side and fills an [`Inlet`] on the
//! receiver's, which refuses nothing. Tasks can't tell the difference.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Element;

/// Wakes the slot of one end. Must be cheap and must not lock a queue.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Hears how many bytes a reader has taken. Must be cheap and must not lock a queue.
pub type Taken = Arc<dyn Fn(usize) + Send + Sync>;

struct Queue {
    elements: VecDeque<Element>,
    bytes: usize,
    /// The writer found it full and waits.
    writer_waits: bool,
}

/// What keeps a queue short.
enum Bound {
    /// Its own capacity: the writer that found it full is woken when there is room.
    Capacity(usize, Wake),
    /// Whoever writes, who is told what was read.
    Writer(Taken),
}

struct Shared {
    queue: Mutex<Queue>,
    bound: Bound,
    wake_reader: Wake,
}

impl Shared {
    fn new(bound: Bound, wake_reader: Wake) -> Arc<Shared> {
        let queue = Mutex::new(Queue { elements: VecDeque::new(), bytes: 0, writer_waits: false });
        Arc::new(Shared { queue, bound, wake_reader })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change under the lock is whole before anything can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, mut queue: MutexGuard<'_, Queue>, element: Element, size: usize) {
        queue.bytes += size;
        queue.elements.push_back(element);
        let first = queue.elements.len() == 1;
        drop(queue);
        if first {
            (self.wake_reader)();
        }
    }
}

/// The end that a subtask writes to.
pub struct Writer(Arc<Shared>);

/// The end that a subtask reads from.
pub struct Reader(Arc<Shared>);

/// The end that a carrier fills.
pub struct Inlet(Arc<Shared>);

/// A queue that takes elements while it holds less than `capacity` bytes: one batch of any size always passes.
pub fn channel(capacity: usize, wake_reader: Wake, wake_writer: Wake) -> (Writer, Reader) {
    let shared = Shared::new(Bound::Capacity(capacity, wake_writer), wake_reader);
    (Writer(shared.clone()), Reader(shared))
}

/// A queue that takes every element: whoever fills it sees to it that it stays short, by what `taken` hears.
pub fn inlet(wake_reader: Wake, taken: Taken) -> (Inlet, Reader) {
    let shared = Shared::new(Bound::Writer(taken), wake_reader);
    (Inlet(shared.clone()), Reader(shared))
}

/// Bytes of an element, as queues and credits count them.
pub fn size(element: &Element) -> usize {
    match element {
        Element::Batch(batch) => batch.size(),
        Element::Watermark(_) | Element::Barrier(_) | Element::EndOfInput => 0,
    }
}

impl Writer {
    /// Appends an element, or gives it back when the queue is full; then the writer is woken once there is room. What is not
    /// a batch always fits.
    pub fn push(&self, element: Element) -> Result<(), Element> {
        let mut queue = self.0.lock();
        let size = size(&element);
        if let Bound::Capacity(capacity, _) = self.0.bound
            && size > 0
            && queue.bytes >= capacity
        {
            queue.writer_waits = true;
            return Err(element);
        }
        self.0.append(queue, element, size);
        Ok(())
    }

    /// Whether its reader has taken all.
    pub fn is_empty(&self) -> bool {
        self.0.lock().elements.is_empty()
    }
}

impl Inlet {
    /// Appends an element.
    pub fn push(&self, element: Element) {
        let size = size(&element);
        self.0.append(self.0.lock(), element, size);
    }

    /// Whether the reader is gone.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Reader {
    /// Takes the oldest element.
    pub fn pop(&self) -> Option<Element> {
        self.pop_if(|_| true)
    }

    /// Takes the oldest element if it is no batch.
    pub fn pop_control(&self) -> Option<Element> {
        self.pop_if(|element| !matches!(element, Element::Batch(_)))
    }

    fn pop_if(&self, wanted: impl FnOnce(&Element) -> bool) -> Option<Element> {
        let mut queue = self.0.lock();
        if !queue.elements.front().is_some_and(wanted) {
            return None;
        }
        let element = queue.elements.pop_front()?;
        let size = size(&element);
        queue.bytes -= size;
        let wake = match &self.0.bound {
            Bound::Capacity(capacity, wake) if queue.bytes < *capacity => {
                std::mem::take(&mut queue.writer_waits).then_some(wake)
            }
            _ => None,
        };
        drop(queue);
        if let Some(wake) = wake {
            wake();
        }
        if let Bound::Writer(taken) = &self.0.bound
            && size > 0
        {
            taken(size);
        }
        Some(element)
    }

    /// Whether there is nothing to take now.
    pub fn is_empty(&self) -> bool {
        self.0.lock().elements.is_empty()
    }

    /// Whether the writer is gone, so that nothing comes behind what is there.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use flow_model::checkpoint::CheckpointId;

    use super::*;
    use crate::{Barrier, BatchBuilder, Row};

    fn batch(bytes: usize) -> Element {
        let mut builder = BatchBuilder::default();
        builder.push(Row { value: Some(&vec![b'x'; bytes]), ..Row::default() });
        Element::Batch(builder.finish())
    }

    fn barrier() -> Element {
        Element::Barrier(Barrier::first(CheckpointId(1)))
    }

    #[test]
    fn control_is_taken_only_from_the_front() {
        let (writer, reader) = channel(1, Arc::new(|| ()), Arc::new(|| ()));
        for element in [barrier(), batch(10), barrier()] {
            assert!(writer.push(element).is_ok());
        }
        assert!(matches!(reader.pop_control(), Some(Element::Barrier(_))));
        assert!(reader.pop_control().is_none(), "a batch is in front");
        assert!(matches!(reader.pop(), Some(Element::Batch(_))));
        assert!(matches!(reader.pop_control(), Some(Element::Barrier(_))));
        assert!(reader.is_empty());
    }

    #[test]
    fn an_inlet_takes_all_and_tells_what_was_read() {
        let read = Arc::new(AtomicUsize::new(0));
        let counter = read.clone();
        let taken: Taken = Arc::new(move |bytes| _ = counter.fetch_add(bytes, Relaxed));
        let (inlet, reader) = inlet(Arc::new(|| ()), taken);
        for _ in 0..100 {
            inlet.push(batch(1000));
        }
        inlet.push(barrier());
        let size = size(&batch(1000));
        for popped in 1..=100 {
            assert!(reader.pop().is_some());
            assert_eq!(read.load(Relaxed), popped * size);
        }
        assert!(matches!(reader.pop(), Some(Element::Barrier(_))));
        assert_eq!(read.load(Relaxed), 100 * size, "a barrier has no bytes");
        assert!(!inlet.is_abandoned());
        drop(reader);
        assert!(inlet.is_abandoned());
    }

    #[test]
    fn a_reader_sees_that_its_writer_is_gone() {
        let (writer, reader) = channel(1, Arc::new(|| ()), Arc::new(|| ()));
        assert!(writer.push(batch(1)).is_ok() && !reader.is_abandoned());
        drop(writer);
        assert!(reader.is_abandoned() && !reader.is_empty());
    }
}
