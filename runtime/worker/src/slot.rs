//! A slot: one thread that steps the tasks of one job in turn, fairly by time. It never waits for anything but work: when no
//! task can go on it sleeps until an exchange or a source wakes it, or a short time has passed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use flow_dataflow::Error;
use flow_dataflow::exchange::Wake;
use flow_dataflow::task::{Step, Task};

use crate::cpu::CpuShares;
use crate::log::unix_ms;

/// How long the sinks of a canceled job may take to write what they have.
const LAST_MOMENT: Duration = Duration::from_millis(100);
/// How long a task may go on while others of its slot wait.
const TURN: Duration = Duration::from_millis(2);
/// How long a slot sleeps at most: sinks flush and paced sources look at the clock when they are stepped.
const NAP: Duration = Duration::from_millis(20);

/// Wakes one slot.
#[derive(Default)]
pub(crate) struct Alarm {
    rung: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    pub(crate) fn wake(self: &Arc<Alarm>) -> Wake {
        let alarm = self.clone();
        Arc::new(move || alarm.ring())
    }

    fn sleep(&self) {
        if !self.rung.swap(false, SeqCst) {
            std::thread::park_timeout(NAP);
            self.rung.store(false, SeqCst);
        }
    }
}

/// How the work of a slot ended.
pub(crate) enum Ended {
    Finished,
    Canceled,
    Failed(Error),
}

/// Steps the tasks (in topological order) until all are finished, one fails, or `stop` is set. The tasks are gone when it
/// returns, and what panics, be it in going, fails the slot.
pub(crate) fn run(tasks: Vec<Task>, alarm: &Alarm, stop: &AtomicBool) -> Ended {
    // A second slot never runs on this thread, so the alarm is not set yet.
    let _ = alarm.thread.set(std::thread::current());
    // Nothing of the tasks is seen after a panic.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut tasks = tasks;
        let ended = step(&mut tasks, alarm, stop);
        if let Ended::Canceled = ended {
            settle(&mut tasks);
        }
        ended
    }));
    ended.unwrap_or_else(|panic| Ended::Failed(Error::Fatal(format!("a task panicked: {}", text(&*panic)))))
}

fn step(tasks: &mut Vec<Task>, alarm: &Alarm, stop: &AtomicBool) -> Ended {
    let mut cpu = CpuShares::of(tasks);
    loop {
        cpu.share_sometimes();
        if stop.load(Relaxed) {
            return Ended::Canceled;
        }
        let mut progress = false;
        // Downstream first: what leaves makes room for what comes.
        for task in tasks.iter_mut().rev() {
            match turn(task, stop) {
                Ok(went_on) => progress |= went_on,
                // It gave up what it was at.
                Err(Error::Closed(_)) if stop.load(Relaxed) => return Ended::Canceled,
                Err(error) => return Ended::Failed(error),
            }
        }
        tasks.retain(|task| !task.is_finished());
        if tasks.is_empty() {
            return Ended::Finished;
        }
        if !progress {
            alarm.sleep();
        }
    }
}

/// Gives the sinks a moment to write what they have, so that it counts as written.
fn settle(tasks: &mut [Task]) {
    let begun = Instant::now();
    while !tasks.iter_mut().map(Task::settle).fold(true, |all, done| all & done) && begun.elapsed() < LAST_MOMENT {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Steps one task until it can't go on or its turn is over. True when it did something.
fn turn(task: &mut Task, stop: &AtomicBool) -> Result<bool, Error> {
    let begun = Instant::now();
    let mut went_on = false;
    while let Step::Progress = task.step(unix_ms())? {
        went_on = true;
        if begun.elapsed() > TURN || stop.load(Relaxed) {
            break;
        }
    }
    Ok(went_on || task.is_finished())
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let of_string = panic.downcast_ref::<String>().map(String::as_str);
    of_string.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

/// Nanoseconds since the first call in this process.
pub(crate) fn stopwatch() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
