//! The life of one job with checkpoints: become its leader, load the checkpoint that it goes on from, run an attempt, commit its
//! checkpoints, start again after a failure, end. [`Job::handle`] takes what happened and says what is to be done.
//!
//! - `beginning`: how a process becomes the leader
//! - `running`: an attempt that runs, and its checkpoints
//! - `finding`: an attempt that a former leader has deployed goes on under this one
//! - `redeploy`: an attempt makes room for another one, after a checkpoint
//! - `settling`: confirmed output of a life that is over, or about to be, is written
//! - `savepoint`: checkpoints that users keep
//! - `intent`: changes of HEAD, one after the other
//! - [`event`]: what happens and what is to be done

use std::collections::{BTreeSet, VecDeque};

use flow_model::checkpoint::{Attempt, CheckpointId, Head, Incarnation, Manifest, ObjectName};
use flow_model::ids::PipelineName;
use flow_model::key_group::KeyGroups;

use crate::Time;
use crate::checkpoint::{self, Contributions};
use crate::head::{Outcome, Register, Step, Version, Writer};
use crate::lanes::Lanes;
use crate::patience::Patience;
use crate::restart::{self, Failures, Verdict};
use crate::retention::Retention;

mod beginning;
pub mod event;
mod finding;
mod intent;
mod redeploy;
mod running;
mod savepoint;
mod settling;

pub use beginning::{Beginning, Former, Life, Owed};
pub use event::{Action, Event, Failure, Found, Level, Spec};
use intent::{Intent, Lead};
use redeploy::Redeploy;
use running::Running;
use savepoint::Requested;
use settling::Goal;

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
    /// Where HEAD is, for people.
    pub head: String,
    /// It runs in a cluster.
    pub cluster: Option<InCluster>,
}

/// What is different for a job that runs in a cluster: an attempt may outlive its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InCluster {
    /// The term of the cluster's leader; HEAD's is no lower.
    pub term: u64,
    /// An attempt that a former leader has deployed is looked for so long, in milliseconds.
    pub finding: Time,
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
    /// Another process leads it, or has until now: a leader of a cluster that still is one begins anew with what HEAD says.
    Deposed(String),
    /// It was over before, and what it owed is written.
    Settled,
}

enum Phase {
    /// This process is to become the leader.
    Leading,
    /// The manifest of that checkpoint is asked for.
    Loading(CheckpointId),
    /// What this life begins with is being copied.
    Adopting,
    /// An attempt that a former leader has deployed is looked for until then.
    Finding(Attempt, Time),
    /// An attempt runs.
    Running(Box<Running>),
    /// An attempt only writes what is confirmed.
    Settling(Attempt),
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
    /// The next one begins, as HEAD says already.
    Start,
    /// HEAD has to be told of the end.
    Tell(End),
    /// What is owed is written, or there was no time to.
    Goal,
    /// It ends; HEAD says so already where it has to.
    End(End),
}

/// One job.
pub struct Job {
    settings: Settings,
    register: Register,
    /// HEAD is another process's, or can't be read: this one changes it no more.
    lost: bool,
    /// The change of HEAD that is in flight.
    changing: Option<Intent>,
    /// Changes that wait for it.
    waiting: VecDeque<Intent>,
    phase: Phase,
    /// The checkpoint that a next attempt goes on from.
    latest: Option<Manifest>,
    /// What is known to be written of the checkpoint that counts.
    lanes: Lanes,
    /// This attempt was deployed by a former leader and may run.
    find: Option<Attempt>,
    /// It is to go on as another attempt.
    redeploy: Option<Redeploy>,
    /// What follows when what is owed is written, if that is all that is left to do.
    goal: Option<Goal>,
    failures: Failures,
    /// What attempts have learned of how long checkpoints take.
    patience: Patience,
    retention: Retention,
    /// Checkpoints that HEAD names and that could not be read for now.
    unread: Vec<(Incarnation, CheckpointId)>,
    /// What former lives left was looked for.
    swept: bool,
    now: Time,
    /// Who asked for a checkpoint and has no answer yet.
    asked: Vec<u64>,
    /// Its user wants it stopped.
    canceled: bool,
    /// Savepoints that were asked for and are none yet.
    requested: Vec<Requested>,
    /// So many deletions are under way.
    deleting: usize,
    actions: Vec<Action>,
}

