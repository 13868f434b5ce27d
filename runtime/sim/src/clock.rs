//! The time of a run, and what is to happen when: one thing after the other, those of the same millisecond in the order in which
//! they were planned. Must never look at a real clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Milliseconds since the Unix epoch at which every run begins.
const BEGIN: u64 = 1_000_000;

/// What everybody sees of the time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Milliseconds.
    pub fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Milliseconds since the run began.
    pub fn elapsed(&self) -> u64 {
        self.now() - BEGIN
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock(Arc::new(BEGIN.into()))
    }
}

/// What is to happen.
#[derive(Debug)]
pub struct Agenda<T> {
    clock: Clock,
    planned: u64,
    /// By time, then what has waited for somebody to wake, then in the order of planning.
    entries: BTreeMap<(u64, bool, u64), T>,
}

impl<T> Agenda<T> {
    /// An empty one.
    pub fn new(clock: Clock) -> Agenda<T> {
        Agenda { clock, planned: 0, entries: BTreeMap::new() }
    }

    /// Plans something for so many milliseconds from now.
    pub fn after(&mut self, delay: u64, what: T) {
        self.at(self.clock.now() + delay, what);
    }

    /// Plans something for a time that is not over.
    pub fn at(&mut self, time: u64, what: T) {
        self.plan(time, true, what);
    }

    /// Plans what waits for somebody to wake then: ahead of all that comes at that time, so that nothing overtakes it.
    pub fn at_waking(&mut self, time: u64, what: T) {
        self.plan(time, false, what);
    }

    fn plan(&mut self, time: u64, comes: bool, what: T) {
        self.planned += 1;
        self.entries.insert((time.max(self.clock.now()), comes, self.planned), what);
    }

    /// The next thing; it is its time then.
    pub fn pop(&mut self) -> Option<T> {
        let ((time, ..), what) = self.entries.pop_first()?;
        self.clock.0.store(time, Relaxed);
        Some(what)
    }
}
