//! The thread that keeps one job: messages in, actions done.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use flow_model::api::JobState;
use flow_model::checkpoint::{Attempt, CheckpointId, Head, Incarnation, Manifest, ObjectName};
use flow_protocol::Job;
use flow_protocol::job::{Action, End, Event, Failure, Level, State};
use flow_protocol::restart::Kind;
use flow_protocol::retention::is_garbage;
use flow_store::Store;
use flow_worker::attempt::Told;
use flow_worker::failpoint::{self, Point};
use flow_worker::{JobHandle, JobStatus, TaskError, attempt};

use super::{Kept, Shared, Status, documents, settings, shown, unix_ms};

/// How long a swap or a deletion that was not answered waits before it is sent again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the thread looks at the clock when nothing happens.
const IDLE: Duration = Duration::from_secs(60);

/// Called once with how a job ended.
type OnEnd = Box<dyn FnOnce(&Status) + Send>;

/// Who asks for a checkpoint.
type Answer = Sender<Result<CheckpointId, String>>;

/// What reaches the thread.
pub(super) enum Message {
    Event(Event),
    /// An attempt was deployed, or could not be.
    Deployed(Attempt, Result<JobHandle, flow_worker::Error>),
    /// Somebody asks for a checkpoint.
    Checkpoint(Answer),
    /// The process ends.
    Leave,
}

pub(super) struct Driver {
    kept: Kept,
    job: Job,
    shared: Arc<Shared>,
    messages: Sender<Message>,
    on_end: Option<OnEnd>,
    /// What the protocol wanted before the thread ran.
    begun: Vec<Action>,
    /// Since when its clock goes.
    started: (Instant, u64),
    /// The attempt that is being made is to be stopped as soon as it is there.
    unwanted: BTreeSet<Attempt>,
    asked: HashMap<u64, Answer>,
    questions: u64,
    /// The process ends: nothing is begun any more.
    leaving: bool,
    over: bool,
}

impl Driver {
    pub(super) fn new(
        kept: Kept,
        head: Option<(Head, String)>,
        shared: Arc<Shared>,
        messages: Sender<Message>,
        on_end: OnEnd,
    ) -> Driver {
        let checkpointing = kept.checked.pipeline().checkpoint.clone().expect("a job without checkpoints is not kept");
        let (job, begun) = Job::new(settings(&kept, &checkpointing), kept.beginning.clone(), fastrand::u128(..), head);
        Driver {
            kept,
            job,
            shared,
            messages,
            on_end: Some(on_end),
            begun,
            started: (Instant::now(), unix_ms()),
            unwanted: BTreeSet::new(),
            asked: HashMap::new(),
            questions: 0,
            leaving: false,
            over: false,
        }
    }

    /// What the job is doing.
    pub(super) fn state(&self) -> State {
        self.job.state()
    }

