//! Savepoints: a checkpoint that was taken for it becomes one as soon as all output that it carries is written. It stays until it
//! is given up, whatever life the job is in.

use flow_model::checkpoint::CheckpointId;
use flow_model::checkpoint::head::PREVIOUS;
use flow_model::ids::SavepointName;

use super::event::Action;
use super::intent::Intent;
use super::running::Running;
use super::settling::Goal;
use super::{End, Job, Phase};
use crate::checkpoint::Purpose;

/// A savepoint that was asked for.
pub(super) struct Requested {
    name: SavepointName,
    /// Its sources give nothing after it, and the job ends with it.
    stop: bool,
    stage: Stage,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A checkpoint is to be taken for it.
    Wanted,
    /// This one counts, and its output is not all written.
    Counts {
        checkpoint: CheckpointId,
        /// All of its output is written when that of this one is, be it a later one.
        written_at: CheckpointId,
    },
    /// HEAD is being told.
    Telling(CheckpointId),
    /// It is one, and the job is to end.
    Kept,
}

impl Stage {
    fn checkpoint(self) -> Option<CheckpointId> {
        match self {
            Stage::Counts { checkpoint, .. } | Stage::Telling(checkpoint) => Some(checkpoint),
            Stage::Wanted | Stage::Kept => None,
        }
    }
}

impl Requested {
    /// An attempt begins, with the latest checkpoint: of what came before nothing is known to be written.
    pub(super) fn restarted(&mut self, latest: Option<CheckpointId>) {
        if let (Stage::Counts { written_at, .. }, Some(latest)) = (&mut self.stage, latest) {
            *written_at = latest;
        }
    }

    /// An attempt is to take the checkpoint for it.
    pub(super) fn want(&self, running: &mut Running) {
        if self.stage == Stage::Wanted {
            running.want(Purpose::Savepoint(self.name.clone()));
        }
    }
}

/// The one that the job ends with: its sources give nothing any more.
pub(super) fn last(requested: &[Requested]) -> Option<&SavepointName> {
    requested.iter().find(|requested| requested.stop).map(|requested| &requested.name)
}

impl Job {
    pub(super) fn request(&mut self, number: u64, name: SavepointName, stop: bool) {
        let answer = self.refusal(&name).map_or(Ok(()), Err);
        if answer.is_ok() {
            let requested = Requested { name, stop, stage: Stage::Wanted };
            if let Phase::Running(running) = &mut self.phase {
                requested.want(running);
            }
            self.requested.push(requested);
        }
        self.actions.push(Action::Accepted(number, answer));
    }

    fn refusal(&self, name: &SavepointName) -> Option<String> {
        if name.as_str() == PREVIOUS {
            return Some(format!("the name \"{PREVIOUS}\" is kept for the end of the job's former life"));
        }
        let is_taken = self.register.current().is_some_and(|head| head.savepoint(name).is_some());
        if is_taken || self.requested.iter().any(|requested| requested.name == *name) {
            return Some(format!("there is a savepoint \"{name}\" already; choose another name, or remove it"));
        }
        if let Some(last) = last(&self.requested) {
            return Some(format!("the job ends with the savepoint \"{last}\""));
        }
        match self.goal {
            _ if self.goes_on() => None,
            // The life that is to begin takes it.
            Some(Goal::Begin(_)) if !self.is_ending() => None,
            _ => Some("the job is about to end".to_owned()),
        }
    }

    /// The least checkpoint that is to become a savepoint.
    pub(super) fn least_requested(&self) -> CheckpointId {
        self.requested
            .iter()
            .filter_map(|requested| requested.stage.checkpoint())
            .min()
            .unwrap_or(CheckpointId(u64::MAX))
    }

    /// A checkpoint counts that was taken for these reasons.
    pub(super) fn taken(&mut self, purposes: &[Purpose], checkpoint: CheckpointId) {
        for requested in &mut self.requested {
            if requested.stage == Stage::Wanted && purposes.contains(&Purpose::Savepoint(requested.name.clone())) {
                requested.stage = Stage::Counts { checkpoint, written_at: checkpoint };
            }
        }
    }

    /// Tells HEAD of those whose output is written.
    pub(super) fn pin_settled(&mut self) {
        let mut pins = Vec::new();
        for requested in &mut self.requested {
            if let Stage::Counts { checkpoint, written_at } = requested.stage
                && self.lanes.is_settled_at(written_at)
            {
                requested.stage = Stage::Telling(checkpoint);
                pins.push(Intent::Pin(requested.name.clone(), checkpoint));
            }
        }
        pins.into_iter().for_each(|pin| self.want(pin));
    }

    /// HEAD names it.
    pub(super) fn pinned(&mut self, name: &SavepointName, checkpoint: CheckpointId) {
        let Some(at) = self.requested.iter().position(|requested| requested.name == *name) else { return };
        // Sources stay held: the job ends.
        self.actions.push(Action::SavepointOver(name.clone(), Ok(checkpoint)));
        if self.requested[at].stop {
            self.requested[at].stage = Stage::Kept;
            self.cancel();
        } else {
            self.requested.remove(at);
        }
    }

    pub(super) fn give_savepoint_up(&mut self, number: u64, name: SavepointName) {
        let is_there = self.register.current().is_some_and(|head| head.savepoint(&name).is_some());
        // What it begins with may be this one, or share objects with it.
        let has_begun = self.goal.is_none() && (self.latest.is_some() || matches!(self.phase, Phase::Running(_)));
        let refusal = match (is_there, has_begun) {
            _ if self.leads_no_more() => Some("this process does not lead the job any more".to_owned()),
            (false, _) => Some(format!("there is no savepoint \"{name}\"")),
            (true, false) => Some(format!("the job is just beginning; remove the savepoint \"{name}\" when it runs")),
            (true, true) => None,
        };
        if let Some(refusal) = refusal {
            return self.actions.push(Action::Accepted(number, Err(refusal)));
        }
        self.want(Intent::Unpin(name, number));
    }

    /// HEAD names it no more.
    pub(super) fn unpinned(&mut self, number: u64) {
        self.actions.push(Action::Accepted(number, Ok(())));
        self.delete_garbage();
    }

    /// The job is over, like this.
    pub(super) fn none_comes(&mut self, end: &End) {
        let why = match end {
            End::Finished | End::Settled => "the job finished before it was complete".to_owned(),
            End::Canceled => "the job was canceled before it was complete".to_owned(),
            End::Failed(failure) => format!("the job failed before it was complete: {}", failure.reason),
            End::Refused(why) | End::Deposed(why) => format!("the job ended before it was complete: {why}"),
        };
        for requested in self.requested.drain(..).filter(|requested| requested.stage != Stage::Kept) {
            self.actions.push(Action::SavepointOver(requested.name, Err(why.clone())));
        }
    }
}
