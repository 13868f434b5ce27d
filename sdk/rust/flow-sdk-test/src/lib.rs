//! Runs a compiled operator in the real host: Flow's own engine, with its limits, its checks and its transactions. Records
//! go in and come out as in [`flow_sdk::testing`], so a test can be pointed at either.
//!
//! ```no_run
//! use flow_sdk_test::{Component, Input};
//!
//! let mut counter = Component::load("counter.wasm", serde_json::json!({"format": "number"}))?;
//! let output = counter.run(["a", "b", "a"].map(|key| Input::default().key(key)))?;
//! assert_eq!(output.texts(), ["1", "1", "2"]);
//! assert_eq!(counter.value::<u64>("count", "a"), Some(2));
//! # Ok::<(), flow_sdk_test::Error>(())
//! ```
#![deny(missing_docs)]

mod collect;
mod state;
mod store;

pub use flow_dataflow::function::{Description, StateKind};
pub use flow_plugin::Limits;
pub use flow_sdk::testing::{Emitted, Input, Output, Rejected};
pub use state::StateEntry;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow_dataflow::Barrier;
use flow_dataflow::call::{Blame, FunctionOperator, OnError, Setup};
use flow_dataflow::function::StateDescriptor;
use flow_dataflow::state::KeyedState;
use flow_dataflow::{Batch, BatchBuilder, Moment, Operator, Row};
use flow_model::checkpoint::CheckpointId;
use flow_model::key_group::{DEFAULT_KEY_GROUPS, KeyGroups};
use flow_plugin::{Engine, Options};
use flow_sdk::state::{StateKey, Stored};
use serde::Serialize;

use collect::Collector;
use store::SharedStore;

