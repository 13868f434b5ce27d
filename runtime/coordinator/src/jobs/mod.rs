//! The registry of jobs: what was submitted, what runs, what has ended. It lives in memory; a job's directory holds what
//! it runs on while it is known, and a [`record`] while it runs.
//!
//! Everything here blocks for as long as components take to load: call it from a thread that may.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io, thread};

use flow_model::api::{self, Checked, CheckpointSummary, Counters, Description, Job, Metrics};
use flow_model::diagnostic::Diagnostic;
use flow_model::ids::{JobId, PipelineName, SavepointName};
use flow_model::key_group::KeyGroups;
use flow_model::plan::Plan;
use flow_model::spec::Checkpointing;
use flow_model::start::{self, Settle, Start};
use flow_protocol::job::Beginning;
use flow_worker::{Checked as Runnable, JobHandle, Worker};

use crate::answer;
use crate::handle::Handle;
use crate::keeper::{self, Awaited, Keeper, Kept, Status};
use crate::stores::Stores;
use crate::submission::{self, Nodes, Submission};

mod beginning;
mod checkpoints;
mod end;
mod id;
mod names;
mod record;
mod savepoints;
mod stop;

pub use beginning::Error as BeginningError;
use names::Names;
use record::{Record, Unread};

/// So many jobs that have ended are remembered; the oldest go first.
const ENDED_KEPT: usize = 100;
/// So long, in milliseconds, the metrics of a job that has ended are still told, so that whoever collects them gets the
/// last ones.
const ENDED_TOLD: u64 = 5 * 60 * 1000;

