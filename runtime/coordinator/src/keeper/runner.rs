//! Who carries attempts out: this process, or the workers of a cluster. The protocol can't tell the difference.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flow_model::api;
use flow_model::checkpoint::CheckpointId;
use flow_model::checkpoint::head::FIRST;
use flow_model::cluster::{Deployment, deployment};
use flow_model::outline::Outline;
use flow_store::Place;
use flow_worker::metrics::OperatorMetrics;
use flow_worker::{Checked, JobHandle, Worker};

use super::Error;
use crate::cluster::{self, Cluster, Spread, deployments};

/// Who carries out the attempts of a job.
#[derive(Clone)]
pub enum Runner {
    /// This process.
    Here {
        /// Its worker.
        worker: Arc<Worker>,
        /// What runs.
        checked: Arc<Checked>,
    },
    /// Workers of a cluster that this process leads.
    Spread {
        /// The workers.
        cluster: Arc<Cluster>,
        /// What runs, without its code.
        outline: Arc<Outline>,
        /// What they make it of.
        deployment: Arc<Deployment>,
        /// Where the roots of jobs lie that go where this one goes.
        place: Place,
    },
}

impl Runner {
    /// What runs.
    pub fn outline(&self) -> &Outline {
        match self {
            Runner::Here { checked, .. } => checked,
            Runner::Spread { outline, .. } => outline,
        }
    }

    /// What an attempt waits for that is to be deployed; none if none waits.
    pub(super) fn waits_for(&self) -> Option<String> {
        match self {
            Runner::Here { .. } => None,
            Runner::Spread { cluster, deployment, .. } => cluster.waits_for(&deployment.job),
        }
    }

    /// The number of its description.
    pub(super) fn revision(&self) -> u64 {
        match self {
            Runner::Here { .. } => FIRST,
            Runner::Spread { deployment, .. } => deployment.revision,
        }
    }

    /// What runs by another revision of the job, which HEAD names; none if that is this one.
    ///
    /// # Errors
    /// It was not deployed, or can't be read.
    pub(super) async fn of_revision(&self, revision: u64) -> Result<Option<Runner>, Error> {
        if revision == self.revision() {
            return Ok(None);
        }
        let Runner::Spread { cluster, deployment, place, .. } = self else {
            // A process alone gives a job no other one.
            let place = "such a description outside of a cluster".to_owned();
            return Err(Error::Revision { revision, place });
        };
        let (store, job) = (cluster.store(), &deployment.job);
        let deployment = deployments::read(store, job, revision).await?.ok_or_else(|| Error::Revision {
            revision,
            place: format!("{}/{}", store.place(), deployment::name(job, revision)),
        })?;
        let outline = Arc::new(deployments::outline(store, &deployment)?);
        let (cluster, deployment, place) = (cluster.clone(), Arc::new(deployment), place.clone());
        Ok(Some(Runner::Spread { cluster, outline, deployment, place }))
    }

    /// The cluster whose workers run it, if it does not run here.
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        match self {
            Runner::Here { .. } => None,
            Runner::Spread { cluster, .. } => Some(cluster),
        }
    }

    /// Removes what attempts of a job have left, of which none runs any more and none will.
    pub(super) fn forget(&self, id: &str) {
        match self {
            Runner::Here { worker, .. } => worker.forget(id),
            Runner::Spread { cluster, deployment, .. } => cluster.forget(&deployment.job),
        }
    }
}

/// An attempt that was begun.
#[derive(Clone)]
pub(super) enum Running {
    Here(JobHandle),
    Spread(Spread),
}

impl Running {
    /// Asks what its nodes have done.
    pub(super) fn ask(&self) -> Doing {
        match self {
            Running::Here(job) => Doing::Here(job.clone()),
            Running::Spread(spread) => Doing::Spread(spread.ask()),
        }
    }

    pub(super) fn hold(&self) {
        match self {
            Running::Here(job) => job.hold(),
            Running::Spread(spread) => spread.hold(),
        }
    }

    pub(super) fn release(&self) {
        match self {
            Running::Here(job) => job.release(),
            Running::Spread(spread) => spread.release(),
        }
    }

    pub(super) fn trigger(&self, checkpoint: CheckpointId, confirmed: CheckpointId) {
        match self {
            Running::Here(job) => job.trigger(checkpoint, confirmed),
            Running::Spread(spread) => spread.trigger(checkpoint, confirmed),
        }
    }

    pub(super) fn confirm(&self, checkpoint: CheckpointId) {
        match self {
            Running::Here(job) => job.confirm(checkpoint),
            Running::Spread(spread) => spread.confirm(checkpoint),
        }
    }

    pub(super) fn finish(&self) {
        match self {
            Running::Here(job) => job.finish(),
            Running::Spread(spread) => spread.finish(),
        }
    }
}

/// What a job has done, if that was asked.
pub enum Doing {
    /// Nothing of it has run.
    Nothing,
    /// This process knows.
    Here(JobHandle),
    /// Workers were asked.
    Spread(cluster::Doing),
}

impl Doing {
    /// How long workers are waited for.
    pub const PATIENCE: Duration = Duration::from_millis(500);

    /// What its nodes have done, in topological order. Of workers that do not answer until then it is what they said last.
    pub fn until(self, due: Instant) -> Vec<OperatorMetrics> {
        match self {
            Doing::Nothing => Vec::new(),
            Doing::Here(job) => job.metrics(),
            Doing::Spread(asked) => asked.until(due).into_iter().map(of_worker).collect(),
        }
    }

    /// The same, soon.
    pub fn soon(self) -> Vec<OperatorMetrics> {
        self.until(Instant::now() + Doing::PATIENCE)
    }
}

fn of_worker(metrics: api::OperatorMetrics) -> OperatorMetrics {
    let api::OperatorMetrics { operator, subtasks, partitions } = metrics;
    OperatorMetrics { operator: operator.to_string(), subtasks, partitions }
}
