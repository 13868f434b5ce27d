//! The thread that keeps one job: messages in, actions done.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender};
use std::time::{Duration, Instant};

use flow_model::api::{JobState, LastFailure};
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation, Manifest, ObjectName};
use flow_model::ids::SavepointName;
use flow_protocol::Job;
use flow_protocol::job::{Action, Beginning, End, Event, Failure, Level, Spec, State};
use flow_protocol::restart::Kind;
use flow_protocol::retention::is_garbage;
use flow_store::Store;
use flow_worker::failpoint::{self, Point};
use flow_worker::{JobHandle, Settling, TaskError};

use super::head::{self, Found, Stands};
use super::{Kept, Runner, Running, Shared, Status, documents, settings, shown};
use crate::clock;
use crate::cluster::MOVED;

/// How long a deletion that was not answered waits before it is sent again, at first.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the thread looks at the clock when nothing happens.
const IDLE: Duration = Duration::from_secs(60);

/// Called once with how a job ended.
pub(super) type OnEnd = Box<dyn FnOnce(&Status) + Send>;

/// Who asks for a checkpoint.
type Answer = Sender<Result<CheckpointId, String>>;

/// Who waits until something is under way or done.
type Done = Sender<Result<(), String>>;

/// What reaches the thread.
pub(super) enum Message {
    Event(Event),
    /// An attempt was deployed, or could not be.
    Deployed(Attempt, Result<JobHandle, flow_worker::Error>),
    /// The sinks of an attempt that only writes what is owed are open, or could not be opened.
    Settling(Attempt, Result<Settling, flow_worker::Error>),
    /// Somebody wants to know whether it does what it is asked for.
    Ready(Done),
    /// Somebody asks for a checkpoint.
    Checkpoint(Answer),
    /// Somebody asks for a savepoint; whether the job is to end with it.
    Savepoint(SavepointName, bool, Done),
    /// Somebody wants it to go on by another description.
    Redeploy(Runner, Done),
    /// Somebody gives a savepoint up.
    GiveUp(SavepointName, Done),
    /// The store does not answer: why.
    Away(String),
    /// The store and the job's root in it, and what HEAD says there; or why they can't be had.
    Found(Box<Result<(Store, Store, Stands), String>>),
    /// What HEAD says after another leader has written it; none if that is the one who leads now. Or why it can't be read.
    Reread(Box<Result<Option<Stands>, String>>),
    /// The process ends.
    Leave,
}

pub(super) struct Driver {
    pub(super) kept: Kept,
    /// The store, above the roots of jobs.
    pub(super) root: Store,
    /// The job's root in it.
    pub(super) store: Store,
    job: Job,
    pub(super) shared: Arc<Shared>,
    pub(super) messages: Sender<Message>,
    on_end: Option<OnEnd>,
    /// What the protocol wanted before the thread ran.
    begun: Vec<Action>,
    /// Since when its clock goes.
    started: (Instant, u64),
    /// The attempt that is being made is to be stopped as soon as it is there.
    pub(super) unwanted: BTreeSet<Attempt>,
    /// The attempt that only writes what is owed.
    pub(super) settling: Option<(Attempt, Settling)>,
    asked: HashMap<u64, Answer>,
    waiting: HashMap<u64, (Done, Option<SavepointName>)>,
    questions: u64,
    /// Descriptions that HEAD does not name yet, by the number of who waits.
    described: HashMap<u64, Runner>,
    /// The process ends: nothing is begun any more.
    pub(super) leaving: bool,
    over: bool,
}

impl Driver {
    pub(super) fn new(
        kept: Kept,
        (root, store): (Store, Store),
        head: Found,
        shared: Arc<Shared>,
        messages: Sender<Message>,
        on_end: OnEnd,
    ) -> Driver {
        let (job, begun) = begin((&kept, &shared.runner()), &store, kept.beginning.clone(), head);
        Driver {
            kept,
            root,
            store,
            job,
            shared,
            messages,
            on_end: Some(on_end),
            begun,
            started: (Instant::now(), clock::now()),
            unwanted: BTreeSet::new(),
            settling: None,
            asked: HashMap::new(),
            waiting: HashMap::new(),
            questions: 0,
            described: HashMap::new(),
            leaving: false,
            over: false,
        }
    }

    /// What the job is doing.
    pub(super) fn state(&self) -> State {
        self.job.state()
    }

