//! Jobs that this process runs. A job's directory holds what it was submitted with while it is known, and a [`record`] while it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::{fs, io};

use flow_model::api::{self, Job};
use flow_model::ids::{JobId, PipelineName};
use flow_worker::Worker;

use super::record::{self, Record, Unread};
use super::stop::Desk;
use super::{Entry, Error, Home, Jobs, end};
use crate::answer;
use crate::clock::now;
use crate::handle::Handle;
use crate::keeper::{Runner, Status};
use crate::stores::Stores;
use crate::submission::{Nodes, Submission};

impl Jobs {
    /// The jobs with checkpoints that an earlier process left or was killed with go on; others that it ran are told as lost, in
    /// the log and to who asks. `data` is a directory that no other process uses: what that one left there of jobs that do not
    /// go on is removed. `leader` says where this process is, for people.
    ///
    /// # Errors
    /// [`Error::Directory`].
    pub fn new(worker: Worker, data: PathBuf, leader: String) -> Result<Self, Error> {
        let directory = data.join("jobs");
        let (all, unread) = record::read_all(&directory);
        let (kept, lost) = all.into_iter().partition::<Vec<_>, _>(|record| record.is_kept());
        let ids = kept.iter().map(|record| &record.id).chain(unread.iter().map(|unread| &unread.id));
        let stay: Vec<&str> = ids.map(JobId::as_str).collect();
        clear(&directory, &stay).map_err(|error| Error::Directory { path: directory.clone(), error })?;
        for record in &lost {
            tracing::warn!(job = %record.id, "lost: {}", record.loss());
        }
        for Unread { id, loss, .. } in &unread {
            tracing::error!(job = %id, "lost: {loss}");
        }
        let known = unread.into_iter().map(Entry::unread).chain(lost.into_iter().map(Entry::lost)).collect();
        let worker = Arc::new(worker);
        let jobs = Self::with(Home::Here(worker.clone(), directory.clone()), Stores::new(&data), leader, known);
        // In the order of their submission.
        let newest: BTreeMap<PipelineName, JobId> =
            kept.iter().map(|record| (record.name.clone(), record.id.clone())).collect();
        for record in kept {
            match &newest[&record.name] {
                newest if *newest == record.id => jobs.resume(&worker, &directory, record),
                // It waited for another start, and a process died that had begun with another one of its name.
                newest => give_way(&directory, &record.id, newest),
            }
        }
        Ok(jobs)
    }

    /// Lets a job go on that an earlier process ran.
    fn resume(&self, worker: &Arc<Worker>, directory: &Path, record: Record) {
        tracing::info!(job = %record.id, "goes on");
        let directory = directory.join(record.id.as_str());
        let resumed = (|| {
            let (submission, beginning) = record.submission(&directory).map_err(|error| error.to_string())?;
            let settle = submission.start.settle.clone();
            let checked = Arc::new(submission.check(worker).map_err(|error| error.to_string())?);
            let runner = Runner::Here { worker: worker.clone(), checked };
            let on_end = self.on_end((record.id.clone(), record.submitted, directory.clone()));
            let kept = self.to_keep(&record.id, runner, beginning, settle);
            let desk = Desk::Disk(directory.clone());
            self.keep_on(kept, (desk.wanted(), desk), Box::new(on_end)).map_err(|error| error.to_string())
        })();
        let entry = match resumed {
            Ok(handle) => Entry::new(record, handle),
            Err(error) => {
                tracing::error!(job = %record.id, "can't go on: {error}");
                Entry::failed(
                    record,
                    format!("it can't go on after a restart of flowd: {error}; when that is mended, start flowd again"),
                )
            }
        };
        self.enter(entry);
    }

