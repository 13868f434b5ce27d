//! A component as dataflow's [`Function`]: replaces its instance after a failed call, and when it has grown.

use std::sync::Arc;

use bytes::Bytes;
use flow_frame::id;

use flow_dataflow::function::{Answer, CallError, Description, Function, StateKind};
use flow_dataflow::state::KeyedState;
use flow_dataflow::{Batch, Moment};
use flow_model::checkpoint::CheckpointId;

use crate::Limits;
use crate::bindings::{self, Context};
use crate::instance::Instance;
use crate::load::{Program, Setup};
use crate::log::Lines;

/// An instance that has grown by more than this since `init`, and takes up more than half of what it may, is replaced.
const GROWN: usize = 16 << 20;

/// A component at work as one subtask of an operator.
pub struct Component {
    program: Arc<Program>,
    description: Arc<Description>,
    /// Columns of the `keys` of a keyed call.
    key_columns: Vec<u16>,
    setup: Setup,
    lines: Arc<Lines>,
    /// None before the first call after one that failed.
    instance: Option<Instance>,
    replace: Option<Chance>,
    /// Frames on their way into the guest.
    rows: Vec<u8>,
    keys: Vec<u8>,
}

impl Component {
    /// Makes the first instance, so that a component that fails in `init` fails before the job starts.
    pub fn new(program: Arc<Program>, description: Arc<Description>, setup: Setup) -> Result<Component, CallError> {
        let lines = Arc::new(Lines::new(setup.report.clone(), setup.limits.log_lines_per_second));
        let replace = program.replace_every.map(|n| Chance::new(n, setup.subtask));
        let key_columns = key_columns(&description);
        let (rows, keys) = (Vec::new(), Vec::new());
        let mut new =
            Component { program, description, key_columns, setup, lines, instance: None, replace, rows, keys };
        new.call(|_, _, _| Ok(()))?;
        Ok(new)
    }

    /// Calls the guest, on a fresh instance if there is none or the present one is due. Whatever fails takes the instance
    /// with it.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Instance, &[u8], &[u8]) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let due = self.replace.as_mut().is_some_and(Chance::hits);
        let mut instance = match self.instance.take().filter(|_| !due) {
            Some(instance) => instance,
            None => self.fresh()?,
        };
        let answer = call(&mut instance, &self.rows, &self.keys)?;
        if !has_outgrown(&instance, &self.setup.limits) {
            self.instance = Some(instance);
        }
        Ok(answer)
    }

    fn fresh(&self) -> Result<Instance, CallError> {
        let mut instance =
            Instance::new(&self.program, self.setup.limits, self.lines.clone(), self.setup.stop.clone())?;
        instance.init(Context {
            operator: &self.setup.operator,
            config: &self.setup.config,
            subtask: self.setup.subtask,
            parallelism: self.setup.parallelism,
            key_groups: self.setup.key_groups,
        })?;
        Ok(instance)
    }

    /// The answer of `call`, or what is wrong with it.
    fn answer(
        &mut self,
        call: impl FnOnce(&mut Instance, &[u8]) -> Result<bindings::Answer, CallError>,
    ) -> Result<Answer, CallError> {
        self.call(|instance, rows, _| {
            let bindings::Answer { rows, rejected } = call(instance, rows)?;
            Ok(Answer {
                rows: batch("rows", rows)?,
                states: Batch::default(),
                rejected: rejected.into_iter().map(Into::into).collect(),
            })
        })
    }
}

impl Function for Component {
    fn description(&self) -> &Description {
        &self.description
    }

    fn apply(&mut self, batch: &Batch, at: Moment) -> Result<Answer, CallError> {
        batch.to_frame(&self.description.columns, &mut self.rows);
        self.answer(|instance, rows| instance.apply(rows, at))
    }

    fn process(&mut self, rows: &Batch, keys: &Batch, state: &mut KeyedState, at: Moment) -> Result<Answer, CallError> {
        rows.to_frame(&self.description.columns, &mut self.rows);
        keys.to_frame(&self.key_columns, &mut self.keys);
        self.call(|instance, rows, keys| {
            let answer = instance.process(rows, keys, state, at)?;
            Ok(Answer {
                rows: batch("rows", answer.rows)?,
                states: batch("states", answer.states)?,
                rejected: answer.rejected.into_iter().map(Into::into).collect(),
            })
        })
    }

    fn refuse(&mut self) {
        self.instance = None;
    }

    fn before_barrier(&mut self, checkpoint: CheckpointId) -> Result<Answer, CallError> {
        self.answer(|instance, _| instance.before_barrier(checkpoint.0))
    }

    fn end_of_input(&mut self) -> Result<Answer, CallError> {
        self.answer(|instance, _| instance.end_of_input())
    }
}

fn batch(which: &str, frame: Vec<u8>) -> Result<Batch, CallError> {
    Batch::from_frame(Bytes::from(frame)).map_err(|e| CallError::Answer(format!("{which}: {e}")))
}

fn has_outgrown(instance: &Instance, limits: &Limits) -> bool {
    instance.grown() > GROWN && instance.memory() > limits.memory / 2
}

fn key_columns(description: &Description) -> Vec<u16> {
    let values = description.states.iter().zip(id::DECLARED..).filter(|(s, _)| s.kind == StateKind::Value);
    [id::KEY, id::GROUP_ROWS].into_iter().chain(values.map(|(_, column)| column)).collect()
}

/// A seeded chance, the same in each run.
struct Chance {
    one_in: u64,
    state: u64,
}

impl Chance {
    fn new(one_in: u64, seed: u32) -> Chance {
        Chance { one_in: one_in.max(1), state: u64::from(seed) ^ 0x9e37_79b9_7f4a_7c15 }
    }

    /// xorshift64* (Vigna, 2016).
    fn hits(&mut self) -> bool {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).is_multiple_of(self.one_in)
    }
}
