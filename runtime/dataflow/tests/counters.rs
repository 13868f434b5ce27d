//! Where the time of a task goes.

mod native;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use flow_dataflow::call::OnError;
use flow_dataflow::counters::Counters;
use flow_dataflow::function::{Answer, Kind};
use flow_dataflow::source::Locator;
use flow_dataflow::task::{Head, Link, Step, Tail, Task};
use flow_dataflow::{Batch, Error, Polled, Sink, Source};
use native::{Native, records};

thread_local! {
    static CLOCK: Cell<u64> = const { Cell::new(1_000) };
}

fn stopwatch() -> u64 {
    CLOCK.get()
}

fn pass(time: u64) {
    CLOCK.set(CLOCK.get() + time);
}

/// Takes 3 for a batch, and has one, then nothing, then one.
struct Slow(u32);

impl Source for Slow {
    fn poll(&mut self, _: usize, _: usize) -> Result<Polled, Error> {
        self.0 += 1;
        if self.0 == 2 {
            return Ok(Polled::Idle);
        }
        pass(3);
        Ok(Polled::Batch(records(&[(None, "a")])))
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

/// Takes 100 for a batch, and is ready when it is told so.
struct Door(Arc<std::sync::atomic::AtomicBool>);

impl Sink for Door {
    fn ready(&mut self) -> Result<bool, Error> {
        Ok(self.0.load(Relaxed))
    }

    fn write(&mut self, _: Batch) -> Result<(), Error> {
        pass(100);
        Ok(())
    }

    fn snapshot(&mut self, _: flow_dataflow::Barrier) -> Result<(), Error> {
        Ok(())
    }

    fn unwritten(&self) -> usize {
        0
    }

    fn finish(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}

#[test]
fn busy_idle_and_backpressured_are_told_apart() {
    let nodes: [Arc<Counters>; 3] = Default::default();
    let [source, operator, sink] = nodes.each_ref();
    let slow = Native::new(Kind::Map, &[], |_| {
        pass(20);
        Ok(Answer::default())
    });
    let passes = slow.operator(OnError::Fail, Arc::default());
    let link = Link { name: "op".into(), operator: Box::new(passes), counters: Some(operator.clone()) };
    let is_open = Arc::new(true.into());
    let tail = Tail::Sink(Box::new(Door(Arc::clone(&is_open))), sink.clone());
    let mut task = Task::new(Head::Source(Box::new(Slow(0)), source.clone()), vec![link], tail, stopwatch);

    let figures = || {
        nodes.each_ref().map(|c| {
            let [busy, idle, held] = [&c.busy_ns, &c.idle_ns, &c.backpressured_ns].map(|n| n.load(Relaxed));
            (busy, idle, held)
        })
    };
    assert_eq!(task.step(0).expect("no faults"), Step::Progress);
    assert_eq!(figures(), [(3, 0, 0), (20, 0, 0), (100, 0, 0)]);
    pass(1_000);
    assert_eq!(task.step(0).expect("no faults"), Step::Starved);
    assert_eq!(figures(), [(3, 0, 0), (20, 0, 0), (100, 0, 0)], "it could have gone on: the slot was elsewhere");
    pass(5_000);
    is_open.store(false, Relaxed);
    assert_eq!(task.step(0).expect("no faults"), Step::Progress);
    assert_eq!(figures(), [(6, 5_000, 0), (40, 5_000, 0), (100, 5_000, 0)]);
    assert_eq!(task.step(0).expect("no faults"), Step::Blocked);
    pass(7_000);
    is_open.store(true, Relaxed);
    assert_eq!(task.step(0).expect("no faults"), Step::Progress);
    assert_eq!(figures(), [(9, 5_000, 7_000), (60, 5_000, 7_000), (300, 5_000, 7_000)]);
}
