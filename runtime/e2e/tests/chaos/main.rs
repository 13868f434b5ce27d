//! The proof of exactly once, some rounds of it (`make chaos` plays as many as one wants), and that it would find what it is to
//! find.

use std::process::Command;

use flow_e2e::chaos::{self, Mode, Options, Tally};
use flow_e2e::flowd::binary;

fn play(rounds: u32, seed: u64, mode: Mode) -> Tally {
    let tally = chaos::run(Options { rounds, seed, mode }, &mut |line| println!("{line}"));
    println!("{tally}");
    tally
}

#[test]
fn ten_rounds_lose_nothing() {
    let tally = play(10, 1, Mode::Standalone);
    assert!(tally.is_good() && tally.rounds == 10 && tally.records > 1000, "{tally}: {:?}", tally.wrong);
}

/// Another seed each time; what it was stands in every line.
#[test]
#[ignore = "half an hour"]
fn three_hundred_rounds_lose_nothing() {
    let tally = play(300, fastrand::u64(..), Mode::Standalone);
    assert!(tally.is_good() && tally.rounds == 300, "{tally}: {:?}", tally.wrong);
}

#[test]
fn five_rounds_of_a_cluster_lose_nothing() {
    let tally = play(5, 1, Mode::Cluster);
    assert!(tally.is_good() && tally.rounds == 5 && tally.records > 1000, "{tally}: {:?}", tally.wrong);
}

/// Another seed each time.
#[test]
#[ignore = "a quarter of an hour"]
fn a_hundred_rounds_of_a_cluster_lose_nothing() {
    let tally = play(100, fastrand::u64(..), Mode::Cluster);
    assert!(tally.is_good() && tally.rounds == 100, "{tally}: {:?}", tally.wrong);
}

/// A sink that leaves its transaction open across the commit point loses it when the process dies there.
#[test]
fn a_naive_sink_loses_output() {
    let tally = play(3, 1, Mode::Naive);
    assert!(tally.missing > 0, "{tally}: the judge has not seen it");
    assert_eq!(tally.duplicated, 0, "{tally}");
}

/// A place that no round uses proves nothing.
#[test]
fn every_place_is_used() {
    let mut flowd = Command::new(binary("flowd"));
    flowd.args(["standalone", "--data", "/nowhere/flow"]).env("FLOW_FAILPOINT", "nowhere");
    let refused = flowd.output().expect("flowd starts");
    let text = String::from_utf8_lossy(&refused.stderr);
    let (_, known) = text.split_once("there are ").expect("it says which there are");
    let known: Vec<&str> = known.trim().split(", ").collect();
    assert!(known.len() > 20, "{text}");
    let unused = known.iter().copied().filter(|name| !chaos::places().any(|used| used == *name));
    assert_eq!(unused.collect::<Vec<_>>(), [] as [&str; 0]);
    let unknown = chaos::places().filter(|used| !known.contains(used));
    assert_eq!(unknown.collect::<Vec<_>>(), [] as [&str; 0]);
}
