//! Which node used how much CPU time. The clock of a thread's CPU time costs a system call, so it is read now and then, and
//! what has passed is shared out among the nodes of the slot by the time that each was busy.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use flow_dataflow::counters::Counters;
use flow_dataflow::task::Task;
use flow_plugin::ThreadClock;

use crate::slot::stopwatch;

/// So often at most, in nanoseconds.
const EVERY: u64 = 10_000_000;

/// The CPU time of one slot's thread, which made it.
pub(crate) struct CpuShares {
    clock: ThreadClock,
    /// CPU time that was shared out.
    shared: Duration,
    /// When that was.
    at: u64,
    /// Each node with its busy time by then.
    nodes: Vec<(Arc<Counters>, u64)>,
}

impl CpuShares {
    /// For the nodes of these tasks.
    pub(crate) fn of<'a>(tasks: impl Iterator<Item = &'a Task>) -> CpuShares {
        let clock = ThreadClock::own();
        let nodes = tasks.flat_map(Task::nodes).map(|node| (node.clone(), 0)).collect();
        CpuShares { clock, shared: clock.now(), at: stopwatch(), nodes }
    }

    /// Shares out what the thread has used, if it is time.
    pub(crate) fn share_sometimes(&mut self) {
        let now = stopwatch();
        if now - self.at >= EVERY {
            self.at = now;
            self.share();
        }
    }

    fn share(&mut self) {
        let used = self.clock.now().saturating_sub(self.shared);
        let busy: Vec<u64> = self.nodes.iter().map(|(node, before)| node.busy_ns.load(Relaxed) - before).collect();
        let all: u64 = busy.iter().sum();
        if all == 0 {
            return;
        }
        self.shared += used;
        // What the slot itself takes up in looking for work is nobody's.
        let used = used.as_nanos().min(all.into());
        for ((node, before), busy) in self.nodes.iter_mut().zip(busy) {
            *before += busy;
            let share = used * u128::from(busy) / u128::from(all);
            // Whoever reads it finds the time that it is a share of.
            node.cpu_ns.fetch_add(share as u64, Release);
        }
    }
}

impl Drop for CpuShares {
    /// What is left, when the slot has done its work.
    fn drop(&mut self) {
        self.share();
    }
}

#[cfg(test)]
mod tests {
    use flow_dataflow::output_gate::OutputGate;
    use flow_dataflow::source::{Locator, Polled, Source};
    use flow_dataflow::task::{Head, Tail};

    use super::*;

    struct Nothing;

    impl Source for Nothing {
        fn poll(&mut self, _: usize, _: usize) -> Result<Polled, flow_dataflow::Error> {
            Ok(Polled::Idle)
        }

        fn positions(&self) -> Vec<(u32, i64)> {
            Vec::new()
        }

        fn splits(&self) -> Vec<flow_model::checkpoint::snapshot::Split> {
            Vec::new()
        }

        fn locator(&self) -> Locator {
            Arc::new(|split, position| format!("{split}:{position}").into())
        }
    }

    #[test]
    fn the_time_of_the_thread_is_shared_out_by_who_was_busy() {
        let task = || {
            let head = Head::Source(Box::new(Nothing), Arc::default());
            Task::new(head, vec![], Tail::Gate(OutputGate::new(vec![])), stopwatch)
        };
        let tasks = [task(), task(), task()];
        let mut shares = CpuShares::of(tasks.iter());
        let clock = ThreadClock::own();
        let begun = clock.now();
        while clock.now() - begun < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        // As if the thread had been stopped for most of it: nobody gets more than it has used.
        for (task, busy) in tasks.iter().zip([1_000_000_000, 3_000_000_000, 0]) {
            task.nodes()[0].busy_ns.store(busy, Relaxed);
        }
        shares.share();
        let [one, two, none] = tasks.each_ref().map(|task| task.nodes()[0].cpu_ns.load(Relaxed));
        assert_eq!(none, 0);
        assert!((one * 3).abs_diff(two) <= 3, "{one} {two}");
        assert!((20_000_000..4_000_000_000).contains(&(one + two)), "{one} {two}");
        shares.share();
        let again = tasks.each_ref().map(|task| task.nodes()[0].cpu_ns.load(Relaxed));
        assert_eq!(again, [one, two, 0], "nobody was busy since");
        tasks[0].nodes()[0].busy_ns.fetch_add(1, Relaxed);
        shares.share();
        assert!(tasks[0].nodes()[0].cpu_ns.load(Relaxed) <= one + 1, "nobody used more than it was busy");
    }
}
