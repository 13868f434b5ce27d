//! Whole pipelines from Kafka to Kafka in the real daemon, record by record against what a few lines of Rust compute.

mod dead_letters;
mod destinations;
mod keyed;
mod records;
mod refused;
mod unbounded;

use flow_e2e::broker::Broker;

/// Of every topic here.
const PARTITIONS: i32 = 4;

/// The pipeline from one topic to another through these operators (YAML), the last of which is `last`.
fn pipeline(broker: &Broker, from: &str, to: &str, bounded: bool, operators: &str, last: &str) -> String {
    let (brokers, stop) = (&broker.address, if bounded { ", stop: latest" } else { "" });
    format!(
        "parallelism: 2\n\
         sources:\n  in: {{kafka: {{brokers: '{brokers}', topic: {from}{stop}}}}}\n\
         operators:\n{operators}\
         sinks:\n  out: {{kafka: {{brokers: '{brokers}', topic: {to}}}, from: {last}}}\n"
    )
}
