//! A plan that another process sent: the tasks and exchanges that it names must be its own, or asking it for one would
//! panic. Must never judge whether the plan is a good one: that is the business of who made it.

use serde::Deserialize;

use super::{Exchange, Plan, Task};
use crate::ids::{ExchangeId, PipelineName, TaskId};
use crate::key_group::KeyGroups;

/// Why a plan can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An id is not the place of what it stands for.
    #[error("{0} stands in place {1} of the plan")]
    Place(String, usize),
    /// A task or exchange that the plan does not have.
    #[error("{by} names {what}, of {have}")]
    Missing {
        /// What names it.
        by: String,
        /// What is named.
        what: String,
        /// How many of its sort there are.
        have: usize,
    },
}

/// A plan as it was sent.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Unchecked {
    pipeline: PipelineName,
    key_groups: KeyGroups,
    tasks: Vec<Task>,
    exchanges: Vec<Exchange>,
}

impl TryFrom<Unchecked> for Plan {
    type Error = Error;

    fn try_from(sent: Unchecked) -> Result<Plan, Error> {
        let Unchecked { pipeline, key_groups, tasks, exchanges } = sent;
        let missing = |by: String, what: String, have| Err(Error::Missing { by, what, have });
        for (place, task) in tasks.iter().enumerate() {
            if task.id.index() != place {
                return Err(Error::Place(named_task(task.id), place));
            }
            let mut named = task.inputs().iter().chain(task.outputs());
            if let Some(id) = named.find(|id| id.index() >= exchanges.len()) {
                return missing(named_task(task.id), named_exchange(*id), exchanges.len());
            }
        }
        for (place, exchange) in exchanges.iter().enumerate() {
            if exchange.id.index() != place {
                return Err(Error::Place(named_exchange(exchange.id), place));
            }
            if let Some(id) = [exchange.from, exchange.to].into_iter().find(|id| id.index() >= tasks.len()) {
                return missing(named_exchange(exchange.id), named_task(id), tasks.len());
            }
        }
        Ok(Plan { pipeline, key_groups, tasks, exchanges })
    }
}

fn named_task(id: TaskId) -> String {
    format!("task {id}")
}

fn named_exchange(id: ExchangeId) -> String {
    format!("exchange {id}")
}
