//! The parts of attempts that run here: orders in, what happens out. Of a job one part runs at a time; a later attempt waits until the
//! one before is gone. Must never hold its lock while it asks a running part for anything: those tell under locks of their own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flow_model::api;
use flow_model::channel::AttemptId;
use flow_model::checkpoint::snapshot::Progress;
use flow_model::checkpoint::{CheckpointId, Manifest};
use flow_model::cluster::{self, Assignment, Deployment, Stage};
use flow_model::ids::{JobId, OperatorName, WorkerId};
use flow_rpc::control::{
    Answer, Ask, Deploy, Event as Happened, FromWorker, Line, Lines, Nothing, Order, Stopped, answer::Answer as Reply,
    ask::Ask as Question, event::Event, from_worker::Message as Said, order::Order as Command,
};
use flow_rpc::json;
use flow_store::Place;
use tokio::sync::mpsc::UnboundedSender;

use super::connection::message;
use super::material::Material;
use super::wire::{self, Part};
use crate::attempt::{Attempt, Told};
use crate::failpoint::{self, Point};
use crate::job::{JobHandle, JobStatus};
use crate::log::{JobLog, Level, LogLine};
use crate::network::Network;
use crate::part;
use crate::settling::Settling;
use crate::{Error, TaskError, Worker};

/// How often it is looked whether a part is gone.
const LOOK: Duration = Duration::from_millis(5);

/// To whoever leads.
type Say = UnboundedSender<FromWorker>;

/// What a part is doing.
#[derive(Clone)]
enum State {
    /// Its tasks are being made; whether they are to be stopped as soon as they are there.
    Making { unwanted: bool },
    /// It runs.
    Running(JobHandle),
    /// It only writes what is owed, and has this log.
    Settling(Arc<Settling>, Arc<JobLog>),
}

/// A part that runs, with what a leader that comes after has to know of it.
struct Running {
    part: Part,
    state: State,
    stage: Stage,
    assignment: Assignment,
    restored: Option<CheckpointId>,
    /// The highest barrier that it was told of.
    highest: CheckpointId,
    progress: BTreeMap<OperatorName, BTreeMap<u32, Progress>>,
    /// It can't go on: why.
    failed: Option<Event>,
    /// What begins when it is gone.
    next: Option<Next>,
}

/// A part that waits for the one before it to go.
struct Next {
    part: Part,
    deploy: Deploy,
    whole: bool,
}

impl Running {
    fn making(part: Part, (assignment, restored): (Assignment, Option<CheckpointId>)) -> Running {
        Running {
            part,
            state: State::Making { unwanted: false },
            stage: Stage::Deploying,
            assignment,
            restored,
            highest: CheckpointId::NONE,
            progress: BTreeMap::new(),
            failed: None,
            next: None,
        }
    }

    fn reported(&self) -> cluster::Part {
        cluster::Part {
            job: self.part.job.clone(),
            incarnation: self.part.id.incarnation.clone(),
            attempt: self.part.id.attempt,
            assignment: self.assignment.clone(),
            stage: self.stage,
            restored: self.restored,
            highest: self.highest,
            progress: self.progress.clone(),
        }
    }
}

/// The parts of a worker.
pub(super) struct Parts {
    worker: Arc<Worker>,
    me: WorkerId,
    network: Network,
    material: Material,
    running: Mutex<BTreeMap<JobId, Running>>,
    draining: AtomicBool,
    /// To whoever leads; none while nobody does.
    say: Mutex<Option<Say>>,
}

