//! A running job: its slots as threads, its state, its counters, its log. Slots tell how they ended; the first failure stops
//! the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use flow_dataflow::report::Level;
use flow_dataflow::{Barrier, Error};
use flow_model::checkpoint::{Attempt, CheckpointId};
use flow_model::plan::Plan;

use crate::attempt::{self, Control, Told};
use crate::log::{JobLog, unix_ms};
use crate::metrics::{Node, OperatorMetrics};
use crate::slot::{self, Ended, Outside, Placed};

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
    /// Why it failed, or who wanted no more of it.
    pub error: Option<Error>,
    /// When it started, milliseconds since the Unix epoch.
    pub started: i64,
    /// When it was over; none too if it was lost, since nobody saw it end.
    pub ended: Option<i64>,
}

/// Called once when a job is over, before anybody can see that it is. Must not ask the job for anything.
pub(crate) type OnEnd = Box<dyn FnOnce(&JobStatus) + Send>;

/// Called with each checkpoint that counts.
pub(crate) type OnConfirm = Box<dyn Fn(CheckpointId) + Send + Sync>;

struct Progress {
    status: JobStatus,
    slots_left: usize,
    /// Slots in which something but barriers is left to do.
    slots_busy: usize,
    /// A slot was stopped before it had done all its work.
    cut_short: bool,
    on_end: Option<OnEnd>,
}

pub(crate) struct Job {
    plan: Plan,
    log: Arc<JobLog>,
    nodes: Vec<Node>,
    stop: Arc<AtomicBool>,
    /// By number of the subtasks that run here.
    outside: BTreeMap<u32, Outside>,
    attempt: Option<attempt::Attempt>,
    /// Called with each checkpoint that counts.
    on_confirm: Mutex<Vec<OnConfirm>>,
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
    pub(crate) outside: BTreeMap<u32, Outside>,
    pub(crate) attempt: Option<attempt::Attempt>,
    pub(crate) on_confirm: Vec<OnConfirm>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) state_dir: PathBuf,
}

impl Parts {
    fn job(self, progress: Progress) -> Job {
        Job {
            plan: self.plan,
            log: self.log,
            nodes: self.nodes,
            stop: self.stop,
            outside: self.outside,
            attempt: self.attempt,
            on_confirm: Mutex::new(self.on_confirm),
            progress: Mutex::new(progress),
            over: Condvar::new(),
            state_dir: self.state_dir,
        }
    }
}

