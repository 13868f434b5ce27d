//! What every kind of operator shares: its description, its context, and one call a batch. Authors meet [`Context`]; the
//! rest is between the SDK's runners and whoever drives them, a component or a test harness.

use serde::de::DeserializeOwned;

use crate::error::{Error, Failure, Result};
use crate::record::Moment;

/// Where an instance runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The operator's name in the pipeline.
    pub operator: String,
    /// Number of this subtask, from 0.
    pub subtask: u32,
    /// How many subtasks the operator has.
    pub parallelism: u32,
    /// First and last key group that this subtask owns, inclusive.
    pub key_groups: (u32, u32),
}

/// Which interface an operator serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One record in, one out.
    Map,
    /// Records pass or they don't.
    Filter,
    /// One record in, any number out.
    FlatMap,
    /// Any number out, with state per key.
    Process,
}

/// How a state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// One value a key.
    Value,
    /// An ordered map a key.
    Map,
    /// A list a key.
    List,
}

/// A state that an operator declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDescriptor {
    /// Stable name: state is found by it when a job is restored.
    pub name: &'static str,
    /// How it is kept.
    pub kind: StateKind,
    /// The author's version of the encoding.
    pub version: u32,
    /// How values are encoded.
    pub encoding: String,
}

/// What an operator says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which interface it serves.
    pub kind: Kind,
    /// Ids of the columns that it reads.
    pub columns: Vec<u16>,
    /// Names of its outputs; the first is the main one.
    pub ports: &'static [&'static str],
    /// Its states.
    pub states: Vec<StateDescriptor>,
    /// Output may leave in any order across keys.
    pub unordered: bool,
}

/// A refused row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Row of the batch that was passed.
    pub row: u32,
    /// A short stable word.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What a call returns, as `wit/kinds.wit` says for each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The frame of rows, or a filter's mask.
    pub rows: Vec<u8>,
    /// The frame of new contents of value states.
    pub states: Vec<u8>,
    /// Refused rows, ascending.
    pub rejected: Vec<Refused>,
}

/// An operator behind frames: what a component exports and a harness drives. The runners of the SDK implement it for each
/// kind.
pub trait Runner: Sized + 'static {
    /// What the operator says of itself.
    fn description() -> Description;

    /// A new instance. `config` is JSON text.
    fn create(config: &str, context: &Context) -> Result<Self, Failure>;

    /// One batch. `keys` is the frame of keys of a keyed call, else empty.
    fn call(&mut self, rows: &[u8], keys: &[u8], at: Moment) -> Result<Answer, Failure>;

    /// A barrier is about to pass.
    fn before_barrier(&mut self, checkpoint: u64) -> Result<Answer, Failure>;

    /// No more rows will come.
    fn end_of_input(&mut self) -> Result<Answer, Failure>;
}

/// Ties an author's type to the runner of its kind. [`export!`](crate::export) implements it.
pub trait Operator: 'static {
    /// The runner.
    type Runner: Runner;
}

/// Parses a config; the error names the field.
pub(crate) fn parse_config<C: DeserializeOwned>(config: &str) -> Result<C, Failure> {
    let parse = |text: &str| {
        let mut json = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut json)
    };
    let parsed = match parse(config) {
        // No config at all is one without fields, so that defaults apply.
        Err(_) if config == "null" => parse("{}"),
        parsed => parsed,
    };
    parsed.map_err(|e| {
        let (path, cause) = (e.path().to_string(), e.inner());
        // The JSON is the host's, made of the pipeline file: its line and column tell an author nothing.
        let (whole, place) = (cause.to_string(), format!(" at line {} column {}", cause.line(), cause.column()));
        let cause = whole.strip_suffix(&place).unwrap_or(&whole);
        let message = match path.as_str() {
            "." => format!("config: {cause}"),
            path => format!("config.{path}: {cause}"),
        };
        Failure { code: "bad-config".into(), message, retryable: false }
    })
}

/// The error of an author's `new`: whatever it is, the instance can't start.
pub(crate) fn refuse_config(e: Error) -> Failure {
    e.into_failure()
}

/// Collects the refused rows of a call.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Vec<Refused>);

impl Refusals {
    /// Notes a refusal of the row; an error that fails the call is passed on.
    #[cold]
    pub fn add(&mut self, row: usize, error: Error) -> Result<(), Failure> {
        let (code, message) = error.split()?;
        self.0.push(Refused { row: row as u32, code, message });
        Ok(())
    }

    /// All of them, ascending, since rows are taken in order.
    pub fn finish(self) -> Vec<Refused> {
        self.0
    }
}
