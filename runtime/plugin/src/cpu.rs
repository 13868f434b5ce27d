//! How much CPU time a call may take. Counts the thread's own time, so that a starved or stopped process blames nobody.
//!
//! Reading that clock is a system call (about 0.3 µs), too much for each call of a small batch. So it is read only when the
//! engine's ticker has fired: at the first tick that a call meets, which starts its count, and at each one after.

use std::time::Duration;

/// The CPU time of one call after the other.
#[derive(Debug)]
pub struct Clock {
    limit: Duration,
    started: Option<Duration>,
}

/// The call took longer than its limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the call took more than {} ms of CPU time", limit.as_millis())]
pub struct OverTime {
    /// The limit.
    pub limit: Duration,
}

impl Clock {
    /// For calls of at most `limit`: none is stopped before it, a guest that goes on is stopped within two ticks after it.
    pub fn new(limit: Duration) -> Clock {
        Clock { limit, started: None }
    }

    /// A call begins.
    pub fn restart(&mut self) {
        self.started = None;
    }

    /// The ticker fired during the call.
    pub fn tick(&mut self) -> Result<(), OverTime> {
        let now = thread_time();
        match self.started {
            None => self.started = Some(now),
            Some(start) if now.saturating_sub(start) >= self.limit => return Err(OverTime { limit: self.limit }),
            Some(_) => {}
        }
        Ok(())
    }
}

/// CPU time that this thread has used.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec of this frame, and the call writes to nothing else. It cannot fail: the
    // clock exists on every Linux that Rust supports; were it to, time stands still and nobody is blamed.
    #[allow(unsafe_code)]
    unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
    }
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_work_and_not_sleep() {
        let before = thread_time();
        std::thread::sleep(Duration::from_millis(30));
        let slept = thread_time() - before;
        assert!(slept < Duration::from_millis(20), "sleeping took {slept:?} of CPU time");
        let mut n = 0u64;
        while thread_time() - before < Duration::from_millis(40) {
            n = std::hint::black_box(n + 1);
        }
        assert!(n > 0);
    }

    #[test]
    fn a_call_is_over_time_only_after_its_limit() {
        let mut clock = Clock::new(Duration::from_millis(50));
        let from = thread_time();
        let over = std::iter::repeat_with(|| clock.tick()).find_map(Result::err);
        assert_eq!(over.map(|o| o.limit), Some(Duration::from_millis(50)));
        assert!(thread_time() - from >= Duration::from_millis(50), "never too early");
        clock.restart();
        assert!(clock.tick().is_ok(), "the next call starts anew");
    }
}
