//! Runs operators natively, with the runners that a component has and a host in memory: `cargo test` without Wasm.
//!
//! [`Harness`] takes an operator that [`export!`](crate::export) names. The crate `flow-sdk-test` runs the compiled
//! component in the real host behind the same records in and out.

mod batch;
pub(crate) mod host;
mod input;
mod output;

pub use input::Input;
pub use output::{Emitted, Output, Rejected};

use std::fmt;

use serde::Serialize;

use crate::error::Failure;
use crate::operator::{Answer, Context, Kind, Operator, Runner, StateKind};
use crate::record::Moment;
use crate::state::{StateKey, Stored};
use host::Host;

/// An operator under test.
///
/// ```
/// use flow_sdk::prelude::*;
/// use flow_sdk::testing::{Harness, Input};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Limit {
///     most: u32,
/// }
///
/// struct Check(Limit);
///
/// impl Filter for Check {
///     type Config = Limit;
///
///     fn new(config: Limit, _: &Context) -> Result<Self> {
///         log::info!("the most is {}", config.most);
///         Ok(Check(config))
///     }
///
///     fn keep(&mut self, record: &Record) -> Result<bool> {
///         Ok(record.json::<u32>()? <= self.0.most)
///     }
/// }
/// flow_sdk::export!(filter Check);
///
/// let mut harness = Harness::<Check>::new(serde_json::json!({"most": 3}))?;
/// let output = harness.run(["1", "9", "many"])?;
/// assert_eq!(output.texts(), ["1"]);
/// assert_eq!(output.codes(), ["bad-json"]);
///
/// let wrong = Harness::<Check>::new(serde_json::json!({"most": "3"})).unwrap_err();
/// assert_eq!(wrong.message, r#"config.most: invalid type: string "3", expected u32"#);
/// # Ok::<(), flow_sdk::Failure>(())
/// ```
pub struct Harness<O: Operator> {
    runner: O::Runner,
    config: String,
    context: Context,
    batch: usize,
    at: Moment,
    host: Host,
}

impl<O: Operator> fmt::Debug for Harness<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("config", &self.config).field("host", &self.host).finish_non_exhaustive()
    }
}

impl<O: Operator> Harness<O> {
    /// An instance with this config, as the only subtask.
    pub fn new(config: impl Serialize) -> Result<Self, Failure> {
        let context = Context { operator: "test".into(), subtask: 0, parallelism: 1, key_groups: (0, 127) };
        Self::with_context(config, context)
    }

    /// An instance with this config that runs at a place of its own.
    ///
    /// # Panics
    /// If the config can't be written as JSON.
    pub fn with_context(config: impl Serialize, context: Context) -> Result<Self, Failure> {
        let config = serde_json::to_string(&config).expect("a test's config can be written as JSON");
        let mut host = Host::default();
        let runner = host::with(&mut host, || O::Runner::create(&config, &context))?;
        let at = Moment { now: 0, watermark: i64::MIN };
        Ok(Harness { runner, config, context, batch: 1024, at, host })
    }

    /// Sets how many records a call gets at most; 1024 at first.
    pub fn batch(&mut self, rows: usize) -> &mut Self {
        self.batch = rows.max(1);
        self
    }

    /// Sets processing time, milliseconds since the Unix epoch; 0 at first.
    pub fn now(&mut self, now: i64) -> &mut Self {
        self.at.now = now;
        self
    }

    /// Sets the event-time watermark, milliseconds since the Unix epoch; there is none at first.
    pub fn watermark(&mut self, watermark: i64) -> &mut Self {
        self.at.watermark = watermark;
        self
    }

