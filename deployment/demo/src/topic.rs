//! The Kafka side of the demo: makes topics, writes text lines into one, reads counts from the other. At the speed of
//! plain librdkafka calls; nothing here is part of Flow's own way through Kafka.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use crate::tally::Tally;

const PATIENCE: Duration = Duration::from_secs(30);

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// Makes an empty topic; one that exists already is an error, since its records would be counted too.
pub fn create(brokers: &str, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(brokers).create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
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

/// Deletes topics; what is not there is no error.
pub fn delete(brokers: &str, topics: &[&str]) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(brokers).create()?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for result in runtime.block_on(admin.delete_topics(topics, &options))? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((name, code)) => bail!("topic {name} can't be deleted: {code}"),
        }
    }
    Ok(())
}

/// Remembers the first record that Kafka did not take: flushing says nothing of it.
#[derive(Default)]
struct Deliveries(OnceLock<String>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let bytes = message.payload().map_or(0, <[u8]>::len);
            self.0.get_or_init(|| format!("a line of {bytes} bytes: {error}"));
        }
    }
}

/// Writes each line of all files below `dir` as one record without a key; returns how many.
pub fn produce(brokers: &str, topic: &str, dir: &Path) -> anyhow::Result<u64> {
    let producer: BaseProducer<Deliveries> = client(brokers)
        .set("linger.ms", "20")
        .set("compression.type", "lz4")
        .set("message.max.bytes", "33554432")
        .set("queue.buffering.max.kbytes", "131072")
        .create_with_context(Deliveries::default())?;
    let mut sent = 0;
    for file in files(dir)? {
        let mut lines = BufReader::new(File::open(&file).with_context(|| format!("can't read {}", file.display()))?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            send(&producer, topic, line.strip_suffix(b"\n").unwrap_or(&line))?;
            sent += 1;
            line.clear();
        }
    }
    producer.flush(PATIENCE).context("Kafka did not take all lines in time")?;
    if let Some(refused) = producer.context().0.get() {
        bail!("Kafka did not take {refused}");
    }
    Ok(sent)
}

fn send(producer: &BaseProducer<Deliveries>, topic: &str, line: &[u8]) -> anyhow::Result<()> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).payload(line);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// All files below `dir` but hidden ones and links, as Flow's own source of files takes them, in the order of their paths.
fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// One broker of several is away: the client goes on with the others and tries that one again.
fn passes(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve | RDKafkaErrorCode::AllBrokersDown
    )
}

/// Reads a topic from its start, all partitions.
pub struct Counts {
    consumer: BaseConsumer,
    topic: String,
    partitions: Vec<i32>,
}

impl Counts {
    /// The topic has to exist.
    pub fn new(brokers: &str, topic: &str) -> anyhow::Result<Counts> {
        let consumer: BaseConsumer = client(brokers)
            .set("group.id", "flow-demo")
            .set("enable.auto.commit", "false")
            .set("fetch.queue.backoff.ms", "10")
            .create()?;
        let metadata =
            consumer.fetch_metadata(Some(topic), PATIENCE).with_context(|| format!("no Kafka at {brokers}"))?;
        let partitions: Vec<i32> =
            metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        let mut assignment = TopicPartitionList::new();
        for partition in &partitions {
            assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        Ok(Counts { consumer, topic: topic.to_owned(), partitions })
    }

    /// Takes what is there and arrives within `time`.
    pub fn poll(&mut self, tally: &mut Tally, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let Some(message) = self.consumer.poll(left) else { break };
            match message {
                Ok(message) => message.payload().map_or(Ok(()), |payload| tally.update(payload))?,
                Err(KafkaError::MessageConsumption(code)) if passes(code) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Everything up to the end that the topic has now was taken.
    pub fn at_end(&self) -> anyhow::Result<bool> {
        let position = self.consumer.position()?;
        for partition in &self.partitions {
            let (_, end) = self.consumer.fetch_watermarks(&self.topic, *partition, PATIENCE)?;
            let next = position.find_partition(&self.topic, *partition).map(|found| found.offset());
            let taken = matches!(next, Some(Offset::Offset(next)) if next >= end) || end == 0;
            if !taken {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
