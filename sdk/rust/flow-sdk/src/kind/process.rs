//! Keyed operators with state. Must leave nothing of a refused record: neither output nor state.

use serde::de::DeserializeOwned;

use crate::emitter::Emitter;
use crate::error::{Failure, Result};
use crate::operator::{self, Answer, Context, Description, Kind, Refusals, Runner};
use crate::record::{Column, Grouped, Moment, Record, Rows};
use crate::state::{Keys, State};

/// Records by key, with state of that key; any number out.
///
/// Records of one key come in order. The key is a call's argument; a record's other parts are there if `READS` lists them.
///
/// ```
/// use flow_sdk::prelude::*;
///
/// flow_sdk::state! {
///     struct Seen { count: Value<u64> }
/// }
///
/// struct Count;
///
/// impl Process for Count {
///     type Config = ();
///     type State = Seen;
///     const READS: &'static [Column] = &[];
///
///     fn new(_: (), _: &Context) -> Result<Self> {
///         Ok(Count)
///     }
///
///     fn process(&mut self, _key: &[u8], _: &Record, state: &mut Seen, out: &mut Emitter) -> Result<()> {
///         let count = state.count.get()?.copied().unwrap_or(0) + 1;
///         state.count.set(count);
///         out.json(&count)
///     }
/// }
/// flow_sdk::export!(process Count);
///
/// use flow_sdk::testing::{Harness, Input};
/// let mut harness = Harness::<Count>::new(())?;
/// let output = harness.run(["a", "b", "a"].map(|key| Input::default().key(key)))?;
/// assert_eq!(output.texts(), ["1", "1", "2"]);
/// assert_eq!(harness.value::<u64>("count", "a"), Some(2));
/// # Ok::<(), flow_sdk::Failure>(())
/// ```
pub trait Process: Sized + 'static {
    /// The operator's `config` in the pipeline file.
    type Config: DeserializeOwned;

    /// What is kept of each key, declared by [`state!`](crate::state!); `()` for nothing.
    type State: State;

    /// What of a record it reads, beside the key.
    const READS: &'static [Column] = &[Column::Value];

    /// Names of its outputs; the first is the main one.
    const PORTS: &'static [&'static str] = &["main"];

    /// Whether output may leave in any order across keys, which saves putting it back into the order of the input.
    const UNORDERED: bool = false;

    /// A new instance. An error stops the job with its message.
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Emits what becomes of a record, and changes the state of its key.
    fn process(
        &mut self,
        key: &[u8],
        record: &Record<'_>,
        state: &mut Self::State,
        out: &mut Emitter<'_>,
    ) -> Result<()>;

    /// Called for all records of a batch before the first is processed, to announce by
    /// [`MapState::prefetch`](crate::state::MapState::prefetch) what will be read: one import then reads all of it.
    /// Must do nothing else.
    #[inline]
    fn prefetch(&self, key: &[u8], record: &Record<'_>, state: &mut Self::State) {
        let _ = (key, record, state);
    }

    /// A barrier is about to pass. Records emitted here have no key, event time and headers but those that are set.
    fn before_barrier(&mut self, checkpoint: u64, out: &mut Emitter<'_>) -> Result<()> {
        let _ = (checkpoint, out);
        Ok(())
    }

    /// No more records will come. Emitting is as in [`Process::before_barrier`].
    fn end_of_input(&mut self, out: &mut Emitter<'_>) -> Result<()> {
        let _ = out;
        Ok(())
    }
}

/// Runs a keyed operator over frames.
#[derive(Debug)]
pub struct ProcessRunner<P: Process> {
    process: P,
    state: P::State,
    /// How many states there are.
    states: usize,
    /// How many rows and bytes the last call emitted for each 16 rows of input: room for the next.
    room: Option<(usize, usize)>,
}