    /// Puts a new instance in place of the one at work, as the engine does at any time: what is to outlive it must be
    /// state.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.runner = host::with(&mut self.host, || O::Runner::create(&self.config, &self.context))?;
        Ok(())
    }

    /// Runs records through the operator. A call that fails is an error, and a new instance takes over.
    pub fn run<I: Into<Input>>(&mut self, inputs: impl IntoIterator<Item = I>) -> Result<Output, Failure> {
        let inputs: Vec<Input> = inputs.into_iter().map(Into::into).collect();
        let mut output = Output::default();
        for (number, chunk) in inputs.chunks(self.batch).enumerate() {
            if let Err(e) = self.call(chunk, number * self.batch, &mut output) {
                self.restart()?;
                return Err(e);
            }
        }
        output.logs = std::mem::take(&mut self.host.logs);
        Ok(output)
    }

    /// Lets a barrier pass.
    pub fn before_barrier(&mut self, checkpoint: u64) -> Result<Output, Failure> {
        self.hook(|runner| runner.before_barrier(checkpoint))
    }

    /// Ends the input.
    pub fn end_of_input(&mut self) -> Result<Output, Failure> {
        self.hook(Runner::end_of_input)
    }

    /// What a value state holds for a key.
    ///
    /// # Panics
    /// If there is no such value state, or it holds something else.
    pub fn value<T: Stored>(&self, state: &str, key: impl AsRef<[u8]>) -> Option<T> {
        let at = (self.state(state, StateKind::Value), key.as_ref().to_vec());
        self.host.values.get(&at).map(|bytes| decoded(T::decode(bytes)))
    }

    /// The entries of a map state for a key, in order.
    ///
    /// # Panics
    /// If there is no such map state, or it holds something else.
    pub fn map<K: StateKey, V: Stored>(&self, state: &str, key: impl AsRef<[u8]>) -> Vec<(K, V)> {
        let at = (self.state(state, StateKind::Map), key.as_ref().to_vec());
        let entries = self.host.entries.get(&at).into_iter().flatten();
        entries.map(|(k, v)| (decoded(K::read(k)), decoded(V::decode(v)))).collect()
    }

    /// The items of a list state for a key, in order.
    ///
    /// # Panics
    /// If there is no such list state, or it holds something else.
    pub fn list<T: Stored>(&self, state: &str, key: impl AsRef<[u8]>) -> Vec<T> {
        let at = (self.state(state, StateKind::List), key.as_ref().to_vec());
        self.host.entries.get(&at).into_iter().flatten().map(|(_, v)| decoded(T::decode(v))).collect()
    }

    fn state(&self, name: &str, kind: StateKind) -> u32 {
        let states = O::Runner::description().states;
        let at = states.iter().position(|s| s.name == name && s.kind == kind);
        at.unwrap_or_else(|| panic!("the operator has no {kind:?} state `{name}`")) as u32
    }

    fn call(&mut self, inputs: &[Input], first: usize, output: &mut Output) -> Result<(), Failure> {
        let description = O::Runner::description();
        let keyed = description.kind == Kind::Process;
        let (numbers, rows): (Vec<usize>, Vec<&Input>) =
            inputs.iter().enumerate().filter(|(_, i)| !keyed || i.key.is_some()).unzip();
        for (number, _) in inputs.iter().enumerate().filter(|(_, i)| keyed && i.key.is_none()) {
            let message = "the record has no key".into();
            output.rejected.push(Rejected { input: first + number, code: "no-key".into(), message });
        }
        let (order, keys) = if keyed { batch::group(&rows) } else { ((0..rows.len()).collect(), Vec::new()) };
        let grouped: Vec<&Input> = order.iter().map(|row| rows[*row]).collect();
        let frame = batch::frame(&grouped, &description.columns);
        let keys_frame = if keyed { batch::keys_frame(&keys, &self.prefetch(&keys)) } else { Vec::new() };

        self.host.keys = keys.into_iter().map(|(key, _)| key).collect();
        let at = self.at;
        let answer = host::with(&mut self.host, || self.runner.call(&frame, &keys_frame, at))?;
        let refused: Vec<usize> = answer.rejected.iter().map(|r| r.row as usize).collect();
        let mut records = batch::merge(description.kind, &grouped, &answer.rows, &refused, description.ports, false)?;
        self.keep(&answer.states)?;

        let number_of = |row: usize| first + numbers[order[row]];
        records.iter_mut().for_each(|r| r.input = r.input.map(number_of));
        if keyed && !description.unordered {
            records.sort_by_key(|r| r.input);
        }
        output.records.extend(records);
        let refused = answer.rejected.into_iter();
        output.rejected.extend(refused.map(|r| Rejected {
            input: number_of(r.row as usize),
            code: r.code,
            message: r.message,
        }));
        Ok(())
    }

    fn prefetch(&self, keys: &[(Vec<u8>, usize)]) -> Vec<(u32, Vec<Option<Vec<u8>>>)> {
        let states = O::Runner::description().states;
        let values = states.iter().enumerate().filter(|(_, s)| s.kind == StateKind::Value);
        let of = |id: u32| keys.iter().map(|(key, _)| self.host.values.get(&(id, key.clone())).cloned()).collect();
        values.map(|(id, _)| (id as u32, of(id as u32))).collect()
    }

    /// Takes new contents of value states.
    fn keep(&mut self, states: &[u8]) -> Result<(), Failure> {
        use flow_frame::{id, layout};
        let f = batch::parse(states)?;
        for column in f.columns() {
            let (Some(values), state) = (column.as_bytes(), u32::from(column.id - id::DECLARED)) else { continue };
            for (row, key) in self.host.keys.iter().enumerate() {
                match values.presence(row) {
                    layout::UNCHANGED => None,
                    layout::NULL => self.host.values.remove(&(state, key.clone())),
                    _ => self.host.values.insert((state, key.clone()), values.raw(row).to_vec()),
                };
            }
        }
        Ok(())
    }

    fn hook(&mut self, call: impl FnOnce(&mut O::Runner) -> Result<Answer, Failure>) -> Result<Output, Failure> {
        let description = O::Runner::description();
        self.host.keys.clear();
        let answer = host::with(&mut self.host, || call(&mut self.runner))?;
        let records = batch::merge(description.kind, &[], &answer.rows, &[], description.ports, true)?;
        Ok(Output { records, rejected: Vec::new(), logs: std::mem::take(&mut self.host.logs) })
    }
}

fn decoded<T>(result: crate::Result<T>) -> T {
    result.unwrap_or_else(|e| panic!("the state holds something else: {e}"))
}