impl JobHandle {
    /// Starts a thread a slot.
    pub(crate) fn start(parts: Parts, slots: BTreeMap<u32, Vec<Placed>>, on_end: OnEnd) -> JobHandle {
        let status = JobStatus { state: JobState::Running, error: None, started: unix_ms(), ended: None };
        let (slots_left, slots_busy) = (slots.len(), slots.len());
        let progress = Progress { status, slots_left, slots_busy, cut_short: false, on_end: Some(on_end) };
        let job = Arc::new(parts.job(progress));
        let of = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let subtasks = slots.values().map(|tasks| tasks.len() as u64).sum();
        let (subtasks, in_slots) = (of(subtasks, "subtask"), of(slots.len() as u64, "slot"));
        let what = match &job.attempt {
            Some(attempt) => format!("attempt {}", attempt.attempt),
            None => "job".to_owned(),
        };
        job.log.add(Level::Info, None, format!("{what} started: {subtasks} in {in_slots}"));
        for (number, tasks) in slots {
            let of_slot = job.clone();
            let work = move || {
                let outside = of_slot.outside.get(&number).expect("each slot has one");
                let ended = slot::run(tasks, outside, &of_slot.stop, || of_slot.slot_rests());
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
        let parts = Parts {
            plan,
            log,
            nodes: Vec::new(),
            outside: BTreeMap::new(),
            attempt: None,
            on_confirm: Vec::new(),
            stop: Arc::default(),
            state_dir: PathBuf::new(),
        };
        let status = JobStatus { state: JobState::Failed, error: Some(Error::Retryable(error)), started, ended: None };
        let progress = Progress { status, slots_left: 0, slots_busy: 0, cut_short: false, on_end: None };
        JobHandle(Arc::new(parts.job(progress)))
    }

    /// What it is doing.
    pub fn status(&self) -> JobStatus {
        self.0.lock().status.clone()
    }

    /// What its nodes have done, in topological order.
    pub fn metrics(&self) -> Vec<OperatorMetrics> {
        self.0.nodes.iter().map(Node::metrics).collect()
    }

    /// Which attempt of a job with checkpoints it is.
    pub fn attempt(&self) -> Option<Attempt> {
        self.0.attempt.as_ref().map(|attempt| attempt.attempt)
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
            self.0.log.add(Level::Info, None, "stops".into());
        }
        drop(progress);
        self.0.stop_slots();
    }

    /// Lets all sources send the barrier of a checkpoint; `confirmed` is the last one that counts.
    pub fn trigger(&self, checkpoint: CheckpointId, confirmed: CheckpointId) {
        self.0.tell_slots(Control::Trigger(Barrier { checkpoint, confirmed }));
    }

    /// Lets sources read.
    pub fn release(&self) {
        self.0.tell_slots(Control::Release);
    }

    /// Lets sources give nothing but barriers.
    pub fn hold(&self) {
        self.0.tell_slots(Control::Hold);
    }

    /// Lets an attempt end whose tasks have nothing left to do.
    pub fn finish(&self) {
        self.0.tell_slots(Control::Finish);
    }

    /// A checkpoint counts: the output that it carries may be written.
    pub fn confirm(&self, checkpoint: CheckpointId) {
        let all = self.0.on_confirm.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().for_each(|on_confirm| on_confirm(checkpoint));
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
        self.outside.values().for_each(|outside| outside.alarm.ring());
    }

    fn tell_slots(&self, control: Control) {
        for outside in self.outside.values() {
            outside.mailbox.put(control);
            outside.alarm.ring();
        }
    }

    /// Only barriers pass through a slot any more.
    fn slot_rests(&self) {
        let mut progress = self.lock();
        progress.slots_busy -= 1;
        let was_last = progress.slots_busy == 0;
        drop(progress);
        if let (true, Some(attempt)) = (was_last, &self.attempt) {
            (attempt.listener)(Told::Drained);
        }
    }

    fn slot_ended(&self, ended: Ended) {
        let mut progress = self.lock();
        progress.slots_left -= 1;
        match ended {
            Ended::Finished => {}
            Ended::Canceled => progress.cut_short = true,
            Ended::Failed(error) => {
                self.stop_slots();
                if progress.status.error.is_none() {
                    let level = if matches!(error, Error::Closed(_)) { Level::Info } else { Level::Error };
                    self.log.add(level, None, error.to_string());
                    progress.status.error = Some(error);
                }
            }
        }
        let is_last = progress.slots_left == 0;
        drop(progress);
        if is_last {
            self.end();
        }
    }

    /// Nothing of it runs any more.
    fn end(&self) {
        // Files may take long, and people ask for the status meanwhile. Another attempt may use what this one leaves.
        if self.attempt.is_none() {
            remove_state(&self.state_dir);
        }
        // What waits for checkpoints waits for nothing any more. It goes when nobody needs the lock: a client of Kafka takes its time, and
        // whoever confirms a checkpoint meanwhile has other things to do.
        let waiting = std::mem::take(&mut *self.on_confirm.lock().unwrap_or_else(PoisonError::into_inner));
        drop(waiting);
        let mut progress = self.lock();
        let cut_short = progress.cut_short;
        let status = &mut progress.status;
        // A cancel may have come when all the work was done.
        status.state = match status.error {
            // Who takes the output wanted no more.
            Some(Error::Closed(_)) => JobState::Canceled,
            Some(_) => JobState::Failed,
            None if cut_short => JobState::Canceled,
            None => JobState::Finished,
        };
        status.ended = Some(unix_ms());
        // Another attempt may follow.
        if self.attempt.is_none() {
            self.log.add(Level::Info, None, format!("job is {:?}", status.state).to_lowercase());
            self.log.close();
        }
        if let Some(on_end) = progress.on_end.take() {
            on_end(&progress.status);
        }
        drop(progress);
        self.over.notify_all();
    }
}

/// Removes the state of a job that is over.
pub(crate) fn remove_state(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %dir.display(), "state of a job that is over stays behind: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use flow_dataflow::output_gate::OutputGate;
    use flow_dataflow::source::{Locator, Polled, Source};
    use flow_dataflow::task::{Head, Tail, Task};
    use flow_model::spec::Pipeline;

    use super::*;

    /// Ends after a call; panics or waits where it is told to.
    struct Odd {
        /// Met twice: when it is asked, and before it answers.
        asked: Option<Arc<Barrier>>,
        panics_at_last: bool,
    }

    impl Source for Odd {
        fn poll(&mut self, _: usize, _: usize) -> Result<Polled, Error> {
            if let Some(asked) = &self.asked {
                asked.wait();
                asked.wait();
            }
            Ok(Polled::End)
        }

        fn positions(&self) -> Vec<(u32, i64)> {
            Vec::new()
        }

        fn splits(&self) -> Vec<flow_model::checkpoint::snapshot::Split> {
            Vec::new()
        }

        fn locator(&self) -> Locator {
            Arc::new(|split, position| format!("{split}:{position}").into())
        }
    }

    impl Drop for Odd {
        fn drop(&mut self) {
            assert!(!self.panics_at_last, "it does not want to go");
        }
    }

    fn started(sources: Vec<Odd>, on_end: impl FnOnce(&JobStatus) + Send + 'static) -> JobHandle {
        let text = "{apiVersion: flow/v1, kind: Pipeline, metadata: {name: odd}, sources: {in: {generator: {}}}, \
                    sinks: {out: {blackhole: {}, from: in}}}";
        let pipeline = Pipeline::parse("odd.yaml", text.as_bytes()).expect("a good pipeline");
        let parts = Parts {
            plan: flow_model::plan::plan(&pipeline, &BTreeMap::new()).expect("no operators"),
            log: Arc::default(),
            nodes: Vec::new(),
            outside: (0..).zip(&sources).map(|(number, _)| (number, Outside::default())).collect(),
            attempt: None,
            on_confirm: Vec::new(),
            stop: Arc::default(),
            state_dir: std::env::temp_dir().join("flow-test-of-jobs-without-state"),
        };
        let task = |source| {
            let head = Head::Source(Box::new(source), Arc::default());
            Task::new(head, vec![], Tail::Gate(OutputGate::new(vec![])), slot::stopwatch)
        };
        JobHandle::start(
            parts,
            (0..).zip(sources).map(|(slot, s)| (slot, vec![Placed { task: task(s), on_passed: None }])).collect(),
            Box::new(on_end),
        )
    }

    #[test]
    fn a_job_whose_input_has_ended_is_finished() {
        let (tell, told) = std::sync::mpsc::channel();
        let job = started(vec![Odd { asked: None, panics_at_last: false }], move |status| {
            tell.send(status.state).expect("the test listens");
        });
        assert_eq!(job.wait().state, JobState::Finished);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [JobState::Finished], "told once, before anybody sees it");
    }

