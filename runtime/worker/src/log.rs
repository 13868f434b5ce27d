//! The log of one job: the last lines in memory, for whoever asks or follows. Writers never wait for readers.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use flow_dataflow::report::Level;

/// Lines that are kept.
const KEPT: usize = 10_000;
/// Bytes that they may have: the logs of ended jobs are kept too.
const BYTES: usize = 4 << 20;

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
    /// What the messages of those have.
    bytes: usize,
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

impl Lines {
    /// The number of the first of the last `n` lines that are kept.
    fn tail(&self, n: usize) -> u64 {
        self.next - self.kept.len().min(n) as u64
    }

    fn since(&self, from: u64, most: usize) -> Option<Vec<LogLine>> {
        let seen = from.saturating_sub(self.tail(usize::MAX)).min(self.kept.len() as u64) as usize;
        let found: Vec<LogLine> = self.kept.range(seen..).take(most).cloned().collect();
        if found.is_empty() && self.closed { None } else { Some(found) }
    }
}

impl JobLog {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line; `operator` with its subtask, if it is about one.
    pub fn add(&self, level: Level, operator: Option<(&str, u32)>, message: String) {
        let mut lines = self.lock();
        let (number, at) = (lines.next, unix_ms());
        lines.next += 1;
        lines.bytes += message.len();
        while lines.kept.len() >= KEPT || lines.bytes > BYTES {
            let Some(oldest) = lines.kept.pop_front() else { break };
            lines.bytes -= oldest.message.len();
        }
        let (operator, subtask) = operator.map_or((None, None), |(name, subtask)| (Some(name.into()), Some(subtask)));
        lines.kept.push_back(LogLine { number, at, level, operator, subtask, message });
        drop(lines);
        self.more.notify_all();
    }

    /// No more lines will come; who follows need not wait.
    pub fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }

    /// The last `n` lines.
    pub fn recent(&self, n: usize) -> Vec<LogLine> {
        let lines = self.lock();
        lines.kept.range(lines.kept.len().saturating_sub(n)..).cloned().collect()
    }

    /// Where to begin with the last `n` lines: the number of the first of them, or of the line that comes next.
    pub fn tail(&self, n: usize) -> u64 {
        self.lock().tail(n)
    }

    /// Lines from number `from` on, at most so many; empty when there are none yet. None once the log is closed and read to
    /// its end. If the first has a higher number than `from`, those in between had to make room before they were read.
    pub fn since(&self, from: u64, most: usize) -> Option<Vec<LogLine>> {
        self.lock().since(from, most)
    }

    /// The same, all of them, and waits up to `patience` when there are none yet.
    pub fn follow(&self, from: u64, patience: Duration) -> Option<Vec<LogLine>> {
        let waiting = |lines: &mut Lines| lines.next <= from && !lines.closed;
        let (lines, _) =
            self.more.wait_timeout_while(self.lock(), patience, waiting).unwrap_or_else(PoisonError::into_inner);
        lines.since(from, usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(lines: Option<Vec<LogLine>>) -> Option<Vec<u64>> {
        lines.map(|lines| lines.iter().map(|line| line.number).collect())
    }

    #[test]
    fn readers_go_on_where_they_were_and_see_what_they_missed() {
        let log = JobLog::default();
        let add = |n: usize| (0..n).for_each(|_| log.add(Level::Info, None, "m".into()));
        assert_eq!((log.tail(0), log.tail(5), numbers(log.since(0, 9))), (0, 0, Some(vec![])));
        add(4);
        assert_eq!((log.tail(0), log.tail(1), log.tail(9)), (4, 3, 0));
        assert_eq!(numbers(log.since(1, 2)), Some(vec![1, 2]));
        assert_eq!(numbers(log.since(3, 2)), Some(vec![3]));
        assert_eq!(numbers(log.since(9, 2)), Some(vec![]));
        add(KEPT);
        assert_eq!((log.recent(usize::MAX).len(), log.tail(usize::MAX)), (KEPT, 4));
        assert_eq!(numbers(log.since(2, 1)), Some(vec![4]), "2 and 3 are gone");
        log.close();
        let last = KEPT as u64 + 3;
        assert_eq!(numbers(log.follow(last, Duration::ZERO)), Some(vec![last]));
        assert_eq!(numbers(log.follow(last + 1, Duration::from_secs(60))), None, "closed: nobody waits");
    }
}
