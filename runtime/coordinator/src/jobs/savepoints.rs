//! Savepoints of jobs: of those that run, by their keeper; of others, by what their HEAD in the store says.

use flow_model::api::{Savepoint, SavepointDetail, SavepointState, Savepoints};
use flow_model::checkpoint::{Head, ObjectName};
use flow_model::ids::{PipelineName, SavepointName};
use flow_protocol::head::is_free;
use flow_store::Store;

use super::checkpoints::ready;
use super::{Error, Jobs};
use crate::clock::now;
use crate::handle::Handle;
use crate::keeper::{self, Keeper, documents, stored};

/// Where the savepoints of a job are to be asked for.
enum Place {
    /// It runs in this process.
    Running(Keeper),
    /// It does not, and this is its root.
    Stored(Store, Box<(Head, String)>),
}

impl Jobs {
    /// Wants a savepoint of a job that runs, by id or name; with `stop` the job ends with it.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::NoCheckpoints`], [`Error::Ended`], [`Error::NotNow`], [`Error::Directory`].
    pub fn savepoint(&self, key: &str, name: Option<SavepointName>, stop: bool) -> Result<Savepoint, Error> {
        let (entry, keeper) = self.kept(key)?;
        let job = entry.job();
        if job.state.is_terminal() {
            return Err(Error::Ended(Box::new(job)));
        }
        // What is remembered has to be held against what HEAD has.
        ready(&keeper, job.id.as_str())?;
        let name = name.unwrap_or_else(|| of_time(now()));
        let is_taken =
            || keeper.savepoints(&entry.name).iter().any(|known| known.name == name && known.checkpoint.is_some());
        let desk = self.home.desk(&entry.id);
        // One that asks with another name must not find this one remembered, and then refused.
        let _one_at_a_time = stop.then(|| entry.to_stop());
        // Before it is answered, so that no restart of the process forgets it.
        let remembered = stop && !is_taken() && {
            desk.stop_with(&name).map_err(|error| Error::Directory { path: desk.place(), error })?
        };
        if let Err(why) = keeper.savepoint(name.clone(), stop) {
            if remembered {
                desk.forget_stop();
            }
            return Err(Error::NotNow(job.id.to_string(), why));
        }
        let all = keeper.savepoints(&entry.name);
        // It may be over by now and gone again.
        Ok(all.into_iter().find(|savepoint| savepoint.name == name).unwrap_or_else(|| Savepoint {
            name,
            job: entry.name.clone(),
            state: SavepointState::InProgress,
            checkpoint: None,
            time: Some(now()),
            bytes: None,
            reason: None,
        }))
    }

    /// The savepoints of a job, newest first, by id or name. It need not run, nor be known to this process: it is looked for in the
    /// stores that this one has used. Those that came to nothing are told as long as this process knows the job.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::NoCheckpoints`], [`Error::Keep`], [`Error::NotNow`] as long as its store does not answer.
    pub fn savepoints(&self, key: &str) -> Result<Savepoints, Error> {
        let (name, place) = self.place(key)?;
        let savepoints = match place {
            Place::Running(keeper) => keeper.savepoints(&name),
            Place::Stored(store, head) => {
                let kept = stored::savepoints(&store, &name, &head.0)?;
                let asked = self.kept(key).map_or_else(|_| Vec::new(), |(_, keeper)| keeper.savepoints(&name));
                let failed = asked.into_iter().filter(|asked| {
                    asked.state == SavepointState::Failed && !kept.iter().any(|kept| kept.name == asked.name)
                });
                let mut all: Vec<Savepoint> = failed.chain(kept.iter().cloned()).collect();
                all.sort_by_key(|savepoint| std::cmp::Reverse(savepoint.time));
                all
            }
        };
        Ok(Savepoints { now: now(), savepoints })
    }

    /// What one holds.
    ///
    /// # Errors
    /// As [`Jobs::savepoints`]; [`Error::NoSavepoint`]; [`Error::NotNow`] for one that is not complete, or came to nothing.
    pub fn savepoint_inspect(&self, key: &str, name: &SavepointName) -> Result<SavepointDetail, Error> {
        if let Ok((_, keeper)) = self.kept(key) {
            ready(&keeper, key)?;
        }
        let (job, store) = self.root(key)?;
        let head = documents::in_time(&store, documents::read_head(&store))?.map(|(head, _)| head);
        let kept = head.as_ref().and_then(|head| head.savepoint(name));
        let Some(kept) = kept else { return Err(self.no_savepoint(key, name)) };
        let manifest = ObjectName::manifest(&kept.incarnation, kept.checkpoint);
        let manifest = documents::in_time(&store, documents::load(&store, &manifest))?;
        Ok(SavepointDetail::of(keeper::completed(&job, kept, Some(manifest.state_bytes())), &manifest))
    }

