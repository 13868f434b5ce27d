//! What tests put around a component: an engine, a job's log, batches.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use flow_dataflow::build::{Row, bytes_column};
use flow_dataflow::function::{Answer, CallError};
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::{Batch, BatchBuilder, Function, Moment};
use flow_frame::{BytesBuilder, id};
use flow_plugin::{Component, Engine, Limits, Options, Setup};

use crate::guest::Guest;

pub const AT: Moment = Moment { now: 1_700_000_000_000, watermark: i64::MIN };

/// The engine of all tests that need no other.
pub static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(Options::default()).expect("wasmtime works on this machine"));

/// A job's log in memory.
#[derive(Default)]
pub struct Log(Mutex<Vec<(Level, String)>>);

impl Log {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panics inside").iter().map(|(level, line)| format!("{level:?} {line}")).collect()
    }
}

impl Report for Log {
    fn log(&self, level: Level, message: &str) {
        self.0.lock().expect("no test panics inside").push((level, message.to_owned()));
    }

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("{split}:{position}").into()
    }

    fn rejected(&self, _: &Rejected) {}
}

/// Small limits, so that tests are quick.
pub fn limits() -> Limits {
    Limits { memory: 32 << 20, time_per_batch: Duration::from_millis(100), output: 1 << 20, log_lines_per_second: 5 }
}

pub fn load(guest: &Guest) -> Component {
    ENGINE.load("guest.wasm", &guest.build(), &limits()).expect("the guest is an operator")
}

pub fn setup(log: &Arc<Log>) -> Setup {
    Setup {
        operator: "test".into(),
        config: r#"{"a":1}"#.into(),
        subtask: 3,
        parallelism: 4,
        key_groups: (96, 127),
        limits: limits(),
        report: log.clone(),
        stop: Arc::default(),
    }
}

pub fn start(guest: &Guest) -> Box<dyn Function> {
    load(guest).instantiate(setup(&Arc::default())).expect("the guest starts")
}

pub fn values(values: &[&str]) -> Batch {
    let mut builder = BatchBuilder::default();
    values.iter().for_each(|v| builder.push(Row { value: Some(v.as_bytes()), ..Row::default() }));
    builder.finish().project(&[id::VALUE])
}

/// A column of these rows.
pub fn strings(id: u16, rows: &[&str]) -> flow_dataflow::Column {
    let mut builder = BytesBuilder::default();
    rows.iter().for_each(|r| builder.push(Some(r.as_bytes())));
    bytes_column(id, builder)
}

/// The texts of a column of a batch.
pub fn texts(batch: &Batch, id: u16) -> Vec<String> {
    let column = batch.bytes(id).expect("the column is there");
    (0..batch.rows()).map(|row| String::from_utf8_lossy(column.raw(row)).into_owned()).collect()
}

/// The function still serves a good batch of a map that gives back what comes.
pub fn serves(function: &mut dyn Function) {
    let answer = function.apply(&values(&["good", "batch"]), AT).expect("a good batch is served");
    assert_eq!(texts(&answer.rows, id::VALUE), ["good", "batch"]);
}

/// What the bad batch gave, after which a good one must be served.
pub fn bad_then_good(guest: &Guest) -> Result<Answer, CallError> {
    let mut function = start(guest);
    serves(&mut *function);
    let result = function.apply(&values(&["x", "y"]), AT);
    serves(&mut *function);
    result
}
