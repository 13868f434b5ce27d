//! Records that Kafka does not take for their own sake: exactly those become dead letters, or fail the job by name, and the rest
//! arrives; and a cluster of dead letters that is away holds everything back, and loses nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use flow_e2e::broker::{Broker, free_port};
use flow_e2e::flowd::{Flowd, counter, state};
use flow_e2e::topic::{self, Record, Topic};

use crate::PARTITIONS;

/// Text of so many bytes that no codec makes small.
fn noise(bytes: usize, seed: usize) -> String {
    let letter = |n: usize| {
        let mixed = (n as u64 + seed as u64 * 1_000_003).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        char::from(b' ' + 1 + ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as u8 % 94)
    };
    (0..bytes).map(letter).collect()
}

fn header(record: &Record, name: &str) -> Option<String> {
    let name = format!("flow.error.{name}");
    let value = record.headers.iter().find(|(key, _)| *key == name)?.1.clone()?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

fn is_large(n: usize) -> bool {
    n % 100 == 42
}

fn record(n: usize) -> Record {
    Record {
        timestamp: Some(1_700_000_000_000 + n as i64),
        headers: vec![("n".into(), Some(n.to_string().into_bytes()))],
        ..Record::new(Some(&format!("key-{}", n % 37)), Some(&noise(if is_large(n) { 30_000 } else { 50 }, n)))
    }
}

#[test]
fn what_a_topic_does_not_take_goes_to_the_dead_letters() {
    const N: usize = 3000;
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    // Less than what a producer puts into one batch by itself.
    let [from, to, dead] = [&[][..], &[("max.message.bytes", "20000")], &[]].map(|with| broker.topic(PARTITIONS, with));
    topic::write(broker, &from, &(0..N).map(record).collect::<Vec<_>>());
    let brokers = &broker.address;
    let pipeline = |on_error: &str, sinks: &str| {
        format!(
            "parallelism: 2
sources:
  in: {{kafka: {{brokers: '{brokers}', topic: {from}, stop: latest}}}}
operators:
  same: {{component: '{{plugins}}/identity.wasm', from: in}}
sinks:
  out: {{kafka: {{brokers: '{brokers}', topic: {to}}}, from: same{on_error}}}
  {sinks}
"
        )
    };
    let sinks = format!("dead: {{kafka: {{brokers: '{brokers}', topic: {dead}}}, from: dead-letter}}");
    let description = flowd.finished(&flowd.deploy("large", &pipeline(", on-error: dead-letter", &sinks)));
    let large: Vec<usize> = (0..N).filter(|n| is_large(*n)).collect();
    let of = |node: &str, name: &str| counter(&description, node, name);
    assert_eq!((of("out", "rejected"), of("out", "dead-letters")), (large.len() as u64, large.len() as u64));
    assert_eq!((of("out", "records-in"), of("out", "records-out")), (N as u64, (N - large.len()) as u64));
    assert_eq!((of("same", "rejected"), of("dead", "records-out")), (0, large.len() as u64));

    let read = |topic: &str, n: usize| -> Vec<Record> {
        Topic::open(broker, topic, PARTITIONS).exactly(n).into_iter().map(|(_, record)| record).collect()
    };
    let mut good = read(&to, N - large.len());
    let mut wanted: Vec<Record> = (0..N).filter(|n| !is_large(*n)).map(record).collect();
    good.sort();
    wanted.sort();
    assert!(good == wanted, "all that is not too large has arrived once, as it was");
    let mut letters = read(&dead, large.len());
    letters.sort_by_key(|letter| letter.timestamp);
    for (letter, n) in letters.iter().zip(large) {
        let told = |name: &str| header(letter, name);
        assert_eq!(told("code").as_deref(), Some("too-large"), "{:?}", letter.headers);
        assert_eq!((told("operator"), told("component")), (Some("out".into()), None));
        assert_eq!((told("topic"), told("source")), (Some(from.clone()), Some("in".into())));
        assert!(told("offset").is_some() && told("partition").is_some());
        let reason = told("reason").unwrap_or_default();
        assert!(
            reason.contains(&to) && reason.contains("`max.message.bytes` of the topic, which is 20000"),
            "{reason}"
        );
        let plain = Record { headers: letter.headers[..1].to_vec(), ..letter.clone() };
        assert!(plain == record(n), "without what is told of it, it is the record again");
    }

    let job = flowd.deploy("strict", &pipeline("", ""));
    let description = flowd.ended(&job);
    let error = description["error"].as_str().unwrap_or_default();
    assert_eq!(state(&description), "failed");
    assert!(
        error.starts_with(&format!("out: {from}[")) && error.contains("was rejected (too-large): its 30"),
        "{error}"
    );
    let skipped = flowd.finished(&flowd.deploy("skip", &pipeline(", on-error: skip", "")));
    assert_eq!((counter(&skipped, "out", "rejected"), counter(&skipped, "out", "dead-letters")), (30, 0));
}

#[test]
fn partitions_that_are_not_there_go_to_the_dead_letters() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let (from, to) = (broker.topic(1, &[]), broker.topic(2, &[]));
    let order = |n: usize| Record::new(None, Some(&format!(r#"{{"n":{n}}}"#)));
    topic::write(broker, &from, &(0..400).map(order).collect::<Vec<_>>());
    let brokers = &broker.address;
    let pipeline = format!(
        "sources:
  in: {{kafka: {{brokers: '{brokers}', topic: {from}, stop: latest}}}}
operators:
  route: {{component: '{{plugins}}/json-map.wasm', from: in, config: {{expression: value.n, partition: value.n % 4}}}}
sinks:
  out: {{kafka: {{brokers: '{brokers}', topic: {to}}}, from: route, on-error: dead-letter}}
  dead: {{files: {{path: dead}}, from: out.dead-letter}}
"
    );
    let description = flowd.finished(&flowd.deploy("partitions", &pipeline));
    assert_eq!(counter(&description, "out", "dead-letters"), 200);
    let numbers = |values: Vec<String>| -> Vec<usize> {
        let mut all: Vec<usize> = values.iter().map(|value| value.parse().expect("a number")).collect();
        all.sort_unstable();
        all
    };
    let good = Topic::open(broker, &to, 2).exactly(200);
    assert!(good.iter().all(|(partition, record)| record.text().parse::<i32>().expect("a number") % 4 == *partition));
    assert_eq!(
        numbers(good.iter().map(|(_, record)| record.text().to_owned()).collect()),
        (0..400).filter(|n| n % 4 < 2).collect::<Vec<_>>()
    );
    let letter = |line: &String| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    let letters: Vec<serde_json::Value> = flowd.lines("dead").iter().map(letter).collect();
    for letter in &letters {
        let n: u64 = letter["value"].as_str().and_then(|value| value.parse().ok()).expect("a number");
        assert_eq!(
            (letter["error"]["code"].as_str(), letter["error"]["offset"].as_u64()),
            (Some("no-partition"), Some(n))
        );
    }
    let values = letters.iter().map(|letter| letter["value"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(numbers(values), (0..400).filter(|n| n % 4 > 1).collect::<Vec<_>>());
}

/// Its cluster dies while dead letters are on their way to it, and comes back.
#[test]
fn a_cluster_of_dead_letters_that_is_down_loses_nothing() {
    const N: usize = 400_000;
    let (flowd, of_dead) = (Flowd::new(), Broker::start(free_port()));
    let dead = of_dead.topic(1, &[]);
    let address = &of_dead.address;
    let pipeline = format!(
        "sources:
  in: {{generator: {{count: {N}, rate: 100000, value: '{{{{seq}}}}.'}}}}
operators:
  evil: {{component: '{{plugins}}/hostile.wasm', from: in, config: {{mode: reject, when: '7.'}}, on-error: dead-letter}}
sinks:
  out: {{files: {{path: out}}, from: evil}}
  dead:
    kafka: {{brokers: '{address}', topic: {dead}, properties: {{queue.buffering.max.messages: 1000}}}}
    from: dead-letter
"
    );
    let job = flowd.deploy("down", &pipeline);
    flowd.until(&job, |d| counter(d, "dead", "records-out") > 0);
    of_dead.kill();
    // What is on its way fills up; then nothing goes on, the good records neither.
    let mut last = counter(&flowd.describe(&job), "evil", "records-in");
    loop {
        std::thread::sleep(Duration::from_millis(1500));
        let now = counter(&flowd.describe(&job), "evil", "records-in");
        if std::mem::replace(&mut last, now) == now {
            break;
        }
    }
    assert!(last < N as u64, "the job waits for its dead letters, at {last}");
    assert_eq!(flowd.describe(&job)["state"], "running");
    let log = flowd.ctl(&["logs", "down", "--tail", "1000"]).stdout;
    assert!(log.contains(address) && log.contains("trying again"), "{log}");
    of_dead.start_again();
    let description = flowd.finished(&job);
    assert_eq!(counter(&description, "dead", "records-out"), N as u64 / 10);
    let letters = Topic::open(&of_dead, &dead, 1).exactly(N / 10);
    let values: Vec<&str> = letters.iter().map(|(_, record)| record.text()).collect();
    let wanted: Vec<String> = (0..N).filter(|n| n % 10 == 7).map(|n| format!("{n}.")).collect();
    assert!(values == wanted, "each once and in order");
    let good: BTreeSet<String> = flowd.lines("out").into_iter().collect();
    assert_eq!(good.len(), N - N / 10);
}