    /// Milliseconds since the Unix epoch by a clock that never goes back.
    fn now(&self) -> u64 {
        self.started.1 + self.started.0.elapsed().as_millis() as u64
    }

    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        let begun = std::mem::take(&mut self.begun);
        self.perform(begun);
        while !self.over {
            let now = self.now();
            let until = self.job.next_deadline().map_or(IDLE, |due| Duration::from_millis(due.saturating_sub(now)));
            let message = match inbox.recv_timeout(until.min(IDLE)) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => Message::Event(Event::Tick),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.take(message);
            self.show();
        }
    }

    fn take(&mut self, message: Message) {
        let event = match message {
            Message::Event(event) => event,
            Message::Deployed(attempt, deployed) => return self.deployed(attempt, deployed),
            Message::Checkpoint(answer) => {
                self.questions += 1;
                self.asked.insert(self.questions, answer);
                Event::Checkpoint(self.questions)
            }
            Message::Leave => return self.leave(),
        };
        if self.leaving {
            if let Event::Stopped { .. } = event {
                self.left();
            }
            return;
        }
        self.handle(event);
    }

    fn handle(&mut self, event: Event) {
        if let Event::Failed { failure, .. } = &event {
            self.shared.status().error = Some(TaskError::Fatal(failure.reason.clone()));
        }
        if let Event::ManifestLoaded(_, Ok(manifest)) = &event {
            self.shared.history().found(manifest);
        }
        tracing::debug!(job = %self.kept.id, "{event:?}");
        let actions = self.job.handle(self.now(), event);
        self.perform(actions);
    }

    /// Stops what runs and leaves HEAD as it is.
    fn leave(&mut self) {
        self.leaving = true;
        let attempt = self.shared.attempt().clone();
        match attempt {
            Some(attempt) if !attempt.status().state.is_over() => attempt.cancel(),
            // One that is being made is dropped with the process.
            _ => self.left(),
        }
    }

    fn left(&mut self) {
        self.over = true;
        self.end(JobState::Canceled, None);
    }

    /// Says what the job is doing.
    fn show(&self) {
        if let Some(head) = self.job.head() {
            self.shared.history().retained(head);
        }
        let state = shown(&self.job.state());
        let mut status = self.shared.status();
        if !status.state.is_terminal() && !state.is_terminal() {
            status.state = state;
        }
    }

    fn end(&mut self, state: JobState, error: Option<TaskError>) {
        self.asked.clear();
        self.shared.history().attempt_over(self.now());
        if !self.leaving {
            self.kept.worker.forget(&self.kept.id);
        }
        let mut status = self.shared.status();
        *status = Status { state, error: error.or(status.error.take()), ended: Some(self.now() as i64) };
        if state != JobState::Failed {
            status.error = None;
        }
        let status = status.clone();
        self.shared.log.add(flow_worker::log::Level::Info, None, format!("job is {state}"));
        self.shared.log.close();
        if let (Some(on_end), false) = (self.on_end.take(), self.leaving) {
            on_end(&status);
        }
        self.shared.over.notify_all();
    }

    fn deployed(&mut self, attempt: Attempt, deployed: Result<JobHandle, flow_worker::Error>) {
        match deployed {
            Ok(handle) => {
                *self.shared.attempt() = Some(handle.clone());
                if self.leaving || self.unwanted.remove(&attempt) {
                    return handle.cancel();
                }
                self.handle(Event::Started { attempt });
            }
            Err(error) => {
                if self.leaving {
                    return self.left();
                }
                let kind = match &error {
                    flow_worker::Error::Connector(_, error) => kind(error),
                    flow_worker::Error::Pipeline(_)
                    | flow_worker::Error::Operator(..)
                    | flow_worker::Error::Plan(_) => Kind::Fatal,
                    flow_worker::Error::Start(_) => Kind::Retryable,
                };
                self.handle(Event::Failed { attempt, failure: Failure { kind, reason: error.to_string() } });
                self.handle(Event::Stopped { attempt });
            }
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.act(action);
        }
    }

    fn running(&self) -> Option<JobHandle> {
        self.shared.attempt().clone()
    }

    fn act(&mut self, action: Action) {
        tracing::debug!(job = %self.kept.id, "{action:?}");
        match action {
            Action::Swap { head, expected } => self.beside(|store, tell| async move {
                let (answer, error) = documents::swap(&store, &head, expected).await;
                if answer == flow_protocol::head::Answer::Again {
                    tokio::time::sleep(AGAIN).await;
                }
                if let Some(error) = error {
                    tracing::warn!("HEAD in {}: {error}", store.place());
                    tokio::time::sleep(4 * AGAIN).await;
                }
                tell(Event::Swapped(answer));
            }),
            Action::ReadHead => self.beside(|store, tell| async move {
                loop {
                    match documents::read_head(&store).await {
                        Ok(head) => return tell(Event::HeadRead(Box::new(head))),
                        Err(error) => tracing::warn!("HEAD in {}: {error}", store.place()),
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }),
            Action::LoadManifest(incarnation, checkpoint) => self.load(&incarnation, checkpoint),
            Action::StoreManifest(manifest) => {
                let before = self.job.latest().map_or(CheckpointId::NONE, |latest| latest.checkpoint);
                self.shared.history().sized(&manifest, before);
                self.store(*manifest);
            }
            Action::Delete(objects) => self.beside(|store, tell| async move {
                failpoint::reach(Point::Deletion);
                while let Err(error) = store.delete(objects.iter().map(ObjectName::as_str)).await {
                    tracing::warn!("deleting in {}: {error}", store.place());
                    tokio::time::sleep(AGAIN).await;
                }
                failpoint::reach(Point::Deleted);
                tell(Event::Deleted);
            }),
            Action::Sweep { incarnation, until, kept } => self.beside(|store, _| async move {
                if let Err(error) = sweep(&store, &incarnation, until, &kept).await {
                    tracing::warn!("looking for garbage in {}: {error}", store.place());
                }
            }),
            Action::Deploy { incarnation, attempt, from } => self.deploy(incarnation, attempt, from),
            Action::Release { .. } => self.running().iter().for_each(JobHandle::release),
            Action::Trigger { checkpoint, confirmed, .. } => {
                failpoint::reach(Point::Triggered);
                self.shared.history().begun(checkpoint, self.now());
                self.running().iter().for_each(|attempt| attempt.trigger(checkpoint, confirmed));
            }
            Action::Confirm { checkpoint, .. } => {
                failpoint::reach(Point::Confirmed);
                self.shared.history().completed(checkpoint, self.now());
                self.running().iter().for_each(|attempt| attempt.confirm(checkpoint));
            }
            Action::Finish { .. } => self.running().iter().for_each(JobHandle::finish),
            Action::Cancel { attempt } => self.cancel(attempt),
            Action::Answer(number, answer) => {
                if let Some(asked) = self.asked.remove(&number) {
                    _ = asked.send(answer);
                }
            }
            Action::Abandoned(checkpoint, reason) => {
                self.shared.history().failed(checkpoint, self.now(), &reason);
                let text = format!("checkpoint {checkpoint} can't be completed: {reason}");
                self.shared.log.add(flow_worker::log::Level::Warn, None, text);
            }
            Action::Tell(level, text) => self.shared.log.add(log_level(level), None, text),
            Action::Ended(end) => {
                self.over = true;
                let (state, error) = match end {
                    End::Finished => (JobState::Finished, None),
                    End::Canceled => (JobState::Canceled, None),
                    End::Failed(failure) => (JobState::Failed, Some(TaskError::Fatal(failure.reason))),
                    End::Refused(why) | End::Deposed(why) => (JobState::Failed, Some(TaskError::Fatal(why))),
                };
                self.end(state, error);
            }
        }
    }

    /// Does something in the store and tells what came of it.
    fn beside<F: Future<Output = ()> + Send + 'static>(
        &self,
        work: impl FnOnce(Store, Box<dyn Fn(Event) + Send + Sync>) -> F,
    ) {
        let messages = self.messages.clone();
        let tell = Box::new(move |event| _ = messages.send(Message::Event(event)));
        self.kept.store.spawn(work(self.kept.store.clone(), tell));
    }

    fn load(&self, incarnation: &Incarnation, checkpoint: CheckpointId) {
        let name = ObjectName::manifest(incarnation, checkpoint);
        self.beside(|store, tell| async move {
            let loaded = documents::load(&store, &name).await.map(Box::new).map_err(|error| {
                let kind = match &error {
                    documents::Error::Store(error) if error.is_retryable() => Kind::Retryable,
                    _ => Kind::Fatal,
                };
                Failure { kind, reason: format!("the manifest of checkpoint {checkpoint}: {error}") }
            });
            failpoint::reach(Point::ManifestRead);
            tell(Event::ManifestLoaded(checkpoint, loaded));
        });
    }

    fn store(&self, manifest: Manifest) {
        self.beside(|store, tell| async move {
            failpoint::reach(Point::ManifestWrite);
            let stored = store.put(manifest.name().as_str(), manifest.to_bytes()).await;
            let stored = stored.map_err(|error| error.to_string());
            let lost = failpoint::fails(Point::ManifestWritten);
            let stored = if lost { Err("a failpoint says that it was not written".to_owned()) } else { stored };
            tell(Event::ManifestStored(manifest.checkpoint, stored));
        });
    }

    fn deploy(&mut self, incarnation: Incarnation, attempt: Attempt, from: Option<Box<Manifest>>) {
        failpoint::reach(Point::Deploy);
        self.shared.history().restored(from.as_ref().map(|from| from.checkpoint));
        if let Some(from) = &from {
            let text = format!("goes on from checkpoint {}", from.checkpoint);
            self.shared.log.add(flow_worker::log::Level::Info, None, text);
        }
        let messages = self.messages.clone();
        let listener = Arc::new(move |told| _ = messages.send(Message::Event(event(attempt, told))));
        let made = attempt::Attempt {
            incarnation,
            attempt,
            from: from.map(|from| Arc::new(*from)),
            store: self.kept.store.clone(),
            log: self.shared.log.clone(),
            listener,
        };
        let (worker, checked, id) = (self.kept.worker.clone(), self.kept.checked.clone(), self.kept.id.clone());
        let messages = self.messages.clone();
        let work = move || {
            let to_end = messages.clone();
            let on_end = move |status: &JobStatus| ended(attempt, status, &to_end);
            let deployed = worker.start_attempt(&id, &checked, made, on_end);
            _ = messages.send(Message::Deployed(attempt, deployed));
        };
        if let Err(error) = std::thread::Builder::new().name("deploy".into()).spawn(work) {
            let failed = Err(flow_worker::Error::Start(format!("no thread to deploy it: {error}")));
            _ = self.messages.send(Message::Deployed(attempt, failed));
        }
    }

    fn cancel(&mut self, attempt: Attempt) {
        self.shared.history().attempt_over(self.now());
        match self.running() {
            Some(running) if running.attempt() == Some(attempt) => {
                if running.status().state.is_over() {
                    _ = self.messages.send(Message::Event(Event::Stopped { attempt }));
                } else {
                    running.cancel();
                }
            }
            _ => _ = self.unwanted.insert(attempt),
        }
    }
}

