//! The contract of the model broker, on a real Kafka: what the simulation proves on the model holds there.

use flow_e2e::transactions::{self, error};
use flow_sim::broker::{Error, Producer, Record, Seen};
use flow_sim::contract::{self, Transactions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::broker::{Broker, TEN};

struct Real {
    broker: &'static Broker,
    topic: String,
    requests: transactions::Transactions,
}

fn real() -> Real {
    let broker = Broker::shared();
    Real { broker, topic: broker.topic(2, &[]), requests: transactions::Transactions::connect(&broker.address) }
}

/// Transactional ids of one topic's own: tests share a broker.
fn own(topic: &str, id: &str) -> String {
    format!("{topic}-{id}")
}

fn meaning(code: i16) -> Error {
    match code {
        error::CONCURRENT_TRANSACTIONS => Error::Concurrent,
        error::INVALID_TXN_STATE => Error::Invalid,
        error::INVALID_PRODUCER_EPOCH | error::PRODUCER_FENCED | error::INVALID_PRODUCER_ID_MAPPING => Error::Fenced,
        code => panic!("Kafka refuses with code {code}"),
    }
}

impl Transactions for Real {
    fn init(&mut self, id: &str) -> Result<Producer, Error> {
        let (id, epoch) = self.requests.init(&own(&self.topic, id)).map_err(meaning)?;
        Ok(Producer { id, epoch })
    }

    fn produce(&mut self, id: &str, by: Producer, partition: u32, sequence: i32, record: Record) -> Result<(), Error> {
        let (id, partition) = (own(&self.topic, id), partition as i32);
        let (by, at) = ((by.id, by.epoch), (self.topic.as_str(), partition, sequence));
        self.requests.add(&id, by, &self.topic, partition).map_err(meaning)?;
        self.requests.produce(&id, by, at, (&record.key, &record.value)).map_err(meaning)
    }

    fn end(&mut self, id: &str, by: Producer, commit: bool) -> Result<(), Error> {
        self.requests.end(&own(&self.topic, id), (by.id, by.epoch), commit).map_err(meaning)
    }

    fn read(&mut self, partition: u32) -> Seen {
        let (end, high) = self.requests.ends(&self.topic, partition as i32);
        let mut client = self.broker.client();
        client.set("group.id", "none").set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        client.set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = client.create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        all.add_partition_offset(&self.topic, partition as i32, Offset::Offset(0)).expect("an offset");
        consumer.assign(&all).expect("assigned");
        let mut records = Vec::new();
        loop {
            match consumer.poll(TEN).expect("the broker answers") {
                Ok(message) => {
                    let bytes = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
                    records.push(Record { key: bytes(message.key()), value: bytes(message.payload()) });
                }
                Err(KafkaError::PartitionEOF(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        Seen { records, end: end as usize, high: high as usize }
    }

    fn pass(&mut self) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn kafka_keeps_the_contract_of_the_model() {
    contract::init_fences(&mut real());
    contract::late_end_commits_half(&mut real());
    contract::readers_stop_at_the_last_stable_offset(&mut real());
    contract::init_waits_for_an_end_in_flight(&mut real());
}

#[test]
#[ignore = "long: 32,767 times init"]
fn kafka_gives_another_producer_id_when_epochs_run_out() {
    contract::epochs_run_out(&mut real());
}
