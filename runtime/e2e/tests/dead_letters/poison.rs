//! Ten thousand records that trap among a million.

use std::time::Duration;

use flow_e2e::flowd::{Flowd, counter};

const RECORDS: usize = 1_000_000;

/// One of a hundred traps: its value ends in `07.`.
#[test]
fn ten_thousand_among_a_million_are_found_and_nothing_else_is() {
    let flowd = Flowd::new();
    let pipeline = |name: &str, when: &str| {
        format!(
            "sources:
  in: {{generator: {{count: {RECORDS}, value: 'record 0{{{{seq}}}}.'}}}}
operators:
  evil:
    component: '{{plugins}}/hostile.wasm'
    from: in
    config: {{mode: panic, when: '{when}'}}
    on-error: dead-letter
sinks:
  out: {{files: {{path: {name}-out}}, from: evil}}
  dead: {{files: {{path: {name}-dead, format: lines}}, from: dead-letter}}
"
        )
    };
    let run = |name: &str, when: &str| {
        let description = flowd.finished(&flowd.deploy(name, &pipeline(name, when)));
        let cpu: u64 = ["in", "evil", "out", "dead"].map(|node| counter(&description, node, "cpu-us")).iter().sum();
        (counter(&description, "evil", "dead-letters"), Duration::from_micros(cpu))
    };
    let (none, clean) = run("clean", "07?");
    let (found, poisoned) = run("poisoned", "07.");
    assert_eq!((none, found), (0, RECORDS as u64 / 100));
    let record = |n: usize| format!("record 0{n}.");
    let (bad, good): (Vec<usize>, Vec<usize>) = (0..RECORDS).partition(|n| n % 100 == 7);
    assert!(flowd.lines("poisoned-dead").into_iter().eq(bad.into_iter().map(record)), "dead letters, in order");
    assert!(flowd.lines("poisoned-out").into_iter().eq(good.into_iter().map(record)), "the rest, in order");
    // For who reads the test's output; benches/README.md has the figures that count.
    println!("CPU time: without poison {clean:?}, with it {poisoned:?}");
}