/// Why a component can't be run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The component does not load or does not start.
    #[error(transparent)]
    Plugin(#[from] flow_plugin::Error),
    /// The component stopped the job.
    #[error(transparent)]
    Job(#[from] flow_dataflow::Error),
}

/// What people call a column of a description.
pub fn column_name(id: u16) -> String {
    use flow_frame::id;
    match id {
        id::KEY => "key",
        id::VALUE => "value",
        id::TIMESTAMP => "timestamp",
        id::HEADERS => "headers",
        id::SPLIT => "split",
        id::POSITION => "position",
        id::CHANGE => "change",
        other => return format!("column {other}"),
    }
    .to_owned()
}

/// A component at work, as the only subtask of its operator. Records that it refuses, or that make it trap or run out of
/// time, are told in the output; the others go on.
pub struct Component {
    /// Kept for as long as its component: it interrupts instances that take too long.
    _engine: Engine,
    component: flow_plugin::Component,
    config: String,
    limits: Limits,
    batch: usize,
    at: Moment,
    collector: Arc<Collector>,
    store: SharedStore,
    /// None until the first record, and after a change of settings.
    operator: Option<FunctionOperator>,
}

/// A component that is loaded, for any number of operators.
#[derive(Clone)]
pub struct Compiled {
    engine: Engine,
    component: flow_plugin::Component,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("digest", &self.digest()).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Compiles a component, or takes its code from `cache`, a directory for it. `name` is what errors call it.
    pub fn new(name: &str, bytes: &[u8], cache: Option<PathBuf>) -> Result<Compiled, Error> {
        let engine = Engine::new(Options { cache_dir: cache, ..Options::default() })?;
        let component = engine.load(name, bytes, &Limits::default())?;
        Ok(Compiled { engine, component })
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        self.component.description()
    }

    /// SHA-256 of its bytes, as hex.
    pub fn digest(&self) -> String {
        self.component.digest().to_string()
    }

    /// Starts an operator with this config and with nothing in its state.
    ///
    /// # Panics
    /// If the config can't be written as JSON.
    pub fn start(&self, config: impl Serialize) -> Result<Component, Error> {
        let config = serde_json::to_string(&config).expect("a test's config can be written as JSON");
        let mut new = Component {
            _engine: self.engine.clone(),
            component: self.component.clone(),
            config,
            limits: Limits::default(),
            batch: 1024,
            at: Moment { now: 0, watermark: i64::MIN },
            collector: Arc::default(),
            store: SharedStore::default(),
            operator: None,
        };
        new.operator()?;
        Ok(new)
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").field("digest", &self.component.digest()).finish_non_exhaustive()
    }
}

impl Component {
    /// Loads a component and starts an instance with this config.
    ///
    /// # Panics
    /// If the config can't be written as JSON.
    pub fn load(path: impl AsRef<Path>, config: impl Serialize) -> Result<Component, Error> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|cause| Error::File { path: name.clone(), cause })?;
        Component::from_bytes(&name, &bytes, config)
    }

    /// The same for a component at hand; `name` is what errors call it.
    ///
    /// # Panics
    /// If the config can't be written as JSON.
    pub fn from_bytes(name: &str, bytes: &[u8], config: impl Serialize) -> Result<Component, Error> {
        Compiled::new(name, bytes, None)?.start(config)
    }

    /// Sets how many records a call gets at most; 1024 at first.
    pub fn batch(&mut self, rows: usize) -> &mut Self {
        (self.batch, self.operator) = (rows.max(1), None);
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

    /// Sets what an instance may use up; at first what an operator gets whose pipeline file sets no limits.
    pub fn limits(&mut self, limits: Limits) -> &mut Self {
        (self.limits, self.operator) = (limits, None);
        self
    }

    /// Puts a new instance in place of the one at work, as the engine does at any time: what is to outlive it must be
    /// state.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.operator = None;
        self.operator().map(|_| ())
    }

    /// Forgets all state and puts a new instance in place.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.store = SharedStore::default();
        self.restart()
    }

    /// All that is in the operator's state, in the order of the keys.
    pub fn states(&self) -> Vec<StateEntry> {
        state::entries(&self.component.description().states, &self.store)
    }

    /// Runs records through the component. An error means that it stopped the job.
    pub fn run<I: Into<Input>>(&mut self, inputs: impl IntoIterator<Item = I>) -> Result<Output, Error> {
        let inputs: Vec<Input> = inputs.into_iter().map(Into::into).collect();
        let at = self.at;
        let mut batches = Vec::new();
        for (number, chunk) in inputs.chunks(self.batch).enumerate() {
            let batch = batch_of(chunk, number * self.batch);
            let operator = self.operator()?;
            let mut done = operator.process(batch, at, &mut batches);
            // A long search for a record to blame goes on in turns.
            while done.is_ok() && operator.held().is_some() {
                done = operator.resume(at, &mut batches);
            }
            if let Err(e) = done {
                // As after any failure of a job: a new attempt starts anew.
                self.operator = None;
                return Err(e.into());
            }
        }
        Ok(self.collector.output(&batches, true))
    }

    /// Lets a barrier pass.
    pub fn before_barrier(&mut self, checkpoint: u64) -> Result<Output, Error> {
        let mut batches = Vec::new();
        let barrier = Barrier::first(CheckpointId(checkpoint));
        self.operator()?.before_barrier(barrier, &mut batches)?;
        Ok(self.collector.output(&batches, false))
    }

    /// Ends the input.
    pub fn end_of_input(&mut self) -> Result<Output, Error> {
        let mut batches = Vec::new();
        self.operator()?.end_of_input(&mut batches)?;
        Ok(self.collector.output(&batches, false))
    }

    /// What a value state holds for a key.
    ///
    /// # Panics
    /// If there is no such value state, or it holds something else.
    pub fn value<T: Stored>(&self, state: &str, key: impl AsRef<[u8]>) -> Option<T> {
        let at = store::prefix(self.state(state, StateKind::Value), key.as_ref());
        self.store.get(&at).map(|bytes| decoded(T::decode(&bytes)))
    }

    /// The entries of a map state for a key, in order.
    ///
    /// # Panics
    /// If there is no such map state, or it holds something else.
    pub fn map<K: StateKey, V: Stored>(&self, state: &str, key: impl AsRef<[u8]>) -> Vec<(K, V)> {
        let under = store::prefix(self.state(state, StateKind::Map), key.as_ref());
        let entries = self.store.under(&under).into_iter();
        entries.map(|(k, v)| (decoded(K::read(&k)), decoded(V::decode(&v)))).collect()
    }

    /// The items of a list state for a key, in order.
    ///
    /// # Panics
    /// If there is no such list state, or it holds something else.
    pub fn list<T: Stored>(&self, state: &str, key: impl AsRef<[u8]>) -> Vec<T> {
        let mut under = store::prefix(self.state(state, StateKind::List), key.as_ref());
        under.push(store::ITEMS);
        self.store.under(&under).into_iter().map(|(_, v)| decoded(T::decode(&v))).collect()
    }

    fn state(&self, name: &str, kind: StateKind) -> u16 {
        let is = |s: &StateDescriptor| s.name == name && s.kind == kind;
        let at = self.component.description().states.iter().position(is);
        at.unwrap_or_else(|| panic!("the operator has no {kind:?} state `{name}`")) as u16
    }

    fn operator(&mut self) -> Result<&mut FunctionOperator, Error> {
        if self.operator.is_none() {
            let setup = flow_plugin::Setup {
                operator: "test".into(),
                config: self.config.clone(),
                subtask: 0,
                parallelism: 1,
                key_groups: (0, u32::from(DEFAULT_KEY_GROUPS) - 1),
                limits: self.limits,
                report: self.collector.clone(),
                stop: Arc::default(),
            };
            let function = self.component.instantiate(setup)?;
            let states = &self.component.description().states;
            let state = KeyedState::new(Box::new(self.store.clone()), states, KeyGroups::default());
            let blame = Blame { on_error: OnError::Skip, report: self.collector.clone() };
            let setup = Setup {
                blame,
                retry: None,
                limits_at: String::new(),
                stopwatch,
                max_rows: self.batch,
                stop: Arc::default(),
            };
            self.operator = Some(FunctionOperator::new(function, state, setup));
        }
        Ok(self.operator.as_mut().expect("it was just made"))
    }
}

/// Always the same: how long calls take must not change what a test sees.
fn stopwatch() -> u64 {
    0
}

fn decoded<T>(result: flow_sdk::Result<T>) -> T {
    result.unwrap_or_else(|e| panic!("the state holds something else: {e}"))
}

/// A batch of records that are numbered by their position in the source.
fn batch_of(inputs: &[Input], first: usize) -> Batch {
    let mut builder = BatchBuilder::with_capacity(inputs.len(), 0);
    for (number, input) in inputs.iter().enumerate() {
        let mut headers = Vec::new();
        let all: Vec<_> = input.headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())).collect();
        flow_frame::headers::encode(all.into_iter(), &mut headers);
        builder.push(Row {
            key: input.key.as_deref(),
            value: input.value.as_deref(),
            timestamp: input.timestamp,
            headers: &headers,
            split: 0,
            position: (first + number) as i64,
        });
    }
    builder.finish()
}
