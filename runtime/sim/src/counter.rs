//! The user code of a run: counts records by key in a value state, and gives each new count as decimal digits. The component
//! `plugins/counter` does the same with `format: number`.

use flow_dataflow::build::{bytes_column, fixed_column};
use flow_dataflow::element::Moment;
use flow_dataflow::function::{Answer, CallError, Description, Kind, StateDescriptor, StateKind};
use flow_dataflow::state::KeyedState;
use flow_dataflow::{Batch, Function};
use flow_frame::BytesBuilder;
use flow_frame::layout::{Type, id};
use flow_model::checkpoint::CheckpointId;

/// Makes the user code of one subtask.
pub type MakeFunction = dyn Fn() -> Box<dyn Function>;

/// A count as it is stored.
pub fn stored(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

/// The native one.
pub struct Counter(Description);

impl Default for Counter {
    fn default() -> Counter {
        let count =
            StateDescriptor { name: "count".into(), kind: StateKind::Value, version: 1, encoding: "u64-le".into() };
        Counter(Description {
            kind: Kind::Process,
            columns: vec![id::KEY],
            ports: vec!["out".into()],
            states: vec![count],
            unordered: false,
            capabilities: Vec::new(),
        })
    }
}

fn failed(what: &str) -> CallError {
    CallError::Trap { message: what.to_owned(), backtrace: Vec::new() }
}

impl Function for Counter {
    fn description(&self) -> &Description {
        &self.0
    }

    fn apply(&mut self, _: &Batch, _: Moment) -> Result<Answer, CallError> {
        Err(failed("it is a keyed one"))
    }

    fn process(&mut self, rows: &Batch, keys: &Batch, _: &mut KeyedState, _: Moment) -> Result<Answer, CallError> {
        let sizes = keys.u32s(id::GROUP_ROWS).ok_or_else(|| failed("no sizes"))?;
        let before = keys.bytes(id::DECLARED).ok_or_else(|| failed("no state"))?;
        let (mut after, mut out) = (BytesBuilder::default(), BytesBuilder::default());
        for (group, size) in sizes.iter().enumerate() {
            let mut count = match before.get(group) {
                Some(value) => stored(value).ok_or_else(|| failed("a state that is no count"))?,
                None => 0,
            };
            for _ in 0..u32::from_le_bytes(*size) {
                count += 1;
                out.push(Some(count.to_string().as_bytes()));
            }
            after.push(Some(&count.to_le_bytes()));
        }
        let numbers = (0..rows.rows() as u32).flat_map(u32::to_le_bytes).collect();
        let from = fixed_column(id::INPUT_ROW, Type::U32, numbers, None);
        Ok(Answer {
            rows: [bytes_column(id::VALUE, out), from].into_iter().collect(),
            states: [bytes_column(id::DECLARED, after)].into_iter().collect(),
            rejected: Vec::new(),
        })
    }

    fn before_barrier(&mut self, _: CheckpointId) -> Result<Answer, CallError> {
        Ok(Answer::default())
    }

    fn refuse(&mut self) {}

    fn end_of_input(&mut self) -> Result<Answer, CallError> {
        Ok(Answer::default())
    }
}
