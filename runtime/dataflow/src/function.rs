//! What user code offers to the engine: a description, and one call a batch.
//!
//! Invariant: **a call is a transaction.** State writes and output take effect only when it returns ok; after an error
//! the implementation must be as fresh as a new instance.

use crate::Batch;
use flow_model::checkpoint::CheckpointId;

use crate::element::Moment;
use crate::state::{KeyedState, TooMuch};

pub use flow_model::kind::OperatorKind as Kind;

/// How a state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// One value a key, prefetched with each call.
    Value,
    /// An ordered map a key.
    Map,
    /// An append-only list a key.
    List,
}

/// A state that a function declares. Its place in [`Description::states`] is its id in calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDescriptor {
    /// Stable name.
    pub name: String,
    /// How it is kept.
    pub kind: StateKind,
    /// The author's version of the encoding.
    pub version: u32,
    /// The encoding's name, for people and tools.
    pub encoding: String,
}

/// What a function says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which of the calls it serves.
    pub kind: Kind,
    /// Columns that it reads; calls get these and no others.
    pub columns: Vec<u16>,
    /// Names of its outputs; the first is the main one.
    pub ports: Vec<String>,
    /// Its states.
    pub states: Vec<StateDescriptor>,
    /// Output may leave in any order across keys.
    pub unordered: bool,
    /// What of the outside it needs.
    pub capabilities: Vec<String>,
}

/// A row that the function refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Row of the batch that was passed.
    pub row: u32,
    /// A short stable word.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What a call returned; not yet checked against the batch.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Rows by kind (see `wit/operator-0.1.0/kinds.wit`); a batch without columns stands for "empty".
    pub rows: Batch,
    /// For keyed calls, new contents of value states; else without columns.
    pub states: Batch,
    /// Refused rows.
    pub rejected: Vec<Rejection>,
}

/// A limit of an operator, as the pipeline file sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `memory`.
    Memory,
    /// `time-per-batch`.
    Time,
    /// `output-per-batch`.
    Output,
    /// `state-per-key`.
    State,
}

impl Limit {
    /// The field of `limits` that sets it.
    pub fn field(self) -> &'static str {
        match self {
            Limit::Memory => "memory",
            Limit::Time => "time-per-batch",
            Limit::Output => "output-per-batch",
            Limit::State => "state-per-key",
        }
    }
}

/// Why a call failed as a whole.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The guest stopped itself or was stopped: trap, recursion, memory.
    #[error("{message}")]
    Trap {
        /// What happened, with the guest's panic message if it logged one.
        message: String,
        /// Names of the guest's functions, innermost first.
        backtrace: Vec<String>,
    },
    /// The call used more CPU time than its limit.
    #[error("the call took more than {limit_ms} ms of CPU time")]
    TimedOut {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// The call was ended because the job is to stop.
    #[error("the job is to stop")]
    Stopped,
    /// The guest asked for more than a limit of its operator.
    #[error("{message}")]
    Exceeded {
        /// Which limit.
        limit: Limit,
        /// What it asked for, and what it may.
        message: String,
        /// Names of the guest's functions, innermost first, if it was one of them that asked.
        backtrace: Vec<String>,
    },
    /// The guest answered something malformed.
    #[error("malformed answer: {0}")]
    Answer(String),
    /// The guest returned an error.
    #[error("{code}: {message}")]
    Failed {
        /// A short stable word.
        code: String,
        /// A sentence for people.
        message: String,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
    /// The host could not do its part (state backend).
    #[error("{0}")]
    Host(crate::Error),
}

impl CallError {
    /// The limit that was passed, if it was one.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            CallError::TimedOut { .. } => Some(Limit::Time),
            CallError::Exceeded { limit, .. } => Some(*limit),
            CallError::Trap { .. }
            | CallError::Stopped
            | CallError::Answer(_)
            | CallError::Failed { .. }
            | CallError::Host(_) => None,
        }
    }
}

impl From<TooMuch> for CallError {
    fn from(TooMuch { key, bytes, limit }: TooMuch) -> CallError {
        let shown: String = String::from_utf8_lossy(&key).chars().take(100).collect();
        let message = format!("the states of the key {shown:?} would hold {bytes} bytes, and {limit} is the limit");
        CallError::Exceeded { limit: Limit::State, message, backtrace: Vec::new() }
    }
}

/// User code. Implementations: a Wasm component (`flow-plugin`), native stand-ins in tests.
pub trait Function: Send {
    /// What it says of itself; the same at each call.
    fn description(&self) -> &Description;

    /// One batch for a map, filter or flat-map. `batch` holds exactly the described columns that exist.
    fn apply(&mut self, batch: &Batch, at: Moment) -> Result<Answer, CallError>;

    /// One batch for a process: rows grouped by key, and a row for each key. `state` serves map and list states of these
    /// keys while the call runs.
    fn process(&mut self, rows: &Batch, keys: &Batch, state: &mut KeyedState, at: Moment) -> Result<Answer, CallError>;

    /// A barrier is about to pass.
    fn before_barrier(&mut self, checkpoint: CheckpointId) -> Result<Answer, CallError>;

    /// The answer of the last call that returned ok is refused: the call failed after all.
    fn refuse(&mut self);

    /// No more rows will come.
    fn end_of_input(&mut self) -> Result<Answer, CallError>;
}
