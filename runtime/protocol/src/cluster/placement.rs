//! What of a job runs where: an attempt spread over several workers looks like one to its job. It has started, drained or stopped when
//! all its parts have; the failure of one part is its failure, and ends the others.
//!
//! A part on a worker that was lost counts as stopped, though that worker may go on with it: whatever it does is fenced by the
//! attempt. What it says is dropped, since its session is over; its objects carry the ids of checkpoints of an attempt that completes
//! none any more; its lanes are those of the next attempt, whose init ends their transactions and whose record makes them leave;
//! its exchanges carry the attempt, and their other ends are gone. What is left is output that is at-least-once, which may come
//! twice, and a worker without a leader stops after a while ([`crate::following`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation};
use flow_model::cluster::{Assignment, Part, Stage};
use flow_model::ids::WorkerId;

use super::event::Request;
use crate::Time;
use crate::job::{Event, Found};

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is there.
    At(Stage),
    /// Nothing of it runs any more, or what does is fenced.
    Stopped,
}

/// An attempt with parts on workers.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) attempt: Attempt,
    pub(super) assignment: Arc<Assignment>,
    /// By participant.
    parts: Vec<Progress>,
    /// All of it is to stop.
    stops: bool,
}

/// What of a job runs where.
#[derive(Debug)]
pub(super) enum Placement {
    /// Nothing that anybody wants.
    Nowhere,
    /// It is to be deployed as soon as there is room.
    Waiting(Box<Request>),
    /// It was deployed by a former leader: its parts are awaited.
    Finding(Incarnation, Attempt),
    /// It has workers.
    Placed(Placed),
}

/// A job.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was submitted: who did so first is first.
    pub(super) submitted: Time,
    pub(super) placement: Placement,
    /// Parts that workers ran when they registered and that nobody has asked for yet.
    pub(super) reported: BTreeMap<WorkerId, Part>,
    /// Where it ran last.
    pub(super) before: Option<Arc<Assignment>>,
}

/// The slots of a worker in an assignment.
fn slots_in(assignment: &Assignment, worker: &WorkerId) -> impl Iterator<Item = u32> {
    let number = assignment.number(worker);
    let mine = assignment.places.iter().filter(move |place| Some(place.participant) == number);
    mine.map(|place| place.slot)
}

impl Entry {
    /// The slots of a worker that it uses.
    pub(super) fn slots(&self, worker: &WorkerId) -> impl Iterator<Item = u32> {
        let placed = if let Placement::Placed(placed) = &self.placement { Some(placed.slots(worker)) } else { None };
        let reported = self.reported.get(worker).map(|part| slots_in(&part.assignment, worker));
        placed.into_iter().flatten().chain(reported.into_iter().flatten())
    }

    /// A worker says something of a part that it has reported and that nobody has asked for yet: it counts as if it had stood there.
    /// True if it can't go on: it is to be cancelled.
    pub(super) fn awaited(&mut self, worker: &WorkerId, event: &Event) -> bool {
        let Some(part) = self.reported.get_mut(worker) else { return false };
        if event.attempt() != Some(part.attempt) {
            return false;
        }
        match event {
            Event::Started { .. } => part.stage = part.stage.max(Stage::Started),
            Event::Drained { .. } => part.stage = Stage::Drained,
            Event::Progressed { lane: (sink, lane), progress, .. } => {
                part.progress.entry(sink.clone()).or_default().insert(*lane, *progress);
            }
            // It is not awaited any more: the attempt is not whole.
            Event::Failed { .. } => return self.reported.remove(worker).is_some(),
            Event::Stopped { .. } => _ = self.reported.remove(worker),
            _ => {}
        }
        false
    }
}

/// What a change of a part means for the whole attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing yet.
    None,
    /// All parts have come so far.
    All(Stage),
    /// All parts have stopped.
    Over,
}

impl Placed {
    pub(super) fn new(attempt: Attempt, assignment: Arc<Assignment>) -> Placed {
        let parts = vec![Progress::At(Stage::Deploying); assignment.participants.len()];
        Placed { attempt, assignment, parts, stops: false }
    }

    /// One that was found as its parts were reported; those that were not are gone.
    pub(super) fn found(attempt: Attempt, parts: &BTreeMap<WorkerId, Part>) -> Option<Placed> {
        let assignment = parts.values().next()?.assignment.clone();
        let of = |worker: &WorkerId| parts.get(worker).map_or(Progress::Stopped, |part| Progress::At(part.stage));
        let parts = assignment.participants.iter().map(|participant| of(&participant.worker)).collect();
        Some(Placed { attempt, assignment: Arc::new(assignment), parts, stops: false })
    }

    /// The workers whose parts have not stopped.
    pub(super) fn workers(&self) -> impl Iterator<Item = &WorkerId> {
        let all = self.assignment.participants.iter().zip(&self.parts);
        all.filter(|(_, part)| **part != Progress::Stopped).map(|(participant, _)| &participant.worker)
    }

    /// Whether a worker has a part that has not stopped.
    pub(super) fn is_on(&self, worker: &WorkerId) -> bool {
        self.workers().any(|other| other == worker)
    }

    /// The slots of a worker that it uses.
    fn slots(&self, worker: &WorkerId) -> impl Iterator<Item = u32> {
        let runs = self.is_on(worker);
        slots_in(&self.assignment, worker).filter(move |_| runs)
    }

    /// Begins to stop all of it; false if that was begun already.
    pub(super) fn stop(&mut self) -> bool {
        !std::mem::replace(&mut self.stops, true)
    }

    /// A worker's part has come so far, and what that means for the whole. A part that has stopped never comes back.
    pub(super) fn part(&mut self, worker: &WorkerId, to: Progress) -> Turn {
        let Some(number) = self.assignment.number(worker) else { return Turn::None };
        let before = self.stage();
        match (&mut self.parts[number as usize], to) {
            (Progress::Stopped, _) => return Turn::None,
            (part, Progress::Stopped) => *part = Progress::Stopped,
            (Progress::At(stage), Progress::At(to)) => *stage = to.max(*stage),
        }
        match self.stage() {
            None => Turn::Over,
            Some(stage) if before < Some(stage) && self.workers().count() == self.parts.len() => Turn::All(stage),
            Some(_) => Turn::None,
        }
    }

    /// How far all parts are that have not stopped; none if all have.
    fn stage(&self) -> Option<Stage> {
        let stage = |part: &Progress| {
            if let Progress::At(stage) = part { Some(*stage) } else { None }
        };
        self.parts.iter().filter_map(stage).min()
    }
}

/// What all parts of an attempt together say, if they are all there and agree on what they are parts of.
pub(super) fn whole(parts: &BTreeMap<WorkerId, Part>) -> Option<Found> {
    let first = parts.values().next()?;
    let is_whole = first.assignment.participants.iter().all(|participant| parts.contains_key(&participant.worker));
    let agree = parts.values().all(|part| part.assignment == first.assignment && part.restored == first.restored);
    if !is_whole || !agree {
        return None;
    }
    let stage = parts.values().map(|part| part.stage).min().unwrap_or(Stage::Deploying);
    let mut progress = BTreeMap::new();
    for (sink, lanes) in parts.values().flat_map(|part| &part.progress) {
        progress.extend(lanes.iter().map(|(lane, progress)| ((sink.clone(), *lane), *progress)));
    }
    Some(Found {
        restored: first.restored,
        highest: parts.values().map(|part| part.highest).max().unwrap_or(CheckpointId::NONE),
        progress,
        started: stage >= Stage::Started,
        drained: stage >= Stage::Drained,
    })
}
