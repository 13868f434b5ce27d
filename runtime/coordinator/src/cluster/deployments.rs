//! What jobs were deployed with, in the cluster's store: there from before a job starts to its end, so that each leader that comes after
//! finds it. Must never say which revision counts: HEAD does.

use std::collections::BTreeMap;

use flow_model::cluster::{Deployment, deployment};
use flow_model::ids::JobId;
use flow_model::outline::Outline;
use flow_store::Store;

use super::Error;

/// What lies in the store of a job that was deployed and has not ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The revisions that were deployed, in order.
    pub revisions: Vec<u64>,
    /// What else lies there, by its name below the job's own prefix.
    pub beside: Vec<String>,
}

/// The jobs that were deployed and have not ended; or one of them.
///
/// # Errors
/// The store's.
pub async fn list(store: &Store, job: Option<&JobId>) -> Result<BTreeMap<JobId, Stored>, flow_store::Error> {
    let mut found: BTreeMap<JobId, Stored> = BTreeMap::new();
    for name in names(store, job).await? {
        if let Some((job, revision)) = deployment::of_name(&name) {
            found.entry(job).or_default().revisions.push(revision);
        } else if let Some((job, beside)) = deployment::beside(&name) {
            found.entry(job).or_default().beside.push(beside.to_owned());
        }
    }
    found.retain(|_, stored| !stored.revisions.is_empty());
    found.values_mut().for_each(|stored| stored.revisions.sort_unstable());
    Ok(found)
}

/// A revision of a job; none if it is not there.
///
/// # Errors
/// The store's; [`Error::Document`].
pub async fn read(store: &Store, job: &JobId, revision: u64) -> Result<Option<Deployment>, Error> {
    let document = deployment::name(job, revision);
    let Some((bytes, _)) = store.read(&document).await? else { return Ok(None) };
    Deployment::from_bytes(&bytes).map(Some).map_err(|error| {
        let (place, cause) = (format!("{}/{document}", store.place()), error.to_string());
        Error::Document { place, cause }
    })
}

/// What runs by a deployment, without its code.
///
/// # Errors
/// [`Error::Pipeline`], [`Error::Document`].
pub fn outline(store: &Store, deployment: &Deployment) -> Result<Outline, Error> {
    let pipeline = deployment.pipeline()?;
    let findings = deployment.findings.clone().ok_or_else(|| {
        let place = format!("{}/{}", store.place(), deployment.document());
        Error::Document { place, cause: "it does not say what its components are".to_owned() }
    })?;
    Ok(Outline { pipeline, findings })
}

/// Deletes all that lies there of a job: it has ended.
///
/// # Errors
/// The store's.
pub async fn remove(store: &Store, job: &JobId) -> Result<(), flow_store::Error> {
    store.delete(names(store, Some(job)).await?).await
}

/// The names of all that is kept of jobs, or of one.
async fn names(store: &Store, job: Option<&JobId>) -> Result<Vec<String>, flow_store::Error> {
    store.names(&job.map_or_else(|| deployment::JOBS.to_owned(), deployment::folder)).await
}
