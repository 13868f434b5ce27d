//! The life of one job with checkpoints: become its leader, load the checkpoint that it goes on from, run an attempt, commit its
//! checkpoints, start again after a failure, end. [`Job::handle`] takes what happened and says what is to be done.
//!
//! - `running`: an attempt that runs, and its checkpoints
//! - `intent`: changes of HEAD, one after the other
//! - [`event`]: what happens and what is to be done

use std::collections::VecDeque;

use flow_model::checkpoint::head::Wanted;
use flow_model::checkpoint::{Attempt, CheckpointId, Head, Incarnation, Manifest};
use flow_model::ids::PipelineName;
use flow_model::key_group::KeyGroups;

use crate::Time;
use crate::checkpoint::{self, Contributions};
use crate::head::{Outcome, Register, Step, Version, is_free};
use crate::patience::Patience;
use crate::restart::{self, Failures, Verdict};
use crate::retention::Retention;

pub mod event;
mod intent;
mod running;

pub use event::{Action, Event, Failure, Level};
use intent::Intent;
use running::Running;

/// What a job is, and how it is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its pipeline's name.
    pub pipeline: PipelineName,
    /// How many key groups it has.
    pub key_groups: KeyGroups,
    /// What its nodes contribute to a checkpoint.
    pub contributions: Contributions,
    /// How checkpoints are taken.
    pub checkpoints: checkpoint::Settings,
    /// How it is started again.
    pub restart: restart::Settings,
    /// How many of its last checkpoints stay.
    pub retained: usize,
    /// Where this process is, for people.
    pub leader: String,
}

/// Why a job is led by this process.
#[derive(Debug, Clone)]
pub enum Beginning {
    /// It was deployed just now: its first attempt, in a life of its own.
    Deployed(Incarnation),
    /// It ran already: it goes on from its last checkpoint.
    Resumed(Incarnation),
}

/// What a job is doing, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing of it runs yet.
    Starting,
    /// It runs.
    Running,
    /// It has failed and is to run again.
    Restarting,
    /// It is to stop.
    Stopping,
    /// It is over.
    Over(End),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All input was processed, and all output is written.
    Finished,
    /// It was stopped.
    Canceled,
    /// It was given up.
    Failed(Failure),
    /// It was never begun: why.
    Refused(String),
    /// Another process leads it.
    Deposed(String),
}

enum Phase {
    /// This process is to become the leader.
    Leading,
    /// The manifest of that checkpoint is asked for.
    Loading(CheckpointId),
    /// An attempt runs.
    Running(Box<Running>),
    /// The attempt is to stop; then this follows.
    Stopping(Attempt, Then),
    /// Until then nothing runs.
    Pausing(Time),
    /// A new attempt, or the end, is being told to HEAD.
    Telling(End),
    /// Nothing is left to do.
    Over(End),
}

/// What follows when an attempt has stopped.
#[derive(Debug, Clone)]
enum Then {
    /// It had failed.
    Judge(Failure),
    /// It ends; HEAD says so already where it has to.
    End(End),
}

/// One job.
pub struct Job {
    settings: Settings,
    register: Register,
    /// The change of HEAD that is in flight.
    changing: Option<Intent>,
    /// Changes that wait for it.
    waiting: VecDeque<Intent>,
    phase: Phase,
    /// The checkpoint that a next attempt goes on from.
    latest: Option<Manifest>,
    failures: Failures,
    /// What attempts have learned of how long checkpoints take.
    patience: Patience,
    retention: Retention,
    now: Time,
    /// Who asked for a checkpoint and has no answer yet.
    asked: Vec<u64>,
    /// Objects of retired checkpoints are being deleted.
    deleting: bool,
    actions: Vec<Action>,
}

