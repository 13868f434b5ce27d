//! Jobs that the workers of a cluster run. What a job was deployed with lies in the cluster's root in the store from before it starts to
//! its end, so that the next leader finds it; this process keeps nothing on its disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_model::api::{Job, WorkerStatus, Workers};
use flow_model::cluster::deployment::{self, Identity};
use flow_model::cluster::Deployment;
use flow_model::ids::{Digest, JobId};
use flow_model::outline::Outline;
use flow_model::spec::Pipeline;
use flow_protocol::job::Beginning;
use flow_store::Store;

use super::beginning::{Error as BeginningError, life, owed};
use super::{Entry, Error, Home, Jobs, end, now};
use crate::cluster::{self, Cluster};
use crate::keeper::{Runner, Status};
use crate::stores::Stores;
use crate::submission::{self, Submission};

impl From<cluster::Error> for Error {
    fn from(error: cluster::Error) -> Self {
        match error {
            cluster::Error::Pipeline(wrong) => submission::Error::Invalid(wrong).into(),
            other => Error::Cluster(other),
        }
    }
}

impl Jobs {
    /// The jobs of a cluster that this process has begun to lead: those that the leader before it ran go on.
    ///
    /// # Errors
    /// The cluster's root can't be read.
    pub fn of_cluster(cluster: Arc<Cluster>, leader: String) -> Result<Self, Error> {
        let stores = Stores::elsewhere(cluster.checkpoints());
        let jobs = Self::with(Home::Spread(cluster.clone()), stores, leader);
        for (job, revisions) in deployments(cluster.store())? {
            let Some(latest) = revisions.last() else { continue };
            tracing::info!(%job, "goes on");
            match jobs.resumed(&cluster, &deployment::name(&job, *latest)) {
                Ok(entry) => jobs.enter(entry),
                Err(error) => tracing::error!(%job, "can't go on: {error}"),
            }
        }
        Ok(jobs)
    }

    fn resumed(&self, cluster: &Arc<Cluster>, document: &str) -> Result<Entry, Error> {
        let store = cluster.store();
        let wrong = |cause: String| {
            Error::Cluster(cluster::Error::Document { place: format!("{}/{document}", store.place()), cause })
        };
        let bytes = store.block_on(store.get(document))?;
        let deployment = Deployment::from_bytes(&bytes).map_err(|error| wrong(error.to_string()))?;
        let pipeline = deployment.pipeline().map_err(submission::Error::Invalid)?;
        let outline = match deployment.findings.clone() {
            Some(findings) => Outline { pipeline, findings },
            None => return Err(wrong("it does not say what its components are".to_owned())),
        };
        let start = &deployment.start;
        let life = life(deployment.incarnation.clone(), deployment.origin.clone(), start);
        // What the leader before has deployed may run still.
        let beginning = life.map_or_else(|| Beginning::Settled(owed(start)), Beginning::Continued);
        let (id, name) = (deployment.job.clone(), deployment.name.clone());
        let (submitted, settle) = (deployment.submitted, deployment.start.settle.clone());
        let warnings = outline.pipeline.warnings.clone();
        let runner = self.spread(cluster, outline, deployment)?;
        let on_end = self.on_end_of_spread(cluster, id.clone(), submitted);
        let handle = self.keep(id.to_string(), runner, beginning, settle, on_end)?;
        Ok(Entry { id, name, submitted, warnings, handle })
    }

    /// Puts what was handed in where workers find it and has one look at it.
    pub(super) fn checked_by_worker(
        &self,
        cluster: &Arc<Cluster>,
        submission: Submission,
    ) -> Result<(Outline, Deployment), Error> {
        let parsed = Pipeline::parse(&submission.file, &submission.text).map_err(submission::Error::from)?;
        let name = submission.name.clone().unwrap_or_else(|| parsed.name.clone());
        if submission.directory.as_ref().is_some_and(|directory| directory.is_relative()) {
            let directory = submission.directory.unwrap_or_default();
            return Err(submission::Error::RelativeDirectory(directory).into());
        }
        let components = submission::assign(&parsed, submission.components)?;
        let store = cluster.store();
        let mut digests: BTreeMap<_, Digest> = BTreeMap::new();
        for (operator, bytes) in components {
            let digest = flow_worker::digest(&bytes);
            if !digests.values().any(|known| *known == digest) {
                store.block_on(store.put(&deployment::component(&digest), bytes))?;
            }
            digests.insert(operator, digest);
        }
        // It is UTF-8: it was parsed.
        let text = String::from_utf8_lossy(&submission.text).into_owned();
        let identity = Identity { job: self.new_id(&name), name, submitted: now(), root: String::new() };
        let mut deployment = Deployment::new(identity, (submission.file, text));
        (deployment.components, deployment.directory) = (digests, submission.directory);
        deployment.start = submission.start;
        let outline = cluster.check(&deployment)?;
        deployment.findings = Some(outline.findings.clone());
        Ok((outline, deployment))
    }

