//! An attempt makes room for another one: a worker of it is to be free, or the job is to have another parallelism. A checkpoint is taken
//! behind which sources give nothing, so that next to nothing is done twice; when it counts, HEAD gets the next attempt and the new
//! description in one swap; then the old attempt is stopped, and the next one begins as after a failure. So all lanes of the checkpoint have
//! owners in it, and are settled before its first barrier. An attempt that fails meanwhile needs no checkpoint any more, nor does one whose
//! checkpoint does not come for long, as while Kafka is away: the next one goes on from the last that counts, as after a failure.

use super::event::{Action, Spec};
use super::intent::Intent;
use super::{Job, Phase, Then, savepoint};
use crate::Time;
use crate::checkpoint::Purpose;

/// How long the checkpoint is waited for: half of what who stops a process usually grants it.
const ROOM: Time = 60_000;

/// What was asked for.
pub(super) struct Redeploy {
    /// Who waits for it.
    numbers: Vec<u64>,
    /// The new description; the same if none.
    spec: Option<Spec>,
    /// After that it happens without a checkpoint.
    until: Time,
}

impl Job {
    pub(super) fn request_redeploy(&mut self, number: u64, spec: Option<Spec>) {
        if let Some(refusal) = self.redeploy_refusal(spec.as_ref()) {
            return self.actions.push(Action::Accepted(number, Err(refusal)));
        }
        match &mut self.redeploy {
            Some(redeploy) => {
                redeploy.numbers.push(number);
                redeploy.spec = redeploy.spec.take().or(spec);
            }
            None => {
                self.redeploy = Some(Redeploy { numbers: vec![number], spec, until: self.now.saturating_add(ROOM) });
                self.want_redeploy();
            }
        }
    }

    fn redeploy_refusal(&self, spec: Option<&Spec>) -> Option<String> {
        if !self.goes_on() || self.canceled || savepoint::last(&self.requested).is_some() {
            return Some("the job is about to end".to_owned());
        }
        let is_under_way = self.redeploy.as_ref().is_some_and(|redeploy| redeploy.spec.is_some())
            || self.is_wanting(|intent| matches!(intent, Intent::Redeploy(_)));
        (is_under_way && spec.is_some()).then(|| "the job is being scaled; scale it again when it runs".to_owned())
    }

    /// Begins with it, if there is an attempt that has to make room.
    pub(super) fn want_redeploy(&mut self) {
        let (Some(_), Phase::Running(running)) = (&self.redeploy, &mut self.phase) else { return };
        if running.has_started() {
            running.want(Purpose::Redeploy);
        } else {
            self.redeploy_now();
        }
    }

    /// When no checkpoint is waited for any more before the attempt that runs makes room.
    pub(super) fn redeploy_due(&self) -> Option<Time> {
        let waits = matches!(&self.phase, Phase::Running(running) if running.has_started() && running.is_open());
        self.redeploy.as_ref().map(|redeploy| redeploy.until).filter(|_| waits)
    }

    /// Goes on without a checkpoint if none has come for long.
    pub(super) fn redeploy_if_due(&mut self) {
        if self.redeploy_due().is_some_and(|until| until <= self.now) {
            self.redeploy_now();
        }
    }

    /// Whether the attempt that runs is to make room: its sources give nothing more.
    pub(super) fn is_redeploying(&self) -> bool {
        self.redeploy.is_some() || self.is_wanting(|intent| matches!(intent, Intent::Redeploy(_)))
    }

    /// A checkpoint counts that was taken for these reasons.
    pub(super) fn taken_to_redeploy(&mut self, purposes: &[Purpose]) {
        if purposes.contains(&Purpose::Redeploy) && matches!(self.phase, Phase::Running(_)) {
            self.redeploy_now();
        }
    }

    fn redeploy_now(&mut self) {
        if let Some(redeploy) = self.redeploy.take() {
            self.want(Intent::Redeploy(redeploy));
        }
    }

    /// Nothing runs, and an attempt is about to begin. True if HEAD has to have another description first.
    pub(super) fn must_redeploy_first(&mut self) -> bool {
        let Some(redeploy) = self.redeploy.take() else { return false };
        if redeploy.spec.is_none() {
            self.answer(redeploy.numbers, &Ok(()));
            return false;
        }
        self.phase = Phase::Leading;
        self.want(Intent::Redeploy(redeploy));
        true
    }

    /// HEAD names the next attempt.
    pub(super) fn redeployed(&mut self, redeploy: Redeploy) {
        if let Some(spec) = redeploy.spec {
            self.settings.contributions = spec.contributions;
        }
        self.answer(redeploy.numbers, &Ok(()));
        match &self.phase {
            Phase::Running(running) => {
                let attempt = running.attempt;
                self.patience = running.patience();
                self.actions.push(Action::Cancel { attempt });
                self.phase = Phase::Stopping(attempt, Then::Start);
            }
            // Another attempt was on its way already.
            Phase::Leading if self.is_wanting(|intent| matches!(intent, Intent::Attempt)) => {}
            Phase::Leading => self.load_or_start(),
            _ => {}
        }
    }

    /// HEAD of the next attempt; none if the job is about to end, which is told then.
    pub(super) fn may_redeploy(&self) -> bool {
        match &self.phase {
            Phase::Running(running) => running.is_open(),
            Phase::Settling(_) | Phase::Telling(_) | Phase::Over(_) => false,
            _ => self.goal.is_none() && !self.canceled,
        }
    }

    /// Tells those who wait that it is not done.
    pub(super) fn redeploy_refused(&mut self, why: &str) {
        let mut all: Vec<Redeploy> = self.redeploy.take().into_iter().collect();
        for intent in std::mem::take(&mut self.waiting) {
            match intent {
                Intent::Redeploy(redeploy) => all.push(redeploy),
                other => self.waiting.push_back(other),
            }
        }
        for redeploy in all {
            self.refused(redeploy, why);
        }
    }

    pub(super) fn refused(&mut self, redeploy: Redeploy, why: &str) {
        self.answer(redeploy.numbers, &Err(why.to_owned()));
    }

    fn answer(&mut self, numbers: Vec<u64>, answer: &Result<(), String>) {
        self.actions.extend(numbers.into_iter().map(|number| Action::Accepted(number, answer.clone())));
    }
}

impl Redeploy {
    /// The revision that HEAD is to name, if it is another one.
    pub(super) fn revision(&self) -> Option<u64> {
        self.spec.as_ref().map(|spec| spec.revision)
    }
}
