//! How long output takes, by the clock of who waits for it: a record that is written now has to come out.

use std::time::{Duration, Instant};

use rdkafka::producer::BaseProducer;

use crate::broker::Broker;
use crate::chaos::input::PARTITIONS;
use crate::names;
use crate::topic::{Record, Topic, send};

/// So many records are read of one topic before it is the turn of the next one.
const TURN: usize = 200;

/// Writes records to a topic and looks for them in others.
pub struct Probe<const N: usize> {
    /// What its keys begin with.
    name: String,
    producer: BaseProducer,
    from: String,
    to: [Topic; N],
    sent: u64,
}

impl<const N: usize> Probe<N> {
    /// From a topic to others.
    pub fn new(broker: &Broker, from: &str, to: [&str; N]) -> Probe<N> {
        let mut config = broker.client();
        let producer = config.set("partitioner", "murmur2_random").create().expect("a producer");
        let to = to.map(|topic| Topic::open(broker, topic, PARTITIONS));
        Probe { name: names::own("probe"), producer, from: from.to_owned(), to, sent: 0 }
    }

    /// How many records it has written: each is the first and last of its key.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Writes a record, waits until it has come out everywhere, and says after how long. `meanwhile` is called again and again.
    pub fn send(&mut self, patience: Duration, mut meanwhile: impl FnMut()) -> [Option<Duration>; N] {
        let key = format!("{}-{}", self.name, self.sent);
        self.sent += 1;
        let begun = Instant::now();
        send(&self.producer, &self.from, &Record::new(Some(&key), Some("0")));
        let mut came = [None; N];
        while came.contains(&None) && begun.elapsed() < patience {
            meanwhile();
            for (topic, came) in self.to.iter_mut().zip(&mut came) {
                // By turns: more may come all the time.
                for _ in 0..TURN {
                    let Some((_, record)) = topic.next(Duration::from_millis(5)) else { break };
                    if record.key.as_deref() == Some(key.as_bytes()) {
                        came.get_or_insert(begun.elapsed());
                    }
                }
            }
        }
        came
    }
}
