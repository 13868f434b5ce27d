//! The CPU time of a thread, read from another one. Counting that instead of the time on the wall, a process that was stopped
//! or starved blames nobody.

use std::time::Duration;

/// The clock of a thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// Of the thread that asks.
    pub fn own() -> ThreadClock {
        let mut id = libc::CLOCK_THREAD_CPUTIME_ID;
        // SAFETY: the thread is alive, since it runs this; the pointer is to a live variable of this frame. On failure, which
        // Linux does not know for a live thread, the id stays that of whoever reads it: the watch's own little time.
        #[allow(unsafe_code)]
        unsafe {
            libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id);
        }
        ThreadClock(id)
    }

    /// CPU time that the thread has used; zero when it has ended.
    pub fn now(self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live timespec of this frame, and the call writes to nothing else. Of a thread that
        // has ended it fails and leaves zero.
        #[allow(unsafe_code)]
        unsafe {
            libc::clock_gettime(self.0, &raw mut time);
        }
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn another_thread_reads_work_and_not_sleep() {
        let (send, receive) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let (idle, is_idle) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let clock = ThreadClock::own();
            send.send(clock).expect("somebody listens");
            let mut n = 0u64;
            while clock.now() < Duration::from_millis(40) {
                n = std::hint::black_box(n + 1);
            }
            idle.send(()).expect("somebody listens");
            let _ = wait.recv();
        });
        let clock = receive.recv().expect("the thread sends its clock");
        while clock.now() < Duration::from_millis(40) {
            std::thread::yield_now();
        }
        is_idle.recv().expect("it has worked enough");
        let worked = clock.now();
        std::thread::sleep(Duration::from_millis(100));
        let waiting = clock.now() - worked;
        assert!(waiting < Duration::from_millis(50), "waiting took {waiting:?}");
        drop(done);
        thread.join().expect("it ends");
        // The kernel lets those who join go on a little before it forgets the thread and its clock.
        let deadline = Instant::now() + Duration::from_secs(30);
        while clock.now() > Duration::ZERO {
            assert!(Instant::now() < deadline, "nobody is blamed when the thread is gone: {:?}", clock.now());
            std::thread::yield_now();
        }
    }
}