impl Parts {
    pub(super) fn new(worker: Arc<Worker>, me: WorkerId, network: Network) -> Parts {
        let material = Material::new(worker.clone());
        let (running, say) = (Mutex::default(), Mutex::default());
        Parts { worker, me, network, material, running, draining: AtomicBool::new(false), say }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<JobId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says hello, with what runs here and whether it is to go; what happens from then on is said behind that.
    pub(super) fn register(&self, say: &Say, hello: impl FnOnce(Vec<cluster::Part>, bool) -> FromWorker) {
        // Held, so that nothing happens in between.
        let mut running = self.running();
        // What waits no leader that comes after can know of.
        running.values_mut().for_each(|running| running.next = None);
        let parts = running.values().map(Running::reported).collect();
        _ = say.send(hello(parts, self.draining.load(Relaxed)));
        // That was perhaps told nobody.
        for (part, failed) in running.values().filter_map(|running| Some((&running.part, running.failed.clone()?))) {
            _ = say.send(message(happened(part, failed)));
        }
        *self.say.lock().unwrap_or_else(PoisonError::into_inner) = Some(say.clone());
    }

    /// Nobody hears what happens any more.
    pub(super) fn be_silent(&self) {
        *self.say.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A leader has taken this worker.
    pub(super) fn welcomed(&self, components: &[u8]) {
        if let Ok(place) = json::read(components) {
            self.material.components_at(place);
        }
    }

    /// It is to run nothing any more soon.
    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Tells whoever leads.
    pub(super) fn say(&self, said: Said) {
        if let Some(say) = &*self.say.lock().unwrap_or_else(PoisonError::into_inner) {
            // A session that is over has told so.
            _ = say.send(message(said));
        }
    }

    fn tell(&self, part: &Part, event: Event) {
        self.say(happened(part, event));
    }

    /// A connection of an attempt to another worker is broken.
    pub(super) fn broken(&self, attempt: &AttemptId, why: String) {
        let part = self.running().values().find(|it| it.part.id == *attempt).map(|it| it.part.clone());
        if let Some(part) = part {
            self.happened(&part, Told::Failed(TaskError::Retryable(why)));
        }
    }

    /// Stops all that runs; false if nothing did.
    pub(super) fn stop_all(self: &Arc<Parts>) -> bool {
        let waiting: Vec<Next> = self.running().values_mut().filter_map(|running| running.next.take()).collect();
        waiting.iter().for_each(|next| self.stopped(&next.part, None));
        let all: Vec<Part> = self.running().values().map(|running| running.part.clone()).collect();
        all.iter().for_each(|part| self.cancel(part));
        !all.is_empty()
    }

    /// Whether nothing runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running().is_empty()
    }

    /// Waits until nothing runs.
    pub(super) async fn wait(&self) {
        while !self.running().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Does what the leader orders.
    pub(super) fn order(self: &Arc<Parts>, order: Order) {
        let (Some(of), Some(command)) = (order.part, order.order) else { return };
        // Of a job it runs one attempt.
        let runs = |of: &flow_rpc::control::Part| {
            let running = self.running();
            let all =
                running.values().flat_map(|it| std::iter::once(&it.part).chain(it.next.iter().map(|next| &next.part)));
            let mut all = all.filter(|part| part.job.as_str() == of.job && part.id.attempt.0 == of.attempt);
            all.next().cloned()
        };
        let part = match &command {
            Command::Cancel(_) => runs(&of),
            Command::Forget(_) => {
                if let Ok(job) = JobId::new(of.job) {
                    self.material.forget(&job);
                    let worker = self.worker.clone();
                    // Files may take long.
                    tokio::task::spawn_blocking(move || worker.forget(job.as_str()));
                }
                return;
            }
            _ => Part::of(Some(of)),
        };
        let Some(part) = part else { return };
        match command {
            Command::Deploy(deploy) => self.begin(part, deploy, true),
            Command::Settle(deploy) => self.begin(part, deploy, false),
            Command::Cancel(_) => self.cancel(&part),
            Command::Forget(_) => {}
            Command::Release(_) => self.with(&part, JobHandle::release),
            Command::Hold(_) => self.with(&part, JobHandle::hold),
            Command::Finish(_) => self.with(&part, JobHandle::finish),
            Command::Trigger(trigger) => {
                failpoint::reach(Point::Triggered);
                self.reached(&part, CheckpointId(trigger.checkpoint));
                self.with(&part, |job| job.trigger(CheckpointId(trigger.checkpoint), CheckpointId(trigger.confirmed)));
            }
            Command::Confirm(confirm) => {
                failpoint::reach(Point::Confirmed);
                self.with(&part, |job| job.confirm(CheckpointId(confirm.checkpoint)));
            }
        }
    }

    /// Its tasks, if they run. Of what only writes nothing is given out: who had the last of it would have to wait until it is closed.
    fn job(&self, part: &Part) -> Option<JobHandle> {
        match self.running().get(&part.job).filter(|running| running.part == *part)? {
            Running { state: State::Running(job), .. } => Some(job.clone()),
            _ => None,
        }
    }

    fn with(&self, part: &Part, order: impl FnOnce(&JobHandle)) {
        if let Some(job) = self.job(part) {
            order(&job);
        }
    }

    /// Stops a part, whatever it is at; that it has stopped is told.
    fn cancel(self: &Arc<Parts>, part: &Part) {
        let mut running = self.running();
        let Some(stands) = running.get_mut(&part.job) else {
            // It is over, which was told.
            drop(running);
            return self.stopped(part, None);
        };
        if stands.part != *part {
            let waited = stands.next.take_if(|next| next.part == *part);
            drop(running);
            return waited.iter().for_each(|_| self.stopped(part, None));
        }
        match &mut stands.state {
            State::Making { unwanted } => *unwanted = true,
            State::Running(job) => {
                let job = job.clone();
                drop(running);
                job.cancel();
            }
            State::Settling(..) => {
                drop(running);
                let (parts, part) = (self.clone(), part.clone());
                // What it has open may take a while to go.
                let work = move || {
                    let gone = parts.gone(&part).map(|gone| gone.state);
                    if let Some(State::Settling(settling, log)) = gone {
                        drop(settling);
                        log.close();
                    }
                    parts.stopped(&part, None);
                };
                if let Err(error) = std::thread::Builder::new().name("settled".into()).spawn(work) {
                    tracing::warn!("no thread to end what is owed: {error}");
                }
            }
        }
    }

    /// Nothing of a part runs any more: what has waited for that begins.
    fn gone(self: &Arc<Parts>, part: &Part) -> Option<Running> {
        let mut running = self.running();
        running.get(&part.job).filter(|stands| stands.part == *part)?;
        let mut gone = running.remove(&part.job)?;
        drop(running);
        if let Some(Next { part, deploy, whole }) = gone.next.take() {
            self.begin(part, deploy, whole);
        }
        Some(gone)
    }

    /// A part was told of a barrier.
    fn reached(&self, part: &Part, checkpoint: CheckpointId) {
        if let Some(running) = self.running().get_mut(&part.job).filter(|running| running.part == *part) {
            running.highest = running.highest.max(checkpoint);
        }
    }

    /// Something happened to a part: it is remembered for a leader that comes after, and told.
    fn happened(&self, part: &Part, told: Told) {
        let event = wire::event(&told);
        if let Some(running) = self.running().get_mut(&part.job).filter(|running| running.part == *part) {
            match told {
                Told::Acknowledged { checkpoint, .. } => running.highest = running.highest.max(checkpoint),
                Told::Progressed { sink, lane, progress } => {
                    running.progress.entry(sink).or_default().insert(lane, progress);
                }
                Told::Drained => running.stage = Stage::Drained,
                Told::Failed(_) | Told::Fenced(_) => _ = running.failed.get_or_insert_with(|| event.clone()),
                Told::Declined { .. } => {}
            }
        }
        self.tell(part, event);
    }

    fn stopped(&self, part: &Part, job: Option<&JobHandle>) {
        let metrics = job.map(metrics).unwrap_or_default();
        self.tell(part, Event::Stopped(Stopped { metrics: json::write(&metrics) }));
    }

    /// Of a job one part runs at a time: another one waits until the one before is gone.
    fn begin(self: &Arc<Parts>, part: Part, deploy: Deploy, whole: bool) {
        let mut running = self.running();
        if let Some(stands) = running.get_mut(&part.job) {
            let (before, waited) = (stands.part.clone(), stands.next.replace(Next { part, deploy, whole }));
            drop(running);
            waited.iter().for_each(|waited| self.stopped(&waited.part, None));
            return self.cancel(&before);
        }
        let from = Manifest::from_bytes(&deploy.manifest).ok().map(|from| from.checkpoint);
        let given = (json::read(&deploy.assignment).unwrap_or_default(), from);
        running.insert(part.job.clone(), Running::making(part.clone(), given));
        drop(running);
        let (parts, of_thread) = (self.clone(), part.clone());
        let work = move || parts.make(&of_thread, &deploy, whole);
        if let Err(error) = std::thread::Builder::new().name("deploy".into()).spawn(work) {
            self.failed_to_begin(&part, &Error::Start(format!("no thread to deploy it: {error}")));
        }
    }

    fn failed_to_begin(self: &Arc<Parts>, part: &Part, error: &Error) {
        tracing::warn!(job = %part.job, attempt = %part.id.attempt, "did not begin: {error}");
        self.network.close(&part.id);
        self.tell(part, wire::not_begun(error));
        _ = self.gone(part);
        self.stopped(part, None);
    }

    /// Makes a part and lets it run.
    fn make(self: &Arc<Parts>, part: &Part, deploy: &Deploy, whole: bool) {
        failpoint::reach(Point::Deploy);
        let made = self.attempt(part, deploy).and_then(|(attempt, deployment)| {
            let checked = self.material.checked(&deployment)?;
            let log = attempt.log.clone();
            self.forward(part, log.clone());
            if !whole {
                let settling = self.worker.settle(&checked, &attempt).inspect_err(|_| log.close())?;
                return Ok(State::Settling(Arc::new(settling), log));
            }
            let (parts, of_end, to_close) = (self.clone(), part.clone(), log.clone());
            let on_end = move |status: &JobStatus| parts.ended(&of_end, status, &to_close);
            let started = self.worker.start_attempt(part.job.as_str(), &checked, attempt, on_end);
            Ok(State::Running(started.inspect_err(|_| log.close())?))
        });
        let state = match made {
            Ok(state) => state,
            Err(error) => return self.failed_to_begin(part, &error),
        };
        let mut running = self.running();
        let Some(stands) = running.get_mut(&part.job).filter(|running| running.part == *part) else { return };
        let unwanted = matches!(stands.state, State::Making { unwanted: true });
        (stands.state, stands.stage) = (state.clone(), stands.stage.max(Stage::Started));
        drop(running);
        match (&state, unwanted) {
            (_, true) => self.cancel(part),
            (State::Running(_), false) => self.tell(part, Event::Started(Nothing {})),
            (State::Settling(..) | State::Making { .. }, false) => {}
        }
    }

    /// What the leader says of an attempt, and what this worker adds.
    fn attempt(self: &Arc<Parts>, part: &Part, deploy: &Deploy) -> Result<(Attempt, Deployment), Error> {
        let unread = |what: &str| Error::Plan(format!("the leader's {what} can't be read"));
        let deployment = Deployment::from_bytes(&deploy.deployment).map_err(|_| unread("deployment"))?;
        let assignment: Assignment = json::read(&deploy.assignment).map_err(|_| unread("assignment"))?;
        let place: Place = json::read(&deploy.store).map_err(|_| unread("place of checkpoints"))?;
        let from = match deploy.manifest.as_ref() {
            [] => None,
            manifest => Some(Arc::new(Manifest::from_bytes(manifest).map_err(|_| unread("manifest"))?)),
        };
        let store = self.material.store(&place)?.below(deployment.name.as_str());
        let store = store.map_err(|error| Error::Start(error.to_string()))?;
        let me = assignment.number(&self.me).ok_or_else(|| unread("assignment to this worker"))?;
        let assignment = Arc::new(assignment);
        let (id, network) = (part.id.clone(), self.network.clone());
        let (parts, of) = (self.clone(), part.clone());
        let attempt = Attempt {
            incarnation: part.id.incarnation.clone(),
            attempt: part.id.attempt,
            from,
            store,
            log: Arc::new(JobLog::default()),
            dead_letter: Some(deploy.dead_letter.clone()).filter(|topic| !topic.is_empty()),
            anew: deploy.anew,
            part: part::Part::Of { assignment, me, id, network },
            listener: Arc::new(move |told: Told| parts.happened(&of, told)),
        };
        Ok((attempt, deployment))
    }

    /// Nothing of a part runs any more.
    fn ended(self: &Arc<Parts>, part: &Part, status: &JobStatus, log: &JobLog) {
        if let Some(error) = &status.error {
            self.tell(part, wire::failed(error));
        }
        self.network.close(&part.id);
        let stood = self.gone(part);
        let job = match &stood {
            Some(Running { state: State::Running(job), .. }) => Some(job),
            _ => None,
        };
        self.stopped(part, job);
        log.close();
    }

    /// Sends the lines of a part's log, until it is closed.
    fn forward(self: &Arc<Parts>, part: &Part, log: Arc<JobLog>) {
        let (parts, part) = (self.clone(), part.message());
        let work = move || {
            let mut next = 0;
            while let Some(lines) = log.follow(next, Duration::from_secs(60)) {
                next = lines.last().map_or(next, |line| line.number + 1);
                if !lines.is_empty() {
                    lines.iter().for_each(|line| trace(&part, line));
                    let lines = lines.into_iter().map(line).collect();
                    parts.say(Said::Lines(Lines { part: Some(part.clone()), lines }));
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("log".into()).spawn(work) {
            tracing::warn!("no thread for the log of a job: {error}");
        }
    }

    /// Answers what the leader asks.
    pub(super) fn ask(self: &Arc<Parts>, ask: Ask) {
        let number = ask.number;
        let answer = move |answer| Said::Answer(Answer { number, answer: Some(answer) });
        match ask.ask {
            Some(Question::Metrics(part)) => {
                let job = Part::of(Some(part)).and_then(|part| self.job(&part));
                let parts = self.clone();
                // RocksDB is asked for its size, and may be closed by who asked last: heartbeats don't wait for that.
                tokio::task::spawn_blocking(move || {
                    let metrics = job.map(|job| metrics(&job)).unwrap_or_default();
                    parts.say(answer(Reply::Found(json::write(&metrics))));
                });
            }
            Some(Question::Check(deployment)) => {
                let parts = self.clone();
                let work = move || {
                    let reply = match Deployment::from_bytes(&deployment) {
                        Err(error) => Reply::Failed(error.to_string()),
                        Ok(deployment) => match parts.material.check(&deployment) {
                            Ok(checked) => Reply::Found(json::write(&checked.findings)),
                            Err(Error::Pipeline(wrong)) => Reply::Wrong(json::write(&wrong)),
                            Err(error) => Reply::Failed(error.to_string()),
                        },
                    };
                    parts.say(Said::Answer(Answer { number, answer: Some(reply) }));
                };
                if let Err(error) = std::thread::Builder::new().name("check".into()).spawn(work) {
                    self.say(answer(Reply::Failed(format!("no thread to check it: {error}"))));
                }
            }
            None => self.say(answer(Reply::Failed("it does not know the question".to_owned()))),
        }
    }
}

/// What the nodes of a part have done, in the words of the REST API.
fn metrics(job: &JobHandle) -> Vec<api::OperatorMetrics> {
    let all = job.metrics().into_iter();
    let named = all.filter_map(|metrics| {
        let crate::metrics::OperatorMetrics { operator, subtasks, partitions } = metrics;
        Some(api::OperatorMetrics { operator: operator.parse().ok()?, subtasks, partitions })
    });
    named.collect()
}

fn happened(part: &Part, event: Event) -> Said {
    Said::Event(Happened { part: Some(part.message()), event: Some(event) })
}

/// A line of a part in this process's log.
fn trace(part: &flow_rpc::control::Part, line: &LogLine) {
    let (job, attempt, operator) = (part.job.as_str(), part.attempt, line.operator.as_deref().unwrap_or_default());
    let (subtask, message) = (line.subtask.unwrap_or_default(), line.message.as_str());
    match line.level {
        Level::Trace => tracing::trace!(target: "job", job, attempt, operator, subtask, "{message}"),
        Level::Debug => tracing::debug!(target: "job", job, attempt, operator, subtask, "{message}"),
        Level::Info => tracing::info!(target: "job", job, attempt, operator, subtask, "{message}"),
        Level::Warn => tracing::warn!(target: "job", job, attempt, operator, subtask, "{message}"),
        Level::Error => tracing::error!(target: "job", job, attempt, operator, subtask, "{message}"),
    }
}

fn line(line: LogLine) -> Line {
    let level = match line.level {
        Level::Trace => 0,
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    let LogLine { operator, subtask, message, .. } = line;
    Line { level, operator: operator.unwrap_or_default(), subtask: subtask.unwrap_or_default(), message }
}

#[cfg(test)]
mod tests;
