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
use flow_dataflow::task::{Passed, Step, Task};

use crate::attempt::{Control, Mailbox};
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

/// Hears of each barrier that has passed a task.
pub(crate) type OnPassed = Box<dyn Fn(Passed) + Send>;

/// A task of a slot.
pub(crate) struct Placed {
    pub(crate) task: Task,
    /// None if there are no checkpoints.
    pub(crate) on_passed: Option<OnPassed>,
}

/// What reaches a slot from outside.
#[derive(Clone, Default)]
pub(crate) struct Outside {
    pub(crate) alarm: Arc<Alarm>,
    /// What it is told.
    pub(crate) mailbox: Arc<Mailbox>,
}

/// How the work of a slot ended.
pub(crate) enum Ended {
    Finished,
    Canceled,
    Failed(Error),
}

/// Steps the tasks (in topological order) until all are finished, one fails, or `stop` is set; `on_rest` is called when nothing
/// but barriers is left to do. The tasks are gone when it returns, and what panics, be it in going, fails the slot.
pub(crate) fn run(tasks: Vec<Placed>, outside: &Outside, stop: &AtomicBool, on_rest: impl FnOnce()) -> Ended {
    // A second slot never runs on this thread, so the alarm is not set yet.
    let _ = outside.alarm.thread.set(std::thread::current());
    // Nothing of the tasks is seen after a panic.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut tasks = tasks;
        let ended = step(&mut tasks, outside, stop, on_rest);
        if let Ended::Canceled = ended {
            settle(&mut tasks);
        }
        ended
    }));
    ended.unwrap_or_else(|panic| Ended::Failed(Error::Fatal(format!("a task panicked: {}", text(&*panic)))))
}

fn step(tasks: &mut Vec<Placed>, outside: &Outside, stop: &AtomicBool, on_rest: impl FnOnce()) -> Ended {
    let mut cpu = CpuShares::of(tasks.iter().map(|placed| &placed.task));
    let (mut on_rest, mut finishing) = (Some(on_rest), false);
    loop {
        for control in outside.mailbox.take() {
            match control {
                Control::Trigger(barrier) => tasks.iter_mut().for_each(|placed| placed.task.trigger(barrier)),
                Control::Release => tasks.iter_mut().for_each(|placed| placed.task.release()),
                Control::Hold => tasks.iter_mut().for_each(|placed| placed.task.hold()),
                Control::Finish => finishing = true,
            }
        }
        cpu.share_sometimes();
        if stop.load(Relaxed) {
            return Ended::Canceled;
        }
        let mut progress = false;
        // Downstream first: what leaves makes room for what comes.
        for Placed { task, on_passed } in tasks.iter_mut().rev() {
            let turn = turn(task, stop);
            if let Some(on_passed) = on_passed {
                while let Some(passed) = task.take_passed() {
                    on_passed(passed);
                }
            }
            match turn {
                Ok(went_on) => progress |= went_on,
                // It gave up what it was at.
                Err(Error::Closed(_)) if stop.load(Relaxed) => return Ended::Canceled,
                Err(error) => return Ended::Failed(error),
            }
        }
        tasks.retain(|placed| !placed.task.is_finished());
        let at_rest = tasks.iter().all(|placed| placed.task.is_resting());
        if tasks.is_empty() || at_rest && finishing {
            return Ended::Finished;
        }
        if at_rest && let Some(on_rest) = on_rest.take() {
            on_rest();
        }
        if !progress {
            outside.alarm.sleep();
        }
    }
}

/// Gives the sinks a moment to write what they have, so that it counts as written.
fn settle(tasks: &mut [Placed]) {
    let begun = Instant::now();
    while !tasks.iter_mut().map(|placed| placed.task.settle()).fold(true, |all, done| all & done)
        && begun.elapsed() < LAST_MOMENT
    {
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
