//! Jobs that the workers of a cluster run. What a job was deployed with lies in the cluster's root in the store from before it starts to
//! its end, so that the next leader finds it; this process keeps nothing on its disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flow_model::api::{Job, Scale};
use flow_model::cluster::Deployment;
use flow_model::cluster::deployment::{self, Identity};
use flow_model::ids::{Digest, JobId, PipelineName};
use flow_model::outline::Outline;
use flow_model::spec::Pipeline;
use flow_model::workers::{WorkerStatus, Workers};
use flow_protocol::job::Beginning;
use flow_store::{Store, Swap};
use flow_worker::JobHandle;

use super::beginning::{Error as BeginningError, begun, life, owed};
use super::checkpoints::ready;
use super::stop::Desk;
use super::{Entry, Error, Home, Jobs, OnEnd, end, nothing};
use crate::clock::now;
use crate::cluster::{self, Cluster, Held};
use crate::handle::Handle;
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
    /// The jobs of a cluster that this process has begun to lead: those that the leader before it ran go on. Workers may register when it
    /// has returned.
    ///
    /// # Errors
    /// The cluster's root can't be read.
    pub fn of_cluster(cluster: Arc<Cluster>, leader: String) -> Result<Self, Error> {
        let stores = Stores::of_cluster(cluster.checkpoints());
        let jobs = Self::with(Home::Spread(cluster.clone()), stores, leader, Vec::new());
        let mut found: Vec<Result<Vec<Deployment>, (JobId, Error)>> = Vec::new();
        for (job, revisions) in deployments(cluster.store(), None)? {
            let all = revisions.iter().rev().map(|revision| read(cluster.store(), &job, *revision));
            match all.collect::<Result<Vec<Option<Deployment>>, Error>>() {
                // It goes on when that can be read, before any of them does.
                Err(Error::Store(error)) if error.is_retryable() => return Err(error.into()),
                all => found.push(all.map(|all| all.into_iter().flatten().collect()).map_err(|error| (job, error))),
            }
        }
        let submitted = |all: &Vec<Deployment>| all.first().map_or(0, |latest| latest.submitted);
        found.sort_by_key(|found| found.as_ref().map_or(0, submitted));
        let mut is_whole = true;
        for found in found {
            match found {
                Ok(all) => is_whole &= jobs.resume_spread(&cluster, all),
                Err((job, error)) => {
                    tracing::error!(%job, "can't go on: {error}");
                    is_whole = false;
                    jobs.enter(Entry::unreadable(job, &error));
                }
            }
        }
        // What a job needs that can't be read is not known.
        cluster.knows_all(is_whole);
        if let Err(error) = cluster.collect_all() {
            tracing::warn!("components that no job needs stay behind: {error}");
        }
        Ok(jobs)
    }

    /// Lets a job go on that a former leader led. `all` are its revisions, the latest first. False if it can't.
    fn resume_spread(&self, cluster: &Arc<Cluster>, all: Vec<Deployment>) -> bool {
        let mut all = all.into_iter();
        let Some(deployment) = all.next() else { return true };
        let (id, name, submitted) = (deployment.job.clone(), deployment.name.clone(), deployment.submitted);
        let digests: Vec<Digest> = deployment.components.values().cloned().collect();
        tracing::info!(job = %id, "goes on");
        let resumed = (|| {
            let start = deployment.start.clone();
            // What the leader before has deployed may run still.
            let life = life(&deployment.begun, &start);
            let beginning = life.map_or_else(|| Beginning::Settled(owed(&start)), Beginning::Continued);
            let runner = self.resumed(cluster, deployment)?;
            let warnings = runner.outline().pipeline.warnings.clone();
            let mut kept = self.to_keep(&id, runner, beginning, start.settle);
            kept.former = all.map(|former| self.resumed(cluster, former)).collect::<Result<_, _>>()?;
            let desk = Desk::of_cluster(cluster.store(), &id);
            let handle = self.keep_on(kept, desk, on_end(cluster, id.clone(), submitted, digests))?;
            Ok::<_, Error>((handle, warnings))
        })();
        let goes_on = resumed.is_ok();
        let (handle, warnings) = resumed.unwrap_or_else(|error| {
            tracing::error!(job = %id, "can't go on: {error}");
            (lost(&name, submitted, &error), Vec::new())
        });
        self.enter(Entry { id, name, submitted, warnings, handle, has_checkpoints: true, stopping: Arc::default() });
        goes_on
    }

    /// What runs of a revision that stands in the store.
    fn resumed(&self, cluster: &Arc<Cluster>, deployment: Deployment) -> Result<Runner, Error> {
        let pipeline = deployment.pipeline().map_err(submission::Error::Invalid)?;
        let findings = deployment.findings.clone().ok_or_else(|| {
            let place = format!("{}/{}", cluster.store().place(), deployment.document());
            let cause = "it does not say what its components are".to_owned();
            Error::Cluster(cluster::Error::Document { place, cause })
        })?;
        self.runner(cluster, Outline { pipeline, findings }, deployment)
    }

    /// Puts what was handed in where workers find it and has one look at it. Components that no job needs go when what is answered with
    /// the rest is dropped.
    pub(super) fn checked_by_worker(
        &self,
        cluster: &Arc<Cluster>,
        submission: Submission,
    ) -> Result<(Outline, Deployment, Held), Error> {
        let parsed = Pipeline::parse(&submission.file, &submission.text).map_err(submission::Error::from)?;
        let name = submission.name.clone().unwrap_or_else(|| parsed.name.clone());
        submission::check_directory(submission.directory.as_deref())?;
        let components = submission::assign(&parsed, submission.components)?;
        let mut digests: BTreeMap<_, Digest> = BTreeMap::new();
        let mut distinct: Vec<(Digest, Bytes)> = Vec::new();
        for (operator, bytes) in components {
            let digest = flow_worker::digest(&bytes);
            if !distinct.iter().any(|(known, _)| *known == digest) {
                distinct.push((digest.clone(), bytes));
            }
            digests.insert(operator, digest);
        }
        let held = cluster.put(&distinct)?;
        // It is UTF-8: it was parsed.
        let text = String::from_utf8_lossy(&submission.text).into_owned();
        let identity = Identity { job: self.new_id(&name), name, submitted: now(), root: String::new() };
        let mut deployment = Deployment::new(identity, (submission.file, text));
        (deployment.components, deployment.directory) = (digests, submission.directory);
        (deployment.start, deployment.parallelism) = (submission.start, submission.parallelism);
        let outline = cluster.check(&deployment)?;
        deployment.findings = Some(outline.findings.clone());
        Ok((outline, deployment, held))
    }

    /// Checks it and starts it on workers.
    pub(super) fn submit_to_workers(&self, cluster: &Arc<Cluster>, submission: Submission) -> Result<Job, Error> {
        let (outline, mut deployment, _held) = self.checked_by_worker(cluster, submission)?;
        let (id, name, submitted) = (deployment.job.clone(), deployment.name.clone(), deployment.submitted);
        let digests: Vec<Digest> = deployment.components.values().cloned().collect();
        let _reserved = self.reserve(&name)?;
        let beginning = self.beginning(&outline, &deployment.start)?;
        let beginning = beginning.ok_or(Error::Beginning(BeginningError::WithoutCheckpoints))?;
        deployment.begun = begun(&beginning);
        let (settle, warnings) = (deployment.start.settle.clone(), outline.pipeline.warnings.clone());
        let (document, store) = (deployment.document(), cluster.store());
        let runner = self.runner(cluster, outline, deployment)?;
        if let Runner::Spread { deployment, .. } = &runner {
            store.block_on(store.put(&document, deployment.to_bytes()))?;
        }
        // If it does, each leader that comes after finds the job.
        if !cluster.is_last() {
            remove(store, &id);
            return Err(Error::Stopping);
        }
        tracing::info!(job = %id, "starts");
        let kept = self.to_keep(&id, runner, beginning, settle);
        let handle = match self.keep(kept, on_end(cluster, id.clone(), submitted, digests)) {
            Ok(handle) => handle,
            Err(error) => {
                tracing::info!(job = %id, "did not start: {error}");
                cluster.forget(&id);
                remove(store, &id);
                return Err(error);
            }
        };
        let entry = Entry { id, name, submitted, warnings, handle, has_checkpoints: true, stopping: Arc::default() };
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

    /// Gives operators, sources and sinks of a running job another parallelism, and waits until the store says so.
    ///
    /// # Errors
    /// [`Error::Alone`], [`Error::Unknown`], [`Error::Ended`], [`Error::NotNow`]; it can't run so.
    pub fn scale(&self, key: &str, wanted: &Scale) -> Result<Job, Error> {
        let cluster = self.cluster()?;
        let (entry, keeper) = self.kept(key)?;
        if entry.job().state.is_terminal() {
            return Err(Error::Ended(Box::new(entry.job())));
        }
        ready(&keeper, entry.id.as_str())?;
        let Runner::Spread { outline, deployment, .. } = keeper.runner() else { return Err(Error::Alone) };
        let mut parallelism = wanted.parallelism.clone();
        if let Some(all) = wanted.all {
            let nodes = outline.plan().tasks.iter().flat_map(|task| task.operators());
            nodes.for_each(|node| _ = parallelism.entry(node.clone()).or_insert(all));
        }
        let store = cluster.store();
        let revisions = deployments(store, Some(&entry.id))?.remove(&entry.id).unwrap_or_default();
        let mut next = deployment.scaled(parallelism, revisions.last().copied().unwrap_or(deployment.revision) + 1);
        let pipeline = next.pipeline().map_err(submission::Error::Invalid)?;
        let scaled = outline.scaled(pipeline).map_err(submission::Error::Invalid)?;
        let document = next.document();
        next.findings = Some(scaled.findings.clone());
        let runner = self.runner(cluster, scaled, next)?;
        let Runner::Spread { deployment: next, .. } = &runner else { return Err(Error::Alone) };
        // Before HEAD names it, and by one who scales.
        if !matches!(store.block_on(store.swap(&document, None, next.to_bytes()))?, Swap::Done(_)) {
            let why = "somebody else is scaling it; try again".to_owned();
            return Err(Error::NotNow(entry.id.to_string(), why));
        }
        // Where it is not done HEAD may name it still: what stays behind goes with the job.
        keeper.redeploy(runner).map_err(|why| Error::NotNow(entry.id.to_string(), why))?;
        _ = store.block_on(store.delete(revisions.iter().map(|revision| deployment::name(&entry.id, *revision))));
        Ok(entry.job())
    }

    /// Gives a worker, by name or id, nothing new, and what it runs to others.
    ///
    /// # Errors
    /// [`Error::Alone`]; there is no such worker.
    pub fn drain(&self, worker: &str) -> Result<WorkerStatus, Error> {
        self.cluster()?.drain(worker).map_err(Error::Cluster)
    }

    fn runner(&self, cluster: &Arc<Cluster>, outline: Outline, mut deployment: Deployment) -> Result<Runner, Error> {
        let pipeline = &outline.pipeline;
        let checkpointing = pipeline.checkpoint.as_ref().ok_or(Error::Beginning(BeginningError::WithoutCheckpoints))?;
        let place = self.stores.named(checkpointing, &pipeline.directory)?.place().clone();
        deployment.root = format!("{}/{}", place.to, pipeline.name);
        let (cluster, deployment) = (cluster.clone(), Arc::new(deployment));
        Ok(Runner::Spread { cluster, outline: Arc::new(outline), deployment, place })
    }
}

