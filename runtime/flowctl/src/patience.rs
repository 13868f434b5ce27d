//! Tells who waits that a server takes its time. Must never change how long that is.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// When something last went on; clones share it.
#[derive(Clone)]
pub struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    /// Begins now.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Something goes on.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Does `work`, and calls `tell` once if for as long as `quiet` nothing goes on meanwhile.
pub fn during<T>(pulse: &Pulse, quiet: Duration, tell: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (working, done) = mpsc::channel::<()>();
        // Without a thread nobody is told, and the work is done all the same.
        _ = thread::Builder::new().spawn_scoped(scope, move || watch(pulse, quiet, &done, tell));
        let result = work();
        drop(working);
        result
    })
}

fn watch(pulse: &Pulse, quiet: Duration, done: &Receiver<()>, tell: impl FnOnce()) {
    loop {
        let left = quiet.saturating_sub(pulse.silence());
        if left.is_zero() {
            return tell();
        }
        if done.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
