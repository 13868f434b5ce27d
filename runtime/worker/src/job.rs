//! A running job: its slots as threads, its state, its counters, its log. Slots tell how they ended; the first failure stops
//! the others.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use flow_dataflow::Error;
use flow_dataflow::report::Level;
use flow_model::plan::Plan;

use crate::log::{JobLog, unix_ms};
use crate::metrics::{Node, OperatorMetrics};
use crate::slot::{self, Alarm, Ended};

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Its tasks run.
    Running,
    /// It is to stop, and some of its slots still run.
    Canceling,
    /// All input was processed and everything is durable.
    Finished,
    /// A task failed.
    Failed,
    /// It was stopped.
    Canceled,
}

impl JobState {
    /// Whether nothing of the job runs any more.
    pub fn is_over(self) -> bool {
        matches!(self, JobState::Finished | JobState::Failed | JobState::Canceled)
    }
}

/// What is known of a job.
#[derive(Clone, Debug)]
pub struct JobStatus {
    /// What it is doing.
    pub state: JobState,
    /// Why it failed.
    pub error: Option<Error>,
    /// When it started, milliseconds since the Unix epoch.
    pub started: i64,
    /// When it was over; none too if it was lost, since nobody saw it end.
    pub ended: Option<i64>,
}

/// Called once when a job is over, before anybody can see that it is. Must not ask the job for anything.
pub(crate) type OnEnd = Box<dyn FnOnce(&JobStatus) + Send>;

struct Progress {
    status: JobStatus,
    slots_left: usize,
    on_end: Option<OnEnd>,
}

pub(crate) struct Job {
    plan: Plan,
    log: Arc<JobLog>,
    nodes: Vec<Node>,
    stop: AtomicBool,
    alarms: Vec<Arc<Alarm>>,
    progress: Mutex<Progress>,
    over: Condvar,
    /// Where its state lies; removed when it is over, since nothing reads it again.
    state_dir: PathBuf,
}

/// A running job, or what is known of one that is over.
#[derive(Clone)]
pub struct JobHandle(Arc<Job>);

/// What a job is made of before its threads start.
pub(crate) struct Parts {
    pub(crate) plan: Plan,
    pub(crate) log: Arc<JobLog>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) alarms: Vec<Arc<Alarm>>,
    pub(crate) state_dir: PathBuf,
}

impl Parts {
    fn job(self, progress: Progress) -> Job {
        Job {
            plan: self.plan,
            log: self.log,
            nodes: self.nodes,
            stop: AtomicBool::new(false),
            alarms: self.alarms,
            progress: Mutex::new(progress),
            over: Condvar::new(),
            state_dir: self.state_dir,
        }
    }
}

impl JobHandle {
    /// Starts a thread a slot.
    pub(crate) fn start(parts: Parts, slots: Vec<Vec<flow_dataflow::task::Task>>, on_end: OnEnd) -> JobHandle {
        let status = JobStatus { state: JobState::Running, error: None, started: unix_ms(), ended: None };
        let job = Arc::new(parts.job(Progress { status, slots_left: slots.len(), on_end: Some(on_end) }));
        let of = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (subtasks, in_slots) = (of(job.plan.subtasks() as u64, "subtask"), of(slots.len() as u64, "slot"));
        job.log.add(Level::Info, None, format!("job started: {subtasks} in {in_slots}"));
        for (number, tasks) in slots.into_iter().enumerate() {
            let of_slot = job.clone();
            let work = move || {
                let ended = slot::run(tasks, &of_slot.alarms[number], &of_slot.stop);
                of_slot.slot_ended(ended);
            };
            if let Err(error) = std::thread::Builder::new().name(format!("slot-{number}")).spawn(work) {
                let error = flow_dataflow::Error::Retryable(format!("no thread for slot {number}: {error}"));
                job.slot_ended(Ended::Failed(error));
            }
        }
        JobHandle(job)
    }

    /// A job that ran in a process that is gone, for who asks what became of it. `started` is milliseconds since the Unix
    /// epoch.
    pub fn lost(plan: Plan, started: i64, error: String) -> JobHandle {
        let log = Arc::<JobLog>::default();
        log.add(Level::Error, None, error.clone());
        log.close();
        let parts = Parts { plan, log, nodes: Vec::new(), alarms: Vec::new(), state_dir: PathBuf::new() };
        let status = JobStatus { state: JobState::Failed, error: Some(Error::Retryable(error)), started, ended: None };
        JobHandle(Arc::new(parts.job(Progress { status, slots_left: 0, on_end: None })))
    }

    /// What it is doing.
    pub fn status(&self) -> JobStatus {
        self.0.lock().status.clone()
    }

    /// What its nodes have done, in topological order.
    pub fn metrics(&self) -> Vec<OperatorMetrics> {
        self.0.nodes.iter().map(Node::metrics).collect()
    }

    /// How it runs.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// Its log.
    pub fn log(&self) -> &Arc<JobLog> {
        &self.0.log
    }

    /// Asks it to stop. It has stopped when its state says so.
    pub fn cancel(&self) {
        let mut progress = self.0.lock();
        if progress.status.state == JobState::Running {
            progress.status.state = JobState::Canceling;
            self.0.log.add(Level::Info, None, "cancel requested".into());
        }
        drop(progress);
        self.0.stop_slots();
    }

    /// Waits until it is over.
    pub fn wait(&self) -> JobStatus {
        let running = |progress: &mut Progress| !progress.status.state.is_over();
        self.0.over.wait_while(self.0.lock(), running).unwrap_or_else(PoisonError::into_inner).status.clone()
    }
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_slots(&self) {
        self.stop.store(true, Relaxed);
        self.alarms.iter().for_each(|alarm| alarm.ring());
    }

    fn slot_ended(&self, ended: Ended) {
        let mut progress = self.lock();
        progress.slots_left -= 1;
        if let Ended::Failed(error) = ended {
            self.stop_slots();
            if progress.status.error.is_none() {
                let level = if matches!(error, Error::Closed(_)) { Level::Info } else { Level::Error };
                self.log.add(level, None, error.to_string());
                progress.status.error = Some(error);
            }
        }
        if progress.slots_left > 0 {
            return;
        }
        let status = &mut progress.status;
        status.state = match status.state {
            _ if status.error.is_some() => JobState::Failed,
            JobState::Canceling => JobState::Canceled,
            _ => JobState::Finished,
        };
        status.ended = Some(unix_ms());
        self.log.add(Level::Info, None, format!("job is {:?}", status.state).to_lowercase());
        self.log.close();
        if let Err(error) = std::fs::remove_dir_all(&self.state_dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %self.state_dir.display(), "state of a job that is over stays behind: {error}");
        }
        if let Some(on_end) = progress.on_end.take() {
            on_end(&progress.status);
        }
        drop(progress);
        self.over.notify_all();
    }
}
