//! What tasks tell about themselves, on its way into the job's log and counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flow_dataflow::report::{Level, Rejected, Report};
use flow_dataflow::source::Locator;

use crate::log::JobLog;

/// Rejected records that are written out in a second; the rest is counted.
const REJECTIONS_A_SECOND: u64 = 10;

/// Bits of a split's number that say which source of the job it belongs to; the rest is the source's own number.
pub(crate) const SOURCE_SHIFT: u32 = 24;

/// The names of places in all sources of a job.
#[derive(Default)]
pub(crate) struct Places {
    by_source: Mutex<Vec<Option<Locator>>>,
}

impl Places {
    pub(crate) fn add(&self, source: usize, locator: Locator) {
        let mut all = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= source {
            all.resize(source + 1, None);
        }
        all[source].get_or_insert(locator);
    }

    fn locate(&self, split: u32, position: i64) -> String {
        let all = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get((split >> SOURCE_SHIFT) as usize) {
            Some(Some(locator)) => locator(split & ((1 << SOURCE_SHIFT) - 1), position),
            _ => format!("split {split}, position {position}"),
        }
    }
}

struct Rate {
    second: Instant,
    written: u64,
    left_out: u64,
}

/// One subtask of one operator's way to the job's log.
pub(crate) struct ToLog {
    pub(crate) operator: String,
    pub(crate) subtask: u32,
    log: Arc<JobLog>,
    places: Arc<Places>,
    rejected: Arc<AtomicU64>,
    rate: Mutex<Rate>,
}

impl ToLog {
    pub(crate) fn new(
        operator: &str,
        subtask: u32,
        log: Arc<JobLog>,
        places: Arc<Places>,
        rejected: Arc<AtomicU64>,
    ) -> ToLog {
        let rate = Mutex::new(Rate { second: Instant::now(), written: 0, left_out: 0 });
        ToLog { operator: operator.into(), subtask, log, places, rejected, rate }
    }

    fn tell_left_out(&self, records: u64) {
        if records > 0 {
            self.add(Level::Warn, format!("{records} more records were skipped, not shown one by one"));
        }
    }

    fn add(&self, level: Level, message: String) {
        self.log.add(level, Some((&self.operator, self.subtask)), message);
    }
}

impl Drop for ToLog {
    /// The last second's count goes with the subtask.
    fn drop(&mut self) {
        let left_out = self.rate.get_mut().unwrap_or_else(PoisonError::into_inner).left_out;
        self.tell_left_out(left_out);
    }
}

impl Report for ToLog {
    fn log(&self, level: Level, message: &str) {
        self.add(level, message.into());
    }

    fn locate(&self, split: u32, position: i64) -> String {
        self.places.locate(split, position)
    }

    fn rejected(&self, record: &Rejected) {
        self.rejected.fetch_add(1, Relaxed);
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if rate.second.elapsed() > Duration::from_secs(1) {
            let left_out = std::mem::take(&mut rate.left_out);
            (rate.second, rate.written) = (Instant::now(), 0);
            self.tell_left_out(left_out);
        }
        if rate.written >= REJECTIONS_A_SECOND {
            rate.left_out += 1;
            return;
        }
        rate.written += 1;
        let place = record.origin.map_or("a record".into(), |(split, at)| self.locate(split, at));
        let trace: String = record.backtrace.iter().map(|f| format!("\n    at {f}")).collect();
        self.add(Level::Warn, format!("{place} was skipped ({}): {}{trace}", record.code, record.message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_skipped_record_is_shown_or_counted() {
        let (log, rejected) = (Arc::<JobLog>::default(), Arc::<AtomicU64>::default());
        let to_log = ToLog::new("op", 0, log.clone(), Arc::default(), rejected.clone());
        let record = Rejected { origin: None, code: "c".into(), message: "m".into(), backtrace: Vec::new() };
        (0..1000).for_each(|_| to_log.rejected(&record));
        drop(to_log);
        let of_line = |message: &str| match message.split_once(" more records") {
            Some((count, _)) => count.parse::<u64>().expect("a count"),
            None => 1,
        };
        let lines = log.recent(usize::MAX);
        assert_eq!(lines.iter().map(|line| of_line(&line.message)).sum::<u64>(), 1000);
        assert!(lines.len() < 100, "{} lines", lines.len());
        assert_eq!(rejected.load(Relaxed), 1000);
    }
}
