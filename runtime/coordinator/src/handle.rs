//! A job that was started: one without checkpoints, which the worker runs by itself, or one that is kept alive.

use std::sync::Arc;

use flow_model::api::{CheckpointSummary, LastFailure};
use flow_model::plan::Plan;
use flow_worker::JobHandle;
use flow_worker::log::JobLog;
use flow_worker::metrics::OperatorMetrics;

use crate::answer;
use crate::keeper::{Doing, Keeper, Status};

/// A job that was started.
#[derive(Clone)]
pub enum Handle {
    /// It ends with its first failure.
    Plain(JobHandle),
    /// It goes on from its checkpoints.
    Kept(Keeper),
}

impl Handle {
    /// What it is doing.
    pub fn status(&self) -> Status {
        match self {
            Handle::Plain(job) => answer::status(job.status()),
            Handle::Kept(keeper) => keeper.status(),
        }
    }

    /// Asks what its nodes have done: who asks about many jobs waits for none of them before all were asked.
    pub fn ask(&self) -> Doing {
        match self {
            Handle::Plain(job) => Doing::Here(job.clone()),
            Handle::Kept(keeper) => keeper.ask(),
        }
    }

    /// What its nodes have done, in topological order.
    pub fn metrics(&self) -> Vec<OperatorMetrics> {
        self.ask().soon()
    }

    /// How it runs.
    pub fn plan(&self) -> Plan {
        match self {
            Handle::Plain(job) => job.plan().clone(),
            Handle::Kept(keeper) => keeper.plan(),
        }
    }

    /// Its checkpoints in short; none if it takes none.
    pub fn checkpoints(&self) -> Option<CheckpointSummary> {
        match self {
            Handle::Plain(_) => None,
            Handle::Kept(keeper) => Some(keeper.summary()),
        }
    }

    /// What it waits for before an attempt can run; none if it waits for nothing.
    pub fn waits_for(&self) -> Option<String> {
        match self {
            Handle::Plain(_) => None,
            Handle::Kept(keeper) => keeper.waits_for(),
        }
    }

    /// How its last attempt that failed did; none where the first failure is the job's end.
    pub fn last_failure(&self) -> Option<LastFailure> {
        match self {
            Handle::Plain(_) => None,
            Handle::Kept(keeper) => keeper.last_failure(),
        }
    }

    /// Whether it was left to another process, where it goes on.
    pub fn is_left(&self) -> bool {
        match self {
            Handle::Plain(_) => false,
            Handle::Kept(keeper) => keeper.is_left(),
        }
    }

    /// Its log.
    pub fn log(&self) -> &Arc<JobLog> {
        match self {
            Handle::Plain(job) => job.log(),
            Handle::Kept(keeper) => keeper.log(),
        }
    }

    /// Asks it to stop for good. It has stopped when its state says so.
    pub fn cancel(&self) {
        match self {
            Handle::Plain(job) => job.cancel(),
            Handle::Kept(keeper) => keeper.cancel(),
        }
    }

    /// Asks it to stop as the process ends: what is kept goes on in the next one.
    pub fn leave(&self) {
        match self {
            Handle::Plain(job) => job.cancel(),
            Handle::Kept(keeper) => keeper.leave(),
        }
    }

    /// Waits until it is over.
    pub fn wait(&self) -> Status {
        match self {
            Handle::Plain(job) => answer::status(job.wait()),
            Handle::Kept(keeper) => keeper.wait(),
        }
    }
}
