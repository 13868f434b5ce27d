//! The registry of jobs: what was submitted, what runs, what has ended. It lives in memory.
//!
//! - `here`: jobs that this process runs; a job's directory holds what it runs on while it is known, and a [`record`] while it runs
//! - `spread`: jobs that the workers of a cluster run; the store holds what they run on, and `found` what a new leader finds there
//! - `beginning`: what they begin with; `savepoints`, `checkpoints`: what they leave; [`stop`]: that they are to end
//!
//! Everything here blocks for as long as components take to load: call it from a thread that may.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use flow_model::api::{self, Checked, CheckpointSummary, Counters, Description, Job, Metrics};
use flow_model::diagnostic::Diagnostic;
use flow_model::ids::{JobId, PipelineName, SavepointName};
use flow_model::key_group::KeyGroups;
use flow_model::outline::Outline;
use flow_model::plan::Plan;
use flow_model::spec::{Checkpointing, Pipeline};
use flow_model::start::{self, Settle, Start};
use flow_protocol::job::Beginning;
use flow_worker::{JobHandle, Worker};

use crate::answer;
use crate::clock::now;
use crate::cluster::{self, Cluster};
use crate::handle::Handle;
use crate::keeper::{self, Awaited, Doing, Keeper, Kept, Runner, Status};
use crate::stores::Stores;
use crate::submission::{self, Nodes, Submission};

mod beginning;
mod checkpoints;
mod end;
mod found;
mod here;
mod id;
mod names;
mod record;
mod savepoints;
mod spread;
mod stop;

pub use beginning::Error as BeginningError;
use names::Names;
use record::{Record, Unread};
use stop::{Desk, Wanted};

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
    /// There is no cluster.
    #[error("this server is no part of a cluster: it runs jobs by itself and has no workers")]
    Alone,
    /// The workers of the cluster can't do it.
    #[error(transparent)]
    Cluster(cluster::Error),
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
    home: Home,
    stores: Arc<Stores>,
    /// This process, for people.
    leader: String,
    /// This process, for people.
    names: Arc<Names>,
    entries: Mutex<Entries>,
    /// Which numbers the lines of its logs have: those of another registry count anew.
    numbering: u32,
    /// The process is to end; set while the entries are locked.
    stopping: Arc<AtomicBool>,
}

/// Who runs jobs, and where lies what they were submitted with.
enum Home {
    /// This process, which has a directory for each job in this one.
    Here(Arc<Worker>, PathBuf),
    /// Workers that this process leads; the cluster's store.
    Spread(Arc<Cluster>),
}

