//! A job that an earlier process ran, until its store answers: before HEAD is read there is nothing to decide, and nothing of it runs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use flow_model::api::JobState;
use flow_model::checkpoint::Incarnation;
use flow_model::ids::PipelineName;
use flow_protocol::job::{Beginning, Event};
use flow_store::Store;
use flow_worker::TaskError;
use flow_worker::log::Level;
use tokio::runtime::Handle;

use super::documents::PATIENCE;
use super::driver::{Driver, Message, OnEnd};
use super::head::Stands;
use super::{Error, Kept, Shared, Status, Stop, documents, head};
use crate::clock;

/// Opens a store that does what jobs need; nothing if somebody else is at it.
pub type Open = Box<dyn Fn() -> Opening + Send + Sync>;
/// See [`Open`].
pub type Opening = Pin<Box<dyn Future<Output = Option<Result<Store, flow_store::Error>>> + Send>>;

/// What a job waits for.
pub struct Awaited {
    /// The store, above the roots of jobs.
    pub open: Open,
    /// Where that is, for people.
    pub place: String,
    /// Carries out what is asked of it.
    pub runtime: Handle,
    /// Its user wants it stopped.
    pub canceled: bool,
}

/// A job that waits.
pub(super) struct Waiting {
    pub(super) kept: Kept,
    /// Where its store is, for people.
    pub(super) place: String,
    /// Its user wants it stopped.
    pub(super) canceled: bool,
    /// What the job is asked for, until the store is known not to answer.
    pub(super) asked: Vec<Message>,
    /// Why the store does not answer, if that is so.
    pub(super) away: Option<String>,
    pub(super) shared: Arc<Shared>,
    pub(super) messages: Sender<Message>,
    pub(super) on_end: OnEnd,
}

impl Waiting {
    /// Asks the store until it answers, then keeps the job.
    pub(super) fn run(mut self, inbox: &Receiver<Message>, (runtime, open): (Handle, Open)) {
        if self.canceled {
            self.cancel();
        }
        let name = self.shared.runner().outline().pipeline().name.clone();
        let (shared, messages) = (self.shared.clone(), self.messages.clone());
        let asking = runtime.spawn(ask((name, self.kept.life().cloned()), open, shared, messages));
        let begun = Instant::now();
        loop {
            let left = if self.away.is_none() { PATIENCE.saturating_sub(begun.elapsed()) } else { Duration::MAX };
            let message = match inbox.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    Message::Away(format!("{} has not answered for {} s", self.place, PATIENCE.as_secs()))
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match message {
                Message::Found(found) => match *found {
                    Ok((root, store, stands)) => return self.found(root, store, stands, inbox),
                    Err(why) => return self.fail(&why),
                },
                Message::Away(why) => self.away(why),
                Message::Ready(_)
                | Message::Checkpoint(_)
                | Message::Redeploy(..)
                | Message::Savepoint(..)
                | Message::GiveUp(..) => {
                    self.asked(message);
                }
                Message::Leave => {
                    asking.abort();
                    self.shared.left.store(true, SeqCst);
                    return self.over(JobState::Canceled, None);
                }
                Message::Event(Event::Cancel) => self.cancel(),
                // Nothing runs that could tell anything.
                Message::Event(_) | Message::Deployed(..) | Message::Settling(..) | Message::Reread(_) => {}
            }
        }
    }

    fn cancel(&mut self) {
        self.canceled = true;
        self.shared.status().state = JobState::Canceling;
        let text = format!("is canceled as soon as {} answers", self.place);
        self.shared.log.add(Level::Info, None, text);
    }

    fn away(&mut self, why: String) {
        self.shared.status().error = Some(TaskError::Retryable(why.clone()));
        self.away = Some(why);
        std::mem::take(&mut self.asked).into_iter().for_each(|message| self.asked(message));
    }

    /// Whoever asks is not kept waiting for a store that is away.
    fn asked(&mut self, message: Message) {
        let Some(why) = &self.away else { return self.asked.push(message) };
        let why = format!("the job waits for its store since flowd started: {why}; ask again when it runs");
        match message {
            Message::Checkpoint(answer) => _ = answer.send(Err(why)),
            Message::Ready(done)
            | Message::Redeploy(_, done)
            | Message::Savepoint(_, _, done)
            | Message::GiveUp(_, done) => _ = done.send(Err(why)),
            _ => {}
        }
    }

    fn found(mut self, root: Store, store: Store, (head, revision): Stands, inbox: &Receiver<Message>) {
        // It may be put back, or be where nobody looked: on a disk that is not mounted.
        if head.is_none() && !self.never_began(&store) {
            return self.fail(&format!("there is no {}", documents::head_place(&store)));
        }
        if let Some(runner) = revision {
            self.shared.runs_by(runner, self.kept.dead_letter.clone(), &self.messages);
        }
        _ = self.shared.store.set(store.clone());
        self.shared.status().error = None;
        // They are the first that are handled: no attempt begins before.
        if let Some(Stop { savepoint: name, .. }) = &self.kept.stop {
            let known = head.as_ref().and_then(|(head, _)| Some((head, head.savepoint(name)?)));
            self.tell(match known {
                Some((head, known)) if known.incarnation == head.incarnation => Message::Event(Event::Cancel),
                _ => Message::Savepoint(name.clone(), true, channel().0),
            });
            let text = format!("stops with the savepoint \"{name}\", as was asked before flowd ended");
            self.shared.log.add(Level::Info, None, text);
        }
        if self.canceled {
            self.tell(Message::Event(Event::Cancel));
        }
        std::mem::take(&mut self.asked).into_iter().for_each(|message| self.tell(message));
        Driver::new(self.kept, (root, store), head, self.shared, self.messages, self.on_end).run(inbox);
    }

    /// Whether a leader died between what a job was deployed with and the job's first HEAD: nothing was written of its life then.
    fn never_began(&self, store: &Store) -> bool {
        let Beginning::Continued(life) = &self.kept.beginning else { return false };
        let prefix = format!("{}/", life.incarnation);
        documents::in_time(store, store.list(&prefix, None)).is_ok_and(|page| page.objects.is_empty())
    }

    fn tell(&self, message: Message) {
        _ = self.messages.send(message);
    }

    /// It can't be kept by this process. What there is of it stays, for the next one.
    fn fail(self, why: &str) {
        let text = format!("it can't go on after a restart of flowd: {why}; when that is mended, start flowd again");
        tracing::error!(job = %self.kept.id, "{text}");
        self.shared.log.add(Level::Error, None, text.clone());
        self.over(JobState::Failed, Some(TaskError::Fatal(text)));
    }

    fn over(self, state: JobState, error: Option<TaskError>) {
        self.shared.over(Status { state, error, ended: Some(clock::now() as i64) });
    }
}

/// Asks the store until it answers.
async fn ask(
    (job, life): (PipelineName, Option<Incarnation>),
    open: Open,
    shared: Arc<Shared>,
    messages: Sender<Message>,
) {
    let found = async {
        let away = |error: &Error| _ = messages.send(Message::Away(error.to_string()));
        let root = head::open(&open, &shared, away).await?;
        let store = root.below(job.as_str()).map_err(|error| error.to_string())?;
        let stands = head::read_with_revision(&store, &shared, life.as_ref(), away).await?;
        Ok((root, store, stands))
    };
    let found = found.await;
    _ = messages.send(Message::Found(Box::new(found)));
}
