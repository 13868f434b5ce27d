//! The log of one job: the last lines in memory, for whoever asks or follows. Writers never wait for readers.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use flow_dataflow::report::Level;

/// Lines that are kept.
const KEPT: usize = 10_000;

/// One line.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Its number in the job's log, from 0.
    pub number: u64,
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    /// How serious it is.
    pub level: Level,
    /// Source, operator or sink that it is about; none for the job as a whole.
    pub operator: Option<String>,
    /// Which of its subtasks.
    pub subtask: Option<u32>,
    /// What happened.
    pub message: String,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<LogLine>,
    next: u64,
    closed: bool,
}

/// The last lines of a job.
#[derive(Default)]
pub struct JobLog {
    lines: Mutex<Lines>,
    more: Condvar,
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

impl JobLog {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, level: Level, operator: Option<(&str, u32)>, message: String) {
        let mut lines = self.lock();
        let (number, at) = (lines.next, unix_ms());
        lines.next += 1;
        if lines.kept.len() == KEPT {
            lines.kept.pop_front();
        }
        let (operator, subtask) = operator.map_or((None, None), |(name, subtask)| (Some(name.into()), Some(subtask)));
        lines.kept.push_back(LogLine { number, at, level, operator, subtask, message });
        drop(lines);
        self.more.notify_all();
    }

    /// No more lines will come; who follows need not wait.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }

    /// The last `n` lines.
    pub fn recent(&self, n: usize) -> Vec<LogLine> {
        let lines = self.lock();
        lines.kept.iter().skip(lines.kept.len().saturating_sub(n)).cloned().collect()
    }

    /// Lines from number `from` on; waits up to `patience` when there are none yet. None once the log is closed and read to
    /// its end.
    pub fn follow(&self, from: u64, patience: Duration) -> Option<Vec<LogLine>> {
        let waiting = |lines: &mut Lines| lines.next <= from && !lines.closed;
        let (lines, _) =
            self.more.wait_timeout_while(self.lock(), patience, waiting).unwrap_or_else(PoisonError::into_inner);
        let found: Vec<LogLine> = lines.kept.iter().filter(|l| l.number >= from).cloned().collect();
        if found.is_empty() && lines.closed { None } else { Some(found) }
    }
}
