//! What a sink has taken and not written yet, so that only what it has written counts as given. Must never hold more than
//! two numbers a batch.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use crate::Sink;
use crate::counters::Counters;

/// The batches that a sink has taken and may not have written.
#[derive(Default)]
pub struct Unwritten {
    /// Rows and bytes of values of each, in the order in which they were taken.
    batches: VecDeque<(u64, u64)>,
    /// Rows of all of them.
    rows: u64,
}

impl Unwritten {
    /// A batch that the sink takes.
    pub fn add(&mut self, rows: u64, bytes: u64) {
        self.batches.push_back((rows, bytes));
        self.rows += rows;
    }

    /// Counts as given what the sink has written since it was asked last. It may write in another order than it takes; over
    /// whole batches that evens out.
    pub fn settle(&mut self, sink: &dyn Sink, counters: &Counters) {
        if self.batches.is_empty() {
            return;
        }
        let unwritten = sink.unwritten() as u64;
        while let Some(&(rows, bytes)) = self.batches.front()
            && self.rows - rows >= unwritten
        {
            self.rows -= rows;
            self.batches.pop_front();
            counters.records_out.fetch_add(rows, Relaxed);
            counters.bytes_out.fetch_add(bytes, Relaxed);
        }
    }
}
