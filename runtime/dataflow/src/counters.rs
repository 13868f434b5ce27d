//! What a node of the graph has done in one subtask: counted and timed by the task that it stands in, read by anybody.
//!
//! Must cost little: relaxed additions, and one reading of the clock for each node that a batch passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flow_frame::layout::id;

use crate::Batch;
use crate::call::Stopwatch;

/// What one node of the graph has taken, given and taken up, in one subtask.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records taken.
    pub records_in: AtomicU64,
    /// Records given.
    pub records_out: AtomicU64,
    /// Bytes of values taken.
    pub bytes_in: AtomicU64,
    /// Bytes of values given.
    pub bytes_out: AtomicU64,
    /// Records that left the stream here, as `on-error` says.
    pub rejected: AtomicU64,
    /// Those of them that became dead letters.
    pub dead_letters: AtomicU64,
    /// Nanoseconds that the slot spent in this node.
    pub busy_ns: AtomicU64,
    /// Nanoseconds in which its task could not pass on its output.
    pub backpressured_ns: AtomicU64,
    /// Nanoseconds in which its task had no input.
    pub idle_ns: AtomicU64,
    /// Nanoseconds of CPU time out of `busy_ns`: whoever steps the task writes it.
    pub cpu_ns: AtomicU64,
}

impl Counters {
    pub(crate) fn took(&self, batch: &Batch) {
        self.records_in.fetch_add(batch.rows() as u64, Relaxed);
        self.bytes_in.fetch_add(value_bytes(batch), Relaxed);
    }

    pub(crate) fn gave(&self, batches: &[Batch]) {
        for batch in batches {
            self.records_out.fetch_add(batch.rows() as u64, Relaxed);
            self.bytes_out.fetch_add(value_bytes(batch), Relaxed);
        }
    }
}

pub(crate) fn value_bytes(batch: &Batch) -> u64 {
    batch.column(id::VALUE).map_or(0, |c| c.data.len() as u64)
}

/// Why a task stands still between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It has not been stepped yet, or could go on: the slot is at work for others.
    Ready,
    /// There is no input.
    Starved,
    /// The output can't be passed on.
    Blocked,
}

/// Tells the time of a task apart.
pub(crate) struct Meter {
    stopwatch: Stopwatch,
    /// All of the task, in the order in which rows pass them.
    nodes: Vec<Arc<Counters>>,
    /// When it was looked at last.
    at: u64,
    pause: Pause,
    /// How long the task has worked or had no room, since [`Meter::take_spent`].
    spent: u64,
}

impl Meter {
    pub(crate) fn new(stopwatch: Stopwatch, nodes: Vec<Arc<Counters>>) -> Meter {
        Meter { stopwatch, nodes, at: 0, pause: Pause::Ready, spent: 0 }
    }

    pub(crate) fn nodes(&self) -> &[Arc<Counters>] {
        &self.nodes
    }

    /// A step begins: what has passed since the last one was a pause of all nodes.
    pub(crate) fn resume(&mut self) {
        let passed = self.passed();
        if self.pause == Pause::Blocked {
            self.spent += passed;
        }
        for node in &self.nodes {
            match self.pause {
                Pause::Ready => {}
                Pause::Starved => _ = node.idle_ns.fetch_add(passed, Relaxed),
                Pause::Blocked => _ = node.backpressured_ns.fetch_add(passed, Relaxed),
            }
        }
    }

    /// What has passed since the clock was last looked at was this node's.
    pub(crate) fn lap(&mut self, node: &Counters) {
        let passed = self.passed();
        self.spent += passed;
        node.busy_ns.fetch_add(passed, Relaxed);
    }

    /// The same of the last node, which also passes on what leaves the task.
    pub(crate) fn lap_of_last(&mut self) {
        let passed = self.passed();
        self.spent += passed;
        if let Some(last) = self.nodes.last() {
            last.busy_ns.fetch_add(passed, Relaxed);
        }
    }

    /// The step is over.
    pub(crate) fn pause(&mut self, pause: Pause) {
        self.lap_of_last();
        self.pause = pause;
    }

    /// True, and it counts anew, if the task has worked or had no room for so many nanoseconds since it counted anew.
    pub(crate) fn take_spent(&mut self, nanos: u64) -> bool {
        let enough = self.spent >= nanos;
        if enough {
            self.spent = 0;
        }
        enough
    }

    fn passed(&mut self) -> u64 {
        let now = (self.stopwatch)();
        now - std::mem::replace(&mut self.at, now)
    }
}
