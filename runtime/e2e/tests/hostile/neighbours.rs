//! What a job loses to a neighbour that misbehaves, beside what it loses to one that behaves and takes as much CPU. The figures
//! are for who reads them; what is asserted leaves room for a machine that does other things too.

use std::time::Instant;

use flow_e2e::flowd::{Flowd, counter};

const RECORDS: u64 = 4_000_000;
const ROUNDS: usize = 3;

/// What the neighbour does, and with which of its records.
const NEIGHBOURS: [(&str, &str); 8] = [
    ("panic", "7"),
    ("trap", "7"),
    ("recurse", "7"),
    ("alloc", "77."),
    ("huge-output", "77."),
    ("loop", "777."),
    ("reject", ""),
    ("log-flood", "7"),
];

fn neighbour(mode: &str, when: &str) -> String {
    format!(
        "sources:
  in: {{generator: {{value: '{{{{seq}}}}.'}}}}
operators:
  evil:
    component: '{{plugins}}/hostile.wasm'
    from: in
    config: {{mode: {mode}, when: '{when}'}}
    on-error: skip
    limits: {{time-per-batch: 100ms, memory: 64Mi, output-per-batch: 8Mi}}
sinks:
  out: {{blackhole: {{}}, from: evil}}
"
    )
}

/// Records a second of the good job, and nanoseconds of CPU that its operator took for each.
fn good_job(flowd: &Flowd, name: &str) -> (f64, f64) {
    let pipeline = format!(
        "sources:
  in: {{generator: {{count: {RECORDS}, keys: 100}}}}
operators:
  map: {{component: '{{plugins}}/identity.wasm', from: in}}
  count: {{component: '{{plugins}}/counter.wasm', from: map, key: $key, config: {{format: number}}}}
sinks:
  out: {{blackhole: {{}}, from: count}}
"
    );
    let begun = Instant::now();
    let description = flowd.finished(&flowd.deploy(name, &pipeline));
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(counter(&description, "count", "records-out"), RECORDS);
    assert_eq!(counter(&description, "count", "rejected"), 0);
    let cpu: u64 = ["in", "map", "count", "out"].map(|node| counter(&description, node, "cpu-us")).iter().sum();
    (RECORDS as f64 / seconds, cpu as f64 * 1000.0 / RECORDS as f64)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

#[test]
#[ignore = "measures for minutes, and wants the machine for itself"]
fn what_a_misbehaving_neighbour_costs() {
    let flowd = Flowd::new();
    let beside = |mode: &str, when: &str| {
        let job = flowd.deploy("neighbour", &neighbour(mode, when));
        flowd.until(&job, |d| counter(d, "evil", "records-in") > 0);
        let measured = good_job(&flowd, "good");
        assert_eq!(flowd.describe(&job)["state"], "running", "the neighbour goes on: {mode}");
        assert_eq!(flowd.ctl(&["cancel", "neighbour", "--wait"]).code, 0);
        measured
    };
    for (mode, when) in NEIGHBOURS {
        let (mut rates, mut costs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            // Side by side, so that what the machine does by and by hits both.
            let (well, ill) = (beside("behave", ""), beside(mode, when));
            rates.push(ill.0 / well.0);
            costs.push(ill.1 / well.1);
        }
        let (rate, cost) = (median(rates.clone()), median(costs));
        assert!(rate > 0.8, "beside {mode} the good job has {rate:.3} of its throughput");
        println!("{mode:<12} throughput × {rate:.3} of {rates:.3?}, CPU a record × {cost:.3}");
    }
}
