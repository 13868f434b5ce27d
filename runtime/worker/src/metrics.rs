//! What the nodes of a running graph have done, subtask by subtask.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, OnceLock};

use flow_dataflow::counters::Counters;
use flow_dataflow::durations::Durations;
use flow_dataflow::state::cache::Stats;
use flow_model::figures::{Figures, PartitionFigures, StateFigures};

use crate::kafka::Splits;
use crate::rocks::Size;

/// One source, operator or sink of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorMetrics {
    /// Its name in the pipeline.
    pub operator: String,
    /// What each of its subtasks has done.
    pub subtasks: Vec<Figures>,
    /// How far each partition of a Kafka source was read, by topic and partition; empty for everything else.
    pub partitions: Vec<PartitionFigures>,
}

/// One node of a job, shared with its subtasks.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) subtasks: Vec<Subtask>,
    /// What a source reads that has partitions.
    splits: OnceLock<Arc<Splits>>,
}

/// One of its subtasks.
#[derive(Debug, Default)]
pub(crate) struct Subtask {
    pub(crate) counters: Arc<Counters>,
    /// Of an operator, set once it is made.
    pub(crate) durations: OnceLock<Arc<Durations>>,
    /// Set once its state is open.
    pub(crate) state: OnceLock<State>,
}

/// The keyed state of a subtask, from outside.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) cache: Arc<Stats>,
    pub(crate) store: Size,
}

impl Node {
    pub(crate) fn new(name: &str, parallelism: u32) -> Node {
        let subtasks = (0..parallelism).map(|_| Subtask::default()).collect();
        Node { name: name.into(), subtasks, splits: OnceLock::new() }
    }

    /// It reads the partitions that all of its subtasks number together.
    pub(crate) fn read(&self, splits: Arc<Splits>) {
        self.splits.get_or_init(|| splits);
    }

    pub(crate) fn metrics(&self) -> OperatorMetrics {
        OperatorMetrics {
            operator: self.name.clone(),
            subtasks: self.subtasks.iter().map(Subtask::figures).collect(),
            partitions: self.splits.get().map(|splits| splits.figures()).unwrap_or_default(),
        }
    }
}

impl Subtask {
    fn figures(&self) -> Figures {
        let c = &*self.counters;
        let count = |of: &AtomicU64| of.load(Relaxed);
        let us = |of: &AtomicU64| of.load(Relaxed) / 1000;
        // First, since it grows with what is busy: nobody is to see more of it than of that.
        let cpu_us = c.cpu_ns.load(Acquire) / 1000;
        Figures {
            records_in: count(&c.records_in),
            records_out: count(&c.records_out),
            bytes_in: count(&c.bytes_in),
            bytes_out: count(&c.bytes_out),
            rejected: count(&c.rejected),
            dead_letters: count(&c.dead_letters),
            busy_us: us(&c.busy_ns),
            backpressured_us: us(&c.backpressured_ns),
            idle_us: us(&c.idle_ns),
            cpu_us,
            calls: self.durations.get().map(|durations| durations.figures()),
            state: self.state.get().and_then(State::figures),
        }
    }
}

impl State {
    /// None once it is closed.
    fn figures(&self) -> Option<StateFigures> {
        let (store_bytes, store_entries) = self.store.estimate()?;
        let count = |of: &AtomicU64| of.load(Relaxed);
        Some(StateFigures {
            cache_bytes: count(&self.cache.bytes),
            cache_entries: count(&self.cache.entries),
            store_bytes,
            store_entries,
            hits: count(&self.cache.hits),
            misses: count(&self.cache.misses),
        })
    }
}