impl Job {
    /// A job of which HEAD says this. `unique` are 128 random bits that no other process has.
    pub fn new(
        settings: Settings,
        beginning: Beginning,
        unique: u128,
        head: Option<(Head, Version)>,
    ) -> (Job, Vec<Action>) {
        let retention = Retention::new(settings.retained);
        let patience = Patience::new(settings.checkpoints.timeout);
        let mut job = Job {
            register: Register::new(unique, head),
            settings,
            changing: None,
            waiting: VecDeque::new(),
            phase: Phase::Leading,
            latest: None,
            failures: Failures::default(),
            patience,
            retention,
            now: 0,
            asked: Vec::new(),
            deleting: false,
            actions: Vec::new(),
        };
        match job.first(beginning) {
            Ok(head) => job.want(Intent::Lead(Box::new(head))),
            Err(end) => job.over(end),
        }
        let actions = std::mem::take(&mut job.actions);
        (job, actions)
    }

    /// The HEAD that makes this process the leader.
    fn first(&self, beginning: Beginning) -> Result<Head, End> {
        let (leader, current) = (self.settings.leader.clone(), self.register.current());
        let elsewhere = |head: &Head| {
            End::Refused(format!(
                "HEAD says that it is run by {} (term {}); cancel it there, or stop that process and resume it",
                head.leader, head.term
            ))
        };
        match (beginning, current) {
            (Beginning::Deployed(incarnation), None) => Ok(Head::new(1, leader, incarnation, String::new())),
            (Beginning::Deployed(incarnation), Some(head)) if is_free(head) => {
                Ok(Head::new(head.term + 1, leader, incarnation, String::new()))
            }
            (Beginning::Deployed(_), Some(head)) => Err(elsewhere(head)),
            (Beginning::Resumed(incarnation), Some(head)) if head.incarnation == incarnation => {
                if head.wanted != Wanted::Running {
                    return Err(ended(head));
                }
                let attempt = Attempt(head.attempt.0 + 1);
                let mut head = head.clone();
                (head.term, head.leader, head.attempt) = (head.term + 1, leader, attempt);
                Ok(head)
            }
            (Beginning::Resumed(_), Some(head)) => Err(elsewhere(head)),
            (Beginning::Resumed(_), None) => {
                Err(End::Refused("its HEAD is gone from the store; deploy it again".to_owned()))
            }
        }
    }