impl Home {
    /// Where it is remembered what is asked of a job.
    fn desk(&self, job: &JobId) -> Desk {
        match self {
            Home::Here(_, directory) => Desk::Disk(directory.join(job.as_str())),
            Home::Spread(cluster) => Desk::of_cluster(cluster.store(), job),
        }
    }
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
        let handle = Handle::Plain(JobHandle::lost(nothing(&name), 0, loss));
        Self::kept((id, name), 0, Vec::new(), handle)
    }

    /// One that has a HEAD.
    fn kept((id, name): (JobId, PipelineName), submitted: u64, warnings: Vec<Diagnostic>, handle: Handle) -> Self {
        Self { id, name, submitted, warnings, handle, has_checkpoints: true, stopping: Arc::default() }
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

/// Called once when a job is over.
type OnEnd = Box<dyn FnOnce(&Status) + Send>;

impl Jobs {
    fn with(home: Home, stores: Stores, leader: String, known: Vec<Entry>) -> Self {
        let (stores, entries) = (Arc::new(stores), Mutex::new(Entries { known }));
        let (names, numbering) = (Arc::default(), fastrand::u32(..));
        Self { home, stores, leader, names, entries, numbering, stopping: Arc::default() }
    }

    /// Tells the numbers of its log lines from those of other registries, of which each counts a job's from 0.
    pub fn numbering(&self) -> u32 {
        self.numbering
    }

    /// Can it run, and how? And does it fit what it is to begin with?
    ///
    /// # Errors
    /// [`Error::Submission`] with all that is wrong; [`Error::Store`] and [`Error::Beginning`] if it is to begin with something.
    pub fn check(&self, submission: Submission) -> Result<Checked, Error> {
        let start = submission.start.clone();
        let outline = match &self.home {
            Home::Here(worker, _) => submission.check(worker)?.outline().clone(),
            Home::Spread(cluster) => self.checked_by_worker(cluster, submission)?.0,
        };
        if start != Start::default() {
            self.beginning(&outline, &start)?;
        }
        Ok(Checked { plan: outline.plan().clone(), warnings: outline.pipeline.warnings })
    }

    /// Checks it and starts it.
    ///
    /// # Errors
    /// All of [`Error`] but [`Error::Unknown`] and [`Error::Ended`]; nothing has started then.
    pub fn submit(&self, submission: Submission) -> Result<Job, Error> {
        match &self.home {
            Home::Here(worker, directory) => self.submit_here(worker, directory, submission),
            Home::Spread(cluster) => self.submit_to_workers(cluster, submission),
        }
    }

    /// How a job with checkpoints begins; nothing of one without.
    fn beginning(&self, outline: &Outline, start: &Start) -> Result<Option<Beginning>, Error> {
        let pipeline = outline.pipeline();
        match &pipeline.checkpoint {
            Some(checkpointing) => {
                let root = self.stores.of(checkpointing, &pipeline.directory)?;
                let here = self.running(&pipeline.name).is_none().then_some(self.leader.as_str());
                // Where outputs of a cluster lie its workers look.
                let outputs = matches!(self.home, Home::Here(..));
                let beginning = beginning::beginning(outline, &root, start, (here, outputs));
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
    fn keep(&self, kept: Kept, on_end: OnEnd) -> Result<Handle, Error> {
        let pipeline = kept.runner.outline().pipeline();
        let (name, checkpointing) = (pipeline.name.clone(), checkpointing(pipeline));
        let named = self.stores.named(checkpointing, &pipeline.directory)?;
        let root = self.stores.of(checkpointing, &pipeline.directory)?;
        let keeper = Keeper::start(kept, root, on_end)?;
        self.stores.deployed(&named, &name);
        Ok(Handle::Kept(keeper))
    }

    /// The same of one that an earlier process ran, as soon as its store answers. What its user wanted before that one ended still is,
    /// and stands on the desk.
    fn keep_on(&self, mut kept: Kept, (wanted, desk): (Wanted, Desk), on_end: OnEnd) -> Result<Handle, Error> {
        let pipeline = kept.runner.outline().pipeline();
        let named = self.stores.named(checkpointing(pipeline), &pipeline.directory)?;
        let (place, stores) = (named.place().to.clone(), self.stores.clone());
        let open = move || -> keeper::Opening {
            let (stores, named) = (stores.clone(), named.clone());
            Box::pin(async move { stores.try_open(&named).await })
        };
        let Wanted { canceled, stops_with } = wanted;
        let awaited = Awaited { open: Box::new(open), place, runtime: self.stores.runtime().clone(), canceled };
        kept.stop =
            stops_with.map(|savepoint| keeper::Stop { savepoint, refused: Box::new(move || desk.forget_stop()) });
        Ok(Handle::Kept(Keeper::resume(kept, awaited, on_end)?))
    }

    fn to_keep(&self, id: &JobId, runner: Runner, beginning: Beginning, settle: Option<Settle>) -> Kept {
        let dead_letter = settle.and_then(|settle| settle.dead_letter);
        Kept { id: id.to_string(), runner, beginning, dead_letter, leader: self.leader.clone(), stop: None }
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
        // A worker that hangs is waited for once, not for each job that it runs.
        let asked: Vec<(Entry, Option<Doing>)> = newest
            .map(|entry| {
                let ended = entry.handle.status().ended.map(answer::time);
                let is_shown = ended.is_none_or(|ended| now.saturating_sub(ended) < ENDED_TOLD);
                let doing = is_shown.then(|| entry.handle.ask());
                (entry, doing)
            })
            .collect();
        let due = Instant::now() + Doing::PATIENCE;
        let tally = |(entry, doing): (Entry, Option<Doing>)| {
            let checkpoints = doing.as_ref().and_then(|_| entry.handle.checkpoints());
            let metrics = doing.map_or_else(Vec::new, |doing| doing.until(due));
            let operators = metrics.into_iter().filter_map(answer::counters).collect();
            Tally { job: entry.job(), operators, checkpoints, now }
        };
        asked.into_iter().map(tally).collect()
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
            waits_for: entry.handle.waits_for(),
            last_failure: entry.handle.last_failure(),
            plan: entry.handle.plan(),
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
        Ok(self.find(key)?.handle.plan())
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
        let (before, desk) = (entry.job(), self.home.desk(&entry.id));
        match before.state {
            JobState::Running | JobState::Restarting => {
                tracing::info!(job = %entry.id, "cancel");
                // Who wants it to stop is not kept from that by a disk that is full.
                if entry.has_checkpoints
                    && let Err(error) = desk.cancel()
                {
                    tracing::warn!(job = %entry.id, "should flowd end before the job has stopped, it goes on: {error}");
                }
                entry.handle.cancel();
                Ok(entry.job())
            }
            JobState::Failed if self.is_recorded(&entry.id) => {
                tracing::info!(job = %entry.id, "cancel, as soon as it can go on");
                desk.cancel().map_err(|error| Error::Directory { path: desk.place(), error })?;
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
        if let Home::Spread(cluster) = &self.home {
            cluster.knows_all(false);
        }
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

    /// Whether a job is to go on, or to be told of, when this process has ended.
    fn is_recorded(&self, job: &JobId) -> bool {
        match &self.home {
            Home::Here(_, directory) => record::is_there(&directory.join(job.as_str())),
            Home::Spread(cluster) => spread::is_recorded(cluster, job),
        }
    }

    /// Whether a job had that id.
    fn is_used(&self, job: &JobId) -> bool {
        match &self.home {
            Home::Here(_, directory) => directory.join(job.as_str()).exists(),
            Home::Spread(cluster) => spread::is_recorded(cluster, job),
        }
    }

    fn new_id(&self, name: &PipelineName) -> JobId {
        loop {
            let id = id::random(name);
            let is_known = self.lock().known.iter().any(|entry| entry.id == id);
            if !is_known && !self.is_used(&id) {
                return id;
            }
        }
    }

    /// Adds the job to the list; the oldest ended ones make room.
    fn enter(&self, entry: Entry) {
        let mut entries = self.lock();
        if self.stopping.load(Relaxed) {
            entry.handle.leave();
        }
        entries.known.push(entry);
        let known = entries.known.clone();
        drop(entries);
        let ended: Vec<&Entry> = known.iter().filter(|entry| entry.job().state.is_terminal()).collect();
        let surplus = ended.len().saturating_sub(ENDED_KEPT);
        // What the next process is to try again stays.
        for entry in ended[..surplus].iter().filter(|entry| !self.is_recorded(&entry.id)) {
            self.lock().known.retain(|other| other.id != entry.id);
            if let Home::Here(_, directory) = &self.home {
                here::forget(&directory.join(entry.id.as_str()));
            }
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

/// The plan of a job of which nothing is known.
fn nothing(name: &PipelineName) -> Plan {
    Plan { pipeline: name.clone(), key_groups: KeyGroups::default(), tasks: Vec::new(), exchanges: Vec::new() }
}

/// How a job that is kept takes checkpoints.
fn checkpointing(pipeline: &Pipeline) -> &Checkpointing {
    pipeline.checkpoint.as_ref().expect("only a job with checkpoints is kept")
}
