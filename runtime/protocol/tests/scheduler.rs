//! The scheduler against plans, workers and former assignments of all kinds. What has to hold of each assignment has a name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use flow_model::checkpoint::snapshot::{Node, Output, Snapshot};
use flow_model::checkpoint::{CheckpointId, Incarnation, Manifest};
use flow_model::cluster::{Assignment, Worker};
use flow_model::ids::{OperatorName, SubtaskIndex, TaskId, WorkerId};
use flow_model::plan::{Endpoint, Head, Plan, Tail, Task};
use flow_protocol::checkpoint::{Contribution, Contributions};
use flow_protocol::scheduler::{Offer, Shortage, place, place_lanes};
use proptest::prelude::*;

fn name(text: &str) -> OperatorName {
    text.parse().expect("a name")
}

/// Tasks of these parallelisms, each with a sink of its own.
fn plan(parallelisms: &[u32]) -> (Plan, Contributions) {
    let task = |(number, parallelism): (u32, &u32)| Task {
        id: TaskId(number),
        name: format!("t{number}"),
        parallelism: *parallelism,
        head: Head::Exchanges(vec![]),
        chain: vec![],
        tail: Tail::Sink(Endpoint { name: name(&format!("out-{number}")), connector: "kafka".into() }),
    };
    let tasks: Vec<Task> = (0..).zip(parallelisms).map(task).collect();
    let contribution = |task: &Task| {
        let of = Contribution { parallelism: task.parallelism, states: vec![], output: true };
        task.operators().next().map(|sink| (sink.clone(), of))
    };
    let contributions = tasks.iter().filter_map(contribution).collect();
    let pipeline = "p".parse().expect("a name");
    (Plan { pipeline, key_groups: Default::default(), tasks, exchanges: vec![] }, contributions)
}

fn worker(number: usize, slots: u32) -> Worker {
    Worker {
        id: WorkerId::of(number as u128 + 1),
        name: format!("w{number}"),
        address: format!("host-{number}:7000"),
        slots,
        version: "1".into(),
        features: BTreeSet::new(),
    }
}

fn offers(workers: &[Worker]) -> Vec<Offer<'_>> {
    workers.iter().map(|worker| Offer { worker, free: (0..worker.slots).collect() }).collect()
}

/// A checkpoint in which the first sink has these lanes.
fn manifest(lanes: &BTreeSet<u32>) -> Manifest {
    let output = |lane: &u32| Output { lane: *lane, segments: vec![], files: vec![] };
    let subtasks = lanes.iter().map(|lane| Snapshot { output: Some(output(lane)), ..Snapshot::default() }).collect();
    let node = Node { subtasks, ..Node::default() };
    let whose = (Incarnation::of(1), CheckpointId(7));
    Manifest::new("p".parse().expect("a name"), whose, 0, Default::default(), BTreeMap::from([(name("out-0"), node)]))
}

fn counts(assignment: &Assignment, subtasks: usize) -> BTreeMap<&WorkerId, usize> {
    let mut counts = BTreeMap::new();
    for subtask in 0..subtasks {
        let on = assignment.worker_of(SubtaskIndex(subtask as u32)).expect("it is placed");
        *counts.entry(&on.worker).or_default() += 1;
    }
    counts
}

fn each_subtask_has_one_place(assignment: &Assignment, plan: &Plan) {
    let most = plan.tasks.iter().map(|task| task.parallelism).max().unwrap_or(0);
    assert_eq!(assignment.places.len(), most as usize);
    for task in &plan.tasks {
        let of = |participant| assignment.subtasks(participant, task.parallelism);
        let all: Vec<_> = (0..assignment.participants.len() as u32).flat_map(of).collect();
        assert_eq!(all.len(), task.parallelism as usize, "each once");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "none twice");
    }
}

