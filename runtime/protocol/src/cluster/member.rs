//! A worker that takes part, as the leader knows it.

use flow_model::cluster::{Session, Worker};
use flow_model::workers::WorkerState;

use super::Settings;
use crate::Time;

/// What a member is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It takes what it is given.
    Active,
    /// It gets nothing new, and what it runs is moved.
    Draining,
    /// It runs nothing any more.
    Drained,
}

/// A worker that takes part.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) worker: Worker,
    pub(super) session: Session,
    pub(super) standing: Standing,
    /// Since when it has that standing.
    pub(super) since: Time,
    /// When it was heard last.
    pub(super) heard: Time,
}

impl Member {
    pub(super) fn stand(&mut self, standing: Standing, now: Time) {
        (self.standing, self.since) = (standing, now);
    }

    pub(super) fn is_suspected(&self, now: Time, settings: &Settings) -> bool {
        now.saturating_sub(self.heard) >= settings.suspected
    }

    pub(super) fn is_lost(&self, now: Time, settings: &Settings) -> bool {
        now.saturating_sub(self.heard) >= settings.lost
    }

    /// It may be given something.
    pub(super) fn takes_more(&self, now: Time, settings: &Settings) -> bool {
        self.standing == Standing::Active && !self.is_suspected(now, settings)
    }

    /// For people: what it is good for, and since when.
    pub(super) fn state(&self, now: Time, settings: &Settings) -> (WorkerState, Time) {
        match self.standing {
            Standing::Active if self.is_suspected(now, settings) => (WorkerState::Suspected, self.heard),
            Standing::Active => (WorkerState::Active, self.since),
            Standing::Draining => (WorkerState::Draining, self.since),
            Standing::Drained => (WorkerState::Drained, self.since),
        }
    }
}