/// What is done when a job is over.
fn on_end(cluster: &Arc<Cluster>, id: JobId, submitted: u64, components: Vec<Digest>) -> OnEnd {
    let cluster = cluster.clone();
    Box::new(move |status: &Status| {
        remove(cluster.store(), &id);
        cluster.collect(&components);
        end::tell(&id, submitted, status);
    })
}

/// A job that can't go on, for who asks for it.
fn lost(name: &PipelineName, submitted: u64, error: &Error) -> Handle {
    let why = format!(
        "it can't go on under another leader: {error}; when that is mended, restart the coordinator that leads"
    );
    Handle::Plain(JobHandle::lost(nothing(name), i64::try_from(submitted).unwrap_or(0), why))
}

impl Entry {
    /// One whose deployment can't be read.
    fn unreadable(id: JobId, error: &Error) -> Entry {
        let name = super::id::name(&id).unwrap_or_else(|| id.as_str().parse().expect("an id has the form of a name"));
        let handle = lost(&name, 0, error);
        Entry { id, name, submitted: 0, warnings: Vec::new(), handle, has_checkpoints: true, stopping: Arc::default() }
    }
}

/// A revision of a job; none if it is gone by now.
fn read(store: &Store, job: &JobId, revision: u64) -> Result<Option<Deployment>, Error> {
    let document = deployment::name(job, revision);
    let Some((bytes, _)) = store.block_on(store.read(&document))? else { return Ok(None) };
    Deployment::from_bytes(&bytes).map(Some).map_err(|error| {
        let (place, cause) = (format!("{}/{document}", store.place()), error.to_string());
        Error::Cluster(cluster::Error::Document { place, cause })
    })
}

