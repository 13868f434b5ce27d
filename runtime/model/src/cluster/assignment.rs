//! Where an attempt runs. Subtask `i` of every task shares one slot, so that a job needs as many slots as its widest task has
//! subtasks; a lane belongs to one worker, which alone writes by it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{OperatorName, SubtaskIndex, WorkerId};

/// Where an attempt runs. Each worker of it gets the whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Assignment {
    /// The workers that take part. All that follows names them by their place in here.
    pub participants: Vec<Participant>,
    /// By number of the subtask: where that one of every task runs, as far as the task has so many. Empty for an attempt that only
    /// writes what is owed.
    pub places: Vec<Place>,
    /// By sink that writes exactly once: the owner of each of its lanes, those that the restored checkpoint names included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<OperatorName, BTreeMap<u32, u32>>,
}

/// A worker that takes part in an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Participant {
    /// Which.
    pub worker: WorkerId,
    /// Its name, for people.
    pub name: String,
    /// Where its exchange is reached.
    pub address: String,
}

/// A slot of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    /// The worker's place among the participants.
    pub participant: u32,
    /// Its slot.
    pub slot: u32,
}

impl Assignment {
    /// The participant that a worker is.
    pub fn number(&self, worker: &WorkerId) -> Option<u32> {
        let at = self.participants.iter().position(|participant| participant.worker == *worker)?;
        u32::try_from(at).ok()
    }

    /// Where a subtask runs; none if there are not so many.
    pub fn place(&self, subtask: SubtaskIndex) -> Option<Place> {
        self.places.get(subtask.index()).copied()
    }

    /// Who runs a subtask; none if there are not so many.
    pub fn worker_of(&self, subtask: SubtaskIndex) -> Option<&Participant> {
        self.participants.get(self.place(subtask)?.participant as usize)
    }

    /// The subtasks of a participant, of a task with that parallelism.
    pub fn subtasks(&self, participant: u32, parallelism: u32) -> impl Iterator<Item = SubtaskIndex> + '_ {
        let all = (0..parallelism).map(SubtaskIndex).zip(&self.places);
        all.filter(move |(_, place)| place.participant == participant).map(|(subtask, _)| subtask)
    }

    /// The lanes of a sink that a participant owns, in order.
    pub fn lanes(&self, sink: &OperatorName, participant: u32) -> impl Iterator<Item = u32> + '_ {
        let all = self.lanes.get(sink).into_iter().flatten();
        all.filter(move |(_, owner)| **owner == participant).map(|(lane, _)| *lane)
    }

    /// The lane by which a participant's subtasks of a sink write: the first of those that it owns.
    pub fn lane(&self, sink: &OperatorName, participant: u32) -> Option<u32> {
        self.lanes(sink, participant).next()
    }
}
