//! A job without an end: it goes on with what comes, outlives its broker, and stops when told.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use flow_e2e::broker::{Broker, TEN, free_port};
use flow_e2e::flowd::{Flowd, counter, state};
use flow_e2e::topic::{self, Record, Topic};

use crate::{PARTITIONS, pipeline};

const OPERATORS: &str = "  double: {component: '{plugins}/json-map.wasm', from: in, config: {expression: value * 2}}\n";

fn numbers(range: std::ops::Range<usize>) -> Vec<Record> {
    range.map(|n| Record::new(Some(&n.to_string()), Some(&n.to_string()))).collect()
}

#[test]
fn it_goes_on_until_it_is_canceled() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    let job = flowd.deploy("endless", &pipeline(broker, &from, &to, false, OPERATORS, "double"));
    let mut output = Topic::open(broker, &to, PARTITIONS);
    for part in [0..1000, 1000..1001, 1001..5000] {
        topic::write(broker, &from, &numbers(part.clone()));
        let mut read: Vec<usize> =
            output.exactly(part.len()).iter().map(|(_, record)| record.text().parse().expect("a number")).collect();
        read.sort();
        assert_eq!(read, part.map(|n| 2 * n).collect::<Vec<_>>());
    }
    assert_eq!(state(&flowd.describe(&job)), "running");
    // Everything was read, and that is known.
    flowd.until(&job, |description| description["operators"][0]["lag"] == 0);
    let called = flowd.ctl(&["cancel", &job, "--wait"]);
    assert_eq!((called.code, called.stdout), (0, format!("{job} canceled\n")), "{}", called.stderr);
    topic::write(broker, &from, &numbers(0..10));
    assert_eq!(output.next(Duration::from_secs(1)), None, "a canceled job reads on");
}

/// Reads until so many different numbers were there.
fn read_distinct(output: &mut Topic, n: usize) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    while seen.len() < n {
        let next = output.next(2 * TEN);
        let (_, record) = next.unwrap_or_else(|| panic!("only {} of {n} records", seen.len()));
        seen.insert(record.text().parse().expect("a number"));
    }
    seen
}

#[test]
fn a_killed_broker_loses_nothing() {
    const HALF: usize = 20_000;
    // Some work for each record, so that the broker can be killed in the middle.
    let slow = format!("value * 2 + 0 * {:?}.map(n, n * value).size()", [1; 100]);
    let operators = OPERATORS.replace("value * 2", &format!("'{slow}'"));
    let (broker, flowd) = (Broker::start(free_port()), Flowd::new());
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    topic::write(&broker, &from, &numbers(0..HALF));
    let job = flowd.deploy("survivor", &pipeline(&broker, &from, &to, false, &operators, "double"));
    read_distinct(&mut Topic::open(&broker, &to, PARTITIONS), 1);
    broker.kill();
    let description = flowd.describe(&job);
    assert_eq!(state(&description), "running", "{}", flowd.log());
    // One was read; counts come a little later than what they count.
    let written = counter(&description, "out", "records-out");
    assert!(written < HALF as u64, "{written} were written, which is not in the middle");
    sleep(Duration::from_secs(1));
    broker.start_again();
    topic::write(&broker, &from, &numbers(HALF..2 * HALF));
    // Some may be there twice, none must be missing.
    let seen = read_distinct(&mut Topic::open(&broker, &to, PARTITIONS), 2 * HALF);
    assert!(seen.into_iter().eq((0..2 * HALF).map(|n| 2 * n)), "records that were never there");
    assert_eq!(state(&flowd.describe(&job)), "running");
    let called = flowd.ctl(&["cancel", &job, "--wait"]);
    assert_eq!(called.code, 0, "{}", called.stderr);
}
