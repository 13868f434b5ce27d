//! A job that an earlier process ran, until its store answers: before HEAD is read there is nothing to decide, and nothing of it runs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use flow_model::api::JobState;
use flow_model::checkpoint::Head;
use flow_protocol::job::Event;
use flow_store::Store;
use flow_worker::TaskError;
use flow_worker::log::Level;

use super::driver::{Driver, Message, OnEnd};
use super::{Error, Kept, Shared, Status, Stop, head, unix_ms};

/// Finds out whether a store does what jobs need.
pub type Prove = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), flow_store::Error>> + Send>> + Send + Sync>;

/// A job that waits.
pub(super) struct Waiting {
    pub(super) kept: Kept,
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
    pub(super) fn run(mut self, inbox: &Receiver<Message>, prove: Prove) {
        if self.canceled {
            self.cancel();
        }
        self.kept.store.spawn(ask(self.kept.store.clone(), prove, self.shared.clone(), self.messages.clone()));
        while let Ok(message) = inbox.recv() {
            match message {
                Message::Found(found) => match *found {
                    Ok(head) => return self.found(head, inbox),
                    Err(why) => return self.fail(&why),
                },
                Message::Away(why) => self.away(why),
                Message::Checkpoint(_) | Message::Savepoint(..) | Message::GiveUp(..) => self.asked(message),
                Message::Leave => return self.over(JobState::Canceled, None),
                Message::Event(Event::Cancel) => self.cancel(),
                // Nothing runs that could tell anything.
                Message::Event(_) | Message::Deployed(..) | Message::Settling(..) => {}
            }
        }
    }

    fn cancel(&mut self) {
        self.canceled = true;
        self.shared.status().state = JobState::Canceling;
        let text = format!("is canceled as soon as {} answers", self.kept.store.place());
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
            Message::Savepoint(_, _, done) | Message::GiveUp(_, done) => _ = done.send(Err(why)),
            _ => {}
        }
    }

    fn found(mut self, head: Option<(Head, String)>, inbox: &Receiver<Message>) {
        // It may be put back, or be where nobody looked: on a disk that is not mounted.
        let Some(head) = head else {
            let place = self.kept.store.place();
            return self.fail(&format!("there is no HEAD of it in {place}"));
        };
        self.shared.status().error = None;
        // They are the first that are handled: no attempt begins before.
        if let Some(Stop { savepoint: name, .. }) = &self.kept.stop {
            self.tell(match head.0.savepoint(name) {
                Some(known) if known.incarnation == head.0.incarnation => Message::Event(Event::Cancel),
                _ => Message::Savepoint(name.clone(), true, channel().0),
            });
            let text = format!("stops with the savepoint \"{name}\", as was asked before flowd ended");
            self.shared.log.add(Level::Info, None, text);
        }
        if self.canceled {
            self.tell(Message::Event(Event::Cancel));
        }
        std::mem::take(&mut self.asked).into_iter().for_each(|message| self.tell(message));
        Driver::new(self.kept, Some(head), self.shared, self.messages, self.on_end).run(inbox);
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
        self.shared.over(Status { state, error, ended: Some(unix_ms() as i64) });
    }
}

/// Asks the store until it answers.
async fn ask(store: Store, prove: Prove, shared: Arc<Shared>, messages: Sender<Message>) {
    let away = |error: &Error| _ = messages.send(Message::Away(error.to_string()));
    let found = head::read(&store, Some(prove), &shared, away).await;
    _ = messages.send(Message::Found(Box::new(found)));
}
