//! Who is to blame for a failed call. A call is a transaction, so the same rows may be called again, in pieces, until one
//! record fails alone. A call that fails costs an instance, forty times what one costs that passes: so the rows are not halved
//! but called in small pieces from their beginning, nearly all of which pass ([`step`]). Of what stands behind a piece that
//! fails nothing is known any more; it goes on as if it had not been called. After a time-out, which is dearer still, every record is tried once more alone:
//! the good ones are quick, and the bad one costs its limit once.
//!
//! What that costs is bounded. A record that is to blame takes three failed calls at most, of which two are the rule, and fewer
//! calls that pass than there are rows; where such records come often, calls get fewer rows from the start ([`Suspicion`]), and
//! where all fail each takes one call. Time-outs are counted, see [`Search::count_time_out`].

use super::FunctionOperator;
use crate::function::{CallError, Limit};
use crate::report::Rejected;
use crate::{Batch, Error};

/// The most calls that may run out of time in one search: each holds up the whole slot for the limit.
const TIMEOUTS: usize = 16;

/// Rows of a failed call from which on they are called one by one.
const FEW: usize = 64;

/// How many rows of a failed call with so many are called next.
pub(super) fn step(rows: usize) -> usize {
    if rows > FEW { rows.isqrt() } else { 1 }
}

/// The longest way between two records to blame that is told from a longer one.
const GAP_MAX: usize = 1024;

/// The search through the rows of one failed call.
pub(super) struct Search {
    /// Rows that the call had.
    pub(super) records: usize,
    /// How many of them are not done.
    pub(super) left: usize,
    /// The failure that began it.
    pub(super) first: String,
    /// Records that were to blame.
    pub(super) blamed: usize,
    /// A failure that may pass has not passed in so many attempts: from here on it is as good as any other.
    pub(super) given_up_after: Option<u32>,
    /// The failed call was the first one of its instance.
    pub(super) starts_fresh: bool,
    failures: usize,
    timeouts: usize,
}

impl Search {
    /// Through so many rows, whose call failed.
    pub(super) fn of(records: usize, starts_fresh: bool, error: &CallError) -> Search {
        Search {
            records,
            left: records,
            first: error.to_string(),
            blamed: 0,
            given_up_after: None,
            starts_fresh,
            failures: 0,
            timeouts: 0,
        }
    }

    /// Counts a failed call. True for the first.
    pub(super) fn count(&mut self) -> bool {
        self.failures += 1;
        self.failures == 1
    }

    /// One more time-out, or the error that these are too many.
    pub(super) fn count_time_out(&mut self, error: &CallError, limits_at: &str) -> Result<(), Error> {
        self.timeouts += 1;
        if self.timeouts <= TIMEOUTS {
            return Ok(());
        }
        Err(Error::Plugin(format!(
            "more than {TIMEOUTS} calls for one batch of {} records: {error}\n  next: make the operator faster, or raise its \
             `limits: {{time-per-batch: …}}` in {limits_at}",
            self.records
        )))
    }
}

/// How close to each other the records lie that are to blame.
#[derive(Default)]
pub(super) struct Suspicion {
    /// Rows from one to the next, on average over the last few; none while there is nothing to suspect.
    gap: Option<usize>,
    /// Rows since the last one.
    since: usize,
}

impl Suspicion {
    /// The most rows of a call. With a gap of g rows and n rows a call, a record to blame costs g/n calls that pass before
    /// it and n/2 that look for it among its neighbours: least where n is the root of 2g.
    pub(super) fn most(&self) -> usize {
        self.gap.map_or(usize::MAX, |gap| (2 * gap.max(self.since)).isqrt().max(1))
    }

    /// So many rows are not to blame.
    pub(super) fn passed(&mut self, rows: usize) {
        self.since = self.since.saturating_add(rows);
        if self.since > 16 * GAP_MAX {
            self.gap = None;
        }
    }

    /// A row is to blame.
    pub(super) fn blamed(&mut self) {
        let gap = std::mem::take(&mut self.since).min(GAP_MAX) + 1;
        self.gap = Some(self.gap.map_or(gap, |average| (3 * average + gap) / 4));
    }
}

/// A failure that belongs to no record.
pub(super) fn without_record(error: CallError) -> Error {
    match error {
        CallError::Host(error) => error,
        CallError::Stopped => Error::Closed(error.to_string()),
        CallError::Failed { retryable: true, .. } => Error::Retryable(error.to_string()),
        CallError::Trap { ref message, ref backtrace } | CallError::Exceeded { ref message, ref backtrace, .. } => {
            Error::Plugin(backtrace.iter().fold(message.clone(), |text, f| text + "\n    at " + f))
        }
        CallError::TimedOut { .. } | CallError::Answer(_) | CallError::Failed { .. } => {
            Error::Plugin(error.to_string())
        }
    }
}

/// Whether the rows of the call may be to blame, rather than the operator as a whole or the host.
pub(super) fn may_be_a_record(error: &CallError) -> bool {
    match error {
        CallError::Trap { .. } | CallError::TimedOut { .. } | CallError::Exceeded { .. } | CallError::Answer(_) => true,
        CallError::Stopped | CallError::Failed { .. } | CallError::Host(_) => false,
    }
}

impl FunctionOperator {
    /// Treats the only row of a batch as `on-error` says.
    pub(super) fn blame_record(&self, one: &Batch, failed: CallError) -> Result<(), Error> {
        let mut message = failed.to_string();
        if let Some(limit) = failed.limit() {
            message += &format!("; to change that, set `limits: {{{}: …}}` in {}", limit.field(), self.setup.limits_at);
        }
        let attempts = self.work.attempts();
        let (code, backtrace) = match failed {
            CallError::Trap { backtrace, .. } => ("trap".into(), backtrace),
            CallError::TimedOut { .. } => ("timeout".into(), Vec::new()),
            CallError::Exceeded { limit: Limit::Memory, backtrace, .. } => ("memory-limit".into(), backtrace),
            CallError::Exceeded { limit: Limit::State, .. } => ("state-limit".into(), Vec::new()),
            CallError::Exceeded { backtrace, .. } => ("output-limit".into(), backtrace),
            CallError::Answer(_) => ("bad-answer".into(), Vec::new()),
            CallError::Failed { code, message: text, retryable: true } => {
                message = text;
                (code, Vec::new())
            }
            CallError::Stopped | CallError::Failed { .. } | CallError::Host(_) => {
                return Err(without_record(failed));
            }
        };
        self.setup.blame.reject(one, 0, Rejected { origin: one.origin(0), code, message, backtrace, attempts })
    }
}
