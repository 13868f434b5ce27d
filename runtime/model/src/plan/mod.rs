//! The plan: how a pipeline runs. Operators with no exchange between them form a chain, a chain is a task, a task has
//! as many subtasks as its parallelism, and exchanges carry batches between the subtasks of two tasks.
//!
//! A plan says what runs and never where: placing subtasks on slots is the scheduler's work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ExchangeId, OperatorName, PipelineName, TaskId};
use crate::key_group::KeyGroups;
use crate::key_selector::KeySelector;
use crate::kind::OperatorKind;

mod build;
mod received;
mod render;

pub use build::plan;
pub use received::Error;

/// How a pipeline runs. `Display` shows it to people. One that is read names only tasks and exchanges of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "received::Unchecked")]
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: PipelineName,
    /// How many key groups there are.
    pub key_groups: KeyGroups,
    /// The tasks in topological order; a [`TaskId`] is an index into this.
    pub tasks: Vec<Task>,
    /// The exchanges, ordered by their receiving task; an [`ExchangeId`] is an index into this.
    pub exchanges: Vec<Exchange>,
}

/// A chain of operators, run by `parallelism` subtasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Task {
    /// Its place in the plan.
    pub id: TaskId,
    /// The names of all that runs in it, joined with ` → `.
    pub name: String,
    /// The number of its subtasks, at least 1.
    pub parallelism: u32,
    /// Where its records come from.
    pub head: Head,
    /// The operators that each record passes, in order; empty when a source feeds an exchange or a sink directly.
    pub chain: Vec<ChainElement>,
    /// Where its records go.
    pub tail: Tail,
}

/// Where the records of a task come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// A source that runs in the task.
    Source(Endpoint),
    /// Other tasks: one or more exchanges, in the order of the operator's `from:`.
    Exchanges(Vec<ExchangeId>),
}

/// Where the records of a task go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tail {
    /// A sink that runs in the task.
    Sink(Endpoint),
    /// Other tasks: each record goes into every one of these exchanges. With none, records are dropped.
    Exchanges(Vec<ExchangeId>),
}

/// A source or sink at one end of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    /// Its name.
    pub name: OperatorName,
    /// Its connector: `files`, `generator`, `kafka`, `stdout`, `blackhole`.
    pub connector: String,
}

/// One operator of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChainElement {
    /// Its name.
    pub operator: OperatorName,
    /// Its kind.
    pub kind: OperatorKind,
    /// For a keyed operator, and only for one: where its key comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeySelector>,
    /// The chain itself has to replace each record's key by `key` in front of this operator, because no hash exchange
    /// in front of it has done so. True only for keyed operators of parallelism 1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_key: bool,
}

/// The way from all subtasks of one task to all subtasks of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exchange {
    /// Its place in the plan.
    pub id: ExchangeId,
    /// The task that sends.
    pub from: TaskId,
    /// The task that receives.
    pub to: TaskId,
    /// Which subtask receives a record.
    pub partitioning: Partitioning,
    /// The operator, source or sink whose dead letters it carries, as far as they come about in the sending task: what it does not
    /// take, and what has no key for it. Absent where it carries the sending task's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters_of: Option<OperatorName>,
}

/// Which subtask of the receiving task a record goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioning {
    /// The one with the sender's own index; both sides have the same parallelism.
    Forward,
    /// The owner of the key group of the record's new key. The sending side selects the key, replaces the record's key
    /// by it and rejects what has none, on behalf of the keyed operator that receives.
    Hash(KeySelector),
    /// Each in turn.
    Rebalance,
}

impl Plan {
    /// What the component of each operator turned out to be.
    pub fn kinds(&self) -> BTreeMap<OperatorName, OperatorKind> {
        let elements = self.tasks.iter().flat_map(|task| &task.chain);
        elements.map(|element| (element.operator.clone(), element.kind)).collect()
    }

    /// The task of that id.
    ///
    /// # Panics
    /// If `id` comes from another plan.
    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.index()]
    }

    /// The exchange of that id.
    ///
    /// # Panics
    /// If `id` comes from another plan.
    pub fn exchange(&self, id: ExchangeId) -> &Exchange {
        &self.exchanges[id.index()]
    }

    /// The exchanges that carry dead letters out of a task, each with the operator, source or sink whose they are.
    pub fn dead_letters(&self, from: TaskId) -> impl Iterator<Item = (&OperatorName, &Exchange)> {
        let of_task = self.exchanges.iter().filter(move |exchange| exchange.from == from);
        of_task.filter_map(|exchange| Some((exchange.dead_letters_of.as_ref()?, exchange)))
    }

    /// How many subtasks there are in all.
    pub fn subtasks(&self) -> u64 {
        self.tasks.iter().map(|task| u64::from(task.parallelism)).sum()
    }
}

impl Task {
    /// The names of all that runs in it, in order: source, operators, sink.
    pub fn operators(&self) -> impl Iterator<Item = &OperatorName> {
        let source = match &self.head {
            Head::Source(source) => Some(&source.name),
            Head::Exchanges(_) => None,
        };
        let sink = match &self.tail {
            Tail::Sink(sink) => Some(&sink.name),
            Tail::Exchanges(_) => None,
        };
        source.into_iter().chain(self.chain.iter().map(|element| &element.operator)).chain(sink)
    }

    /// The exchanges that it receives from; none if it begins with a source.
    pub fn inputs(&self) -> &[ExchangeId] {
        match &self.head {
            Head::Source(_) => &[],
            Head::Exchanges(exchanges) => exchanges,
        }
    }

    /// The exchanges that its output goes into; none if it ends with a sink or nobody reads it.
    pub fn outputs(&self) -> &[ExchangeId] {
        match &self.tail {
            Tail::Sink(_) => &[],
            Tail::Exchanges(exchanges) => exchanges,
        }
    }
}
