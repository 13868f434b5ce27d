//! An operator decides where its records go: topic, partition and key.

use flow_e2e::broker::Broker;
use flow_e2e::flowd::{Flowd, state};
use flow_e2e::topic::{self, Record, Topic};

use crate::PARTITIONS;

fn pipeline(broker: &Broker, from: &str, sink: &str) -> String {
    let brokers = &broker.address;
    format!(
        "sources:\n  in: {{kafka: {{brokers: '{brokers}', topic: {from}, stop: latest}}}}\n\
         operators:\n  route:\n    component: '{{plugins}}/json-map.wasm'\n    from: in\n    config:\n      expression: value.n\n      \
         key: value.key\n      topic: \"has(value.to) ? value.to : null\"\n      partition: value.n\n  \
         keep: {{component: '{{plugins}}/identity.wasm', from: route}}\n\
         sinks:\n  out: {{kafka: {{brokers: '{brokers}', {sink}}}, from: keep}}\n"
    )
}

#[test]
fn records_go_to_the_topics_that_an_operator_names() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let topics = [0, 1, 2].map(|_| broker.topic(PARTITIONS, &[]));
    let [from, own, other] = &topics;
    let order = |n: usize| match n % 2 {
        0 => format!(r#"{{"n":{},"key":"k{n}"}}"#, n % 4),
        _ => format!(r#"{{"n":{},"key":"k{n}","to":"{other}"}}"#, n % 4),
    };
    let records: Vec<Record> = (0..400).map(|n| Record::new(None, Some(&order(n)))).collect();
    topic::write(broker, from, &records);
    let sink = format!("topic: {own}, pattern: '{other}|none', partitions: 4");
    flowd.finished(&flowd.deploy("routed", &pipeline(broker, from, &sink)));
    for (topic, odd) in [(own, 0), (other, 1)] {
        let read = Topic::open(broker, topic, PARTITIONS).exactly(200);
        let mut numbers: Vec<usize> = Vec::new();
        for (partition, record) in read {
            assert_eq!(record.text(), partition.to_string(), "{record:?}");
            let key = String::from_utf8(record.key.clone().expect("a key")).expect("text");
            numbers.push(key.trim_start_matches('k').parse().expect("a number"));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..400).filter(|n| n % 2 == odd).collect::<Vec<_>>());
    }
}

#[test]
fn a_topic_that_the_sink_does_not_name_fails_the_job() {
    let (broker, flowd) = (Broker::shared(), Flowd::new());
    let (from, own) = (broker.topic(1, &[]), broker.topic(1, &[]));
    topic::write(broker, &from, &[Record::new(None, Some(r#"{"n":0,"key":"k","to":"elsewhere"}"#))]);
    let description = flowd.ended(&flowd.deploy("not-allowed", &pipeline(broker, &from, &format!("topic: {own}"))));
    assert_eq!(state(&description), "failed");
    let error = description["error"].as_str().expect("an error");
    let expect = format!(
        "out: {from}[0]@0 was rejected (other-topic): it is for topic \"elsewhere\", which this sink does not write"
    );
    assert!(error.contains(&expect), "{error}");
}
