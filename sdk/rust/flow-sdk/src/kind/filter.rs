//! Filters: records pass or they don't. Must never touch a record.

use flow_frame::layout::Type;
use flow_frame::{Parts, assemble, id};
use serde::de::DeserializeOwned;

use crate::error::{Failure, Result};
use crate::operator::{self, Answer, Context, Description, Kind, Refusals, Runner};
use crate::record::{Column, Moment, Record, Rows};

/// Records pass or they don't.
///
/// ```
/// use flow_sdk::prelude::*;
///
/// struct LongerThan(usize);
///
/// impl Filter for LongerThan {
///     type Config = usize;
///
///     fn new(config: usize, _: &Context) -> Result<Self> {
///         Ok(LongerThan(config))
///     }
///
///     fn keep(&mut self, record: &Record) -> Result<bool> {
///         Ok(record.text()?.chars().count() > self.0)
///     }
/// }
/// flow_sdk::export!(filter LongerThan);
///
/// let mut harness = flow_sdk::testing::Harness::<LongerThan>::new(3)?;
/// let output = harness.run(["no", "yesyes"])?;
/// assert_eq!(output.texts(), ["yesyes"]);
/// # Ok::<(), flow_sdk::Failure>(())
/// ```
pub trait Filter: Sized + 'static {
    /// The operator's `config` in the pipeline file.
    type Config: DeserializeOwned;

    /// What of a record it reads.
    const READS: &'static [Column] = &[Column::Value];

    /// A new instance. An error stops the job with its message.
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Whether the record passes.
    fn keep(&mut self, record: &Record<'_>) -> Result<bool>;
}

/// Each row, in a function of its own as with maps.
#[inline(never)]
fn filter_rows<F: Filter>(
    filter: &mut F,
    rows: &Rows<'_>,
    mask: &mut Vec<u8>,
    refusals: &mut Refusals,
) -> Result<(), Failure> {
    for row in 0..rows.count {
        let keep = match filter.keep(&Record { rows, row }) {
            Ok(keep) => keep,
            Err(e) => {
                refusals.add(row, e)?;
                false
            }
        };
        mask.push(keep.into());
    }
    Ok(())
}

/// Runs a filter over frames.
#[derive(Debug)]
pub struct FilterRunner<F> {
    filter: F,
    mask: Vec<u8>,
}

impl<F: Filter> Runner for FilterRunner<F> {
    fn description() -> Description {
        Description {
            kind: Kind::Filter,
            columns: Column::ids(F::READS),
            ports: &["main"],
            states: Vec::new(),
            unordered: false,
        }
    }

    fn create(config: &str, context: &Context) -> Result<Self, Failure> {
        let filter = F::new(operator::parse_config(config)?, context).map_err(operator::refuse_config)?;
        Ok(FilterRunner { filter, mask: Vec::new() })
    }

    fn call(&mut self, rows: &[u8], _keys: &[u8], at: Moment) -> Result<Answer, Failure> {
        let rows = Rows::parse(rows, F::READS, at)?;
        let mut refusals = Refusals::default();
        self.mask.clear();
        self.mask.reserve(rows.count);
        filter_rows(&mut self.filter, &rows, &mut self.mask, &mut refusals)?;
        let mask = Parts { id: id::MASK, ty: Type::U8, flags: 0, data: &self.mask, offsets: None, nulls: None };
        let mut out = Vec::new();
        assemble(rows.count, &[mask], &mut out);
        Ok(Answer { rows: out, states: Vec::new(), rejected: refusals.finish() })
    }

    fn before_barrier(&mut self, _checkpoint: u64) -> Result<Answer, Failure> {
        Ok(Answer::default())
    }

    fn end_of_input(&mut self) -> Result<Answer, Failure> {
        Ok(Answer::default())
    }
}