    /// Checks it and starts it on workers.
    pub(super) fn submit_to_workers(&self, cluster: &Arc<Cluster>, submission: Submission) -> Result<Job, Error> {
        let (outline, mut deployment) = self.checked_by_worker(cluster, submission)?;
        let (id, name, submitted) = (deployment.job.clone(), deployment.name.clone(), deployment.submitted);
        let _reserved = self.reserve(&name)?;
        let beginning = self.beginning(&outline, &deployment.start)?;
        let beginning = beginning.ok_or(Error::Beginning(BeginningError::WithoutCheckpoints))?;
        (deployment.incarnation, deployment.origin) = super::record::origin_of(&beginning);
        let (settle, warnings) = (deployment.start.settle.clone(), outline.pipeline.warnings.clone());
        let (document, store) = (deployment.document(), cluster.store());
        let runner = self.spread(cluster, outline, deployment)?;
        if let Runner::Spread { deployment, .. } = &runner {
            store.block_on(store.put(&document, deployment.to_bytes()))?;
        }
        tracing::info!(job = %id, "starts");
        let on_end = self.on_end_of_spread(cluster, id.clone(), submitted);
        let handle = match self.keep(id.to_string(), runner, beginning, settle, on_end) {
            Ok(handle) => handle,
            Err(error) => {
                tracing::info!(job = %id, "did not start: {error}");
                remove(store, &id);
                return Err(error);
            }
        };
        let entry = Entry { id, name, submitted, warnings, handle };
        let job = entry.job();
        self.enter(entry);
        Ok(job)
    }

    fn cluster(&self) -> Result<&Arc<Cluster>, Error> {
        match &self.home {
            Home::Spread(cluster) => Ok(cluster),
            Home::Here(..) => Err(Error::Alone),
        }
    }

    /// The workers of the cluster.
    ///
    /// # Errors
    /// [`Error::Alone`].
    pub fn workers(&self) -> Result<Workers, Error> {
        Ok(self.cluster()?.workers())
    }

    /// Gives a worker, by name or id, nothing new, and what it runs to others.
    ///
    /// # Errors
    /// [`Error::Alone`]; there is no such worker.
    pub fn drain(&self, worker: &str) -> Result<WorkerStatus, Error> {
        self.cluster()?.drain(worker).map_err(Error::Cluster)
    }

    fn spread(
        &self,
        cluster: &Arc<Cluster>,
        outline: Outline,
        mut deployment: Deployment,
    ) -> Result<Runner, Error> {
        let pipeline = &outline.pipeline;
        let checkpointing = pipeline.checkpoint.as_ref().ok_or(Error::Beginning(BeginningError::WithoutCheckpoints))?;
        let place = self.stores.place(checkpointing, &pipeline.directory)?;
        deployment.root = format!("{}/{}", place.to, pipeline.name);
        let (cluster, deployment) = (cluster.clone(), Arc::new(deployment));
        Ok(Runner::Spread { cluster, outline: Arc::new(outline), deployment, place })
    }

    fn on_end_of_spread(
        &self,
        cluster: &Arc<Cluster>,
        id: JobId,
        submitted: u64,
    ) -> Box<dyn FnOnce(&Status) + Send> {
        let store = cluster.store().clone();
        Box::new(move |status: &Status| {
            remove(&store, &id);
            end::tell(&id, submitted, status);
        })
    }
}

/// The jobs that were deployed and have not ended, with their revisions in order.
fn deployments(store: &Store) -> Result<BTreeMap<JobId, Vec<u64>>, Error> {
    let (mut found, mut after): (BTreeMap<JobId, Vec<u64>>, Option<String>) = (BTreeMap::new(), None);
    loop {
        let page = store.block_on(store.list(deployment::JOBS, after.as_deref()))?;
        for (job, revision) in page.objects.iter().filter_map(|object| deployment::of_name(&object.name)) {
            found.entry(job).or_default().push(revision);
        }
        match page.objects.last() {
            Some(last) if page.more => after = Some(last.name.clone()),
            _ => break,
        }
    }
    found.values_mut().for_each(|revisions| revisions.sort_unstable());
    Ok(found)
}

/// A job has ended: the next leader need not know of it.
fn remove(store: &Store, job: &JobId) {
    let removed = deployments(store).and_then(|mut all| {
        let names = all.remove(job).unwrap_or_default().into_iter().map(|revision| deployment::name(job, revision));
        Ok(store.block_on(store.delete(names))?)
    });
    if let Err(error) = removed {
        tracing::warn!(%job, "what it was deployed with stays behind: {error}");
    }
}

/// A name that was not used for a job in this cluster, as far as it is known.
pub(super) fn is_free(cluster: &Cluster, id: &JobId) -> bool {
    let store = cluster.store();
    let name = deployment::name(id, flow_model::checkpoint::head::FIRST);
    matches!(store.block_on(store.read(&name)), Ok(None))
}