fn no_slot_is_used_twice_nor_taken_from_others(assignment: &Assignment, offers: &[Offer<'_>]) {
    let places: BTreeSet<_> = assignment.places.iter().collect();
    assert_eq!(places.len(), assignment.places.len());
    for place in places {
        let worker = &assignment.participants[place.participant as usize].worker;
        let offer = offers.iter().find(|offer| offer.worker.id == *worker).expect("it was offered");
        assert!(offer.free.contains(&place.slot));
    }
}

fn workers_share_evenly(assignment: &Assignment, offers: &[Offer<'_>]) {
    let counts = counts(assignment, assignment.places.len());
    for (at, offer) in offers.iter().enumerate() {
        let mine = counts.get(&offer.worker.id).copied().unwrap_or(0);
        for other in &offers[..at] {
            let theirs = counts.get(&other.worker.id).copied().unwrap_or(0);
            let (less, room, more) =
                if mine < theirs { (mine, offer.free.len(), theirs) } else { (theirs, other.free.len(), mine) };
            assert!(more - less <= 1 || less == room, "{less} beside {more}");
        }
    }
}

fn each_task_is_spread(assignment: &Assignment, plan: &Plan, offers: &[Offer<'_>]) {
    for task in &plan.tasks {
        let most = counts(assignment, task.parallelism as usize).into_values().max().unwrap_or(0);
        assert!(most <= (task.parallelism as usize).div_ceil(offers.len()), "{assignment:?}");
    }
}

fn each_lane_has_one_owner_and_each_writer_a_lane(assignment: &Assignment, plan: &Plan, owed: &BTreeSet<u32>) {
    for task in &plan.tasks {
        let sink = task.operators().next().expect("it has a sink");
        let lanes = &assignment.lanes[sink];
        let is_participant = |owner: &u32| (*owner as usize) < assignment.participants.len();
        assert!(lanes.values().all(is_participant));
        if sink.as_str() == "out-0" {
            assert!(owed.iter().all(|lane| lanes.contains_key(lane)), "{owed:?} in {lanes:?}");
            assert!(lanes.len() <= owed.len().max(assignment.participants.len()), "no more than it takes");
        }
        for subtask in 0..task.parallelism {
            let place = assignment.place(SubtaskIndex(subtask)).expect("it is placed");
            let lane = assignment.lane(sink, place.participant).expect("who writes has a lane");
            assert_eq!(lanes[&lane], place.participant);
        }
    }
}

/// Whether a former assignment is one that could be given again.
fn is_possible(before: &Assignment, needed: usize, offers: &[Offer<'_>]) -> bool {
    let is_there = |place: &flow_model::cluster::Place| {
        let worker = &before.participants[place.participant as usize].worker;
        offers.iter().any(|offer| offer.worker.id == *worker)
    };
    before.places.len() == needed && before.places.iter().all(is_there)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_to_be_placed(
        parallelisms in proptest::collection::vec(1_u32..20, 1..5),
        slots in proptest::collection::vec(0_u32..8, 0..8),
        owed in proptest::collection::btree_set(0_u32..12, 0..6),
        gone in proptest::collection::btree_set(0_usize..8, 0..4),
        rescaled in proptest::option::of(1_u32..20),
    ) {
        let (plan, contributions) = self::plan(&parallelisms);
        let workers: Vec<Worker> = slots.iter().enumerate().map(|(number, slots)| worker(number, *slots)).collect();
        let offers = offers(&workers);
        let from = manifest(&owed);
        let needed = parallelisms.iter().copied().max().unwrap_or(0) as usize;
        let free = slots.iter().sum::<u32>() as usize;
        let placed = place(&plan, &contributions, Some(&from), None, &offers);
        prop_assert_eq!(placed.is_ok(), needed <= free);
        let Ok(first) = placed else { return Ok(()) };
        let check = |assignment: &Assignment, plan: &Plan, offers: &[Offer<'_>]| {
            each_subtask_has_one_place(assignment, plan);
            no_slot_is_used_twice_nor_taken_from_others(assignment, offers);
            workers_share_evenly(assignment, offers);
            each_lane_has_one_owner_and_each_writer_a_lane(assignment, plan, &owed);
        };
        check(&first, &plan, &offers);
        if slots.iter().all(|slots| *slots as usize >= needed) {
            each_task_is_spread(&first, &plan, &offers);
        }
        let again = place(&plan, &contributions, Some(&from), None, &offers);
        prop_assert_eq!(again.as_ref(), Ok(&first), "the same question, another answer");

        // Some workers are gone, or the job has another parallelism.
        let left: Vec<Worker> =
            workers.iter().enumerate().filter(|(number, _)| !gone.contains(number)).map(|(_, w)| w.clone()).collect();
        let offers = self::offers(&left);
        let parallelisms = rescaled.map_or(parallelisms, |p| vec![p]);
        let (plan, contributions) = self::plan(&parallelisms);
        let Ok(next) = place(&plan, &contributions, Some(&from), Some(&first), &offers) else { return Ok(()) };
        check(&next, &plan, &offers);
        let needed = next.places.len();
        if is_possible(&first, needed, &offers) && left.len() == workers.len() {
            for subtask in (0..needed as u32).map(SubtaskIndex) {
                prop_assert_eq!(first.worker_of(subtask), next.worker_of(subtask), "it moved without need");
            }
        }
    }
}

#[test]
fn who_stays_keeps_what_it_had() {
    let (plan, contributions) = plan(&[6]);
    let workers: Vec<Worker> = (0..3).map(|number| worker(number, 4)).collect();
    let before = place(&plan, &contributions, None, None, &offers(&workers)).expect("there is room");
    let left: Vec<Worker> = workers[..2].to_vec();
    let now = place(&plan, &contributions, None, Some(&before), &offers(&left)).expect("there is room");
    for subtask in (0..6).map(SubtaskIndex) {
        let ran_on = before.worker_of(subtask).expect("it was placed");
        if ran_on.worker != workers[2].id {
            assert_eq!(now.worker_of(subtask), Some(ran_on));
        }
    }
    // Started again it has another id, and its files still.
    let again: Vec<Worker> = (0..3).map(|n| Worker { id: WorkerId::of(n as u128 + 100), ..worker(n, 4) }).collect();
    let now = place(&plan, &contributions, None, Some(&before), &offers(&again)).expect("there is room");
    for subtask in (0..6).map(SubtaskIndex) {
        let (then, now) = (before.worker_of(subtask), now.worker_of(subtask));
        assert_eq!(then.map(|worker| &worker.name), now.map(|worker| &worker.name));
    }
}

#[test]
fn what_is_missing_is_said() {
    let (plan, contributions) = plan(&[8, 2]);
    let check = |slots: &[u32], text: &str| {
        let workers: Vec<Worker> = slots.iter().enumerate().map(|(number, slots)| worker(number, *slots)).collect();
        let shortage = place(&plan, &contributions, None, None, &offers(&workers)).expect_err("it does not fit");
        assert_eq!(shortage.to_string(), text);
    };
    check(&[2, 2, 1], "needs 8 slots and 3 workers offer 5; add a worker, or scale the job down");
    check(&[1], "needs 8 slots and 1 worker offers 1; add a worker, or scale the job down");
    check(&[], "needs 8 slots and there is no worker; add a worker, or scale the job down");
}

#[test]
fn what_is_owed_needs_workers_and_no_slots() {
    let owed = BTreeSet::from([0, 3, 4]);
    let workers: Vec<Worker> = (0..2).map(|number| worker(number, 0)).collect();
    let assignment = place_lanes(&manifest(&owed), &workers.iter().collect::<Vec<_>>()).expect("there are workers");
    assert!(assignment.places.is_empty());
    assert_eq!(assignment.lanes[&name("out-0")], BTreeMap::from([(0, 0), (3, 1), (4, 0)]));
    assert_eq!(place_lanes(&manifest(&owed), &[]), Err(Shortage::Workers));
}

#[test]
fn a_wide_job_is_placed_in_no_time() {
    let (plan, contributions) = plan(&[1_000; 20]);
    let workers: Vec<Worker> = (0..200).map(|number| worker(number, 8)).collect();
    let begun = Instant::now();
    let before = place(&plan, &contributions, None, None, &offers(&workers)).expect("there is room");
    place(&plan, &contributions, None, Some(&before), &offers(&workers[1..])).expect("there is room");
    let took = begun.elapsed();
    println!("20,000 subtasks in 1,000 slots of 200 workers, twice: {took:?}");
    assert!(took.as_millis() < 500, "{took:?}");
}
