//! Child processes that never outlive this one, and what they used. The only unsafe code here.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_: libc::c_int) {
    INTERRUPTED.store(true, SeqCst);
}

/// Makes Ctrl-C and SIGTERM end what waits with an error, so that everything is cleaned up.
pub fn catch_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: a zeroed sigaction is a valid one (no flags, no SA_RESTART: waiting calls return); the handler only
        // stores to an atomic.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = interrupted as *const () as libc::sighandler_t;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// An error once a signal came.
pub fn check_interrupted() -> io::Result<()> {
    if INTERRUPTED.load(SeqCst) { Err(io::Error::other("interrupted")) } else { Ok(()) }
}

/// What a process used from its start to its end, on all its threads.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Usage {
    /// Seconds of CPU outside of the kernel.
    pub user: f64,
    /// Seconds of CPU inside of the kernel.
    pub system: f64,
    /// Seconds by the clock.
    pub wall: f64,
    /// The most memory that was resident at once, in bytes, code and libraries included.
    pub peak_rss: u64,
}

impl Usage {
    /// Seconds of CPU.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// Starts a command that is killed when this process ends, however it ends.
pub fn start(command: &mut Command) -> io::Result<Child> {
    // SAFETY: prctl with these arguments is async-signal-safe, allocates nothing and touches no memory.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    command.spawn()
}

/// Runs a command to its end. The peak is at least what this process has resident when it starts the command: keep that small.
pub fn run(command: &mut Command) -> io::Result<(ExitStatus, Usage)> {
    let begun = Instant::now();
    let mut child = start(command)?;
    match wait(&child) {
        Ok((status, used)) => {
            let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
            let usage = Usage {
                user: seconds(used.ru_utime),
                system: seconds(used.ru_stime),
                wall: begun.elapsed().as_secs_f64(),
                peak_rss: used.ru_maxrss as u64 * 1024,
            };
            Ok((status, usage))
        }
        Err(error) => {
            stop(&mut child, Duration::ZERO);
            Err(error)
        }
    }
}

fn wait(child: &Child) -> io::Result<(ExitStatus, libc::rusage)> {
    loop {
        check_interrupted()?;
        let mut status = 0;
        // SAFETY: both pointers are to live values of the right types; the child is ours and nobody else waits for it.
        let (pid, used) = unsafe {
            let mut used: libc::rusage = std::mem::zeroed();
            (libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut used), used)
        };
        if pid >= 0 {
            return Ok((ExitStatus::from_raw(status), used));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Asks a child to end, and kills it when it has not within the time.
pub fn stop(child: &mut Child, patience: Duration) {
    let until = Instant::now() + patience;
    // SAFETY: the child was not waited for to its end, so its number is still its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Errors: it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}
