//! Checkpoints of jobs: of those that this process knows, by their keeper; of others, by what their HEAD in the store says.

use flow_model::api::Checkpoints;
use flow_model::checkpoint::CheckpointId;

use super::{Entry, Error, Jobs};
use crate::clock::now;
use crate::handle::Handle;
use crate::keeper::{Keeper, documents, stored};

/// Waits until it is known whether a job does what it is asked for, by what it was named.
pub(super) fn ready(keeper: &Keeper, key: &str) -> Result<(), Error> {
    keeper.ready().map_err(|why| Error::NotNow(key.to_owned(), why))
}

impl Jobs {
    /// The checkpoints of a job, by id or name. It need not be known to this process: it is looked for in the stores that this one
    /// has used, and of its checkpoints those are told then that are retained.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::NoCheckpoints`], [`Error::Keep`], [`Error::NotNow`] as long as its store does not answer.
    pub fn checkpoints(&self, key: &str) -> Result<Checkpoints, Error> {
        let job = match self.find(key) {
            Ok(entry) => match (&entry.handle, entry.job()) {
                (Handle::Kept(keeper), job) => {
                    ready(keeper, job.id.as_str())?;
                    if keeper.store().is_some() {
                        let (job, summary, checkpoints) = (Some(job), keeper.summary(), keeper.checkpoints());
                        return Ok(Checkpoints { job, now: now(), summary, checkpoints });
                    }
                    Some(job)
                }
                (Handle::Plain(_), job) if !job.state.is_terminal() => return Err(Error::NoCheckpoints(entry.id)),
                (Handle::Plain(_), job) => Some(job),
            },
            Err(_) => None,
        };
        let (_, store) = self.root(key)?;
        let head = documents::in_time(&store, documents::read_head(&store))?;
        let (head, _) = head.ok_or_else(|| Error::Unknown(key.to_owned()))?;
        let (summary, checkpoints) = stored::checkpoints(&store, &head)?;
        Ok(Checkpoints { job, now: now(), summary, checkpoints })
    }

    /// Wants a checkpoint of a job, by id or name: it counts when the one that is told does, or a later one.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::NoCheckpoints`], [`Error::Ended`], [`Error::NotNow`].
    pub fn checkpoint(&self, key: &str) -> Result<CheckpointId, Error> {
        let (entry, keeper) = self.kept(key)?;
        let job = entry.job();
        if job.state.is_terminal() {
            return Err(Error::Ended(Box::new(job)));
        }
        keeper.checkpoint().map_err(|why| Error::NotNow(job.id.to_string(), why))
    }

    pub(super) fn kept(&self, key: &str) -> Result<(Entry, Keeper), Error> {
        let entry = self.find(key)?;
        match &entry.handle {
            Handle::Kept(keeper) => Ok((entry.clone(), keeper.clone())),
            // It failed before anything of it was kept.
            Handle::Plain(_) if entry.has_checkpoints => Err(Error::Ended(Box::new(entry.job()))),
            Handle::Plain(_) => Err(Error::NoCheckpoints(entry.id)),
        }
    }
}
