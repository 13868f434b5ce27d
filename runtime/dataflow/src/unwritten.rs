//! What a sink has taken and not written yet, so that only what it has written counts as given, and what it refuses never does.
//! Must never hold more than two numbers a batch.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use crate::Sink;
use crate::counters::Counters;
use crate::sink::Refused;

/// The batches that a sink has taken and may not have written.
#[derive(Default)]
pub struct Unwritten {
    /// Rows and bytes of values of each, in the order in which they were taken.
    batches: VecDeque<(u64, u64)>,
    /// Rows of all of them.
    rows: u64,
    /// What the sink has refused, as far as that was taken off what it has given.
    refused: Refused,
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
        let (unwritten, refused) = (sink.unwritten() as u64, sink.refused());
        while let Some(&(rows, bytes)) = self.batches.front()
            && self.rows - rows >= unwritten
        {
            self.rows -= rows;
            self.batches.pop_front();
            let not_written = Refused {
                rows: (refused.rows - self.refused.rows).min(rows),
                bytes: (refused.bytes - self.refused.bytes).min(bytes),
            };
            self.refused.rows += not_written.rows;
            self.refused.bytes += not_written.bytes;
            counters.records_out.fetch_add(rows - not_written.rows, Relaxed);
            counters.bytes_out.fetch_add(bytes - not_written.bytes, Relaxed);
        }
    }
}