    #[test]
    fn a_task_that_panics_when_it_goes_fails_the_job() {
        let odd = |panics_at_last| Odd { asked: None, panics_at_last };
        let status = started(vec![odd(true), odd(false)], |_| ()).wait();
        assert_eq!(status.state, JobState::Failed);
        let error = status.error.expect("a reason").to_string();
        assert_eq!(error, "a task panicked: it does not want to go");
    }

    #[test]
    fn a_cancel_that_comes_too_late_leaves_a_finished_job() {
        let asked = Arc::new(Barrier::new(2));
        let job = started(vec![Odd { asked: Some(asked.clone()), panics_at_last: false }], |_| ());
        asked.wait();
        // Its last task is under way, and has nothing to do after this.
        job.0.lock().status.state = JobState::Canceling;
        asked.wait();
        assert_eq!(job.wait().state, JobState::Finished);
    }

    /// Is met twice when it goes: before, and after something else was done.
    struct Slow(Arc<Barrier>);

    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.wait();
            self.0.wait();
        }
    }

    #[test]
    fn who_confirms_a_checkpoint_does_not_wait_for_what_goes_with_the_job() {
        let asked = Arc::new(Barrier::new(2));
        let job = started(vec![Odd { asked: Some(asked.clone()), panics_at_last: false }], |_| ());
        let goes = Arc::new(Barrier::new(2));
        let slow = Slow(goes.clone());
        let on_confirm: OnConfirm = Box::new(move |_| _ = &slow);
        job.0.on_confirm.lock().expect("no panic").push(on_confirm);
        // Its input ends, and with it the job.
        asked.wait();
        asked.wait();
        goes.wait();
        job.confirm(CheckpointId::NONE);
        goes.wait();
        assert_eq!(job.wait().state, JobState::Finished);
    }

    #[test]
    fn a_cancel_stops_a_job_before_its_end() {
        let asked = Arc::new(Barrier::new(2));
        let wait = || Odd { asked: Some(asked.clone()), panics_at_last: false };
        let job = started(vec![wait(), Odd { asked: None, panics_at_last: false }], |_| ());
        asked.wait();
        job.cancel();
        assert_eq!(job.status().state, JobState::Canceling);
        asked.wait();
        assert_eq!(job.wait().state, JobState::Canceled);
    }
}
