//! More than fits: a sink that takes nothing stops the source and costs no memory, and state that is larger than its cache
//! stays exact.

use std::io::Read;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::flowd::{Flowd, counter, state};

const MEBIBYTE: u64 = 1 << 20;

#[test]
fn a_sink_that_takes_nothing_stops_the_source() {
    let mut flowd = Flowd::new();
    // A kilobyte a record, as fast as it goes, over an exchange, to a standard output that nobody reads.
    let pipeline = format!(
        "sources:
  in: {{generator: {{value: '{{{{seq}}}} {}'}}}}
operators:
  copy: {{component: '{{plugins}}/identity.wasm', from: in, parallelism: 2}}
sinks:
  out: {{stdout: {{}}, from: copy, parallelism: 2}}
",
        "x".repeat(1000)
    );
    let job = flowd.deploy("endless", &pipeline);
    let made = |flowd: &Flowd| counter(&flowd.describe(&job), "in", "records-out");
    let stopped = stops(&flowd, made);
    let before = flowd.peak_rss();
    sleep(Duration::from_secs(2));
    assert_eq!(made(&flowd), stopped, "the source goes on");
    assert!(flowd.peak_rss() < 200 * MEBIBYTE, "{} MiB", flowd.peak_rss() / MEBIBYTE);
    assert!(flowd.peak_rss() < before + 8 * MEBIBYTE, "memory grows while nothing moves");

    // Where something is taken, something comes after it.
    let mut taken = vec![0; 64 * MEBIBYTE as usize];
    flowd.stdout.read_exact(&mut taken).expect("it flows");
    let flowed = made(&flowd);
    assert!(flowed >= stopped + 30_000, "{stopped} records, and {flowed} after 64 MiB were taken");
    stops(&flowd, made);
    assert!(flowd.peak_rss() < 200 * MEBIBYTE, "{} MiB", flowd.peak_rss() / MEBIBYTE);

    assert_eq!(state(&flowd.describe(&job)), "running");
    let begun = Instant::now();
    let called = flowd.ctl(&["cancel", &job, "--wait"]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    assert!(begun.elapsed() < Duration::from_secs(60), "a full pipe holds the cancel up");
}

/// Waits until the source has stopped, and says where.
fn stops(flowd: &Flowd, made: impl Fn(&Flowd) -> u64) -> u64 {
    let begun = Instant::now();
    let (mut last, mut still) = (made(flowd), 0);
    loop {
        sleep(Duration::from_millis(500));
        // A machine with much to do may let all of it rest for a moment.
        match made(flowd) {
            now if now == last && still == 2 => return now,
            now if now == last => still += 1,
            now => (last, still) = (now, 0),
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the source does not stop: {last} records");
    }
}

#[test]
fn state_larger_than_its_cache_stays_exact() {
    const KEYS: u64 = 150_000;
    const ROUNDS: u64 = 4;
    let flowd = Flowd::new();
    let pipeline = format!(
        "state: {{cache: 1Mi}}
parallelism: 2
sources:
  in: {{generator: {{count: {}, keys: {KEYS}}}}}
operators:
  count: {{component: '{{plugins}}/counter.wasm', from: in, key: $key, config: {{format: number}}}}
sinks:
  out: {{files: {{path: out, format: records}}, from: count}}
",
        KEYS * ROUNDS
    );
    let description = flowd.finished(&flowd.deploy("many", &pipeline));
    assert_eq!(counter(&description, "count", "records-out"), KEYS * ROUNDS);
    // Each key counts 1, 2, 3, …, and all of them get as far.
    let mut counts = vec![0; KEYS as usize];
    for line in flowd.lines("out") {
        let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let number = |field: &str| record[field].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number");
        let count = &mut counts[number("key") as usize];
        *count += 1;
        assert_eq!(number("value"), *count, "{line}");
    }
    assert!(counts.iter().all(|count| *count == ROUNDS));
    assert!(flowd.peak_rss() < 300 * MEBIBYTE, "{} MiB", flowd.peak_rss() / MEBIBYTE);
}
