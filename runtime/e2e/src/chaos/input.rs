//! What is fed to the jobs: numbers that follow one another, key by key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer};

use crate::broker::Broker;
use crate::topic::{Record, send};

/// Of each topic.
pub const PARTITIONS: i32 = 4;
/// Records that are fed at once, at most.
const BURST: u64 = 200;
/// Pause between two bursts, at most.
const PAUSE_MS: u64 = 60;

/// A topic, and what was written to it.
pub struct Input {
    /// Its name.
    pub topic: String,
    producer: BaseProducer,
    keys: u64,
    next: HashMap<u64, u64>,
    /// How many records there are.
    fed: Arc<AtomicU64>,
}

impl Input {
    /// A new one with so many keys.
    pub fn new(broker: &Broker, keys: u64) -> Input {
        let mut config = broker.client();
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("linger.ms", "2");
        config.set("reconnect.backoff.max.ms", "500");
        let producer = config.create().expect("a producer");
        Input { topic: broker.topic(PARTITIONS, &[]), producer, keys, next: HashMap::new(), fed: Arc::default() }
    }

    /// How many records there are, also while it is fed.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.fed.clone()
    }

    /// How many records there are.
    pub fn fed(&self) -> u64 {
        self.fed.load(SeqCst)
    }

    /// Feeds, in bursts, until it is to stop; then all of it is stored.
    pub fn feed(&mut self, stop: &AtomicBool, mut random: fastrand::Rng) {
        while !stop.load(SeqCst) {
            for _ in 0..random.u64(1..=BURST) {
                let key = random.u64(0..self.keys);
                let next = self.next.entry(key).or_default();
                send(&self.producer, &self.topic, &Record::new(Some(&format!("k{key}")), Some(&next.to_string())));
                *next += 1;
                self.fed.fetch_add(1, SeqCst);
            }
            self.producer.poll(Duration::ZERO);
            sleep(Duration::from_millis(random.u64(0..PAUSE_MS)));
        }
        self.producer.flush(Duration::from_secs(60)).expect("everything is stored");
    }
}

/// Has the feeding stop, however the round ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Does something on this thread, with which daemons end that it starts, while a job is fed.
pub fn fed<T>(input: &Mutex<Input>, seed: u64, harm: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| input.lock().expect("it does not panic").feed(&stop, fastrand::Rng::with_seed(seed)));
        let _stop = Stop(&stop);
        sleep(Duration::from_millis(100));
        harm()
    })
}
