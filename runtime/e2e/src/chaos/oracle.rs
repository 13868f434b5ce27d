//! Who judges: of each key the numbers in a topic have to follow one another, each once, as readers of committed records see
//! them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::input::PARTITIONS;
use crate::broker::Broker;

/// What was read of a topic so far.
pub struct Oracle {
    consumer: BaseConsumer,
    /// The first number of a key.
    first: u64,
    next: HashMap<Vec<u8>, u64>,
    /// Numbers up to the last ones that were read, missing ones included.
    reached: u64,
    /// Numbers that were left out.
    pub missing: u64,
    /// Numbers that had been read before.
    pub duplicated: u64,
    /// Values that are no numbers.
    pub wrong: u64,
}

impl Oracle {
    /// Of a topic whose numbers begin with `first`.
    pub fn open(broker: &Broker, topic: &str, first: u64) -> Oracle {
        let mut config = broker.client();
        config.set("group.id", "oracle").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.set("reconnect.backoff.max.ms", "500");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        (0..PARTITIONS).for_each(|p| list.add_partition_offset(topic, p, Offset::Beginning).expect("a valid offset"));
        consumer.assign(&list).expect("assigned");
        let next = HashMap::new();
        Oracle { consumer, first, next, reached: 0, missing: 0, duplicated: 0, wrong: 0 }
    }

    /// How many records there should have been up to the last ones that were read.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Reads until so many are reached. False when for so long none came.
    pub fn until(&mut self, wanted: u64, patience: Duration) -> bool {
        let mut last = Instant::now();
        while self.reached < wanted {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    last = Instant::now();
                    let (key, value) =
                        (message.key().unwrap_or_default().to_vec(), message.payload().unwrap_or_default());
                    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.read(key, number);
                }
                // A broker that is gone comes back.
                Some(Err(_)) | None if last.elapsed() > patience => return false,
                Some(Err(_)) | None => {}
            }
        }
        true
    }

    /// Reads what is there.
    pub fn rest(&mut self) {
        self.until(u64::MAX, Duration::from_millis(700));
    }

    fn read(&mut self, key: Vec<u8>, number: Option<u64>) {
        let Some(number) = number else {
            self.wrong += 1;
            return;
        };
        let next = self.next.entry(key).or_insert(self.first);
        if number < *next {
            self.duplicated += 1;
            return;
        }
        self.missing += number - *next;
        self.reached += number + 1 - *next;
        *next = number + 1;
    }
}
