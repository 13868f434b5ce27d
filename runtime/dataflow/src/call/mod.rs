//! Driving user code: a [`Function`] as an [`Operator`].
//!
//! A batch is cut to a size that one call handles in time and that a guest has room for, reduced to the columns that the
//! function reads, called, and the answer is checked and merged with what the function did not see ([`work`]). For a call that
//! fails the record to blame is searched ([`blame`]); that record is treated as `on-error` says, and the rest goes on. A call
//! whose failure may pass is made again after a pause, if `on-error` says so.
//!
//! - [`answer`]: checking and applying what a map, filter or flat-map returned
//! - [`group`]: grouping a batch by key, and putting the output back into arrival order
//! - [`work`]: which rows are called next, and what follows from how it went
//! - [`blame`]: who is to blame for a failed call

mod answer;
mod blame;
mod destination;
mod group;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use flow_frame::{BytesColumn, id};
use flow_model::spec::Retry;

use crate::dead_letter::DeadLetters;
use crate::durations::Durations;
use crate::element::{Barrier, Moment, Timestamp};
use crate::function::{Answer, CallError, Kind, Rejection};
use crate::report::{Rejected, Report};
use crate::state::KeyedState;
use crate::{Batch, Column, Error, Function, Operator};
use work::Work;

/// What happens when a record is refused or makes a call fail.
#[derive(Clone, Debug, Default)]
pub enum OnError {
    /// The job fails and names the record.
    #[default]
    Fail,
    /// The record is counted, logged and left out.
    Skip,
    /// The record is counted and sent where dead letters go.
    DeadLetter(DeadLetters),
}

/// Nanoseconds of a clock that never goes back, from any start.
pub type Stopwatch = fn() -> u64;

/// What happens with a record that fails, and where it is told.
#[derive(Clone)]
pub struct Blame {
    /// What happens with the record.
    pub on_error: OnError,
    /// Where it is told.
    pub report: Arc<dyn Report>,
}

impl Blame {
    /// Treats a row of a batch as `on-error` says.
    pub fn reject(&self, batch: &Batch, row: usize, record: Rejected) -> Result<(), Error> {
        let origin = record.origin;
        let place = || origin.map(|(split, position)| self.report.locate(split, position));
        match &self.on_error {
            OnError::Skip => self.report.rejected(&record),
            OnError::DeadLetter(letters) => {
                letters.send(batch, row, &record, place().as_ref());
                self.report.dead_letter(&record);
            }
            OnError::Fail => {
                let Rejected { code, message, backtrace, .. } = record;
                let place = place().map_or("a record".into(), |place| place.text);
                let trace: String = backtrace.iter().map(|f| format!("\n    at {f}")).collect();
                return Err(Error::Plugin(format!(
                    "{place} was rejected ({code}): {message}{trace}\n  next: mend the record or the operator, or set \
                     `on-error: skip` or `on-error: dead-letter`"
                )));
            }
        }
        Ok(())
    }
}

/// How a function is driven.
pub struct Setup {
    /// What happens with a record that fails.
    pub blame: Blame,
    /// How calls are made again whose failure may pass; none: the job fails.
    pub retry: Option<Retry>,
    /// Where the operator's limits stand in the pipeline file, for who has to change one.
    pub limits_at: String,
    /// Measures calls, so that batches can be cut to size.
    pub stopwatch: Stopwatch,
    /// The most rows that one call gets.
    pub max_rows: usize,
    /// Set when the job is to stop: no further call is made. Who makes the function ends the call at hand.
    pub stop: Arc<AtomicBool>,
}

/// One call should take no longer: other tasks of the slot wait for it.
const CALL_GOAL_NS: u64 = 5_000_000;

/// Bytes that one call takes: the rows with their keys, and as much again of their value states. One row passes whatever it
/// has.
const CALL_BYTES: usize = 4 << 20;

/// What a keyed call gets beside its rows.
struct Keyed {
    groups: group::Groups,
    /// A row for each key, with its value states.
    keys: Batch,
}

