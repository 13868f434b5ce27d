//! Where rows come from.

use std::sync::Arc;

use flow_model::checkpoint::snapshot::Split;

use crate::report::Place;
use crate::{Batch, Error};

/// Tells the place of a row by its split and position, such as `orders[3]@1042` or `words.txt:17`.
pub type Locator = Arc<dyn Fn(u32, i64) -> Place + Send + Sync>;

/// What a source has to give.
#[derive(Debug)]
pub enum Polled {
    /// Rows, at least one.
    Batch(Batch),
    /// Nothing now. A shell is woken when there may be more, or asks again a little later.
    Idle,
    /// Nothing ever again.
    End,
}

/// The part of a source that one subtask reads.
pub trait Source: Send {
    /// Takes what is there, at most `max_rows` rows and about `max_bytes` bytes (one longer row passes alone). Never waits.
    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Polled, Error>;

    /// Where each split goes on after all rows given so far: (split number as in the rows' `split` column, next position).
    fn positions(&self) -> Vec<(u32, i64)>;

    /// Goes on with opening, without waiting. True when it is known where reading starts, and [`Source::splits`] may be asked.
    fn open(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    /// What a later attempt needs to go on after all rows given so far.
    fn splits(&self) -> Vec<Split>;

    /// Names places in this source for people, for all its subtasks' splits.
    fn locator(&self) -> Locator;
}