    /// Milliseconds since the Unix epoch by a clock that nobody sets.
    fn now(&self) -> u64 {
        self.started.1 + self.started.0.elapsed().as_millis() as u64
    }

    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        let begun = std::mem::take(&mut self.begun);
        self.show();
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
            Message::Settling(attempt, opened) => return self.settles(attempt, opened),
            Message::Ready(done) => {
                _ = done.send(Ok(()));
                return;
            }
            Message::Checkpoint(answer) => {
                self.questions += 1;
                self.asked.insert(self.questions, answer);
                Event::Checkpoint(self.questions)
            }
            Message::Savepoint(name, stop, done) => {
                Event::Savepoint { number: self.wait(done, Some(name.clone())), name, stop }
            }
            Message::Redeploy(runner, done) => {
                let Runner::Spread { outline, deployment, .. } = &runner else {
                    _ = done.send(Err("only workers of a cluster take it".to_owned()));
                    return;
                };
                let contributions = super::contributions(outline);
                let spec = Some(Spec { revision: deployment.revision, contributions });
                let number = self.wait(done, None);
                self.described.insert(number, runner);
                Event::Redeploy { number, spec }
            }
            Message::GiveUp(name, done) => Event::GiveUp { number: self.wait(done, None), name },
            Message::Leave => return self.leave(),
            Message::Reread(reread) => return self.reread(*reread),
            // HEAD is known since before the job was.
            Message::Away(_) | Message::Found(_) => return,
        };
        if self.leaving {
            if let Event::Stopped { .. } = event {
                self.left();
            }
            return;
        }
        self.handle(event);
    }

    /// A number for who waits, for a savepoint of that name if for one.
    fn wait(&mut self, done: Done, savepoint: Option<SavepointName>) -> u64 {
        self.questions += 1;
        self.waiting.insert(self.questions, (done, savepoint));
        self.questions
    }

    pub(super) fn handle(&mut self, event: Event) {
        if let Event::Failed { failure, .. } | Event::Adopted(Err(failure)) = &event {
            self.shared.status().error = Some(TaskError::Fatal(failure.reason.clone()));
        }
        if let Event::Failed { attempt, failure } = &event {
            self.shared.history().attempt_ends(*attempt, &failure.reason);
            let (time, reason) = (clock::now(), failure.reason.clone());
            *self.shared.failed() = Some(LastFailure { time, attempt: attempt.0, reason });
        }
        if let Event::Adopted(Err(failure)) = &event {
            self.shared.log.add(flow_worker::log::Level::Error, None, failure.reason.clone());
        }
        if let Event::ManifestLoaded(.., Ok(manifest)) | Event::Adopted(Ok(manifest)) = &event {
            self.shared.savepoints().found(manifest);
            if self.job.head().is_some_and(|head| head.incarnation == manifest.incarnation) {
                self.shared.history().found(manifest, clock::now());
            }
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
            // Workers go on until the next leader has something for them.
            Some(Running::Here(attempt)) if !attempt.status().state.is_over() => attempt.cancel(),
            // One that is being made is dropped with the process.
            _ => self.left(),
        }
    }

    pub(super) fn left(&mut self) {
        self.over = true;
        self.shared.left.store(true, SeqCst);
        self.end(JobState::Canceled, None);
    }

    /// Says what the job is doing.
    fn show(&self) {
        if let Some(head) = self.job.head() {
            self.shared.history().retained(head);
            self.shared.history().attempt(head.attempt);
            self.shared.savepoints().kept(head);
        }
        let state = shown(&self.job.state());
        let mut status = self.shared.status();
        if !status.state.is_terminal() && !state.is_terminal() {
            status.state = state;
        }
    }

    fn end(&mut self, state: JobState, error: Option<TaskError>) {
        self.asked.clear();
        self.waiting.clear();
        self.settling = None;
        self.shared.history().attempt_over(clock::now());
        if !self.leaving {
            // What its workers have told is forgotten with it, and people ask for a while.
            _ = self.running().map(|attempt| attempt.ask().soon());
            self.shared.runner().forget(&self.kept.id);
        }
        let of_last_attempt = || self.shared.status().error.take().filter(|_| state == JobState::Failed);
        let error = error.or_else(of_last_attempt);
        let status = Status { state, error, ended: Some(clock::now() as i64) };
        if let (Some(on_end), false) = (self.on_end.take(), self.leaving) {
            on_end(&status);
        }
        self.shared.over(status);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.act(action);
        }
    }

    pub(super) fn running(&self) -> Option<Running> {
        self.shared.attempt().clone()
    }

    fn act(&mut self, action: Action) {
        tracing::debug!(job = %self.kept.id, "{action:?}");
        match action {
            Action::Swap { head, expected } => {
                let shared = self.shared.clone();
                self.beside(|store, tell| async move {
                    tell(Event::Swapped(head::swap(&store, &shared, &head, expected).await));
                });
            }
            Action::ReadHead => {
                let shared = self.shared.clone();
                self.beside(|store, tell| async move {
                    tell(match head::read(&store, &shared, |_| {}).await {
                        Ok(found) => Event::HeadRead(Box::new(found)),
                        Err(why) => Event::HeadUnreadable(why),
                    });
                });
            }
            Action::LoadManifest(incarnation, checkpoint) => self.load(incarnation, checkpoint),
            Action::StoreManifest(manifest) => {
                let before = self.job.latest().map_or(CheckpointId::NONE, |latest| latest.checkpoint);
                self.shared.history().sized(&manifest, before);
                self.shared.savepoints().found(&manifest);
                self.store(*manifest);
            }
            Action::Delete(objects) => self.beside(|store, tell| async move {
                failpoint::reach(Point::Deletion);
                let mut pause = AGAIN;
                while let Err(error) = store.delete(objects.iter().map(ObjectName::as_str)).await {
                    tracing::warn!("deleting in {}: {error}", store.place());
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(IDLE);
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
            Action::Settle { incarnation, attempt, from, anew } => self.settle((incarnation, attempt), from, anew),
            Action::Find { incarnation, attempt } => self.find(incarnation, attempt),
            Action::Adopt { incarnation, origin } => self.adopt(incarnation, *origin),
            Action::Hold { .. } => self.running().iter().for_each(Running::hold),
            Action::Release { .. } => self.running().iter().for_each(Running::release),
            Action::Trigger { checkpoint, confirmed, .. } => {
                failpoint::reach(Point::Triggered);
                self.shared.history().begun(checkpoint, clock::now());
                self.running().iter().for_each(|attempt| attempt.trigger(checkpoint, confirmed));
            }
            Action::Confirm { checkpoint, .. } => {
                failpoint::reach(Point::Confirmed);
                self.shared.history().completed(checkpoint, clock::now());
                self.running().iter().for_each(|attempt| attempt.confirm(checkpoint));
            }
            Action::Finish { .. } => self.running().iter().for_each(Running::finish),
            Action::Cancel { attempt } => self.cancel(attempt),
            Action::Answer(number, answer) => {
                if let Some(asked) = self.asked.remove(&number) {
                    _ = asked.send(answer);
                }
            }
            Action::Accepted(number, answer) => {
                let described = self.described.remove(&number);
                if answer.is_ok() {
                    self.made_room(number, described.is_some());
                }
                if let (Some(runner), Ok(())) = (described, &answer) {
                    self.shared.runs_by(runner, self.kept.dead_letter.clone(), &self.messages);
                }
                if let Some((done, savepoint)) = self.waiting.remove(&number) {
                    if let (Ok(()), Some(name)) = (&answer, &savepoint) {
                        self.shared.savepoints().asked(name, clock::now());
                    }
                    if let (Err(SendError(Err(why))), Some(name)) = (done.send(answer), savepoint) {
                        // Nobody waits for it: it was asked for before the process ended.
                        let text = format!("no savepoint \"{name}\", and the job goes on: {why}");
                        self.shared.log.add(flow_worker::log::Level::Warn, None, text);
                        self.kept.stop.iter().for_each(|stop| (stop.refused)());
                    }
                }
            }
            Action::SavepointOver(name, over) => self.savepoint_over(&name, over),
            Action::Abandoned(checkpoint, reason) => {
                self.shared.history().failed(checkpoint, clock::now(), &reason);
                let text = format!("checkpoint {checkpoint} can't be completed: {reason}");
                self.shared.log.add(flow_worker::log::Level::Warn, None, text);
            }
            Action::Tell(level, text) => {
                if level == Level::Error {
                    self.shared.status().error = Some(TaskError::Fatal(text.clone()));
                }
                self.shared.log.add(log_level(level), None, text);
            }
            Action::Ended(End::Deposed(why)) if self.shared.runner().cluster().is_some() => self.deposed(why),
            Action::Ended(end) => {
                self.over = true;
                let (state, error) = match end {
                    End::Finished | End::Settled => (JobState::Finished, None),
                    End::Canceled => (JobState::Canceled, self.unwritten()),
                    End::Failed(failure) => (JobState::Failed, Some(TaskError::Fatal(failure.reason))),
                    End::Refused(why) | End::Deposed(why) => (JobState::Failed, Some(TaskError::Fatal(why))),
                };
                self.end(state, error);
            }
        }
    }

    /// Where HEAD names the next attempt because somebody wanted that, people are told.
    fn made_room(&self, number: u64, is_scaled: bool) {
        let why = match number {
            MOVED => "a worker of it is to go",
            _ if is_scaled => "the job was scaled",
            _ => return,
        };
        if let Some(before) = self.job.head().and_then(|head| head.attempt.0.checked_sub(1)) {
            self.shared.history().attempt_ends(Attempt(before), why);
        }
    }

    /// HEAD was written by another leader. If this process leads still, which the cluster's document says, the job goes on from what is
    /// there; else it goes on elsewhere.
    fn deposed(&self, why: String) {
        let Some(cluster) = self.shared.runner().cluster().cloned() else { return };
        tracing::info!(job = %self.kept.id, "HEAD was written by another leader: {why}");
        let (store, shared, messages) = (self.store.clone(), self.shared.clone(), self.messages.clone());
        let life = self.kept.life().cloned();
        self.store.spawn(async move {
            let since = Instant::now();
            let reread = loop {
                if !cluster.leads().await {
                    break Ok(None);
                }
                match head::read_with_revision(&store, &shared, life.as_ref(), |_| {}).await {
                    // Somebody may put it back.
                    Ok((None, _)) if since.elapsed() < head::UNREADABLE => tokio::time::sleep(head::LATER).await,
                    Ok((None, _)) => {
                        break Err(format!(
                            "HEAD in {} is gone, and nothing says where the job was: put it back as it was",
                            store.place()
                        ));
                    }
                    read => break read.map(Some),
                }
            };
            _ = messages.send(Message::Reread(Box::new(reread)));
        });
    }

    fn reread(&mut self, reread: Result<Option<Stands>, String>) {
        match reread {
            Ok(Some((head, revision))) if !self.leaving => {
                if let Some(runner) = revision {
                    self.shared.runs_by(runner, self.kept.dead_letter.clone(), &self.messages);
                }
                let beginning = match self.kept.beginning.clone() {
                    Beginning::Deployed(life) | Beginning::Resumed(life) => Beginning::Continued(life),
                    other => other,
                };
                let (job, begun) = begin((&self.kept, &self.shared.runner()), &self.store, beginning, head);
                self.job = job;
                self.perform(begun);
            }
            Ok(_) => {
                self.leaving = true;
                self.left();
            }
            Err(why) => {
                self.give_up(format!("{why}; when that is mended, restart the coordinator that leads"));
            }
        }
    }

    /// This process can't keep the job. What there is of it stays, for the next one.
    fn give_up(&mut self, why: String) {
        self.over = true;
        self.leaving = true;
        self.end(JobState::Failed, Some(TaskError::Fatal(why)));
    }

    /// What users have to know of a job that was stopped: that readers do not have all of its output.
    fn unwritten(&self) -> Option<TaskError> {
        let head = self.job.head().filter(|head| head.unwritten)?;
        let (latest, name) = (head.latest?, &self.shared.name);
        let text = format!(
            "output that checkpoint {latest} confirms is not written, since where it goes did not answer; `flowctl sink settle FILE` \
             writes it, and so does the next deployment of \"{name}\", before anything else"
        );
        self.shared.log.add(flow_worker::log::Level::Warn, None, text.clone());
        Some(TaskError::Retryable(text))
    }

    fn savepoint_over(&self, name: &SavepointName, over: Result<CheckpointId, String>) {
        let (level, text) = match &over {
            Ok(checkpoint) => {
                (flow_worker::log::Level::Info, format!("checkpoint {checkpoint} is the savepoint \"{name}\""))
            }
            Err(why) => (flow_worker::log::Level::Warn, format!("no savepoint \"{name}\": {why}")),
        };
        self.shared.log.add(level, None, text);
        // Whoever asks meanwhile finds it there, or still under way.
        self.show();
        self.shared.savepoints().over(name, over.err());
    }

    /// Does something in the store and tells what came of it.
    pub(super) fn beside<F: Future<Output = ()> + Send + 'static>(
        &self,
        work: impl FnOnce(Store, Box<dyn Fn(Event) + Send + Sync>) -> F,
    ) {
        let messages = self.messages.clone();
        let tell = Box::new(move |event| _ = messages.send(Message::Event(event)));
        self.store.spawn(work(self.store.clone(), tell));
    }

    fn load(&self, incarnation: Incarnation, checkpoint: CheckpointId) {
        self.beside(move |store, tell| async move {
            let loaded = documents::load(&store, &ObjectName::manifest(&incarnation, checkpoint)).await;
            let loaded = loaded.map(Box::new).map_err(|error| unread(checkpoint, &error));
            failpoint::reach(Point::ManifestRead);
            tell(Event::ManifestLoaded(incarnation, checkpoint, loaded));
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
}

/// The protocol of a job over a HEAD, and what it wants done.
fn begin((kept, runner): (&Kept, &Runner), store: &Store, beginning: Beginning, head: Found) -> (Job, Vec<Action>) {
    Job::new(settings(kept, runner, store), beginning, (fastrand::u128(..), clock::now()), head)
}

/// Why a manifest is not there.
pub(super) fn unread(checkpoint: CheckpointId, error: &documents::Error) -> Failure {
    let kind = if error.is_retryable() { Kind::Retryable } else { Kind::Fatal };
    Failure { kind, reason: format!("the manifest of checkpoint {checkpoint}: {error}") }
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
