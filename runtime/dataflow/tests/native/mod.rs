//! Native stand-ins for components, sources and sinks, for the tests of the data plane.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use flow_dataflow::build::Row;
use flow_dataflow::call::{Blame, FunctionOperator, OnError, Setup};
use flow_dataflow::element::{Barrier, Moment};
use flow_dataflow::function::{Answer, CallError, Description, Kind, StateDescriptor, StateKind};
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::source::Locator;
use flow_dataflow::state::{KeyedState, MemoryBackend};
use flow_dataflow::{Batch, BatchBuilder, Error, Function, Polled, Sink, Source};
use flow_frame::id;
use flow_model::checkpoint::CheckpointId;
use flow_model::key_group::KeyGroups;
use flow_model::spec::Retry;

pub const NOW: Moment = Moment { now: 0, watermark: i64::MIN };

/// Remembers what it is told.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<Rejected>>, Mutex<Vec<String>>);

impl Told {
    pub fn codes(&self) -> Vec<(Option<i64>, String)> {
        let all = self.0.lock().expect("no test panics while it holds this");
        all.iter().map(|r| (r.origin.map(|o| o.1), r.code.clone())).collect()
    }

    pub fn lines(&self) -> Vec<String> {
        self.1.lock().expect("no test panics while it holds this").clone()
    }
}

impl Report for Told {
    fn log(&self, level: Level, message: &str) {
        self.1.lock().expect("no test panics while it holds this").push(format!("{level:?} {message}"));
    }

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("test[{split}]@{position}").into()
    }

    fn rejected(&self, record: &Rejected) {
        self.0.lock().expect("no test panics while it holds this").push(record.clone());
    }
}

/// A function of a closure.
pub struct Native<F> {
    description: Description,
    call: F,
    /// How many answers were refused.
    pub refused: Arc<AtomicUsize>,
    /// Ends the job's calls.
    pub stop: Arc<AtomicBool>,
    /// How calls are made again.
    pub retry: Option<Retry>,
    /// The most rows of a call.
    pub max_rows: usize,
    /// What it emits at the end of input.
    last: Vec<String>,
}

pub type Call<'a> = (&'a Batch, &'a Batch, &'a mut KeyedState);

impl<F: FnMut(Call<'_>) -> Result<Answer, CallError> + Send> Native<F> {
    pub fn new(kind: Kind, states: &[StateKind], call: F) -> Native<F> {
        let state = |(i, kind): (usize, &StateKind)| StateDescriptor {
            name: format!("s{i}"),
            kind: *kind,
            version: 0,
            encoding: "bytes".into(),
        };
        let description = Description {
            kind,
            columns: vec![id::KEY, id::VALUE],
            ports: vec!["out".into()],
            states: states.iter().enumerate().map(state).collect(),
            unordered: false,
            capabilities: Vec::new(),
        };
        Native {
            description,
            call,
            refused: Arc::default(),
            stop: Arc::default(),
            retry: None,
            max_rows: 64,
            last: Vec::new(),
        }
    }

    /// The same, which emits these values at the end of input.
    pub fn at_end(mut self, values: &[&str]) -> Native<F> {
        self.last = values.iter().map(|&value| value.to_owned()).collect();
        self
    }

    pub fn operator(self, on_error: OnError, told: Arc<Told>) -> FunctionOperator
    where
        F: 'static,
    {
        let states = KeyedState::new(Box::<MemoryBackend>::default(), &self.description.states, KeyGroups::default());
        let (blame, stop) = (Blame { on_error, report: told }, self.stop.clone());
        let setup = Setup {
            blame,
            retry: self.retry,
            limits_at: "p.yaml:7".into(),
            stopwatch: || 0,
            max_rows: self.max_rows,
            stop,
        };
        FunctionOperator::new(Box::new(self), states, setup)
    }
}

impl<F: FnMut(Call<'_>) -> Result<Answer, CallError> + Send> Function for Native<F> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn apply(&mut self, batch: &Batch, _at: Moment) -> Result<Answer, CallError> {
        (self.call)((batch, &Batch::default(), &mut KeyedState::default()))
    }

    fn process(
        &mut self,
        rows: &Batch,
        keys: &Batch,
        state: &mut KeyedState,
        _at: Moment,
    ) -> Result<Answer, CallError> {
        (self.call)((rows, keys, state))
    }

    fn refuse(&mut self) {
        self.refused.fetch_add(1, Relaxed);
    }

    fn before_barrier(&mut self, _checkpoint: CheckpointId) -> Result<Answer, CallError> {
        Ok(Answer::default())
    }

    fn end_of_input(&mut self) -> Result<Answer, CallError> {
        let all: Vec<(Option<&str>, &str)> = self.last.iter().map(|value| (None, value.as_str())).collect();
        let rows = if all.is_empty() { Batch::default() } else { records(&all).project(&[id::VALUE]) };
        Ok(Answer { rows, ..Answer::default() })
    }
}

/// Records with these keys and values, at positions 0, 1, ….
pub fn records(all: &[(Option<&str>, &str)]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (at, (key, value)) in all.iter().enumerate() {
        builder.push(Row {
            key: key.map(str::as_bytes),
            value: Some(value.as_bytes()),
            position: at as i64,
            ..Row::default()
        });
    }
    builder.finish()
}

pub fn values(batches: &[Batch]) -> Vec<String> {
    let of = |b: &Batch| {
        let values = b.bytes(id::VALUE).expect("rows have values");
        (0..b.rows()).map(|row| String::from_utf8_lossy(values.raw(row)).into_owned()).collect::<Vec<_>>()
    };
    batches.iter().filter(|b| !b.is_empty()).flat_map(of).collect()
}

/// Gives these batches, then ends.
pub struct Given(pub VecDeque<Batch>);

impl Source for Given {
    fn poll(&mut self, _max_rows: usize, _max_bytes: usize) -> Result<Polled, Error> {
        Ok(self.0.pop_front().map_or(Polled::End, Polled::Batch))
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        Vec::new()
    }

    fn splits(&self) -> Vec<flow_model::checkpoint::snapshot::Split> {
        Vec::new()
    }

    fn locator(&self) -> Locator {
        Arc::new(|split, position| format!("test[{split}]@{position}").into())
    }
}

/// Collects values; is ready only every `slow`th time. Says of the last `held` values that they are not written yet.
#[derive(Clone, Default)]
pub struct Collected {
    pub values: Arc<Mutex<Vec<String>>>,
    pub snapshots: Arc<Mutex<Vec<Barrier>>>,
    pub slow: u32,
    pub asked: u32,
    pub held: Arc<AtomicUsize>,
}

impl Sink for Collected {
    fn ready(&mut self) -> Result<bool, Error> {
        self.asked += 1;
        Ok(self.asked > self.slow && {
            self.asked = 0;
            true
        })
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        self.values.lock().expect("no panics here").extend(values(&[batch]));
        Ok(())
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.snapshots.lock().expect("no panics here").push(barrier);
        Ok(())
    }

    fn unwritten(&self) -> usize {
        self.held.load(Relaxed)
    }

    fn finish(&mut self) -> Result<bool, Error> {
        self.ready()
    }
}
