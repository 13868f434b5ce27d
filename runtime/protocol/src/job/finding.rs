//! A new leader goes on with an attempt that a former one has deployed, and that runs meanwhile: nobody of it is told anything before
//! HEAD has the new term, so from then on the former leader completes nothing, and workers obey the new one alone from when they told
//! it what they run. What the former one had begun is given up: its acknowledgements are nobody's. Ids go on above all that any part was
//! told of. What it had completed and perhaps told nobody is told again.

use flow_model::checkpoint::{Attempt, Incarnation};

use super::event::{Action, Failure, Found};
use super::running::Running;
use super::{Job, Phase, Then};
use crate::restart::Kind;

impl Job {
    /// Looks for an attempt, whose latest checkpoint is known.
    pub(super) fn start_to_find(&mut self, incarnation: Incarnation, attempt: Attempt) {
        let time = self.settings.cluster.as_ref().map_or(0, |cluster| cluster.finding);
        self.actions.push(Action::Find { incarnation, attempt });
        self.phase = Phase::Finding(attempt, self.now.saturating_add(time));
    }

    /// Gives up to look for it, if it is time to.
    pub(super) fn not_found(&mut self) {
        let Phase::Finding(attempt, until) = self.phase else { return };
        if until <= self.now {
            self.unfit(attempt, "was deployed by a former leader, and not all of it is found");
        }
    }

    fn unfit(&mut self, attempt: Attempt, why: &str) {
        let failure = Failure { kind: Kind::Retryable, reason: format!("attempt {attempt} {why}") };
        self.actions.push(Action::Cancel { attempt });
        self.phase = Phase::Stopping(attempt, Then::Judge(failure));
    }

    /// All of it runs.
    pub(super) fn found(&mut self, attempt: Attempt, found: Found) {
        if !matches!(self.phase, Phase::Finding(looked_for, _) if looked_for == attempt) {
            return;
        }
        let latest = self.latest.as_ref();
        let is_its_own = latest.is_some_and(|latest| latest.attempt() == attempt);
        if !is_its_own && found.restored != latest.map(|latest| latest.checkpoint) {
            return self.unfit(attempt, "runs from another checkpoint than the latest");
        }
        for (lane, progress) in &found.progress {
            self.lanes.progressed(lane.clone(), *progress);
        }
        let mut running = Running::found(&self.settings, attempt, self.latest.as_ref(), self.patience, &found);
        if let (Some(latest), true) = (&self.latest, is_its_own) {
            let checkpoint = latest.checkpoint;
            self.actions.push(Action::Confirm { attempt, checkpoint });
        }
        self.requested.iter().for_each(|requested| requested.want(&mut running));
        self.phase = Phase::Running(Box::new(running));
        self.want_redeploy();
    }
}
