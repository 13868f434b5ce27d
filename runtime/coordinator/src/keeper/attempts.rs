//! Attempts of a kept job in the worker: how they begin, what they tell, how they end.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use flow_model::channel::AttemptId;
use flow_model::checkpoint::{Attempt, Incarnation, Manifest};
use flow_protocol::cluster::{Request, Work};
use flow_protocol::job::{Event, Failure};
use flow_protocol::restart::Kind;
use flow_worker::attempt::Told;
use flow_worker::failpoint::{self, Point};
use flow_worker::part::Part;
use flow_worker::{JobHandle, JobStatus, Settling, attempt, kind};

use super::driver::{Driver, Message};
use super::{Runner, Running};
use crate::clock;
use crate::cluster::Spread;

impl Driver {
    pub(super) fn deployed(&mut self, attempt: Attempt, deployed: Result<JobHandle, flow_worker::Error>) {
        match deployed {
            Ok(handle) => {
                *self.shared.attempt() = Some(Running::Here(handle.clone()));
                if self.leaving || self.unwanted.remove(&attempt) {
                    return handle.cancel();
                }
                self.handle(Event::Started { attempt });
            }
            Err(error) => self.not_begun(attempt, &error),
        }
    }

    pub(super) fn settles(&mut self, attempt: Attempt, opened: Result<Settling, flow_worker::Error>) {
        match opened {
            Ok(_) if self.unwanted.remove(&attempt) => self.handle(Event::Stopped { attempt }),
            Ok(settling) => self.settling = Some((attempt, settling)),
            Err(error) => self.not_begun(attempt, &error),
        }
    }

    fn not_begun(&mut self, attempt: Attempt, error: &flow_worker::Error) {
        if self.leaving {
            return self.left();
        }
        self.handle(Event::Failed { attempt, failure: Failure { kind: error.kind(), reason: error.to_string() } });
        self.handle(Event::Stopped { attempt });
    }

    pub(super) fn deploy(&mut self, incarnation: Incarnation, attempt: Attempt, from: Option<Box<Manifest>>) {
        failpoint::reach(Point::Deploy);
        self.shared.history().restored(from.as_ref().map(|from| from.checkpoint));
        if let Some(from) = &from {
            let text = format!("goes on from checkpoint {}", from.checkpoint);
            self.shared.log.add(flow_worker::log::Level::Info, None, text);
        }
        let Runner::Here { worker, checked } = self.shared.runner() else {
            let plan = Arc::new(self.shared.runner().outline().plan().clone());
            return self.spread(incarnation, attempt, from, Work::Run(plan));
        };
        let (made, id) = (self.made(incarnation, attempt, from), self.kept.id.clone());
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

    /// What an attempt is made of.
    fn made(&self, incarnation: Incarnation, attempt: Attempt, from: Option<Box<Manifest>>) -> attempt::Attempt {
        let messages = self.messages.clone();
        attempt::Attempt {
            incarnation,
            attempt,
            from: from.map(|from| Arc::new(*from)),
            store: self.store.clone(),
            log: self.shared.log.clone(),
            dead_letter: self.kept.dead_letter.clone(),
            anew: false,
            part: Part::Whole,
            listener: Arc::new(move |told| _ = messages.send(Message::Event(event(attempt, told)))),
        }
    }

    /// Opens the sinks that owe something, which may take a while.
    pub(super) fn settle(&mut self, (incarnation, attempt): (Incarnation, Attempt), from: Box<Manifest>, anew: bool) {
        let text = format!("writes what checkpoint {} carries and what is not written of it", from.checkpoint);
        self.shared.log.add(flow_worker::log::Level::Info, None, text);
        let Runner::Here { worker, checked } = self.shared.runner() else {
            return self.spread(incarnation, attempt, Some(from), Work::Settle { anew });
        };
        let mut made = self.made(incarnation, attempt, Some(from));
        made.anew = anew;
        let messages = self.messages.clone();
        let work = move || _ = messages.send(Message::Settling(attempt, worker.settle(&checked, &made)));
        if let Err(error) = std::thread::Builder::new().name("settle".into()).spawn(work) {
            let failed = Err(flow_worker::Error::Start(format!("no thread to write what is owed: {error}")));
            _ = self.messages.send(Message::Settling(attempt, failed));
        }
    }

    /// Lets workers run an attempt, or only write what it owes.
    fn spread(&self, incarnation: Incarnation, attempt: Attempt, from: Option<Box<Manifest>>, work: Work) {
        let Runner::Spread { cluster, outline, deployment, .. } = &self.shared.runner() else { return };
        let contributions = super::contributions(outline);
        let request = Request { incarnation, attempt, work, contributions, from };
        let spread = Spread::deploy(cluster, deployment.job.clone(), request);
        *self.shared.attempt() = Some(Running::Spread(spread));
    }

    /// Looks for an attempt that a former leader has deployed.
    pub(super) fn find(&self, incarnation: Incarnation, attempt: Attempt) {
        let Runner::Spread { cluster, deployment, .. } = &self.shared.runner() else { return };
        let spread = Spread::find(cluster, deployment.job.clone(), AttemptId { incarnation, attempt });
        *self.shared.attempt() = Some(Running::Spread(spread));
    }

    pub(super) fn cancel(&mut self, attempt: Attempt) {
        self.shared.history().attempt_over(clock::now());
        if let Runner::Spread { cluster, deployment, .. } = &self.shared.runner() {
            return Spread::cancel(cluster, deployment.job.clone(), attempt);
        }
        if self.settling.take_if(|(settling, _)| *settling == attempt).is_some() {
            _ = self.messages.send(Message::Event(Event::Stopped { attempt }));
            return;
        }
        match self.running() {
            Some(Running::Here(running)) if running.attempt() == Some(attempt) => {
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
