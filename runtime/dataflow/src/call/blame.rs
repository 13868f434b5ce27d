//! Who is to blame for a failed call. A call is a transaction, so the same rows may be called again: the batch is halved
//! until one record fails alone. After a time-out, which is dear, every record is tried once more alone instead: the good ones
//! are quick, and the bad one costs its limit once.

use super::FunctionOperator;
use crate::element::Moment;
use crate::function::CallError;
use crate::report::Rejected;
use crate::{Batch, Error};

/// The most calls that may run out of time in the search through one call's rows. Halving ends by itself (a call for each
/// record and each half), and a trap is cheap; a time-out holds up the whole slot.
const TIMEOUTS: usize = 16;

/// A failure that belongs to no record.
pub(super) fn without_record(error: CallError) -> Error {
    match error {
        CallError::Host(error) => error,
        CallError::Failed { retryable: true, .. } => Error::Retryable(error.to_string()),
        CallError::Trap { ref message, ref backtrace } => {
            Error::Plugin(backtrace.iter().fold(message.clone(), |text, f| text + "\n    at " + f))
        }
        CallError::TimedOut { .. } | CallError::Answer(_) | CallError::Failed { .. } => {
            Error::Plugin(error.to_string())
        }
    }
}

/// Whether the rows of the call may be to blame, rather than the operator as a whole or the host.
fn may_be_a_record(error: &CallError) -> bool {
    matches!(error, CallError::Trap { .. } | CallError::TimedOut { .. } | CallError::Answer(_))
}

impl FunctionOperator {
    /// Calls the rows of a batch whose call failed in ever smaller pieces, in order; what succeeds goes to `out`, what fails
    /// alone is rejected.
    pub(super) fn blame(
        &mut self,
        batch: &Batch,
        at: Moment,
        error: CallError,
        out: &mut Vec<Batch>,
    ) -> Result<(), Error> {
        if !may_be_a_record(&error) {
            return Err(without_record(error));
        }
        let (rows, report) = (batch.rows(), self.setup.blame.report.clone());
        let records = if rows == 1 { "1 record".to_owned() } else { format!("{rows} records") };
        if let CallError::TimedOut { limit_ms } = error {
            let took = format!("a call with {records} took more than {limit_ms} ms of CPU time");
            report.call_failed(&format!("{took}; what it had is tried once more, record by record"));
        }
        let (first, mut blamed, mut timeouts) = (error.to_string(), 0, 0);
        // Pieces still to be called, the next one last.
        let mut waiting = pieces(batch, error);
        while let Some((mut piece, known)) = waiting.pop() {
            let failed = match known {
                Some(error) => error,
                None => {
                    let (fits, keyed) = self.fitting(piece.clone())?;
                    if fits.rows() < piece.rows() {
                        waiting.push((piece.slice(fits.rows(), piece.rows()), None));
                        piece = fits;
                    }
                    match self.call(&piece, keyed, at) {
                        Ok((rows, rejected)) => {
                            self.reject_rows(&piece, rejected)?;
                            if !rows.is_empty() {
                                out.push(rows);
                            }
                            continue;
                        }
                        Err(error) => error,
                    }
                }
            };
            if !may_be_a_record(&failed) {
                return Err(without_record(failed));
            }
            timeouts += usize::from(matches!(failed, CallError::TimedOut { .. }));
            if timeouts > TIMEOUTS {
                let text = format!("more than {TIMEOUTS} calls for one batch of {} records: {failed}", batch.rows());
                return Err(Error::Plugin(text));
            }
            if piece.rows() == 1 {
                self.blame_record(&piece, failed)?;
                blamed += 1;
                continue;
            }
            waiting.extend(pieces(&piece, failed));
        }
        if blamed == 0 {
            report.call_failed(&format!("a call with {records} failed, but no record does alone: {first}"));
        }
        Ok(())
    }

    fn blame_record(&self, one: &Batch, failed: CallError) -> Result<(), Error> {
        let message = failed.to_string();
        let (code, backtrace) = match failed {
            CallError::Trap { backtrace, .. } => ("trap", backtrace),
            CallError::TimedOut { .. } => ("timeout", Vec::new()),
            CallError::Answer(_) => ("bad-answer", Vec::new()),
            CallError::Failed { .. } | CallError::Host(_) => return Err(without_record(failed)),
        };
        self.setup.blame.reject(Rejected { origin: one.origin(0), code: code.into(), message, backtrace })
    }
}

/// A piece of a batch, with the failure that is already known of it.
type Piece = (Batch, Option<CallError>);

/// What to call next of a batch whose call failed, the first piece last.
fn pieces(batch: &Batch, failed: CallError) -> Vec<Piece> {
    if batch.rows() == 1 {
        let known = (!matches!(failed, CallError::TimedOut { .. })).then_some(failed);
        return vec![(batch.clone(), known)];
    }
    let length = match failed {
        CallError::TimedOut { .. } => 1,
        _ => batch.rows().div_ceil(2),
    };
    let starts = (0..batch.rows()).step_by(length).rev();
    starts.map(|from| (batch.slice(from, (from + length).min(batch.rows())), None)).collect()
}
