//! No cycle of full queues, barriers and credits comes to a stop: chained all-to-all exchanges that lead from each worker to each, one
//! slot a worker, queues of one batch, records larger than all credit, channels that are blocked in alignment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_dataflow::Batch;
use flow_dataflow::input_gate::InputGate;
use flow_dataflow::output_gate::{Edge, OutputGate, Partitioner};
use flow_dataflow::task::{Head, Tail, Task};
use flow_model::key_selector::KeySelector;

use crate::nodes::{Alarm, Barriers, Collected, Given, Node, attempt, by, exchange, node, records, run};

const NAMES: [&str; 3] = ["a", "b", "c"];
const BATCHES: usize = 30;
const BARRIERS: u32 = 8;

/// Batches of a source: small records and now and then one that is far larger than what queues and credits hold.
fn batches(seed: u64, source: usize) -> Vec<Batch> {
    let mut dice = fastrand::Rng::with_seed(seed * 100 + source as u64);
    let batch = |n: usize| {
        let values: Vec<String> = (0..dice.usize(1..60))
            .map(|row| {
                let length = if dice.u8(..50) == 0 { dice.usize(10_000..300_000) } else { dice.usize(0..200) };
                format!("{source}/{n}/{row} {}", "x".repeat(length))
            })
            .collect();
        records(&values.iter().map(|value| (value.as_str(), value.as_str())).collect::<Vec<_>>())
    };
    (0..BATCHES).map(batch).collect()
}

/// Sources, then exchanges one behind the other, then sinks; a subtask of each on each worker.
fn play(seed: u64, workers: usize, exchanges: usize, minimum: usize, pool: usize) {
    let make = |name: &&str| node(name, |options| (options.minimum, options.pool) = (minimum, pool));
    let nodes: Vec<Node> = NAMES[..workers].iter().map(make).collect();
    let alarms: Vec<Arc<Alarm>> = (0..workers).map(|_| Arc::default()).collect();
    let places: Vec<usize> = (0..workers).collect();
    let attempt = attempt(1);
    let checkpoints = Arc::new(Mutex::new(vec![0; workers]));
    let mut heads: Vec<Head> = Vec::new();
    let mut expected = BTreeSet::new();
    for source in 0..workers {
        let batches = batches(seed, source);
        expected.extend(batches.iter().flat_map(crate::nodes::values));
        heads.push(Head::Source(Box::new(Given(batches.into())), Arc::default()));
    }
    let mut slots: Vec<Vec<Task>> = (0..workers).map(|_| Vec::new()).collect();
    for number in 0..exchanges {
        let (writers, readers) =
            exchange(&nodes, &NAMES, (&attempt, number as u32), (&places, &places), (&alarms, &alarms), 1);
        let tails = writers.into_iter().map(|writers| {
            let edge = if number % 2 == 0 {
                by(KeySelector::Value, writers)
            } else {
                Edge::new(Partitioner::Rebalance, writers)
            };
            Tail::Gate(OutputGate::new(vec![edge]))
        });
        for (slot, (head, tail)) in slots.iter_mut().zip(std::mem::take(&mut heads).into_iter().zip(tails)) {
            slot.push(Task::new(head, vec![], tail, || 0));
        }
        heads = readers.into_iter().map(|readers| Head::Gate(InputGate::new(readers))).collect();
    }
    let mut sinks = Vec::new();
    for (number, (slot, head)) in slots.iter_mut().zip(heads).enumerate() {
        let sink = Collected { checkpoints: checkpoints.clone(), number, ..Collected::default() };
        sinks.push(sink.clone());
        slot.push(Task::new(head, vec![], Tail::Sink(Box::new(sink), Arc::default()), || 0));
    }
    let slots = alarms.into_iter().zip(slots).map(|(alarm, tasks)| {
        let with_checkpoints = |task: Task| {
            let mut task = task.with_checkpoints(false);
            task.release();
            task
        };
        (alarm, tasks.into_iter().map(with_checkpoints).collect())
    });
    let barriers = Barriers { count: BARRIERS, checkpoints, seed };
    let went = run(slots.collect(), Some(&barriers), Duration::from_millis(20));
    let figures: Vec<_> = nodes.iter().map(|node| node.network.figures()).collect();
    went.unwrap_or_else(|error| panic!("seed {seed}: {error}; {figures:#?}"));
    let mut found = Vec::new();
    sinks.iter().for_each(|sink| found.append(&mut sink.values.lock().unwrap()));
    assert_eq!(found.len(), expected.len(), "seed {seed}");
    assert!(found.into_iter().collect::<BTreeSet<_>>() == expected, "seed {seed}: other values");
    assert!(nodes.iter().all(Node::is_well), "seed {seed}: nothing has failed");
}

#[test]
fn two_workers_in_a_cycle_never_come_to_a_stop() {
    for seed in 0..8 {
        play(seed, 2, 4, 1, 0);
    }
}

#[test]
fn three_workers_with_a_pool_that_all_want_never_come_to_a_stop() {
    for seed in 0..5 {
        play(seed, 3, 3, 300, 2000);
    }
}
