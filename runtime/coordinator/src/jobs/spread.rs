//! Jobs that the workers of a cluster run. What a job was deployed with lies in the cluster's root in the store from before it starts to
//! its end, so that the next leader finds it; this process keeps nothing on its disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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
use super::found::{self, Found};
use super::stop::{Desk, Wanted};
use super::{Entry, Error, Home, Jobs, OnEnd, end, nothing};
use crate::clock::now;
use crate::cluster::{self, Cluster, Held, deployments};
use crate::handle::Handle;
use crate::keeper::{Runner, Status};
use crate::stores::Stores;
use crate::submission::{self, Submission};

/// How long who scales a job waits for that. It goes on to be scaled behind that.
const SCALED: Duration = Duration::from_secs(120);

impl From<cluster::Error> for Error {
    fn from(error: cluster::Error) -> Self {
        match error {
            cluster::Error::Pipeline(wrong) => submission::Error::Invalid(wrong).into(),
            cluster::Error::Store(error) => error.into(),
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
        let mut is_whole = true;
        for found in cluster.store().block_on(found::all(cluster.store()))? {
            let Found { job, deployment, wanted } = found;
            match deployment {
                Ok(deployment) => is_whole &= jobs.resume_spread(&cluster, deployment, wanted),
                Err(error) => {
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

    /// Lets a job go on that a former leader led, by this revision or by the one that its HEAD names. False if it can't.
    fn resume_spread(&self, cluster: &Arc<Cluster>, deployment: Deployment, wanted: Wanted) -> bool {
        let (id, name, submitted) = (deployment.job.clone(), deployment.name.clone(), deployment.submitted);
        let digests: Vec<Digest> = deployment.components.values().cloned().collect();
        tracing::info!(job = %id, "goes on");
        let resumed = (|| {
            let start = deployment.start.clone();
            // What the leader before has deployed may run still.
            let life = life(&deployment.begun, &start);
            let beginning = life.map_or_else(|| Beginning::Settled(owed(&start)), Beginning::Continued);
            let runner = self.runner(cluster, deployments::outline(cluster.store(), &deployment)?, deployment)?;
            let warnings = runner.outline().pipeline.warnings.clone();
            let kept = self.to_keep(&id, runner, beginning, start.settle);
            let desk = Desk::of_cluster(cluster.store(), &id);
            let handle = self.keep_on(kept, (wanted, desk), on_end(cluster, id.clone(), submitted, digests))?;
            Ok::<_, Error>((handle, warnings))
        })();
        let goes_on = resumed.is_ok();
        let (handle, warnings) = resumed.unwrap_or_else(|error| {
            tracing::error!(job = %id, "can't go on: {error}");
            (lost(&name, submitted, &error), Vec::new())
        });
        self.enter(Entry::kept((id, name), submitted, warnings, handle));
        goes_on
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
        let entry = Entry::kept((id, name), submitted, warnings, handle);
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
        let stored = store.block_on(deployments::list(store, Some(&entry.id)))?;
        let revisions = stored.into_values().next().unwrap_or_default().revisions;
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
        keeper.redeploy(runner, SCALED).map_err(|why| Error::NotNow(entry.id.to_string(), why))?;
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
        Entry::kept((id, name), 0, Vec::new(), handle)
    }
}

/// A job has ended: the next leader need not know of it.
fn remove(store: &Store, job: &JobId) {
    if let Err(error) = store.block_on(deployments::remove(store, job)) {
        tracing::warn!(%job, "what it was deployed with stays behind: {error}");
    }
}

/// Whether a job of that id is to go on under the next leader. Where the store does not answer, that is not known to be so.
pub(super) fn is_recorded(cluster: &Cluster, job: &JobId) -> bool {
    let store = cluster.store();
    store.block_on(deployments::list(store, Some(job))).is_ok_and(|all| !all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::led::{Leader, ME, TERM, head, revisions};

    fn parallelism(jobs: &Jobs) -> u32 {
        jobs.plan("orders").expect("it is known").tasks[0].parallelism
    }

    #[test]
    fn a_job_goes_on_by_the_revision_that_head_names() {
        for named in [1, 2] {
            let leader = Leader::new();
            revisions("orders").iter().for_each(|revision| leader.deploy(revision));
            leader.write_head(&head(1, named));
            let jobs = leader.leads();
            let head = leader.head_when(&jobs, |head| head.term >= TERM);
            assert_eq!((head.revision, u64::from(parallelism(&jobs))), (named, named));
        }
    }

    /// One that led before has scaled it meanwhile, and removed what it ran by.
    #[test]
    fn a_job_that_was_scaled_after_its_deployments_were_read_goes_on_so() {
        let (leader, [first, second]) = (Leader::new(), revisions("orders"));
        leader.deploy(&second);
        leader.write_head(&head(1, 2));
        let _context = leader.runtime.enter();
        let (cluster, stores) = (leader.cluster.clone(), Stores::of_cluster(leader.cluster.checkpoints()));
        let jobs = Jobs::with(Home::Spread(cluster.clone()), stores, ME.to_owned(), Vec::new());
        assert!(jobs.resume_spread(&cluster, first, Wanted::default()));
        leader.head_when(&jobs, |head| head.term >= TERM);
        assert_eq!(parallelism(&jobs), 2);
    }

    #[test]
    fn a_job_that_another_leader_scales_while_this_one_leads_goes_on_so() {
        let (leader, [first, second]) = (Leader::new(), revisions("orders"));
        leader.deploy(&first);
        leader.write_head(&head(1, 1));
        let jobs = leader.leads();
        let before = leader.head_when(&jobs, |head| head.term >= TERM);
        leader.deploy(&second);
        let mut by_another = head(before.term + 1, 2);
        by_another.attempt = before.attempt;
        leader.write_head(&by_another);
        // It finds that with its next attempt, when what a former leader may have deployed was looked for long enough.
        let head = leader.head_when(&jobs, |head| head.leader == ME && head.nonce != before.nonce);
        assert_eq!((head.revision, head.term >= by_another.term, parallelism(&jobs)), (2, true, 2));
    }

    #[test]
    fn who_scales_a_job_does_not_wait_for_ever() {
        let (leader, [first, second]) = (Leader::new(), revisions("orders"));
        leader.deploy(&first);
        leader.write_head(&head(1, 1));
        let jobs = leader.leads();
        leader.head_when(&jobs, |head| head.term >= TERM);
        let (_, keeper) = jobs.kept("orders").expect("it is kept");
        let outline = deployments::outline(leader.cluster.store(), &second).expect("a pipeline");
        let runner = jobs.runner(&leader.cluster, outline, second).expect("it can run");
        // It looks for what a former leader has deployed, and has no checkpoint to go on from meanwhile.
        let why = keeper.redeploy(runner, Duration::from_millis(50)).expect_err("not so soon");
        assert!(why.contains("not scaled yet") && why.contains("`flowctl logs JOB`"), "{why}");
        leader.head_when(&jobs, |head| head.revision == 2);
    }
}
