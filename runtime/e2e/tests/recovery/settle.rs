//! Jobs that ended while their Kafka did not answer: what they owe is written when somebody says so, or when another life begins.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::broker::{Broker, free_port};
use flow_e2e::flowd::{Flowd, state};
use serde_json::Value;

use crate::{PARTITIONS, counts, to_topic};

/// Counts by key into a topic, exactly once, from a source that needs no Kafka.
fn pipeline(broker: &Broker, topic: &str) -> String {
    format!(
        "checkpoint: {{interval: 100ms}}\n\
         sources:\n  in: {{generator: {{rate: 2000, keys: 5}}}}\n\
         operators:\n  counts: {{component: '{{plugins}}/counter.wasm', from: in, key: $key}}\n\
         sinks:\n  out: {{{}, from: counts}}\n",
        to_topic(broker, topic, "exactly-once")
    )
}

/// What the store says of a job.
pub fn head(flowd: &Flowd, job: &str) -> Value {
    let text = fs::read_to_string(flowd.path(&format!("data/checkpoints/{job}/HEAD"))).expect("it has one");
    serde_json::from_str(&text).expect("JSON")
}

/// Each count of each key is there; and once, if that is wanted.
#[track_caller]
fn check_whole(counts: &BTreeMap<String, Vec<u64>>, once: bool) {
    assert_eq!(counts.len(), 5);
    for (key, all) in counts {
        let mut found = all.clone();
        if !once {
            found.sort_unstable();
            found.dedup();
        }
        assert!(found.iter().copied().eq(1..=found.len() as u64), "{key}: {} counts", all.len());
    }
}

#[test]
fn what_is_left_unwritten_is_settled_when_kafka_is_back() {
    let broker = Broker::start(free_port());
    let flowd = Flowd::new();
    let names = ["settled", "anew", "begun"];
    let topics = names.map(|_| broker.topic(PARTITIONS, &[]));
    for (name, topic) in names.iter().zip(&topics) {
        flowd.deploy(name, &pipeline(&broker, topic));
        assert_eq!(flowd.ctl(&["checkpoint", "now", name, "--wait"]).code, 0);
        // All of its output is written then, and the next manifest says so.
        assert_eq!(flowd.ctl(&["savepoint", "create", name, "--wait"]).code, 0);
        assert_eq!(flowd.ctl(&["checkpoint", "now", name, "--wait"]).code, 0);
    }
    // Not killed: what it has acknowledged it must not lose.
    broker.signal("STOP");
    sleep(Duration::from_millis(1500));
    for name in names {
        let waits = if name == "settled" { &["cancel", name, "--wait"][..] } else { &["cancel", name] };
        let called = flowd.ctl(waits);
        assert_eq!(called.code, 0, "{}", called.stderr);
        assert_eq!(called.stderr.contains("is not written"), name == "settled", "{}", called.stderr);
    }
    for name in names {
        let ended = flowd.ended(name);
        assert_eq!(state(&ended), "canceled");
        assert!(ended["error"].as_str().is_some_and(|said| said.contains("flowctl sink settle")), "{ended:#}");
        assert_eq!(head(&flowd, name)["unwritten"], true, "{}", flowd.log());
    }
    broker.signal("CONT");

    let settle =
        |name: &str, more: &[&str]| flowd.ctl(&[&["sink", "settle", &format!("{name}.yaml"), "--wait"], more].concat());
    let settled = settle("settled", &[]);
    assert!(settled.code == 0 && settled.stdout.ends_with(" finished\n"), "{settled:?}");
    let again = settle("settled", &[]);
    assert_eq!((again.code, again.stderr.as_str()), (4, "error: all of its output is written\n"));
    check_whole(&counts(&broker, &topics[0]), true);
    // It goes on there, and nothing is missing or comes twice.
    let deployed = flowd.ctl(&["deploy", "settled.yaml", "--from-checkpoint", "latest"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    // And once more, from where it stopped: its last output took longer than an interval.
    assert_eq!(flowd.ctl(&["stop", "settled", "--savepoint=end", "--wait"]).code, 0);
    let deployed = flowd.ctl(&["deploy", "settled.yaml", "--from-savepoint", "end"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    assert_eq!(flowd.ctl(&["stop", "settled", "--savepoint", "--wait"]).code, 0);
    check_whole(&counts(&broker, &topics[0]), true);

    // A Kafka that does not know what it has.
    broker.delete("flow-progress.anew.out");
    let lost = settle("anew", &[]);
    assert!(lost.code == 1 && lost.stderr.contains("deploy with --reset-progress"), "{lost:?}");
    let reset = settle("anew", &["--reset-progress"]);
    assert!(reset.code == 0 && reset.stderr.starts_with("warning: --reset-progress: "), "{reset:?}");
    check_whole(&counts(&broker, &topics[1]), false);

    // What begins under its name writes it first.
    let deployed = flowd.ctl(&["deploy", "begun.yaml", "--from-checkpoint", "latest"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    let begun = Instant::now();
    loop {
        let stopped = flowd.ctl(&["stop", "begun", "--savepoint", "--wait"]);
        if stopped.code == 0 {
            break;
        }
        // It has not begun yet.
        assert_eq!(stopped.code, 4, "{stopped:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", flowd.log());
        sleep(Duration::from_millis(50));
    }
    check_whole(&counts(&broker, &topics[2]), true);
}
