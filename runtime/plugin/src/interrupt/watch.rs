//! One thread that looks at all running calls every few milliseconds and closes the pages of those that took too much CPU
//! time, or that nobody wants any more. A call itself pays two uncontended locks.

use std::cell::LazyCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::Page;
use super::clock::ThreadClock;

/// How often running calls are looked at.
const TICK: Duration = Duration::from_millis(10);

/// All instances of an engine. Its thread ends with it.
#[derive(Debug)]
pub struct Watch {
    list: Arc<List>,
}

type List = Mutex<Vec<Weak<Mutex<State>>>>;

/// The calls of one instance, one after the other.
#[derive(Debug)]
pub struct Call {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    limit: Duration,
    /// Set when no call is wanted any more.
    stop: Arc<AtomicBool>,
    pages: Vec<Page>,
    running: Running,
}

#[derive(Debug)]
enum Running {
    /// No call.
    No,
    /// A call that no tick has met yet. The clock is that of its thread.
    New(ThreadClock),
    /// A call that a tick met when its thread's clock showed `since`.
    Since { clock: ThreadClock, since: Duration },
    /// Its pages are closed.
    Stopped(Reason),
}

/// Why a call was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has used up its CPU time.
    TimeIsUp,
    /// Nobody wants what it would answer.
    Unwanted,
}

thread_local! {
    static CLOCK: LazyCell<ThreadClock> = const { LazyCell::new(ThreadClock::own) };
}

impl Watch {
    /// Starts the thread.
    pub fn start() -> std::io::Result<Watch> {
        let list = Arc::new(List::default());
        let weak = Arc::downgrade(&list);
        let look = move || {
            while let Some(list) = weak.upgrade() {
                lock(&list).retain(|state| state.upgrade().inspect(|state| lock(state).tick()).is_some());
                drop(list);
                std::thread::sleep(TICK);
            }
        };
        std::thread::Builder::new().name("wasm-watch".into()).spawn(look)?;
        Ok(Watch { list })
    }

    /// For the calls of an instance, each at most `limit` of CPU time: none is stopped before it, a guest that goes on is
    /// stopped within two ticks after it, and within one after `stop` is set. To be dropped before the store in which the
    /// pages are.
    pub fn calls(&self, pages: Vec<Page>, limit: Duration, stop: Arc<AtomicBool>) -> Call {
        let state = Arc::new(Mutex::new(State { limit, stop, pages, running: Running::No }));
        lock(&self.list).push(Arc::downgrade(&state));
        Call { state }
    }
}

impl Call {
    /// A call begins on this thread.
    pub fn begin(&self) {
        lock(&self.state).running = Running::New(CLOCK.with(|clock| **clock));
    }

    /// It has ended. Why it was told to stop, if it was.
    pub fn end(&self) -> Option<Reason> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut state.running, Running::No) {
            Running::Stopped(reason) => {
                state.pages.iter().for_each(Page::open);
                Some(reason)
            }
            Running::No | Running::New(_) | Running::Since { .. } => None,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Under the lock, so that a tick that has the state in hand right now finds nothing to protect.
        let mut state = lock(&self.state);
        state.running = Running::No;
        state.pages.clear();
    }
}

impl State {
    fn tick(&mut self) {
        match self.running {
            Running::No => {}
            Running::New(_) | Running::Since { .. } if self.stop.load(Relaxed) => self.end(Reason::Unwanted),
            Running::New(clock) => self.running = Running::Since { clock, since: clock.now() },
            Running::Since { clock, since } => {
                if clock.now().saturating_sub(since) >= self.limit {
                    self.end(Reason::TimeIsUp);
                }
            }
            // Again, should the system have refused it.
            Running::Stopped(_) => self.pages.iter().for_each(Page::close),
        }
    }

    fn end(&mut self, reason: Reason) {
        self.pages.iter().for_each(Page::close);
        self.running = Running::Stopped(reason);
    }
}

/// What the locks guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
