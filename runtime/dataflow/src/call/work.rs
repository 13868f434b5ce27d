//! The rows that an operator has been given and has not done: which of them are called next, and what follows from how the call
//! went. Never waits: what has to be tried later is kept until the task comes again. Keeps the rows in order.

use std::collections::VecDeque;

use super::blame::{self, Search, Suspicion};
use super::{FunctionOperator, OnError};
use crate::element::{Moment, Timestamp};
use crate::function::CallError;
use crate::{Batch, Error};

/// A search for who is to blame lets other tasks of the slot go on after so long.
const TURN_NS: u64 = 10_000_000;
/// And goes on itself no sooner than so many milliseconds after it began: each failed call costs an instance, for which the
/// kernel locks the memory of the whole process, other jobs' slots with it.
const TURN_AND_PAUSE: i64 = 20;

/// What is known of rows that are not done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing.
    Nothing,
    /// A call that had them, and no others, failed.
    Failed,
    /// A call that had them took too much time: each is called alone.
    Late,
}

/// Rows `from..to` of a batch.
struct Rows {
    batch: Batch,
    from: usize,
    to: usize,
    known: Known,
}

impl Rows {
    fn len(&self) -> usize {
        self.to - self.from
    }
}

/// The rows that are not done, and how it went with those before them.
#[derive(Default)]
pub(super) struct Work {
    /// The next ones first.
    waiting: VecDeque<Rows>,
    /// When to go on, if that is not at once.
    until: Option<Timestamp>,
    /// How often the call at hand has been made again.
    retries: u32,
    search: Option<Search>,
    suspicion: Suspicion,
}

impl Work {
    pub(super) fn add(&mut self, batch: Batch) {
        let to = batch.rows();
        self.waiting.push_back(Rows { batch, from: 0, to, known: Known::Nothing });
    }

    /// When to go on, if rows wait.
    pub(super) fn held(&self) -> Option<Timestamp> {
        self.until
    }

    /// How often the call at hand has been made.
    pub(super) fn attempts(&self) -> u32 {
        self.search.as_ref().and_then(|search| search.given_up_after).unwrap_or(self.retries + 1)
    }
}