/// Why a request about jobs is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline can't be accepted.
    #[error(transparent)]
    Submission(#[from] submission::Error),
    /// A job of that name runs.
    #[error("a job named \"{0}\" is already running")]
    Running(PipelineName),
    /// A job of that name was canceled and has not ended yet; why, if that is known.
    #[error("\"{name}\" is being canceled and has not ended yet{}", why.as_ref().map_or(String::new(), |why| format!(": {why}")))]
    Canceling {
        /// The name.
        name: PipelineName,
        /// Why it has not ended.
        why: Option<String>,
    },
    /// No job has that id or name.
    #[error("no job \"{0}\"")]
    Unknown(String),
    /// The job has ended and can't be stopped any more.
    #[error("{} has already ended: it is {}", .0.id, .0.state)]
    Ended(Box<Job>),
    /// Where its checkpoints are to go does not do, or what is there can't be used.
    #[error(transparent)]
    Store(#[from] flow_store::Error),
    /// The job can't be kept.
    #[error(transparent)]
    Keep(#[from] keeper::Error),
    /// The job takes no checkpoints.
    #[error("{0} takes no checkpoints")]
    NoCheckpoints(JobId),
    /// No checkpoint is taken now, or a savepoint not given up: why.
    #[error("{0}: {1}")]
    NotNow(String, String),
    /// It can't begin like this.
    #[error(transparent)]
    Beginning(#[from] BeginningError),
    /// The job has no savepoint of that name.
    #[error("\"{job}\" has no savepoint \"{name}\"")]
    NoSavepoint {
        /// The job, as it was named.
        job: String,
        /// The name.
        name: SavepointName,
        /// Those that it has.
        names: Vec<String>,
    },
    /// No more jobs are taken: the process is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The data directory can't be written.
    #[error("can't write {}: {error}", path.display())]
    Directory {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A job with what its operators have done.
#[derive(Debug)]
pub struct Tally {
    /// The job in short.
    pub job: Job,
    /// Its operators; none if it ended long ago.
    pub operators: Vec<Counters>,
    /// Its checkpoints; none if it takes none, or ended long ago.
    pub checkpoints: Option<CheckpointSummary>,
    /// This process's clock.
    pub now: u64,
}

/// All jobs of this process.
pub struct Jobs {
    worker: Arc<Worker>,
    stores: Arc<Stores>,
    /// This process, for people.
    leader: String,
    directory: PathBuf,
    names: Arc<Names>,
    entries: Mutex<Entries>,
    /// The process is to end; set while the entries are locked.
    stopping: Arc<AtomicBool>,
}

#[derive(Default)]
struct Entries {
    /// In the order of submission.
    known: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    id: JobId,
    name: PipelineName,
    submitted: u64,
    warnings: Vec<Diagnostic>,
    handle: Handle,
    /// It has a HEAD, though its handle may know nothing of it.
    has_checkpoints: bool,
    /// Held by who wants it to stop.
    stopping: Arc<Mutex<()>>,
}

impl Entry {
    fn lost(record: Record) -> Self {
        let loss = record.loss();
        Self::failed(record, loss)
    }

    fn unread(Unread { id, name, loss }: Unread) -> Self {
        let plan =
            Plan { pipeline: name.clone(), key_groups: KeyGroups::default(), tasks: Vec::new(), exchanges: Vec::new() };
        let handle = Handle::Plain(JobHandle::lost(plan, 0, loss));
        let (warnings, stopping) = (Vec::new(), Arc::default());
        Self { id, name, submitted: 0, warnings, handle, has_checkpoints: true, stopping }
    }

    fn failed(record: Record, loss: String) -> Self {
        let handle = JobHandle::lost(record.plan.clone(), i64::try_from(record.submitted).unwrap_or(0), loss);
        Self::new(record, Handle::Plain(handle))
    }

    fn new(record: Record, handle: Handle) -> Self {
        let has_checkpoints = record.is_kept();
        let Record { id, name, submitted, warnings, .. } = record;
        Self { id, name, submitted, warnings, handle, has_checkpoints, stopping: Arc::default() }
    }

    /// To be held from before it is remembered that the job is to stop until it is known whether it does.
    fn to_stop(&self) -> MutexGuard<'_, ()> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job(&self) -> Job {
        let status = self.handle.status();
        Job {
            id: self.id.clone(),
            name: self.name.clone(),
            state: status.state,
            submitted: self.submitted,
            ended: status.ended.map(answer::time),
            error: status.error.map(|error| error.to_string()),
        }
    }
}

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
        let entries = Mutex::new(Entries { known });
        let stores = Arc::new(Stores::new(&data));
        let worker = Arc::new(worker);
        let jobs = Self { worker, stores, leader, directory, names: Arc::default(), entries, stopping: Arc::default() };
        // In the order of their submission.
        let newest: BTreeMap<PipelineName, JobId> =
            kept.iter().map(|record| (record.name.clone(), record.id.clone())).collect();
        for record in kept {
            match &newest[&record.name] {
                newest if *newest == record.id => jobs.resume(record),
                // It waited for another start, and a process died that had begun with another one of its name.
                newest => jobs.give_way(&record.id, newest),
            }
        }
        Ok(jobs)
    }

    /// Lets a job go on that an earlier process ran.
    fn resume(&self, record: Record) {
        tracing::info!(job = %record.id, "goes on");
        let directory = self.directory.join(record.id.as_str());
        let resumed = (|| {
            let (submission, beginning) = record.submission(&directory).map_err(|error| error.to_string())?;
            let settle = submission.start.settle.clone();
            let checked = submission.check(&self.worker).map_err(|error| error.to_string())?;
            let started = (record.id.clone(), record.submitted, directory.clone());
            self.keep_on(started, checked, beginning, settle).map_err(|error| error.to_string())
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

    /// Can it run, and how? And does it fit what it is to begin with?
    ///
    /// # Errors
    /// [`Error::Submission`] with all that is wrong; [`Error::Store`] and [`Error::Beginning`] if it is to begin with something.
    pub fn check(&self, submission: Submission) -> Result<Checked, Error> {
        let start = submission.start.clone();
        let checked = submission.check(&self.worker)?;
        if start != Start::default() {
            self.beginning(&checked, &start)?;
        }
        Ok(Checked { plan: checked.plan().clone(), warnings: checked.pipeline().warnings.clone() })
    }

    /// Checks it and starts it.
    ///
    /// # Errors
    /// All of [`Error`] but [`Error::Unknown`] and [`Error::Ended`]; nothing has started then.
    pub fn submit(&self, submission: Submission) -> Result<Job, Error> {
        let (handed_in, command) = (submission.clone(), record::command(&submission));
        let checked = submission.check(&self.worker)?;
        let pipeline = checked.pipeline();
        let name = pipeline.name.clone();
        // Held until the job stands in the list, so that two submissions at once can't both get the name.
        let _reserved = self.reserve(&name)?;
        let id = self.new_id(&name);
        let directory = self.directory.join(id.as_str());
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
        let nodes = Nodes::of(pipeline);
        let started = (id.clone(), submitted, directory.clone());
        let handle = match beginning {
            Some(beginning) => self.keep(started, checked, beginning, handed_in.start.settle),
            None => {
                let on_end = self.on_end(started);
                let on_end = move |status: &flow_worker::JobStatus| on_end(&answer::status(status.clone()));
                let handle = self.worker.start(id.as_str(), &checked, on_end).map(Handle::Plain);
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
        self.supersede(&record);
        let entry = Entry::new(record, handle);
        let job = entry.job();
        self.enter(entry);
        Ok(job)
    }

    /// A job has begun under the name of some that could not go on after a restart of this process: they never do.
    fn supersede(&self, begun: &Record) {
        let (all, unread) = record::read_all(&self.directory);
        let all = all.iter().map(|record| (&record.id, &record.name));
        all.chain(unread.iter().map(|unread| (&unread.id, &unread.name)))
            .filter(|(id, name)| **name == begun.name && **id != begun.id)
            .for_each(|(former, _)| self.give_way(former, &begun.id));
    }

    fn give_way(&self, former: &JobId, begun: &JobId) {
        tracing::info!(job = %former, "does not go on: {begun} was deployed under its name");
        record::remove(&self.directory.join(former.as_str()));
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

    /// How a job with checkpoints begins; nothing of one without.
    fn beginning(&self, checked: &Runnable, start: &Start) -> Result<Option<Beginning>, Error> {
        let pipeline = checked.pipeline();
        match &pipeline.checkpoint {
            Some(checkpointing) => {
                let root = self.stores.of(checkpointing, &pipeline.directory)?;
                let here = self.running(&pipeline.name).is_none().then_some(self.leader.as_str());
                let beginning = beginning::beginning(checked, &root, start, here);
                beginning.map(Some).map_err(|error| match error {
                    BeginningError::Output { error, last } => {
                        // What may have been meant.
                        let last = last.filter(|_| matches!(*error, flow_worker::Error::Output(..)));
                        let go_on =
                            |last: start::From| format!("to go on where the job ended, deploy it with {}", last.flag());
                        Nodes::of(pipeline).refused(*error).hint(last.map(go_on).as_deref()).into()
                    }
                    other => other.into(),
                })
            }
            None if *start == Start::default() => Ok(None),
            None => Err(BeginningError::NoCheckpoints.into()),
        }
    }

    /// Keeps a job with checkpoints alive.
    fn keep(
        &self,
        started: (JobId, u64, PathBuf),
        checked: Runnable,
        beginning: Beginning,
        settle: Option<Settle>,
    ) -> Result<Handle, Error> {
        let (pipeline, checkpointing) = (checked.pipeline(), checkpointing(&checked));
        let (name, named) = (pipeline.name.clone(), self.stores.named(checkpointing, &pipeline.directory)?);
        let root = self.stores.of(checkpointing, &pipeline.directory)?;
        let kept = self.to_keep(&started.0, checked, beginning, settle);
        let keeper = Keeper::start(kept, root, self.on_end(started))?;
        self.stores.deployed(&named, &name);
        Ok(Handle::Kept(keeper))
    }

    /// The same of one that an earlier process ran, as soon as its store answers. What its user wanted before that one ended still is.
    fn keep_on(
        &self,
        started: (JobId, u64, PathBuf),
        checked: Runnable,
        beginning: Beginning,
        settle: Option<Settle>,
    ) -> Result<Handle, Error> {
        let named = self.stores.named(checkpointing(&checked), &checked.pipeline().directory)?;
        let (place, stores, directory) = (named.place().to_owned(), self.stores.clone(), started.2.clone());
        let open = move || -> keeper::Opening {
            let (stores, named) = (stores.clone(), named.clone());
            Box::pin(async move { stores.try_open(&named).await })
        };
        let canceled = stop::is_canceled(&directory);
        let awaited = Awaited { open: Box::new(open), place, runtime: self.stores.runtime().clone(), canceled };
        let mut kept = self.to_keep(&started.0, checked, beginning, settle);
        kept.stop = stop::remembered(&directory)
            .map(|savepoint| keeper::Stop { savepoint, refused: Box::new(move || stop::forget(&directory)) });
        Ok(Handle::Kept(Keeper::resume(kept, awaited, self.on_end(started))?))
    }

    fn to_keep(&self, id: &JobId, checked: Runnable, beginning: Beginning, settle: Option<Settle>) -> Kept {
        Kept {
            id: id.to_string(),
            checked: Arc::new(checked),
            worker: self.worker.clone(),
            beginning,
            dead_letter: settle.and_then(|settle| settle.dead_letter),
            leader: self.leader.clone(),
            stop: None,
        }
    }

    /// All jobs, newest first.
    pub fn list(&self) -> api::Jobs {
        let entries = self.lock().known.clone();
        api::Jobs { now: now(), jobs: entries.iter().rev().map(Entry::job).collect() }
    }

    /// The newest job of each name, with what its operators have done: while it runs, and for a while after its end.
    pub fn tallies(&self) -> Vec<Tally> {
        let entries = self.lock().known.clone();
        let (mut names, now) = (BTreeSet::new(), now());
        let newest = entries.into_iter().rev().filter(|entry| names.insert(entry.name.clone()));
        let tally = |entry: Entry| {
            let job = entry.job();
            let is_shown = job.ended.is_none_or(|ended| now.saturating_sub(ended) < ENDED_TOLD);
            let metrics = if is_shown { entry.handle.metrics() } else { Vec::new() };
            let checkpoints = if is_shown { entry.handle.checkpoints() } else { None };
            Tally { job, operators: metrics.into_iter().filter_map(answer::counters).collect(), checkpoints, now }
        };
        newest.map(tally).collect()
    }

    /// One job in full, by id or name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn describe(&self, key: &str) -> Result<Description, Error> {
        let entry = self.find(key)?;
        Ok(Description {
            job: entry.job(),
            now: now(),
            operators: entry.handle.metrics().into_iter().filter_map(answer::counters).collect(),
            checkpoints: entry.handle.checkpoints(),
            plan: entry.handle.plan().clone(),
            warnings: entry.warnings,
        })
    }

    /// What a job has done, subtask by subtask, by id or name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn metrics(&self, key: &str) -> Result<Metrics, Error> {
        let entry = self.find(key)?;
        let operators = entry.handle.metrics().into_iter().filter_map(answer::by_subtask).collect();
        Ok(Metrics { job: entry.job(), now: now(), operators })
    }

    /// A job's plan, by id or name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn plan(&self, key: &str) -> Result<Plan, Error> {
        Ok(self.find(key)?.handle.plan().clone())
    }

    /// A job in short with its handle, by id or name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn handle(&self, key: &str) -> Result<(Job, Handle), Error> {
        let entry = self.find(key)?;
        Ok((entry.job(), entry.handle))
    }

    /// Asks a job to stop, by id or name. One that is stopping or was stopped stays so. One that failed because it could not go on after a
    /// restart of this process stops when it can.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Ended`] if it finished or failed by itself; [`Error::Directory`] if nothing but the disk could tell
    /// the next process.
    pub fn cancel(&self, key: &str) -> Result<Job, Error> {
        use flow_model::api::JobState;
        let entry = self.find(key)?;
        let (before, directory) = (entry.job(), self.directory.join(entry.id.as_str()));
        match before.state {
            JobState::Running | JobState::Restarting => {
                tracing::info!(job = %entry.id, "cancel");
                // Who wants it to stop is not kept from that by a disk that is full.
                if entry.has_checkpoints
                    && let Err(error) = stop::remember_cancel(&directory)
                {
                    tracing::warn!(job = %entry.id, "should flowd end before the job has stopped, it goes on: {error}");
                }
                entry.handle.cancel();
                Ok(entry.job())
            }
            JobState::Failed if record::is_there(&directory) => {
                tracing::info!(job = %entry.id, "cancel, as soon as it can go on");
                stop::remember_cancel(&directory)
                    .map_err(|error| Error::Directory { path: directory.clone(), error })?;
                Ok(Job { state: JobState::Canceling, ..before })
            }
            JobState::Canceling | JobState::Canceled => Ok(before),
            JobState::Finished | JobState::Failed => Err(Error::Ended(Box::new(before))),
        }
    }

    /// Takes no more jobs, asks all to stop and waits for them, but not longer than `patience`. True when all have
    /// ended.
    pub fn stop(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let entries = {
            let entries = self.lock();
            self.stopping.store(true, Relaxed);
            entries.known.clone()
        };
        let running: Vec<&Entry> = entries.iter().filter(|entry| !entry.job().state.is_terminal()).collect();
        running.iter().for_each(|entry| entry.handle.leave());
        for entry in running {
            while !entry.job().state.is_terminal() {
                if Instant::now() >= deadline {
                    tracing::warn!(job = %entry.id, "does not stop in time");
                    return false;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, name: &PipelineName) -> Result<names::Reserved, Error> {
        let reserved = self.names.reserve(name).ok_or_else(|| Error::Running(name.clone()))?;
        {
            let _entries = self.lock();
            if self.stopping.load(Relaxed) {
                return Err(Error::Stopping);
            }
        }
        match self.running(name) {
            None => Ok(reserved),
            Some(Job { state: api::JobState::Canceling, error, .. }) => {
                Err(Error::Canceling { name: name.clone(), why: error })
            }
            Some(_) => Err(Error::Running(name.clone())),
        }
    }

    fn running(&self, name: &PipelineName) -> Option<Job> {
        let last = self.lock().known.iter().rev().find(|entry| entry.name == *name).cloned();
        last.map(|entry| entry.job()).filter(|job| !job.state.is_terminal())
    }

    fn new_id(&self, name: &PipelineName) -> JobId {
        loop {
            let id = id::random(name);
            let is_known = self.lock().known.iter().any(|entry| entry.id == id);
            if !is_known && !self.directory.join(id.as_str()).exists() {
                return id;
            }
        }
    }

    /// Adds the job to the list; the oldest ended ones make room.
    fn enter(&self, entry: Entry) {
        let mut entries = self.lock();
        if self.stopping.load(Relaxed) {
            entry.handle.cancel();
        }
        entries.known.push(entry);
        let known = entries.known.clone();
        drop(entries);
        let directory = |entry: &Entry| self.directory.join(entry.id.as_str());
        let ended: Vec<&Entry> = known.iter().filter(|entry| entry.job().state.is_terminal()).collect();
        let surplus = ended.len().saturating_sub(ENDED_KEPT);
        // What the next process is to try again stays.
        for entry in ended[..surplus].iter().filter(|entry| !record::is_there(&directory(entry))) {
            self.lock().known.retain(|other| other.id != entry.id);
            forget(&directory(entry));
        }
    }

    /// The job of that id, else the one submitted last of that name.
    fn find(&self, key: &str) -> Result<Entry, Error> {
        let entries = self.lock();
        let by_id = entries.known.iter().find(|entry| entry.id.as_str() == key);
        let found = by_id.or_else(|| entries.known.iter().rev().find(|entry| entry.name.as_str() == key));
        found.cloned().ok_or_else(|| Error::Unknown(key.to_owned()))
    }
}

/// How a job that is kept takes checkpoints.
fn checkpointing(checked: &Runnable) -> &Checkpointing {
    checked.pipeline().checkpoint.as_ref().expect("only a job with checkpoints is kept")
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

fn forget(directory: &Path) {
    // One that was lost has none.
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(directory = %directory.display(), "a job's directory stays behind: {error}");
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
