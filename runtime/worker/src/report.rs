//! What tasks tell about themselves, on its way into the job's log and counters.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flow_dataflow::counters::Counters;
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::source::Locator;

use crate::log::JobLog;

/// Rejected records that are written out in a second, and failed calls likewise; the rest is counted.
const LINES_A_SECOND: u64 = 10;

/// Bits of a split's number that say which source of the job it belongs to; the rest is the source's own number.
pub(crate) const SOURCE_SHIFT: u32 = 24;

/// The names of places in all sources of a job.
#[derive(Default)]
pub(crate) struct Places {
    /// The name of each source, and how it locates records.
    by_source: Mutex<Vec<Option<(String, Locator)>>>,
}

impl Places {
    pub(crate) fn add(&self, source: usize, name: &str, locator: Locator) {
        let mut all = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= source {
            all.resize(source + 1, None);
        }
        all[source].get_or_insert_with(|| (name.to_owned(), locator));
    }

    /// What the source says of the place, and which source that is.
    pub(crate) fn locate(&self, split: u32, position: i64) -> Place {
        let all = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Some((name, locator))) = all.get((split >> SOURCE_SHIFT) as usize) else {
            return format!("split {split}, position {position}").into();
        };
        let mut place = locator(split & ((1 << SOURCE_SHIFT) - 1), position);
        place.fields.insert(0, ("source", name.clone()));
        place
    }
}

/// So many lines a second, and how many more there would have been.
struct Rate {
    second: Instant,
    written: u64,
    left_out: u64,
}

impl Rate {
    fn new() -> Mutex<Rate> {
        Mutex::new(Rate { second: Instant::now(), written: 0, left_out: 0 })
    }

    /// Whether one more may be written now, and how many were left out in a second that is over.
    fn next(rate: &Mutex<Rate>) -> (bool, u64) {
        let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if rate.second.elapsed() > Duration::from_secs(1) {
            left_out = rate.left_out;
            *rate = Rate { second: Instant::now(), written: 0, left_out: 0 };
        }
        let passes = rate.written < LINES_A_SECOND;
        rate.written += u64::from(passes);
        rate.left_out += u64::from(!passes);
        (passes, left_out)
    }

    /// What was left out and not told yet.
    fn rest(rate: &mut Mutex<Rate>) -> u64 {
        rate.get_mut().unwrap_or_else(PoisonError::into_inner).left_out
    }
}

/// One subtask of one operator's way to the job's log.
pub(crate) struct ToLog {
    pub(crate) operator: String,
    pub(crate) subtask: u32,
    log: Arc<JobLog>,
    places: Arc<Places>,
    counters: Arc<Counters>,
    rejections: Mutex<Rate>,
    failures: Mutex<Rate>,
}

impl ToLog {
    pub(crate) fn new(
        operator: &str,
        subtask: u32,
        log: Arc<JobLog>,
        places: Arc<Places>,
        counters: Arc<Counters>,
    ) -> ToLog {
        let (rejections, failures) = (Rate::new(), Rate::new());
        ToLog { operator: operator.into(), subtask, log, places, counters, rejections, failures }
    }

    fn tell_left_out(&self, records: u64, calls: u64) {
        let more = |n: u64, what: &str| format!("{n} more {what}{}", if n == 1 { " was" } else { "s were" });
        if records > 0 {
            self.add(Level::Warn, format!("{} not taken, not shown one by one", more(records, "record")));
        }
        if calls > 0 {
            self.add(Level::Warn, format!("{} tried again, not shown one by one", more(calls, "failed call")));
        }
    }

    fn add(&self, level: Level, message: String) {
        self.log.add(level, Some((&self.operator, self.subtask)), message);
    }
}

impl Drop for ToLog {
    /// The last second's count goes with the subtask.
    fn drop(&mut self) {
        let (records, calls) = (Rate::rest(&mut self.rejections), Rate::rest(&mut self.failures));
        self.tell_left_out(records, calls);
    }
}

impl Report for ToLog {
    fn log(&self, level: Level, message: &str) {
        self.add(level, message.into());
    }

    fn locate(&self, split: u32, position: i64) -> Place {
        self.places.locate(split, position)
    }

    fn call_failed(&self, message: &str) {
        let (passes, left_out) = Rate::next(&self.failures);
        self.tell_left_out(0, left_out);
        if passes {
            self.add(Level::Warn, message.into());
        }
    }

    fn rejected(&self, record: &Rejected) {
        self.counters.rejected.fetch_add(1, Relaxed);
        self.show(record, "was skipped");
    }

    fn dead_letter(&self, record: &Rejected) {
        self.counters.rejected.fetch_add(1, Relaxed);
        self.counters.dead_letters.fetch_add(1, Relaxed);
        self.show(record, "went to the dead letters");
    }
}

impl ToLog {
    fn show(&self, record: &Rejected, what: &str) {
        let (passes, left_out) = Rate::next(&self.rejections);
        self.tell_left_out(left_out, 0);
        if !passes {
            return;
        }
        let place = record.origin.map_or("a record".into(), |(split, at)| self.locate(split, at).text);
        let trace = trace(&record.backtrace);
        self.add(Level::Warn, format!("{place} {what} ({}): {}{trace}", record.code, record.message));
    }
}

/// A backtrace on one line; what calls itself stands there once.
fn trace(functions: &[String]) -> String {
    let calls = functions.chunk_by(|a, b| a == b).map(|run| match run {
        [one] => one.clone(),
        run => format!("{} ({} times)", run[0], run.len()),
    });
    match calls.collect::<Vec<String>>().join(" ← ") {
        trace if trace.is_empty() => trace,
        trace => format!("; in {trace}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backtraces() {
        let check = |functions: &[&str], expect: &str| {
            assert_eq!(trace(&functions.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()), expect);
        };
        check(&[], "");
        check(&["a"], "; in a");
        check(&["a", "b", "b", "a"], "; in a ← b (2 times) ← a");
    }

    /// Lines and what they count, of a thousand calls.
    fn told(call: impl Fn(&ToLog)) -> (usize, u64) {
        let log = Arc::<JobLog>::default();
        let to_log = ToLog::new("op", 0, log.clone(), Arc::default(), Arc::default());
        (0..1000).for_each(|_| call(&to_log));
        drop(to_log);
        let of_line = |message: &str| match message.split_once(" more ") {
            Some((count, _)) => count.parse::<u64>().expect("a count"),
            None => 1,
        };
        let lines = log.recent(usize::MAX);
        (lines.len(), lines.iter().map(|line| of_line(&line.message)).sum())
    }

    #[test]
    fn every_skipped_record_and_failed_call_is_shown_or_counted() {
        let (code, message) = ("c".into(), "m".into());
        let record = Rejected { origin: None, code, message, backtrace: Vec::new(), attempts: 1 };
        let (lines, counted) = told(|to_log| to_log.rejected(&record));
        assert!(lines < 100 && counted == 1000, "{lines} {counted}");
        let (lines, counted) = told(|to_log| to_log.dead_letter(&record));
        assert!(lines < 100 && counted == 1000, "{lines} {counted}");
        let (lines, counted) = told(|to_log| to_log.call_failed("m"));
        assert!(lines < 100 && counted == 1000, "{lines} {counted}");
    }
}
