//! Where an attempt runs: a plan and the free slots of workers in, an assignment out. Subtask `i` of every task shares a slot. Must
//! never keep anything: the same question has the same answer.
//!
//! What it sees to, in this order: no slot is used twice; the workers take as many subtasks each as they can be shared out evenly;
//! a subtask goes where it ran before, since its state lies there; each task, not only all of them, is spread.

use std::collections::{BTreeMap, BTreeSet};

use flow_model::checkpoint::Manifest;
use flow_model::cluster::{Assignment, Participant, Place, Worker};
use flow_model::ids::{OperatorName, SubtaskIndex};
use flow_model::plan::Plan;

use crate::checkpoint::Contributions;

/// A worker that may be given something.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// The worker.
    pub worker: &'a Worker,
    /// Its slots that are free, each once.
    pub free: BTreeSet<u32>,
}

/// Why an attempt can't be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// There are not enough slots.
    #[error(
        "needs {needed} slot{} and {}; add a worker, or scale the job down",
        plural(*.needed), offered(*.free, *.workers)
    )]
    Slots {
        /// So many are needed.
        needed: usize,
        /// So many are free.
        free: usize,
        /// On so many workers.
        workers: usize,
    },
    /// Nobody is there who could write what is owed.
    #[error("needs a worker and there is none; start one")]
    Workers,
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn offered(free: usize, workers: usize) -> String {
    match workers {
        0 => "there is no worker".to_owned(),
        1 => format!("1 worker offers {free}"),
        _ => format!("{workers} workers offer {free}"),
    }
}

