//! Flat-maps: one record in, any number out. Must keep the order of rows.

use serde::de::DeserializeOwned;

use crate::emitter::Emitter;
use crate::error::{Failure, Result};
use crate::operator::{self, Answer, Context, Description, Kind, Refusals, Runner};
use crate::record::{Column, Moment, Record, Rows};

/// One record in, any number out.
///
/// ```
/// use flow_sdk::prelude::*;
///
/// struct Lines;
///
/// impl FlatMap for Lines {
///     type Config = ();
///
///     fn new(_: (), _: &Context) -> Result<Self> {
///         Ok(Lines)
///     }
///
///     fn flat_map(&mut self, record: &Record, out: &mut Emitter) -> Result<()> {
///         for line in record.text()?.lines() {
///             out.emit(line);
///         }
///         Ok(())
///     }
/// }
/// flow_sdk::export!(flat_map Lines);
///
/// let output = flow_sdk::testing::Harness::<Lines>::new(())?.run(["a\nb", "", "c"])?;
/// assert_eq!(output.texts(), ["a", "b", "c"]);
/// # Ok::<(), flow_sdk::Failure>(())
/// ```
pub trait FlatMap: Sized + 'static {
    /// The operator's `config` in the pipeline file.
    type Config: DeserializeOwned;

    /// What of a record it reads.
    const READS: &'static [Column] = &[Column::Value];

    /// Names of its outputs; the first is the main one.
    const PORTS: &'static [&'static str] = &["main"];

    /// A new instance. An error stops the job with its message.
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Emits what becomes of a record.
    fn flat_map(&mut self, record: &Record<'_>, out: &mut Emitter<'_>) -> Result<()>;

    /// A barrier is about to pass. Records emitted here have no key, event time and headers but those that are set.
    fn before_barrier(&mut self, checkpoint: u64, out: &mut Emitter<'_>) -> Result<()> {
        let _ = (checkpoint, out);
        Ok(())
    }

    /// No more records will come. Emitting is as in [`FlatMap::before_barrier`].
    fn end_of_input(&mut self, out: &mut Emitter<'_>) -> Result<()> {
        let _ = out;
        Ok(())
    }
}

/// Runs a flat-map over frames.
#[derive(Debug)]
pub struct FlatMapRunner<F> {
    flat_map: F,
    /// How many rows and bytes the last call emitted for each 16 rows of input: room for the next.
    room: Option<(usize, usize)>,
}

/// Each row, in a function of its own as with maps.
#[inline(never)]
fn flat_map_rows<F: FlatMap>(
    flat_map: &mut F,
    rows: &Rows<'_>,
    out: &mut Emitter<'_>,
    refusals: &mut Refusals,
) -> Result<(), Failure> {
    for row in 0..rows.count {
        out.begin(row);
        let before = out.rows();
        let emitted = flat_map.flat_map(&Record { rows, row }, out).and_then(|()| out.check());
        if let Err(e) = emitted {
            refusals.add(row, e)?;
            out.truncate(before);
        }
    }
    Ok(())
}

impl<F: FlatMap> Runner for FlatMapRunner<F> {
    fn description() -> Description {
        Description {
            kind: Kind::FlatMap,
            columns: Column::ids(F::READS),
            ports: F::PORTS,
            states: Vec::new(),
            unordered: false,
        }
    }

    fn create(config: &str, context: &Context) -> Result<Self, Failure> {
        let flat_map = F::new(operator::parse_config(config)?, context).map_err(operator::refuse_config)?;
        Ok(FlatMapRunner { flat_map, room: None })
    }

    fn call(&mut self, rows: &[u8], _keys: &[u8], at: Moment) -> Result<Answer, Failure> {
        let input = Rows::parse(rows, F::READS, at)?;
        let mut refusals = Refusals::default();
        let share = |all: usize| all * input.count / 16 + all / 16;
        let (rows, bytes) =
            self.room.map_or((input.count, input.value_bytes), |(rows, bytes)| (share(rows), share(bytes)));
        let mut out = Emitter::new(&input, F::PORTS, rows, bytes);
        flat_map_rows(&mut self.flat_map, &input, &mut out, &mut refusals)?;
        if input.count > 0 {
            let a_row = |all: usize| all * 17 / input.count + 1;
            self.room = Some((a_row(out.rows()), a_row(out.bytes())));
        }
        Ok(Answer { rows: out.finish(), states: Vec::new(), rejected: refusals.finish() })
    }

    fn before_barrier(&mut self, checkpoint: u64) -> Result<Answer, Failure> {
        let none = Rows::none();
        let mut out = Emitter::new(&none, F::PORTS, 0, 0);
        let result = self.flat_map.before_barrier(checkpoint, &mut out);
        Ok(Answer { rows: out.finish_hook(result)?, ..Answer::default() })
    }

    fn end_of_input(&mut self) -> Result<Answer, Failure> {
        let none = Rows::none();
        let mut out = Emitter::new(&none, F::PORTS, 0, 0);
        let result = self.flat_map.end_of_input(&mut out);
        Ok(Answer { rows: out.finish_hook(result)?, ..Answer::default() })
    }
}