/// What an attempt tells, as an event.
fn event(attempt: Attempt, told: Told) -> Event {
    match told {
        Told::Acknowledged { checkpoint, node, subtask, piece } => {
            Event::Acknowledged { attempt, checkpoint, node, subtask, piece }
        }
        Told::Declined { checkpoint, reason } => Event::Declined { attempt, checkpoint, reason },
        Told::Progressed { sink, lane, progress } => Event::Progressed { attempt, lane: (sink, lane), progress },
        Told::Drained => Event::Drained { attempt },
        Told::Failed(error) => {
            Event::Failed { attempt, failure: Failure { kind: kind(&error), reason: error.to_string() } }
        }
        Told::Fenced(reason) => Event::Failed { attempt, failure: Failure { kind: Kind::Fenced, reason } },
    }
}

/// An attempt is over: why, if it failed, and then that nothing of it runs.
fn ended(attempt: Attempt, status: &JobStatus, messages: &Sender<Message>) {
    if let Some(error) = &status.error {
        let failure = Failure { kind: kind(error), reason: error.to_string() };
        _ = messages.send(Message::Event(Event::Failed { attempt, failure }));
    }
    _ = messages.send(Message::Event(Event::Stopped { attempt }));
}

fn kind(error: &TaskError) -> Kind {
    match error {
        TaskError::Plugin(_) => Kind::Plugin,
        TaskError::Retryable(_) => Kind::Retryable,
        TaskError::Fatal(_) => Kind::Fatal,
        TaskError::Closed(_) => Kind::Closed,
    }
}

fn log_level(level: Level) -> flow_worker::log::Level {
    match level {
        Level::Info => flow_worker::log::Level::Info,
        Level::Warn => flow_worker::log::Level::Warn,
        Level::Error => flow_worker::log::Level::Error,
    }
}

/// Deletes what earlier attempts of an incarnation left.
async fn sweep(
    store: &Store,
    incarnation: &Incarnation,
    until: CheckpointId,
    kept: &BTreeSet<ObjectName>,
) -> Result<(), flow_store::Error> {
    let prefix = format!("{incarnation}/");
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&prefix, after.as_deref()).await?;
        let names = page.objects.iter().map(|object| object.name.clone());
        // What is none of these was not written by a job, and is nobody's garbage.
        let garbage: Vec<ObjectName> = names
            .filter_map(|name| ObjectName::try_from(name).ok())
            .filter(|name| is_garbage(name, kept, until))
            .collect();
        store.delete(garbage.iter().map(ObjectName::as_str)).await?;
        match page.objects.last() {
            Some(last) if page.more => after = Some(last.name.clone()),
            _ => return Ok(()),
        }
    }
}
