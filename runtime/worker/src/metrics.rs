//! What the nodes of a running graph have done, added up over their subtasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flow_dataflow::task::Counters;

/// One source, operator or sink of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorMetrics {
    /// Its name in the pipeline.
    pub operator: String,
    /// Its number of subtasks.
    pub subtasks: u32,
    /// Records taken.
    pub records_in: u64,
    /// Records given.
    pub records_out: u64,
    /// Bytes of values taken.
    pub bytes_in: u64,
    /// Bytes of values given.
    pub bytes_out: u64,
    /// Records that left the stream because of `on-error: skip`.
    pub rejected: u64,
}

/// The counters of one node, shared with its subtasks.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) subtasks: Vec<Arc<Counters>>,
    pub(crate) rejected: Arc<AtomicU64>,
}

impl Node {
    pub(crate) fn new(name: &str, parallelism: u32) -> Node {
        let subtasks = (0..parallelism).map(|_| Arc::default()).collect();
        Node { name: name.into(), subtasks, rejected: Arc::default() }
    }

    pub(crate) fn metrics(&self) -> OperatorMetrics {
        let sum = |of: fn(&Counters) -> &AtomicU64| self.subtasks.iter().map(|c| of(c).load(Relaxed)).sum();
        OperatorMetrics {
            operator: self.name.clone(),
            subtasks: self.subtasks.len() as u32,
            records_in: sum(|c| &c.records_in),
            records_out: sum(|c| &c.records_out),
            bytes_in: sum(|c| &c.bytes_in),
            bytes_out: sum(|c| &c.bytes_out),
            rejected: self.rejected.load(Relaxed),
        }
    }
}
