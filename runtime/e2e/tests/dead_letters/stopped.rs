//! A process that stands still for longer than any limit: nobody is to blame.

use std::thread::sleep;
use std::time::Duration;

use flow_e2e::flowd::{Flowd, counter};

/// Stops a daemon that works at full load again and again, in the middle of calls, and lets it finish.
fn stop_under_load(limit: &str, stops: u32, stop: Duration) {
    let flowd = Flowd::new();
    let job = flowd.deploy(
        "stopped",
        &format!(
            "sources:
  in: {{generator: {{keys: 100}}}}
operators:
  map:
    component: '{{plugins}}/json-map.wasm'
    from: in
    config: {{expression: '{{\"next\": value.seq + 1}}'}}
    limits: {{time-per-batch: {limit}}}
    on-error: dead-letter
  count:
    component: '{{plugins}}/counter.wasm'
    from: map
    key: $key
    parallelism: 2
    config: {{format: number}}
    limits: {{time-per-batch: {limit}}}
    on-error: dead-letter
sinks:
  out: {{blackhole: {{}}, from: count}}
  dead: {{files: {{path: dead}}, from: dead-letter}}
"
        ),
    );
    let taken = |at_least: u64| flowd.until(&job, |d| counter(d, "count", "records-out") > at_least);
    let mut last = 0;
    for _ in 0..stops {
        last = counter(&taken(last + 10_000), "count", "records-out");
        flowd.signal("STOP");
        sleep(stop);
        flowd.signal("CONT");
    }
    let description = taken(last + 10_000);
    for operator in ["map", "count"] {
        assert_eq!(counter(&description, operator, "rejected"), 0, "{description:#}");
    }
    let log = flowd.ctl(&["logs", "stopped", "--tail", "1000"]).stdout;
    assert!(!log.contains("CPU time"), "no call ran out of its time: {log}");
    assert_eq!(flowd.ctl(&["cancel", "stopped", "--wait"]).code, 0);
    assert_eq!(flowd.lines("dead"), [""; 0]);
}

#[test]
fn a_stop_of_many_limits_blames_nobody() {
    stop_under_load("100ms", 5, Duration::from_millis(700));
}

/// As long as it takes a person to look at a debugger.
#[test]
#[ignore = "stands still for more than a minute"]
fn a_stop_of_a_minute_blames_nobody() {
    stop_under_load("500ms", 1, Duration::from_secs(70));
}