    /// Takes what happened at `now` and says what is to be done, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Swapped(answer) => {
                let outcome = self.register.answered(answer);
                self.head_settled(outcome);
            }
            Event::HeadRead(found) => {
                let outcome = self.register.read(*found);
                self.head_settled(outcome);
            }
            Event::ManifestLoaded(checkpoint, loaded) => self.loaded(checkpoint, loaded),
            Event::Failed { attempt, failure } => self.failed(attempt, failure),
            Event::Stopped { attempt } => self.stopped(attempt),
            Event::Cancel => self.cancel(),
            Event::Deleted => self.deleting = false,
            Event::Checkpoint(number) => self.asked.push(number),
            Event::Tick => {}
            of_attempt => self.of_attempt(of_attempt),
        }
        self.answer_asked();
        self.advance();
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Pausing(until) => Some(*until),
            Phase::Running(running) => running.deadline(),
            _ => None,
        }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Leading | Phase::Loading(_) if self.failures.any() => State::Restarting,
            Phase::Leading | Phase::Loading(_) => State::Starting,
            Phase::Running(running) if running.is_canceling() => State::Stopping,
            Phase::Running(_) => State::Running,
            Phase::Stopping(_, Then::Judge(_)) | Phase::Pausing(_) => State::Restarting,
            Phase::Stopping(_, Then::End(_)) | Phase::Telling(_) => State::Stopping,
            Phase::Over(end) => State::Over(end.clone()),
        }
    }

    /// The checkpoint that counts.
    pub fn latest(&self) -> Option<&Manifest> {
        self.latest.as_ref()
    }

    /// HEAD as it is known.
    pub fn head(&self) -> Option<&Head> {
        self.register.current()
    }

    /// What follows from time, and from changes of HEAD that waited.
    fn advance(&mut self) {
        if let Phase::Pausing(until) = self.phase
            && until <= self.now
        {
            self.phase = Phase::Leading;
            self.want(Intent::Attempt);
        }
        if let Phase::Running(running) = &mut self.phase {
            let failed = running.advance(self.now, &mut self.actions);
            let attempt = running.attempt;
            for complete in running.take_complete(self.now) {
                self.want(complete);
            }
            if let Some(failure) = failed {
                self.failed(attempt, failure);
            }
        }
        self.change_next();
    }

    /// An attempt runs: from the latest checkpoint, or from the beginning.
    fn start(&mut self) {
        let Some(head) = self.register.current() else { return };
        let attempt = head.attempt;
        let running = Running::new(&self.settings, attempt, self.latest.as_ref(), self.patience, self.now);
        self.phase = Phase::Running(Box::new(running));
        let incarnation = head.incarnation.clone();
        let from = self.latest.clone().map(Box::new);
        self.actions.push(Action::Deploy { incarnation, attempt, from });
    }

    fn loaded(&mut self, checkpoint: CheckpointId, loaded: Result<Box<Manifest>, Failure>) {
        if !matches!(self.phase, Phase::Loading(wanted) if wanted == checkpoint) {
            match loaded {
                Ok(manifest) => self.retention.add(&manifest),
                Err(failure) => {
                    let text = format!("checkpoint {checkpoint}, which is retained, can't be read: {}", failure.reason);
                    self.tell(Level::Warn, text);
                }
            }
            return self.sweep();
        }
        match loaded {
            Ok(manifest) => {
                if let Err(reason) = self.fits(&manifest, checkpoint) {
                    let reason = format!("{reason}{}", self.earlier());
                    return self.give_up(Failure { kind: restart::Kind::Fatal, reason });
                }
                self.retention.add(&manifest);
                self.latest = Some(*manifest);
                self.sweep();
                self.start();
            }
            Err(failure) if failure.kind == restart::Kind::Fatal => {
                let reason = format!("{}{}", failure.reason, self.earlier());
                self.judge(Failure { reason, ..failure });
            }
            Err(failure) => self.judge(failure),
        }
    }

    /// What else the job could be begun again from, for people.
    fn earlier(&self) -> String {
        let Some(head) = self.register.current() else { return String::new() };
        let earlier = head.retained.iter().rev().filter(|checkpoint| Some(**checkpoint) != head.latest);
        let earlier: Vec<String> = earlier.map(ToString::to_string).collect();
        if earlier.is_empty() {
            return "; no earlier checkpoint is retained".to_owned();
        }
        format!("; earlier checkpoints that are retained: {}", earlier.join(", "))
    }

    /// Whether a manifest is the one that was asked for.
    fn fits(&self, manifest: &Manifest, checkpoint: CheckpointId) -> Result<(), String> {
        let is_it = manifest.checkpoint == checkpoint
            && self.register.current().is_some_and(|head| head.incarnation == manifest.incarnation);
        if !is_it {
            return Err(format!("{} holds another checkpoint than its name says", manifest.name()));
        }
        if manifest.key_groups != self.settings.key_groups {
            let (then, now) = (manifest.key_groups.get(), self.settings.key_groups.get());
            return Err(format!("the checkpoint has {then} key groups and the pipeline {now}; set key-groups: {then}"));
        }
        Ok(())
    }

    /// Deletes what earlier attempts left.
    fn sweep(&mut self) {
        let (Some(head), Some(latest)) = (self.register.current(), &self.latest) else { return };
        let Some(kept) = self.retention.kept(head) else { return };
        self.actions.push(Action::Sweep {
            incarnation: head.incarnation.clone(),
            until: latest.checkpoint,
            kept: kept.into_iter().cloned().collect(),
        });
    }

    fn failed(&mut self, attempt: Attempt, mut failure: Failure) {
        let Phase::Running(running) = &self.phase else { return };
        if running.attempt != attempt {
            return;
        }
        if failure.kind == restart::Kind::Fatal && running.is_restoring() {
            failure.reason += &self.earlier();
        }
        self.patience = running.patience();
        self.actions.push(Action::Tell(Level::Error, failure.reason.clone()));
        self.actions.push(Action::Cancel { attempt });
        self.phase = Phase::Stopping(attempt, Then::Judge(failure));
    }

    fn stopped(&mut self, attempt: Attempt) {
        if !matches!(&self.phase, Phase::Stopping(stopping, _) if *stopping == attempt) {
            // It has stopped by itself and said nothing.
            if matches!(&self.phase, Phase::Running(running) if running.attempt == attempt) {
                let reason = "it stopped without a reason".to_owned();
                self.failed(attempt, Failure { kind: restart::Kind::Fatal, reason });
                self.stopped(attempt);
            }
            return;
        }
        let Phase::Stopping(_, then) = std::mem::replace(&mut self.phase, Phase::Leading) else { return };
        match then {
            Then::Judge(failure) => self.judge(failure),
            Then::End(end) if self.is_telling() => self.phase = Phase::Telling(end),
            Then::End(end) => self.over(end),
        }
    }

    fn judge(&mut self, failure: Failure) {
        match self.failures.judge(failure.kind, &self.settings.restart) {
            Verdict::Restart(pause) => {
                let text = format!("starts again in {} ms", pause);
                self.actions.push(Action::Tell(Level::Warn, text));
                self.phase = Phase::Pausing(self.now.saturating_add(pause));
            }
            Verdict::GiveUp(None) if failure.kind == restart::Kind::Closed => self.tell_end(End::Canceled),
            Verdict::GiveUp(None) => self.give_up(failure),
            Verdict::GiveUp(Some(why)) => {
                let reason = format!("{}; {why}", failure.reason);
                self.give_up(Failure { reason, ..failure });
            }
        }
    }

    fn give_up(&mut self, failure: Failure) {
        if failure.kind == restart::Kind::Fenced {
            return self.over(End::Deposed(failure.reason));
        }
        self.tell_end(End::Failed(failure));
    }

    /// Nothing runs any more: HEAD is told, then it is over.
    fn tell_end(&mut self, end: End) {
        self.phase = Phase::Telling(end.clone());
        self.want(Intent::End(end));
    }

    fn cancel(&mut self) {
        match &mut self.phase {
            Phase::Running(running) => running.cancel(self.now),
            Phase::Stopping(attempt, Then::Judge(_)) => {
                let attempt = *attempt;
                self.want(Intent::End(End::Canceled));
                self.phase = Phase::Stopping(attempt, Then::End(End::Canceled));
            }
            Phase::Leading | Phase::Loading(_) | Phase::Pausing(_) => self.tell_end(End::Canceled),
            Phase::Stopping(_, Then::End(_)) | Phase::Telling(_) | Phase::Over(_) => {}
        }
    }

    fn over(&mut self, end: End) {
        self.phase = Phase::Over(end.clone());
        self.actions.push(Action::Ended(end));
    }

    fn head_settled(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ask(Step::Read) => self.actions.push(Action::ReadHead),
            Outcome::Ask(Step::Swap(head, expected)) => self.actions.push(Action::Swap { head, expected }),
            Outcome::Accepted => self.changed(),
            Outcome::Deposed { leader, term } => {
                self.changing = None;
                self.waiting.clear();
                let reason =
                    format!("HEAD is {leader}'s now (term {term}): this process does not lead the job any more");
                self.actions.push(Action::Tell(Level::Error, reason.clone()));
                let end = End::Deposed(reason);
                match &self.phase {
                    Phase::Running(running) => {
                        let attempt = running.attempt;
                        self.actions.push(Action::Cancel { attempt });
                        self.phase = Phase::Stopping(attempt, Then::End(end));
                    }
                    Phase::Stopping(attempt, _) => self.phase = Phase::Stopping(*attempt, Then::End(end)),
                    Phase::Over(_) => {}
                    _ => self.over(end),
                }
            }
        }
    }
}

/// Why a job of this HEAD is not resumed.
fn ended(head: &Head) -> End {
    match head.wanted {
        Wanted::Finished => End::Finished,
        Wanted::Canceled => End::Canceled,
        Wanted::Running | Wanted::Failed => {
            let reason = "it had failed before; see its log".to_owned();
            End::Failed(Failure { kind: restart::Kind::Fatal, reason })
        }
    }
}