impl Job {
    /// A job of which HEAD says this at `now`. `unique` are 128 random bits that no other process has.
    pub fn new(
        settings: Settings,
        beginning: Beginning,
        (unique, now): (u128, Time),
        head: Option<(Head, Version)>,
    ) -> (Job, Vec<Action>) {
        let retention = Retention::new(settings.retained);
        let patience = Patience::new(settings.checkpoints.timeout);
        let mut job = Job {
            register: Register::new(unique, head),
            settings,
            lost: false,
            changing: None,
            waiting: VecDeque::new(),
            phase: Phase::Leading,
            latest: None,
            lanes: Lanes::default(),
            find: None,
            redeploy: None,
            goal: None,
            failures: Failures::default(),
            patience,
            retention,
            unread: Vec::new(),
            swept: false,
            now,
            asked: Vec::new(),
            canceled: false,
            requested: Vec::new(),
            deleting: 0,
            actions: Vec::new(),
        };
        job.lead(Lead::First(Box::new(beginning)));
        let actions = std::mem::take(&mut job.actions);
        (job, actions)
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
            Event::HeadUnreadable(why) => self.head_unreadable(&why),
            Event::ManifestLoaded(incarnation, checkpoint, loaded) => self.loaded(&incarnation, checkpoint, loaded),
            Event::Adopted(adopted) => self.adopted(adopted),
            Event::Failed { attempt, failure } => self.failed(attempt, failure),
            Event::Stopped { attempt } => self.stopped(attempt),
            Event::Cancel => self.cancel(),
            Event::Deleted => self.deleting -= 1,
            Event::Checkpoint(number) => self.asked.push(number),
            Event::Savepoint { number, name, stop } => self.request(number, name, stop),
            Event::Redeploy { number, spec } => self.request_redeploy(number, spec),
            Event::Found { attempt, found } => self.found(attempt, found),
            Event::GiveUp { number, name } => self.give_savepoint_up(number, name),
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
            Phase::Pausing(until) | Phase::Finding(_, until) => Some(*until),
            Phase::Running(running) => {
                let running = running.deadline(&self.lanes, savepoint::last(&self.requested));
                running.into_iter().chain(self.redeploy_due()).min()
            }
            Phase::Settling(_) => self.goal.as_ref().and_then(Goal::until),
            _ => None,
        }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Over(end) => State::Over(end.clone()),
            _ if self.canceled || matches!(self.goal, Some(Goal::End(..))) => State::Stopping,
            Phase::Leading | Phase::Loading(_) | Phase::Adopting if self.failures.any() => State::Restarting,
            Phase::Leading | Phase::Loading(_) | Phase::Adopting => State::Starting,
            Phase::Finding(..) | Phase::Running(_) | Phase::Settling(_) | Phase::Stopping(_, Then::Goal) => {
                State::Running
            }
            Phase::Stopping(_, Then::Judge(_) | Then::Start) | Phase::Pausing(_) => State::Restarting,
            Phase::Stopping(_, Then::Tell(_) | Then::End(_)) | Phase::Telling(_) => State::Stopping,
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
            // As long as one may run that was not looked for yet, there is no other.
            if self.find.is_some() { self.load_or_start() } else { self.want(Intent::Attempt) }
        }
        self.not_found();
        self.redeploy_if_due();
        self.pin_settled();
        let with = savepoint::last(&self.requested);
        let is_held = with.is_some() || self.is_redeploying() || self.canceled;
        let committing = self.is_wanting(|intent| matches!(intent, Intent::Complete(..)));
        if let Phase::Running(running) = &mut self.phase {
            let failed = running.advance(self.now, &self.lanes, (is_held, with), &mut self.actions);
            let attempt = running.attempt;
            for complete in running.take_complete(self.now, &self.lanes, committing) {
                self.want(complete);
            }
            if let Some(failure) = failed {
                self.failed(attempt, failure);
            }
        }
        self.settle();
        self.change_next();
    }

    /// An attempt runs: from the latest checkpoint, or from the beginning.
    fn start(&mut self) {
        let Some(head) = self.register.current() else { return };
        let (incarnation, attempt) = (head.incarnation.clone(), head.attempt);
        self.lanes = Lanes::restored(self.latest.as_ref());
        let latest = self.latest.as_ref().map(|latest| latest.checkpoint);
        self.requested.iter_mut().for_each(|requested| requested.restarted(latest));
        if self.goal.is_some() {
            return self.start_to_settle(incarnation, attempt);
        }
        if self.canceled {
            return self.canceled_before(attempt);
        }
        if self.find.take_if(|find| *find == attempt).is_some() {
            return self.start_to_find(incarnation, attempt);
        }
        if self.must_redeploy_first() {
            return;
        }
        let mut running = Running::new(&self.settings, attempt, self.latest.as_ref(), self.patience, self.now);
        self.requested.iter().for_each(|requested| requested.want(&mut running));
        self.phase = Phase::Running(Box::new(running));
        let from = self.latest.clone().map(Box::new);
        self.actions.push(Action::Deploy { incarnation, attempt, from });
    }

    /// What this life begins with is there under its own name.
    fn adopted(&mut self, adopted: Result<Box<Manifest>, Failure>) {
        if !matches!(self.phase, Phase::Adopting) {
            return;
        }
        match adopted {
            Ok(manifest) => match self.fits(&manifest, CheckpointId::ADOPTED) {
                Ok(()) => {
                    self.phase = Phase::Leading;
                    self.want(Intent::Adopt(manifest));
                }
                Err(reason) => self.give_up(Failure { kind: restart::Kind::Fatal, reason }),
            },
            Err(failure) => self.judge(failure),
        }
    }

    fn loaded(&mut self, life: &Incarnation, checkpoint: CheckpointId, loaded: Result<Box<Manifest>, Failure>) {
        let is_mine = self.register.current().is_some_and(|head| head.incarnation == *life);
        if !matches!(self.phase, Phase::Loading(wanted) if wanted == checkpoint && is_mine) {
            match loaded {
                Ok(manifest) => self.retention.add(&manifest),
                Err(failure) => {
                    if failure.kind != restart::Kind::Fatal {
                        self.unread.push((life.clone(), checkpoint));
                    }
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
        let has_state = manifest.nodes.values().any(|node| node.subtasks.iter().any(|subtask| subtask.state.is_some()));
        // Output has no key groups.
        if manifest.key_groups != self.settings.key_groups && has_state && self.goal.is_none() {
            let (then, now) = (manifest.key_groups.get(), self.settings.key_groups.get());
            return Err(format!("the checkpoint has {then} key groups and the pipeline {now}; set key-groups: {then}"));
        }
        Ok(())
    }

    /// Deletes what earlier attempts left, once, and what former lives left.
    fn sweep(&mut self) {
        // What HEAD says by now, another one may go on from.
        if self.leads_no_more() {
            return;
        }
        let (Some(head), Some(latest), false) = (self.register.current(), &self.latest, self.swept) else { return };
        let Some(kept) = self.retention.kept(head) else { return };
        let kept: BTreeSet<ObjectName> = kept.into_iter().cloned().collect();
        let mine = (&head.incarnation, latest.checkpoint);
        let former = head.former.iter().map(|former| (former, CheckpointId(u64::MAX)));
        for (incarnation, until) in former.chain([mine]) {
            let (incarnation, kept) = (incarnation.clone(), kept.clone());
            self.actions.push(Action::Sweep { incarnation, until, kept });
        }
        self.swept = true;
    }

    /// It changes HEAD no more, and looks for no garbage.
    fn leads_no_more(&self) -> bool {
        self.lost || matches!(self.phase, Phase::Over(_))
    }

    /// Whether an attempt runs, or is to run: its user may still want something of it.
    fn goes_on(&self) -> bool {
        match &self.phase {
            Phase::Running(running) => running.is_open(),
            Phase::Settling(_) | Phase::Stopping(_, Then::Goal) => false,
            _ => self.goal.is_none() && !self.is_ending(),
        }
    }

    /// Whether nothing is to run after what does now, whatever is still written.
    fn is_ending(&self) -> bool {
        match &self.phase {
            Phase::Stopping(_, Then::Tell(_) | Then::End(_)) | Phase::Telling(_) | Phase::Over(_) => true,
            _ => self.canceled,
        }
    }

    /// The attempt that is at work.
    fn at_work(&self) -> Option<Attempt> {
        match &self.phase {
            Phase::Running(running) => Some(running.attempt),
            Phase::Settling(attempt) | Phase::Finding(attempt, _) => Some(*attempt),
            _ => None,
        }
    }

    fn failed(&mut self, attempt: Attempt, mut failure: Failure) {
        if self.at_work() != Some(attempt) {
            return;
        }
        if let Phase::Running(running) = &self.phase {
            if failure.kind == restart::Kind::Fatal && running.is_restoring() {
                failure.reason += &self.earlier();
            }
            self.patience = running.patience();
        }
        self.actions.push(Action::Tell(Level::Error, failure.reason.clone()));
        self.actions.push(Action::Cancel { attempt });
        self.phase = Phase::Stopping(attempt, Then::Judge(failure));
    }

    fn stopped(&mut self, attempt: Attempt) {
        if !matches!(&self.phase, Phase::Stopping(stopping, _) if *stopping == attempt) {
            // It has stopped by itself and said nothing.
            if self.at_work() == Some(attempt) {
                let reason = "it stopped without a reason".to_owned();
                self.failed(attempt, Failure { kind: restart::Kind::Fatal, reason });
                self.stopped(attempt);
            }
            return;
        }
        let Phase::Stopping(_, then) = std::mem::replace(&mut self.phase, Phase::Leading) else { return };
        match then {
            Then::Judge(failure) => self.judge(failure),
            Then::Goal => self.reached(),
            Then::Start if self.canceled => self.tell_end(End::Canceled),
            Then::Start => self.load_or_start(),
            Then::Tell(end) if self.is_telling() => self.phase = Phase::Telling(end),
            Then::Tell(end) => self.tell_end(end),
            Then::End(end) if self.is_telling() => self.phase = Phase::Telling(end),
            Then::End(End::Canceled) => self.unsettled(End::Canceled),
            Then::End(end) => self.over(end),
        }
    }

    fn judge(&mut self, failure: Failure) {
        if self.canceled && self.goal.is_none() && failure.kind != restart::Kind::Fenced {
            return self.tell_end(End::Canceled);
        }
        match self.failures.judge(failure.kind, &self.settings.restart) {
            Verdict::Restart(pause) if self.is_late(pause) => self.reached(),
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
        match self.goal {
            Some(Goal::End(..)) => self.reached(),
            Some(Goal::Begin(_) | Goal::Only(_)) => self.unsettled(End::Failed(failure.of_former())),
            None => self.tell_end(End::Failed(failure)),
        }
    }

    /// Nothing runs any more. What is owed is written; then HEAD is told, and it is over.
    fn tell_end(&mut self, end: End) {
        if self.may_settle() {
            self.goal = Some(Goal::end(end, self.now));
            self.phase = Phase::Leading;
            // One may be on its way, which had another purpose.
            if !self.is_wanting(|intent| matches!(intent, Intent::Attempt)) {
                self.want(Intent::Attempt);
            }
            return;
        }
        self.phase = Phase::Telling(end.clone());
        self.want(Intent::End(end));
    }

    fn cancel(&mut self) {
        self.canceled = true;
        let head = match &self.changing {
            Some(Intent::Lead(head, _)) => Some(&**head),
            _ => self.register.current(),
        };
        // What is owed is known when the checkpoint that counts is read.
        let comes_to_it =
            self.goal.is_none() && self.latest.is_none() && head.is_some_and(|head| head.latest.is_some());
        match &mut self.phase {
            Phase::Running(running) => running.cancel(self.now),
            Phase::Stopping(attempt, Then::Judge(_)) => {
                self.phase = Phase::Stopping(*attempt, Then::Tell(End::Canceled));
            }
            Phase::Finding(attempt, _) => {
                let attempt = *attempt;
                self.stop_canceled(attempt);
            }
            Phase::Settling(attempt) => {
                let attempt = *attempt;
                self.actions.push(Action::Cancel { attempt });
                let is_end = matches!(self.goal, Some(Goal::End(..)));
                let then = if is_end { Then::Goal } else { Then::End(End::Canceled) };
                self.phase = Phase::Stopping(attempt, then);
            }
            Phase::Leading | Phase::Loading(_) if comes_to_it => {}
            Phase::Leading | Phase::Loading(_) | Phase::Adopting | Phase::Pausing(_) => match self.goal {
                Some(Goal::End(..)) => self.reached(),
                Some(Goal::Begin(_) | Goal::Only(_)) => self.unsettled(End::Canceled),
                None => self.tell_end(End::Canceled),
            },
            Phase::Stopping(..) | Phase::Telling(_) | Phase::Over(_) => {}
        }
    }

    /// Its user wanted it stopped before this attempt began, here at least.
    fn canceled_before(&mut self, attempt: Attempt) {
        if self.find.take_if(|find| *find == attempt).is_none() {
            return self.tell_end(End::Canceled);
        }
        self.stop_canceled(attempt);
    }

    fn stop_canceled(&mut self, attempt: Attempt) {
        self.actions.push(Action::Cancel { attempt });
        self.phase = Phase::Stopping(attempt, Then::Tell(End::Canceled));
    }

    fn over(&mut self, end: End) {
        self.none_comes(&end);
        self.redeploy_refused("the job ended before");
        // It was just told that nothing comes of them.
        self.waiting.clear();
        self.phase = Phase::Over(end.clone());
        self.actions.push(Action::Ended(end));
    }

    fn head_settled(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ask(Step::Read) => self.actions.push(Action::ReadHead),
            Outcome::Ask(Step::Swap(head, expected)) => self.actions.push(Action::Swap { head, expected }),
            Outcome::Accepted => self.changed(),
            Outcome::Outdated(_) if self.may_lead_anew() => self.lead_anew(),
            Outcome::Deposed(writer) | Outcome::Outdated(writer) => {
                let reason = self.deposed(&writer);
                let end = End::Deposed(reason.clone());
                // What runs in a cluster is the other one's.
                self.lost(reason, end, self.settings.cluster.is_some());
            }
            Outcome::Gone => {
                let head = &self.settings.head;
                let reason = format!(
                    "{head} was deleted, and nothing can be committed without it; put it back as it was and deploy the job again \
                     with --take-over; if it is lost, deploy the job again: it begins with nothing"
                );
                let end = End::Deposed(reason.clone());
                self.lost(reason, end, self.settings.cluster.is_some());
            }
        }
    }

    /// Why a swap that another one came before ends the job.
    fn deposed(&self, Writer { leader, term }: &Writer) -> String {
        let Settings { head, leader: here, .. } = &self.settings;
        if leader == here {
            return format!(
                "{head} says what this process has not written, though under its address, {here} (term {term}): this process does \
                 not lead the job any more; an older HEAD was put back, or another flowd with that address runs the job; unless \
                 one does, deploy the job again with --take-over: it goes on where HEAD stands"
            );
        }
        format!("{head} is {leader}'s now (term {term}): this process does not lead the job any more; see it there")
    }

    fn head_unreadable(&mut self, why: &str) {
        let reason = format!(
            "nothing can be committed any more: {why}; when it is mended, or put back as it was, deploy \
             the job again with --take-over"
        );
        let end = End::Failed(Failure { kind: restart::Kind::Fatal, reason: reason.clone() });
        self.register.give_up();
        self.lost(reason, end, false);
    }

    /// HEAD can't be changed any more: the job ends here, at once if what runs is to be let alone.
    fn lost(&mut self, reason: String, end: End, at_once: bool) {
        self.lost = true;
        self.waiting.extend(self.changing.take());
        self.redeploy_refused("this process does not lead the job any more");
        self.waiting.clear();
        self.actions.push(Action::Tell(Level::Error, reason));
        match (self.at_work(), &self.phase) {
            (_, Phase::Over(_)) => {}
            (Some(attempt), _) if !at_once => {
                self.actions.push(Action::Cancel { attempt });
                self.phase = Phase::Stopping(attempt, Then::End(end));
            }
            (_, Phase::Stopping(attempt, _)) if !at_once => self.phase = Phase::Stopping(*attempt, Then::End(end)),
            _ => self.over(end),
        }
    }
}