/// A function with what it needs to stand in a chain.
pub struct FunctionOperator {
    function: Box<dyn Function>,
    state: KeyedState,
    setup: Setup,
    rows_a_call: usize,
    /// No call has been made since the last that failed, so that the instance is a new one.
    is_fresh: bool,
    work: Work,
    durations: Arc<Durations>,
}

impl FunctionOperator {
    /// Drives `function`; `state` holds its states (the default one for a function without).
    pub fn new(function: Box<dyn Function>, state: KeyedState, setup: Setup) -> FunctionOperator {
        let rows_a_call = setup.max_rows.clamp(1, 64);
        let (work, durations) = (Work::default(), Arc::default());
        FunctionOperator { function, state, setup, rows_a_call, is_fresh: true, work, durations }
    }

    /// How long its calls take, for who looks on: with what the engine does around each, such as reading its states.
    pub fn durations(&self) -> &Arc<Durations> {
        &self.durations
    }

    /// As many of the first rows as one call takes, and what they get if it is a keyed one, which begins with that.
    fn fitting(&mut self, mut batch: Batch) -> Result<(Batch, Option<Keyed>), Error> {
        if self.setup.stop.load(Relaxed) {
            return Err(Error::Closed("the job is to stop".into()));
        }
        let description = self.function.description();
        let is_keyed = description.kind == Kind::Process;
        let reads = |c: &&Column| description.columns.contains(&c.id) || (is_keyed && c.id == id::KEY);
        let rows = rows_within(batch.columns().iter().filter(reads), batch.rows());
        if rows < batch.rows() {
            batch = batch.slice(0, rows);
        }
        if !is_keyed {
            return Ok((batch, None));
        }
        loop {
            let groups = group::Groups::of(&batch)?;
            let mut keys = groups.keys(&batch);
            let (states, covered) = self.state.begin(groups.key_column(&keys), groups.len(), CALL_BYTES)?;
            if covered == groups.len() {
                states.into_iter().for_each(|column| keys.set(column));
                return Ok((batch, Some(Keyed { groups, keys })));
            }
            batch = batch.slice(0, groups.rows_of_first(covered));
        }
    }

    /// One transactional call; on success its state is committed and its output returned.
    fn call(&mut self, batch: &Batch, keyed: Option<Keyed>, at: Moment) -> Result<(Batch, Vec<Rejection>), CallError> {
        let result = match keyed {
            None => self.apply(batch, at),
            Some(keyed) => self.process_keyed(batch, &keyed, at),
        };
        self.is_fresh = result.is_err();
        if self.is_fresh {
            self.function.refuse();
        }
        result
    }

    fn apply(&mut self, batch: &Batch, at: Moment) -> Result<(Batch, Vec<Rejection>), CallError> {
        let description = self.function.description();
        let kind = description.kind;
        let view = batch.project(&description.columns);
        let answer = self.function.apply(&view, at)?;
        let rejected = answer::checked(answer.rejected, batch.rows())?;
        let out = match kind {
            Kind::Map => answer::map(batch, answer.rows, &rejected),
            Kind::Filter => answer::filter(batch, &answer.rows, &rejected),
            Kind::FlatMap | Kind::Process => answer::flat_map(batch, answer.rows, &rejected),
        }?;
        Ok((out, rejected))
    }

    fn process_keyed(
        &mut self,
        batch: &Batch,
        Keyed { groups, keys }: &Keyed,
        at: Moment,
    ) -> Result<(Batch, Vec<Rejection>), CallError> {
        let description = self.function.description();
        let unordered = description.unordered;
        let rows = groups.arrange(&batch.project(&description.columns));
        let done = self.function.process(&rows, keys, &mut self.state, at).and_then(|answer| {
            let rejected = groups.to_arrival(answer::checked(answer.rejected, batch.rows())?);
            let out = groups.collect(batch, answer.rows, &rejected, unordered)?;
            group::check_states(&answer.states, keys)?;
            Ok((out, rejected, answer.states))
        });
        match done {
            Ok((out, rejected, states)) => {
                if let Err(too_much) = self.state.check(&states).map_err(CallError::Host)? {
                    self.state.abort();
                    return Err(too_much.into());
                }
                self.state.commit(&states).map_err(CallError::Host)?;
                Ok((out, rejected))
            }
            Err(error) => {
                self.state.abort();
                Err(error)
            }
        }
    }