/// Places an attempt that runs a plan and goes on from a checkpoint, if from one. `before` is where an earlier attempt ran.
///
/// # Errors
/// What is missing.
pub fn place(
    plan: &Plan,
    contributions: &Contributions,
    from: Option<&Manifest>,
    before: Option<&Assignment>,
    offers: &[Offer<'_>],
) -> Result<Assignment, Shortage> {
    let needed = plan.tasks.iter().map(|task| task.parallelism).max().unwrap_or(0) as usize;
    let free = offers.iter().map(|offer| offer.free.len()).sum();
    if needed > free || needed == 0 {
        let workers = offers.iter().filter(|offer| !offer.free.is_empty()).count();
        return Err(Shortage::Slots { needed, free, workers });
    }
    let former: Vec<Option<usize>> = (0..needed).map(|subtask| former(before, subtask, offers)).collect();
    let shares = shares(&former, offers);
    let owners = owners(&former, shares);
    let mut assignment = slots(&owners, offers);
    assignment.lanes = contributions
        .iter()
        .filter(|(_, of)| of.output)
        .map(|(sink, of)| {
            let writers = (0..of.parallelism).filter_map(|subtask| assignment.place(SubtaskIndex(subtask)));
            let writers = writers.map(|place| place.participant).collect();
            (sink.clone(), lanes(&owed(from, sink), &writers, assignment.participants.len()))
        })
        .collect();
    Ok(assignment)
}

/// Places an attempt that only writes what a checkpoint carries: it needs workers, and no slots of theirs.
///
/// # Errors
/// There is no worker.
pub fn place_lanes(from: &Manifest, workers: &[&Worker]) -> Result<Assignment, Shortage> {
    if workers.is_empty() {
        return Err(Shortage::Workers);
    }
    let owed = from.nodes.iter().map(|(sink, node)| (sink, node.owed_lanes())).filter(|(_, lanes)| !lanes.is_empty());
    let owed: Vec<(&OperatorName, BTreeSet<u32>)> = owed.collect();
    let most = owed.iter().map(|(_, lanes)| lanes.len()).max().unwrap_or(1).min(workers.len());
    let participants = workers[..most].iter().map(|worker| participant(worker)).collect();
    let lanes = owed.into_iter().map(|(sink, owed)| (sink.clone(), lanes(&owed, &BTreeSet::new(), most)));
    Ok(Assignment { participants, places: Vec::new(), lanes: lanes.collect() })
}

fn owed(from: Option<&Manifest>, sink: &OperatorName) -> BTreeSet<u32> {
    from.and_then(|from| from.nodes.get(sink)).map(|node| node.owed_lanes()).unwrap_or_default()
}

/// The offer of the worker on which a subtask ran before.
fn former(before: Option<&Assignment>, subtask: usize, offers: &[Offer<'_>]) -> Option<usize> {
    let before = before?;
    let place = before.places.get(subtask)?;
    let ran_on = before.participants.get(place.participant as usize)?;
    // A worker that was started again has the components compiled still.
    let is_it = |offer: &Offer<'_>| offer.worker.id == ran_on.worker;
    let is_named_so = |offer: &Offer<'_>| offer.worker.name == ran_on.name;
    offers.iter().position(is_it).or_else(|| offers.iter().position(is_named_so))
}

/// How many subtasks each worker takes: as evenly as their free slots allow. Where it is even, who had more before takes more; then
/// who has more room.
fn shares(former: &[Option<usize>], offers: &[Offer<'_>]) -> Vec<usize> {
    let mut had = vec![0; offers.len()];
    former.iter().flatten().for_each(|offer| had[*offer] += 1);
    let mut shares = vec![0; offers.len()];
    let order = |at: usize, share: usize| {
        let room = offers[at].free.len() - share;
        (share, share >= had[at], std::cmp::Reverse(room), &offers[at].worker.id)
    };
    for _ in former {
        let open = (0..offers.len()).filter(|at| shares[*at] < offers[*at].free.len());
        if let Some(next) = open.min_by_key(|at| order(*at, shares[*at])) {
            shares[next] += 1;
        }
    }
    shares
}

/// By subtask: the worker that runs it.
fn owners(former: &[Option<usize>], mut shares: Vec<usize>) -> Vec<usize> {
    let mut owners: Vec<Option<usize>> = vec![None; former.len()];
    for (owner, former) in owners.iter_mut().zip(former) {
        if let Some(former) = former.filter(|former| shares[*former] > 0) {
            shares[former] -= 1;
            *owner = Some(former);
        }
    }
    // By turns, so that a task of few subtasks is spread too: who has the most left to take, after how little it has taken.
    let mut taken = vec![0; shares.len()];
    let mut all = Vec::with_capacity(owners.len());
    for owner in owners {
        let owner = owner.unwrap_or_else(|| {
            let open = (0..shares.len()).filter(|at| shares[*at] > 0);
            let next = open.min_by_key(|at| taken[*at]).expect("the shares are as many as the subtasks");
            shares[next] -= 1;
            next
        });
        taken[owner] += 1;
        all.push(owner);
    }
    all
}

/// Gives each subtask a slot of its worker.
fn slots(owners: &[usize], offers: &[Offer<'_>]) -> Assignment {
    let mut assignment = Assignment::default();
    let mut numbers: BTreeMap<usize, (u32, std::collections::btree_set::Iter<'_, u32>)> = BTreeMap::new();
    for owner in owners {
        let (participant, free) = numbers.entry(*owner).or_insert_with(|| {
            assignment.participants.push(participant(offers[*owner].worker));
            (assignment.participants.len() as u32 - 1, offers[*owner].free.iter())
        });
        let slot = *free.next().expect("no share is larger than the free slots");
        assignment.places.push(Place { participant: *participant, slot });
    }
    assignment
}

fn participant(worker: &Worker) -> Participant {
    Participant { worker: worker.id.clone(), name: worker.name.clone(), address: worker.address.clone() }
}

/// Owners of the lanes of a sink: of all that are owed, by turns, and a lane of its own for each that writes and got none.
fn lanes(owed: &BTreeSet<u32>, writers: &BTreeSet<u32>, participants: usize) -> BTreeMap<u32, u32> {
    // Who writes needs a lane in any case: it gets one of the old ones first.
    let others = (0..participants as u32).filter(|participant| !writers.contains(participant));
    let order: Vec<u32> = writers.iter().copied().chain(others).collect();
    let mut lanes: BTreeMap<u32, u32> = owed.iter().copied().zip(order.iter().copied().cycle()).collect();
    let mut new = (0..).filter(|lane| !owed.contains(lane));
    for writer in writers.iter().skip(owed.len()) {
        if let Some(lane) = new.next() {
            lanes.insert(lane, *writer);
        }
    }
    lanes
}