impl<P: Process> ProcessRunner<P> {
    fn run(&mut self, input: &Rows<'_>, keys: &Keys<'_>, ends: &[u32]) -> Result<Answer, Failure> {
        self.state.begin_call();
        let mut from = 0;
        for (key_row, to) in ends.iter().map(|end| *end as usize).enumerate() {
            self.state.announce(key_row as u32);
            for row in from..to {
                self.process.prefetch(keys.keys.raw(key_row), &Record { rows: input, row }, &mut self.state);
            }
            from = to;
        }
        self.state.fetch();

        let mut refusals = Refusals::default();
        let share = |all: usize| all * input.count / 16 + all / 16;
        let (rows, bytes) =
            self.room.map_or((input.count, input.value_bytes), |(rows, bytes)| (share(rows), share(bytes)));
        let mut out = Emitter::new(input, P::PORTS, rows, bytes);
        self.process_rows(input, keys, ends, &mut out, &mut refusals)?;
        self.state.end_call();

        if input.count > 0 {
            let a_row = |all: usize| all * 17 / input.count + 1;
            self.room = Some((a_row(out.rows()), a_row(out.bytes())));
        }
        let mut changed = Vec::new();
        self.state.columns(&mut changed);
        let mut states = Vec::new();
        if !changed.is_empty() {
            flow_frame::assemble(keys.count, &changed, &mut states);
        }
        Ok(Answer { rows: out.finish(), states, rejected: refusals.finish() })
    }
}

impl<P: Process> ProcessRunner<P> {
    /// Each row, in a function of its own as with maps.
    #[inline(never)]
    fn process_rows(
        &mut self,
        input: &Rows<'_>,
        keys: &Keys<'_>,
        ends: &[u32],
        out: &mut Emitter<'_>,
        refusals: &mut Refusals,
    ) -> Result<(), Failure> {
        let mut from = 0;
        for (key_row, to) in ends.iter().map(|end| *end as usize).enumerate() {
            let key = keys.keys.raw(key_row);
            self.state.begin_key(key_row as u32, keys);
            for row in from..to {
                out.begin(row);
                let before = out.rows();
                let record = Record { rows: input, row };
                let done = self.process.process(key, &record, &mut self.state, out).and_then(|()| out.check());
                self.state.end_row(done.is_ok());
                if let Err(e) = done {
                    refusals.add(row, e)?;
                    out.truncate(before);
                }
            }
            self.state.end_key()?;
            from = to;
        }
        Ok(())
    }
}

impl<P: Process> Runner for ProcessRunner<P> {
    fn description() -> Description {
        Description {
            kind: Kind::Process,
            columns: Column::ids(P::READS),
            ports: P::PORTS,
            states: P::State::describe(),
            unordered: P::UNORDERED,
        }
    }

    fn create(config: &str, context: &Context) -> Result<Self, Failure> {
        let process = P::new(operator::parse_config(config)?, context).map_err(operator::refuse_config)?;
        Ok(ProcessRunner { process, state: P::State::open(), states: P::State::describe().len(), room: None })
    }

    fn call(&mut self, rows: &[u8], keys: &[u8], at: Moment) -> Result<Answer, Failure> {
        let mut input = Rows::parse(rows, P::READS, at)?;
        let keys = Keys::parse(keys, self.states)?;
        let mut end = 0u32;
        let ends: Vec<u32> = keys
            .group_rows
            .iter()
            .map(|rows| {
                end = end.saturating_add(u32::from_le_bytes(*rows));
                end
            })
            .collect();
        if end as usize != input.count {
            let message = format!("{} rows, and keys for {end}", input.count);
            return Err(Failure { code: "bad-frame".into(), message, retryable: false });
        }
        let for_records = ends.clone();
        input.grouped = Some(Grouped { keys: keys.keys, ends: for_records });
        self.run(&input, &keys, &ends)
    }

    fn before_barrier(&mut self, checkpoint: u64) -> Result<Answer, Failure> {
        let none = Rows::none();
        let mut out = Emitter::new(&none, P::PORTS, 0, 0);
        let result = self.process.before_barrier(checkpoint, &mut out);
        Ok(Answer { rows: out.finish_hook(result)?, ..Answer::default() })
    }

    fn end_of_input(&mut self) -> Result<Answer, Failure> {
        let none = Rows::none();
        let mut out = Emitter::new(&none, P::PORTS, 0, 0);
        let result = self.process.end_of_input(&mut out);
        Ok(Answer { rows: out.finish_hook(result)?, ..Answer::default() })
    }
}