    fn reject_rows(&self, batch: &Batch, rejected: Vec<Rejection>) -> Result<(), Error> {
        rejected.into_iter().try_for_each(|r| {
            let row = r.row as usize;
            let (origin, backtrace, attempts) = (batch.origin(row), Vec::new(), self.work.attempts());
            let record = Rejected { origin, code: r.code, message: r.message, backtrace, attempts };
            self.setup.blame.reject(batch, row, record)
        })
    }

    /// Learns from a call how many rows the next one should get.
    fn adapt(&mut self, rows: usize, took: u64) {
        if took > CALL_GOAL_NS {
            let fitting = rows as u64 * CALL_GOAL_NS / took;
            self.rows_a_call = (fitting as usize).max(1);
        } else if rows >= self.rows_a_call && took < CALL_GOAL_NS / 2 {
            self.rows_a_call = (self.rows_a_call * 2).min(self.setup.max_rows);
        }
    }

    fn emit_answer(&mut self, answer: Result<Answer, CallError>, out: &mut Vec<Batch>) -> Result<(), Error> {
        let answer = answer.map_err(blame::without_record)?;
        if !answer.rejected.is_empty() {
            return Err(Error::Plugin("rejected rows of a call that got none".into()));
        }
        let rows = answer::unasked(answer.rows).map_err(blame::without_record)?;
        if !rows.is_empty() {
            out.push(rows);
        }
        Ok(())
    }
}

impl Operator for FunctionOperator {
    fn process(&mut self, batch: Batch, at: Moment, out: &mut Vec<Batch>) -> Result<(), Error> {
        self.work.add(batch);
        if self.work.held().is_some() { Ok(()) } else { self.go_on(at, out) }
    }

    fn held(&self) -> Option<Timestamp> {
        self.work.held()
    }

    fn resume(&mut self, at: Moment, out: &mut Vec<Batch>) -> Result<(), Error> {
        self.go_on(at, out)
    }

    fn before_barrier(&mut self, barrier: Barrier, out: &mut Vec<Batch>) -> Result<(), Error> {
        let answer = self.function.before_barrier(barrier.checkpoint);
        self.emit_answer(answer, out)
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.state.snapshot(barrier)
    }

    fn end_of_input(&mut self, out: &mut Vec<Batch>) -> Result<(), Error> {
        let answer = self.function.end_of_input();
        self.emit_answer(answer, out)
    }
}

/// How many of so many rows have at most [`CALL_BYTES`] in these columns, at least one.
fn rows_within<'a>(columns: impl Iterator<Item = &'a Column> + Clone, rows: usize) -> usize {
    if columns.clone().map(Column::size).sum::<usize>() <= CALL_BYTES {
        return rows;
    }
    let columns: Vec<BytesColumn<'_>> = columns.filter_map(Column::as_bytes).collect();
    let mut bytes = 0;
    let fits = |row: &usize| {
        bytes += columns.iter().map(|c| c.raw(*row).len()).sum::<usize>();
        bytes <= CALL_BYTES
    };
    (0..rows).take_while(fits).count().max(1)
}

/// Rows that are left when the rejected ones are taken out; none when all are.
fn kept(rows: usize, rejected: &[Rejection]) -> Option<Vec<u32>> {
    if rejected.is_empty() {
        return None;
    }
    let out: BTreeSet<u32> = rejected.iter().map(|r| r.row).collect();
    Some((0..rows as u32).filter(|row| !out.contains(row)).collect())
}
