//! Topics: making, filling and reading them whole. Never measured.

use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::child::check_interrupted;
use crate::orders::{Contents, Orders, Skew};
use crate::settings::{self, PATIENCE};

/// Partitions of every topic.
pub const PARTITIONS: i32 = 4;

/// Makes an empty topic.
pub fn create(brokers: &str, topic: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = settings::asking(brokers).create()?;
    let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let results =
        runtime.block_on(admin.create_topics([&new], &options)).with_context(|| format!("no Kafka at {brokers}"))?;
    for result in results {
        if let Err((name, code)) = result {
            bail!("topic {name} can't be made: {code}");
        }
    }
    Ok(())
}

/// Deletes a topic.
pub fn delete(brokers: &str, topic: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = settings::asking(brokers).create()?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for result in runtime.block_on(admin.delete_topics(&[topic], &options))? {
        if let Err((name, code)) = result {
            bail!("topic {name} can't be deleted: {code}");
        }
    }
    Ok(())
}

/// The partitions of a topic, each with the offset behind its last record.
pub fn ends(client: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<(i32, i64)>> {
    (0..PARTITIONS)
        .map(|partition| {
            let (_, high) = client
                .fetch_watermarks(topic, partition, PATIENCE)
                .with_context(|| format!("{topic}[{partition}] can't be asked for its end"))?;
            Ok((partition, high))
        })
        .collect()
}

/// How many records were ever written to a topic. Holds as offsets do, so for topics without transactions.
pub fn records(brokers: &str, topic: &str) -> anyhow::Result<u64> {
    let client: BaseConsumer = settings::asking(brokers).create()?;
    Ok(ends(&client, topic)?.iter().map(|(_, end)| *end as u64).sum())
}

/// Writes so many orders, each with its customer as key.
pub fn fill(brokers: &str, topic: &str, count: u64, skew: Skew) -> anyhow::Result<()> {
    let producer: BaseProducer = settings::writing(brokers)?.create()?;
    let (mut orders, mut value) = (Orders::new(count, skew), Vec::new());
    let mut sent = 0_u64;
    while let Some((_, order)) = orders.next() {
        value.clear();
        serde_json::to_writer(&mut value, &order)?;
        let mut record = BaseRecord::to(topic).key(order.customer.as_bytes()).payload(value.as_slice());
        while let Err((error, back)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            record = back;
            producer.poll(Duration::from_millis(5));
        }
        sent += 1;
        if sent.is_multiple_of(1000) {
            producer.poll(Duration::ZERO);
            check_interrupted()?;
        }
    }
    producer.flush(PATIENCE).context("Kafka did not take all orders in time")?;
    if producer.in_flight_count() > 0 {
        bail!("Kafka did not take all orders");
    }
    Ok(())
}

/// Reads a topic whole.
pub fn contents(brokers: &str, topic: &str) -> anyhow::Result<Contents> {
    let consumer: BaseConsumer = settings::reading(brokers)?.create()?;
    let mut from = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        from.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&from)?;
    let (mut open, mut contents) = (PARTITIONS, Contents::default());
    while open > 0 {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => {
                contents.add(message.key().unwrap_or_default(), message.payload().unwrap_or_default());
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error.into()),
            None => check_interrupted()?,
        }
    }
    Ok(contents)
}