/// The jobs that were deployed and have not ended, with their revisions in order; or one of them.
fn deployments(store: &Store, job: Option<&JobId>) -> Result<BTreeMap<JobId, Vec<u64>>, Error> {
    let mut found: BTreeMap<JobId, Vec<u64>> = BTreeMap::new();
    for name in names(store, job)? {
        if let Some((job, revision)) = deployment::of_name(&name) {
            found.entry(job).or_default().push(revision);
        }
    }
    found.values_mut().for_each(|revisions| revisions.sort_unstable());
    Ok(found)
}

/// The names of all that is kept of jobs, or of one.
fn names(store: &Store, job: Option<&JobId>) -> Result<Vec<String>, Error> {
    let prefix = job.map_or_else(|| deployment::JOBS.to_owned(), |job| format!("{}{job}/", deployment::JOBS));
    Ok(store.block_on(store.names(&prefix))?)
}

/// A job has ended: the next leader need not know of it.
fn remove(store: &Store, job: &JobId) {
    let removed = names(store, Some(job)).and_then(|names| Ok(store.block_on(store.delete(names))?));
    if let Err(error) = removed {
        tracing::warn!(%job, "what it was deployed with stays behind: {error}");
    }
}

/// Whether a job of that id is to go on under the next leader. Where the store does not answer, that is not known to be so.
pub(super) fn is_recorded(cluster: &Cluster, job: &JobId) -> bool {
    deployments(cluster.store(), Some(job)).is_ok_and(|all| !all.is_empty())
}
