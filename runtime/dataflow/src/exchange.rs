//! The edge between two subtasks of one worker: a bounded queue of elements with one writer and one reader. A push never
//! waits: a full queue gives the element back, and whoever waits for the other side is woken by its [`Wake`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Element;

/// Wakes the slot of one end. Must be cheap and must not lock a queue.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

struct Queue {
    elements: VecDeque<Element>,
    bytes: usize,
    /// The writer found it full and waits.
    writer_waits: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    capacity: usize,
    wake_reader: Wake,
    wake_writer: Wake,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change under the lock is whole before anything can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that a subtask writes to.
pub struct Writer(Arc<Shared>);

/// The end that a subtask reads from.
pub struct Reader(Arc<Shared>);

/// A queue that takes elements while it holds less than `capacity` bytes: one batch of any size always passes.
pub fn channel(capacity: usize, wake_reader: Wake, wake_writer: Wake) -> (Writer, Reader) {
    let queue = Mutex::new(Queue { elements: VecDeque::new(), bytes: 0, writer_waits: false });
    let shared = Arc::new(Shared { queue, capacity, wake_reader, wake_writer });
    (Writer(shared.clone()), Reader(shared))
}

fn size(element: &Element) -> usize {
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
        if size > 0 && queue.bytes >= self.0.capacity {
            queue.writer_waits = true;
            return Err(element);
        }
        queue.bytes += size;
        queue.elements.push_back(element);
        let first = queue.elements.len() == 1;
        drop(queue);
        if first {
            (self.0.wake_reader)();
        }
        Ok(())
    }
}

impl Reader {
    /// Takes the oldest element.
    pub fn pop(&self) -> Option<Element> {
        let mut queue = self.0.lock();
        let element = queue.elements.pop_front()?;
        queue.bytes -= size(&element);
        let wake = queue.writer_waits && queue.bytes < self.0.capacity;
        if wake {
            queue.writer_waits = false;
        }
        drop(queue);
        if wake {
            (self.0.wake_writer)();
        }
        Some(element)
    }
}
