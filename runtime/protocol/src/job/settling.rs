//! A life of a job that is over, or about to be, owes output: what a confirmed checkpoint carries is written before another life
//! begins, and before the end, as far as there is time.

use flow_model::checkpoint::head::Wanted;
use flow_model::checkpoint::{Attempt, Incarnation};

use super::event::{Action, Failure, Level};
use super::intent::{Intent, Lead};
use super::{End, Job, Life, Owed, Phase, Then};
use crate::Time;

/// How long a job that is to end may take to write what is confirmed, in milliseconds.
pub(super) const LAST_OUTPUT: Time = 10_000;

/// What follows when it is written.
pub(super) enum Goal {
    /// Another life begins.
    Begin(Box<Life>),
    /// The job ends like this: at that time at the latest, written or not.
    End(End, Time),
    /// Nothing.
    Only(Owed),
}

impl Goal {
    /// An end that waits for what is to be written since `now`.
    pub(super) fn end(end: End, now: Time) -> Goal {
        Goal::End(end, now.saturating_add(LAST_OUTPUT))
    }

    /// When it comes about in any case.
    pub(super) fn until(&self) -> Option<Time> {
        if let Goal::End(_, until) = self { Some(*until) } else { None }
    }

    fn owed(&self) -> Owed {
        match self {
            Goal::Begin(life) => life.owed,
            Goal::Only(owed) => *owed,
            Goal::End(..) => Owed::Write,
        }
    }
}

impl Failure {
    /// What kept the output of a former life from being written.
    pub(super) fn of_former(self) -> Failure {
        let reason = format!(
            "output of the former life of the job is confirmed and can't be written: {}; to give it up, deploy with \
             --abandon-output",
            self.reason
        );
        Failure { reason, ..self }
    }
}

impl Job {
    /// Whether output of the checkpoint that counts is not known to be written.
    pub(super) fn owes(&self) -> bool {
        match &self.latest {
            Some(_) => self.lanes.behind() > 0,
            None => self.register.current().is_some_and(|head| head.latest.is_some()),
        }
    }

    /// Whether an attempt may write what is owed before the end.
    pub(super) fn may_settle(&self) -> bool {
        self.goal.is_none() && self.latest.is_some() && self.owes() && !self.is_telling()
    }

    /// A checkpoint has come to count while nothing ran any more and the end was about to be told: what it carries is written first.
    pub(super) fn settle_before_the_end(&mut self) {
        if let (Phase::Telling(end), true, None) = (&self.phase, self.owes(), &self.goal) {
            let end = end.clone();
            self.waiting.retain(|intent| !matches!(intent, Intent::End(_)));
            self.tell_end(end);
        }
    }

    /// There is no more time behind such a pause.
    pub(super) fn is_late(&self, pause: Time) -> bool {
        let until = self.goal.as_ref().and_then(Goal::until);
        until.is_some_and(|until| until <= self.now.saturating_add(pause))
    }

    /// An attempt begins that only writes.
    pub(super) fn start_to_settle(&mut self, incarnation: Incarnation, attempt: Attempt) {
        let Some(mut from) = self.latest.clone().map(Box::new) else { return self.reached() };
        let anew = self.goal.as_ref().is_some_and(|goal| goal.owed() == Owed::WriteAnew);
        if anew {
            from.nodes.values_mut().for_each(|node| node.lanes.clear());
            let text = format!(
                "--reset-progress: Kafka is not asked what it has of checkpoint {}; what that one carries is written, and may be \
                 written twice",
                from.checkpoint
            );
            self.tell(Level::Warn, text);
        }
        self.phase = Phase::Settling(attempt);
        self.actions.push(Action::Settle { incarnation, attempt, from, anew });
    }

    /// Ends the attempt that only writes when all is written, or there is no more time.
    pub(super) fn settle(&mut self) {
        let Phase::Settling(attempt) = self.phase else { return };
        if self.lanes.behind() == 0 || self.is_late(0) {
            self.actions.push(Action::Cancel { attempt });
            self.phase = Phase::Stopping(attempt, Then::Goal);
        }
    }

    /// A life ends, or is not begun, and what it or the one before owes may not be written, which HEAD goes on to say. Of one that was taken
    /// over it has to say that nobody runs it any more.
    pub(super) fn unsettled(&mut self, end: End) {
        if self.register.current().is_some_and(|head| head.wanted == Wanted::Running) {
            self.phase = Phase::Telling(end.clone());
            return self.want(Intent::End(end));
        }
        self.over(end);
    }

    /// Nothing runs, and nothing is left to write, or no time for it.
    pub(super) fn reached(&mut self) {
        match self.goal.take() {
            Some(Goal::Begin(_)) if self.canceled => self.unsettled(End::Canceled),
            Some(Goal::Begin(life)) => {
                // What it failed at is over with its former life.
                self.failures.over();
                (self.latest, self.swept) = (None, false);
                self.phase = Phase::Leading;
                self.lead(Lead::Next(life));
            }
            Some(Goal::End(end, until)) => {
                self.goal = Some(Goal::End(end.clone(), until));
                self.tell_end(end);
            }
            Some(Goal::Only(_)) | None => self.tell_end(End::Settled),
        }
    }
}