impl FunctionOperator {
    /// Calls what waits until it is done or has to wait.
    pub(super) fn go_on(&mut self, at: Moment, out: &mut Vec<Batch>) -> Result<(), Error> {
        self.work.until = None;
        let begun = (self.setup.stopwatch)();
        while let Some(rows) = self.work.waiting.pop_front() {
            if rows.len() == 0 {
                continue;
            }
            let size = self.size(&rows);
            let whole = size == rows.batch.rows();
            let piece = if whole { rows.batch.clone() } else { rows.batch.slice(rows.from, rows.from + size) };
            let (called, was_fresh) = ((self.setup.stopwatch)(), self.is_fresh);
            let (piece, keyed) = self.fitting(piece)?;
            let result = self.call(&piece, keyed, at);
            let took = (self.setup.stopwatch)() - called;
            self.durations.add(took);
            match result {
                Ok((done, rejected)) => {
                    if rows.known == Known::Nothing {
                        self.adapt(piece.rows(), took);
                    }
                    self.reject_rows(&piece, rejected)?;
                    out.extend((!done.is_empty()).then_some(done));
                    self.work.waiting.push_front(Rows { from: rows.from + piece.rows(), ..rows });
                    self.work.suspicion.passed(piece.rows());
                    self.settle(piece.rows());
                }
                Err(error) => {
                    self.failed(rows, &piece, error, was_fresh, at)?;
                    if self.work.until.is_none() && (self.setup.stopwatch)() - begun > TURN_NS {
                        self.work.until = Some(at.now.saturating_add(TURN_AND_PAUSE));
                    }
                    if self.work.until.is_some() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// How many of the rows the next call gets.
    fn size(&self, rows: &Rows) -> usize {
        match rows.known {
            Known::Nothing => {
                let left = self.work.search.as_ref().map_or(usize::MAX, |search| search.left);
                self.rows_a_call.min(self.work.suspicion.most()).min(left).min(rows.len())
            }
            Known::Failed => blame::step(rows.len()),
            Known::Late => 1,
        }
    }

    /// So many rows are done.
    fn settle(&mut self, rows: usize) {
        self.work.retries = 0;
        let Some(search) = &mut self.work.search else { return };
        search.left = search.left.saturating_sub(rows);
        if search.left > 0 {
            return;
        }
        if let Some(Search { blamed: 0, records, first, .. }) = self.work.search.take() {
            let text = format!("a call with {} failed, but no record does alone: {first}", counted(records));
            self.setup.blame.report.call_failed(&text);
        }
    }

    /// What follows from a failed call of the first of these rows, which are `piece`.
    fn failed(
        &mut self,
        rows: Rows,
        piece: &Batch,
        error: CallError,
        was_fresh: bool,
        at: Moment,
    ) -> Result<(), Error> {
        let may_pass = matches!(error, CallError::Failed { retryable: true, .. });
        let given_up = self.work.search.as_ref().is_some_and(|search| search.given_up_after.is_some());
        if may_pass && !given_up {
            let Some(retry) = self.setup.retry else { return Err(blame::without_record(error)) };
            if self.work.retries < retry.times {
                self.work.retries += 1;
                let pause = retry.pause(self.work.retries);
                self.work.until = Some(at.now.saturating_add(pause.as_millis() as i64));
                let text = format!(
                    "a call with {} failed: {error}; retry {} of {} in {pause:?}",
                    counted(piece.rows()),
                    self.work.retries,
                    retry.times
                );
                self.setup.blame.report.call_failed(&text);
                self.work.waiting.push_front(rows);
                return Ok(());
            }
            if matches!(self.setup.blame.on_error, OnError::Fail) {
                let tried = format!("after {} attempts: ", self.work.attempts());
                return Err(match blame::without_record(error) {
                    Error::Retryable(text) => Error::Retryable(tried + &text),
                    other => other,
                });
            }
        } else if !may_pass && !blame::may_be_a_record(&error) {
            return Err(blame::without_record(error));
        }
        let attempts = self.work.attempts();
        let search = self.work.search.get_or_insert_with(|| Search::of(piece.rows(), was_fresh, &error));
        if may_pass {
            search.given_up_after = Some(attempts);
        }
        self.search(rows, piece, error)
    }

    /// The call failed because of one of the rows.
    fn search(&mut self, rows: Rows, piece: &Batch, error: CallError) -> Result<(), Error> {
        let is_late = matches!(error, CallError::TimedOut { .. });
        let Some(search) = &mut self.work.search else { return Err(blame::without_record(error)) };
        let is_first = search.count();
        let starts_fresh = search.starts_fresh;
        if is_late {
            search.count_time_out(&error, &self.setup.limits_at)?;
            // Nobody knows how many would have been in time. From one on it soon doubles back.
            self.rows_a_call = 1;
            if let (true, CallError::TimedOut { limit_ms }) = (is_first, &error) {
                let took = format!("a call with {} took more than {limit_ms} ms of CPU time", counted(piece.rows()));
                let text = format!("{took}; what it had is tried once more, record by record");
                self.setup.blame.report.call_failed(&text);
            }
        }
        // A record is blamed for what it does alone to a new instance, and for a time-out only if it is the second.
        let is_proven = match rows.known {
            Known::Late => true,
            Known::Failed => !is_late,
            Known::Nothing => !is_late && (!is_first || starts_fresh),
        };
        let rest = Rows { from: rows.from + piece.rows(), batch: rows.batch.clone(), ..rows };
        let rest_known = if rows.known == Known::Failed { Known::Nothing } else { rows.known };
        self.work.waiting.push_front(Rows { known: rest_known, ..rest });
        if piece.rows() == 1 && is_proven {
            self.blame_record(piece, error)?;
            if let Some(search) = &mut self.work.search {
                search.blamed += 1;
            }
            if !is_late {
                self.work.suspicion.blamed();
            }
            self.settle(1);
        } else {
            let known = if is_late { Known::Late } else { Known::Failed };
            self.work.waiting.push_front(Rows { to: rows.from + piece.rows(), known, ..rows });
        }
        Ok(())
    }
}

fn counted(records: usize) -> String {
    if records == 1 { "1 record".into() } else { format!("{records} records") }
}