    /// Gives one up, and what only it needs in the store. It waits until HEAD says so.
    ///
    /// # Errors
    /// As [`Jobs::savepoint_inspect`]; [`Error::NotNow`] for one that is needed.
    pub fn savepoint_remove(&self, key: &str, name: &SavepointName) -> Result<(), Error> {
        let (job, place) = self.place(key)?;
        let not_now = |why: String| Error::NotNow(key.to_owned(), why);
        match place {
            Place::Running(keeper) => {
                let is_it = |known: &Savepoint| known.name == *name && known.state == SavepointState::Completed;
                if !keeper.savepoints(&job).iter().any(is_it) {
                    return Err(self.no_savepoint(key, name));
                }
                keeper.give_up(name.clone()).map_err(not_now)
            }
            Place::Stored(store, head) => {
                if head.0.savepoint(name).is_none() {
                    return Err(self.no_savepoint(key, name));
                }
                if !is_free(&head.0) {
                    return Err(not_now(format!("it is run by {}: ask there", head.0.leader)));
                }
                stored::give_up(&store, *head, name)?.map_err(not_now)
            }
        }
    }

    fn no_savepoint(&self, key: &str, name: &SavepointName) -> Error {
        let all = self.savepoints(key).map_or_else(|_| Vec::new(), |all| all.savepoints);
        let not_now = |why: String| Error::NotNow(key.to_owned(), why);
        match all.iter().find(|savepoint| savepoint.name == *name) {
            Some(Savepoint { state: SavepointState::Failed, reason, .. }) => {
                let reason = reason.as_deref().unwrap_or("it was given up");
                return not_now(format!("the savepoint \"{name}\" came to nothing: {reason}"));
            }
            Some(Savepoint { state: SavepointState::InProgress, .. }) => {
                return not_now(format!("the savepoint \"{name}\" is not complete yet; wait for it"));
            }
            Some(_) | None => {}
        }
        let names = all.iter().map(|savepoint| savepoint.name.to_string()).collect();
        Error::NoSavepoint { job: key.to_owned(), name: name.clone(), names }
    }

    fn place(&self, key: &str) -> Result<(PipelineName, Place), Error> {
        if let Ok((entry, keeper)) = self.kept(key)
            && !entry.job().state.is_terminal()
        {
            ready(&keeper, key)?;
            return Ok((entry.name, Place::Running(keeper)));
        }
        let (name, store) = self.root(key)?;
        match documents::in_time(&store, documents::read_head(&store))? {
            Some(head) => Ok((name, Place::Stored(store, Box::new(head)))),
            None => Err(Error::Unknown(key.to_owned())),
        }
    }

    /// A job's name and its root in the store, whether it is known or not.
    pub(super) fn root(&self, key: &str) -> Result<(PipelineName, Store), Error> {
        let (name, plain) = match self.find(key) {
            Ok(entry) => match &entry.handle {
                Handle::Kept(keeper) => match keeper.store() {
                    Some(store) => return Ok((entry.name, store.clone())),
                    None => (entry.name, None),
                },
                Handle::Plain(_) if entry.has_checkpoints => (entry.name, None),
                Handle::Plain(_) if entry.id.as_str() == key => return Err(Error::NoCheckpoints(entry.id)),
                // One that was lost, or that took checkpoints in an earlier deployment.
                Handle::Plain(_) => (entry.name, Some(entry.id)),
            },
            Err(error) => (key.parse().map_err(|_| error)?, None),
        };
        let mut unknown = Vec::new();
        for root in self.stores.known(&name) {
            let store = root.below(name.as_str())?;
            match documents::in_time(&store, documents::read_head(&store)) {
                Ok(Some(_)) => return Ok((name, store)),
                Ok(None) => {}
                Err(error) => unknown.push(error.to_string()),
            }
        }
        if !unknown.is_empty() {
            let why = format!("no store that answers has it, and others do not answer: {}", unknown.join("; "));
            return Err(Error::NotNow(key.to_owned(), why));
        }
        Err(plain.map_or_else(|| Error::Unknown(key.to_owned()), Error::NoCheckpoints))
    }
}

/// A name that tells the time, in UTC: `20261124-093012-123`.
fn of_time(now: u64) -> SavepointName {
    let at = jiff::Timestamp::from_millisecond(now as i64).unwrap_or_default();
    let text = at.strftime("%Y%m%d-%H%M%S").to_string();
    SavepointName::new(format!("{text}-{:03}", now % 1000)).expect("digits and hyphens")
}
