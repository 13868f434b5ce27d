//! Dead letters in a topic: the record as it was, and headers that say what happened.

use std::collections::BTreeMap;

use flow_e2e::broker::Broker;
use flow_e2e::flowd::{Flowd, counter};
use flow_e2e::topic::{self, Record, Topic};

use crate::PARTITIONS;

const N: usize = 5000;

fn is_bad(n: usize) -> bool {
    n % 50 == 17
}

fn record(n: usize) -> Record {
    Record {
        timestamp: Some(1_700_000_000_000 + n as i64),
        headers: vec![("n".into(), Some(n.to_string().into_bytes())), ("null".into(), None)],
        ..Record::new(
            Some(&format!("key-{}", n % 37)),
            Some(&format!("{} {n}", if is_bad(n) { "bad" } else { "good" })),
        )
    }
}

#[test]
fn a_dead_letter_is_the_record_with_headers_that_say_what_happened() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let [from, to, dead] = [0; 3].map(|_| broker.topic(PARTITIONS, &[]));
    topic::write(broker, &from, &(0..N).map(record).collect::<Vec<_>>());
    let brokers = &broker.address;
    let pipeline = format!(
        "parallelism: 2
sources:
  in: {{kafka: {{brokers: '{brokers}', topic: {from}, stop: latest}}}}
operators:
  evil: {{component: '{{plugins}}/hostile.wasm', from: in, config: {{mode: panic, when: bad}}, on-error: dead-letter}}
sinks:
  out: {{kafka: {{brokers: '{brokers}', topic: {to}}}, from: evil}}
  dead: {{kafka: {{brokers: '{brokers}', topic: {dead}}}, from: dead-letter}}
"
    );
    let description = flowd.finished(&flowd.deploy("letters", &pipeline));
    let bad: Vec<usize> = (0..N).filter(|n| is_bad(*n)).collect();
    assert_eq!(counter(&description, "evil", "dead-letters"), bad.len() as u64);

    // Where each record was, by its value.
    let read = |topic: &str, n: usize| Topic::open(broker, topic, PARTITIONS).exactly(n);
    let mut next = BTreeMap::<i32, usize>::new();
    let mut places = BTreeMap::new();
    for (partition, record) in read(&from, N) {
        let offset = next.entry(partition).or_default();
        places.insert(record.text().to_owned(), (partition, *offset));
        *offset += 1;
    }
    let mut good: Vec<Record> = read(&to, N - bad.len()).into_iter().map(|(_, record)| record).collect();
    let mut wanted: Vec<Record> = (0..N).filter(|n| !is_bad(*n)).map(record).collect();
    good.sort();
    wanted.sort();
    assert_eq!(good, wanted);

    let mut letters: Vec<Record> = read(&dead, bad.len()).into_iter().map(|(_, record)| record).collect();
    letters.sort_by_key(|letter| letter.timestamp);
    for (mut letter, n) in letters.into_iter().zip(bad) {
        let told = letter.headers.split_off(2);
        assert_eq!(letter, record(n), "without what is told of it, it is the record again");
        let text = |name: &str| {
            let value =
                told.iter().find(|(key, _)| key == &format!("flow.error.{name}")).and_then(|(_, v)| v.as_deref());
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        let (partition, offset) = places[letter.text()];
        assert_eq!((text("topic"), text("partition")), (from.clone(), partition.to_string()));
        assert_eq!((text("offset"), text("source")), (offset.to_string(), "in".to_owned()));
        assert_eq!(
            (text("operator"), text("pipeline"), text("code")),
            ("evil".into(), "letters".into(), "trap".into())
        );
        assert!(text("reason").starts_with("it panicked: panicked at"), "{told:?}");
        assert!(text("backtrace").contains("#apply"), "{told:?}");
        assert!(text("component").starts_with("sha256:"), "{told:?}");
        assert_eq!(text("attempts"), "1");
    }
}
