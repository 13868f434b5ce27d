//! How long the calls of one subtask took, sorted into classes whose bounds never change. Must cost little: two relaxed
//! additions a call.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flow_model::figures::{CALL_BOUNDS_US, CallFigures};

/// The calls of a function so far, by how long they took.
#[derive(Debug, Default)]
pub struct Durations {
    /// The last is of those above all bounds.
    counts: [AtomicU64; CALL_BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

impl Durations {
    pub(crate) fn add(&self, ns: u64) {
        let class = CALL_BOUNDS_US.partition_point(|bound| bound * 1000 < ns);
        self.counts[class].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// What is counted by now. Calls go on meanwhile, so one may be in the sum and not yet in the counts, or the reverse.
    pub fn figures(&self) -> CallFigures {
        CallFigures {
            sum_us: self.sum_ns.load(Relaxed) / 1000,
            counts: std::array::from_fn(|class| self.counts[class].load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_what_it_bounds() {
        let check = |ns: u64, class: usize| {
            let durations = Durations::default();
            durations.add(ns);
            let figures = durations.figures();
            assert_eq!((figures.counts[class], figures.count()), (1, 1), "{ns} ns");
        };
        check(0, 0);
        check(10_000, 0);
        check(10_001, 1);
        check(5_000_000_000, CALL_BOUNDS_US.len() - 1);
        check(u64::MAX, CALL_BOUNDS_US.len());
    }
}