    /// Checks it and starts it in this process.
    pub(super) fn submit_here(
        &self,
        worker: &Arc<Worker>,
        directory: &Path,
        submission: Submission,
    ) -> Result<Job, Error> {
        let (handed_in, command) = (submission.clone(), record::command(&submission));
        let checked = Arc::new(submission.check(worker)?);
        let pipeline = checked.pipeline();
        let name = pipeline.name.clone();
        // Held until the job stands in the list, so that two submissions at once can't both get the name.
        let _reserved = self.reserve(&name)?;
        let id = self.new_id(&name);
        let (jobs, directory) = (directory, directory.join(id.as_str()));
        let (submitted, warnings, plan) = (now(), pipeline.warnings.clone(), checked.plan().clone());
        let beginning = self.beginning(&checked, &handed_in.start)?;
        let kept = beginning.as_ref().map(|beginning| record::Kept::new(beginning, &handed_in));
        let record =
            Record { id: id.clone(), name: name.clone(), submitted, command, plan, warnings: warnings.clone(), kept };
        let written = fs::create_dir_all(&directory)
            .and_then(|()| fs::write(directory.join("pipeline.yaml"), &handed_in.text))
            .and_then(|()| record.write(&directory, &handed_in.components));
        if let Err(error) = written {
            forget(&directory);
            return Err(Error::Directory { path: directory, error });
        }
        tracing::info!(job = %id, "starts");
        let nodes = Nodes::of(checked.pipeline());
        let started = (id.clone(), submitted, directory.clone());
        let handle = match beginning {
            Some(beginning) => {
                let runner = Runner::Here { worker: worker.clone(), checked };
                let kept = self.to_keep(&id, runner, beginning, handed_in.start.settle);
                self.keep(kept, Box::new(self.on_end(started)))
            }
            None => {
                let on_end = self.on_end(started);
                let on_end = move |status: &flow_worker::JobStatus| on_end(&answer::status(status.clone()));
                let handle = worker.start(id.as_str(), &checked, on_end).map(Handle::Plain);
                handle.map_err(|error| nodes.refused(error).into())
            }
        };
        let handle = match handle {
            Ok(handle) => handle,
            Err(error) => {
                tracing::info!(job = %id, "did not start: {error}");
                forget(&directory);
                return Err(error);
            }
        };
        supersede(jobs, &record);
        let entry = Entry::new(record, handle);
        let job = entry.job();
        self.enter(entry);
        Ok(job)
    }

    /// What is done when a job is over: one of that id, submitted then, with that directory.
    fn on_end(&self, (id, submitted, directory): (JobId, u64, PathBuf)) -> impl FnOnce(&Status) + Send + use<> {
        let stopping = self.stopping.clone();
        move |status: &Status| {
            // What ends because the process does is told by the next one.
            if !(stopping.load(Relaxed) && status.state == api::JobState::Canceled) {
                record::remove(&directory);
            }
            end::tell(&id, submitted, status);
        }
    }
}

/// A job has begun under the name of some that could not go on after a restart of this process: they never do.
fn supersede(jobs: &Path, begun: &Record) {
    let (all, unread) = record::read_all(jobs);
    let all = all.iter().map(|record| (&record.id, &record.name));
    all.chain(unread.iter().map(|unread| (&unread.id, &unread.name)))
        .filter(|(id, name)| **name == begun.name && **id != begun.id)
        .for_each(|(former, _)| give_way(jobs, former, &begun.id));
}

fn give_way(jobs: &Path, former: &JobId, begun: &JobId) {
    tracing::info!(job = %former, "does not go on: {begun} was deployed under its name");
    record::remove(&jobs.join(former.as_str()));
}

/// Makes a directory, or empties it but for some entries.
fn clear(directory: &Path, stay: &[&str]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for entry in directory.read_dir()? {
        let entry = entry?;
        if !stay.iter().any(|name| entry.file_name() == *name) {
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
    Ok(())
}

/// Removes the directory of a job that is over.
pub(super) fn forget(directory: &Path) {
    // One that was lost has none.
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(directory = %directory.display(), "a job's directory stays behind: {error}");
    }
}
