//! Reading how far a lane came: its partition of the progress topic, to the high watermark of the moment of the question, as
//! readers of committed records see it. Control records make the last offset another one than the last record's, so it is the
//! position that has to get there.
//!
//! A broker tells that nothing lies behind the position only by a fetch that waits in vain, so fetches wait for milliseconds; and
//! between two questions nothing is fetched.

use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flow_dataflow::lane::{Identity, Standing};

use super::Shared;
use crate::kafka::opening::QUESTION;
use crate::kafka::raw::{Consumer, EARLIEST, LATEST, Offset, Producer, Taken, describe};
use crate::kafka::{Error, Settings};

/// How long one wait for records takes.
const WAIT: Duration = Duration::from_millis(200);
/// A consumer that gives nothing for so long, though there is something, is given up: a new one begins with new connections and
/// knows nothing of the leaders of before.
const STUCK: Duration = Duration::from_secs(5);

/// So long records at the end of a partition may be open: others write there too, in transactions.
const OPEN: Duration = Duration::from_millis(300);
/// How often that is asked.
const LOOK: Duration = Duration::from_millis(20);

/// Why it can't be told.
pub(super) enum Failed {
    /// Trying again may help.
    Passing(String),
    /// It does not.
    Refused(String),
    /// There is a record that is neither committed nor aborted.
    Stuck(String),
}

pub(super) struct Reader {
    consumer: Consumer,
    reading: Settings,
    topic: CString,
    identity: Identity,
    /// Everything before it was read.
    position: i64,
    standing: Standing,
    /// Asks for the high watermark.
    asker: Producer,
    asking: Settings,
}

impl Reader {
    pub(super) fn open(shared: &Shared, identity: &Identity, topic: CString) -> Result<Reader, Error> {
        let reading = Settings::standing(&shared.laying.connection)?;
        let asking = shared.laying.writing.settings.clone();
        let mut consumer = Consumer::new(&reading, Arc::new(|| ()))?;
        // Begun before there is a question: it takes librdkafka up to a second to find a topic that is new to it.
        _ = consumer.fetch_only(&topic, identity.index as i32, EARLIEST);
        Ok(Reader {
            consumer,
            reading,
            topic,
            identity: identity.clone(),
            position: 0,
            standing: Standing::default(),
            asker: Producer::new(&asking)?,
            asking,
        })
    }

    fn partition(&self) -> i32 {
        self.identity.index as i32
    }

    /// What stands there as far as it was read.
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    fn rewind(&mut self) {
        (self.position, self.standing) = (0, Standing::default());
    }

    /// What stands there now, or none if `stopped` says so first.
    pub(super) fn read(&mut self, stopped: impl Fn() -> bool) -> Result<Option<Standing>, Failed> {
        let mine = (self.topic.clone(), self.partition());
        let high = self.ends(&[mine], false)?.first().copied().unwrap_or_default();
        if high < self.position {
            // It is shorter than it was: what it says now counts, and is judged.
            self.rewind();
        }
        if self.position < high {
            // Begun anew it has no offset to begin with: records at the begin may be compacted away.
            let from = if self.position == 0 { EARLIEST } else { self.position };
            // These calls fail for a client that is no consumer only.
            _ = self.consumer.fetch_only(&self.topic, self.partition(), from);
            let reached = self.reach(high, stopped);
            _ = self.consumer.fetch_none();
            match reached {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(failed @ Failed::Stuck(_)) => return Err(failed),
                Err(failed) => {
                    // Its position may be one that is no more.
                    self.rewind();
                    return Err(failed);
                }
            }
        }
        Ok(Some(self.standing))
    }

    /// Reads until everything before an offset was read. False if `stopped` says so first.
    fn reach(&mut self, high: i64, stopped: impl Fn() -> bool) -> Result<bool, Failed> {
        let (mut begun, mut from) = (Instant::now(), self.position);
        while self.position < high {
            if stopped() {
                return Ok(false);
            }
            self.consumer.wait(WAIT);
            self.drain()?;
            if from < self.position {
                (begun, from) = (Instant::now(), self.position);
            } else if begun.elapsed() > STUCK {
                let cause = format!(
                    "of its partition {}, offsets {} to {high} do not come; if that stays so, a transaction hangs there, which \
                     `kafka-transactions.sh find-hanging` tells",
                    self.partition(),
                    self.position
                );
                if let Ok(consumer) = Consumer::new(&self.reading, Arc::new(|| ())) {
                    self.consumer = consumer;
                }
                return Err(Failed::Stuck(cause));
            }
        }
        Ok(true)
    }

    /// The ends of partitions: of all, or of what readers of committed records may see.
    fn ends(&mut self, of: &[(CString, i32)], committed: bool) -> Result<Vec<i64>, Failed> {
        let asked: Vec<_> = of.iter().map(|(topic, partition)| (topic.as_c_str(), *partition)).collect();
        let found = self.asker.client().offsets(&asked, LATEST, committed, QUESTION).and_then(|found| {
            let end = |(topic, partition): &(CString, i32)| {
                let is_it = |one: &&Offset| one.partition == *partition && one.topic.as_bytes() == topic.as_bytes();
                found.iter().find(is_it).map_or(Ok(0), |one| one.offset.map(Option::unwrap_or_default))
            };
            of.iter().map(end).collect()
        });
        found.map_err(|code| {
            // librdkafka asks with the leader's epoch that it knows, and learns no newer one from a broker that refuses it: a
            // new client does.
            if let Ok(asker) = Producer::new(&self.asking) {
                self.asker = asker;
            }
            Failed::Passing(describe(code))
        })
    }

    /// Those of the partitions at whose ends records are neither committed nor aborted, and stay so for a while.
    pub(super) fn open_ends(&mut self, of: &[(CString, i32)]) -> Result<Vec<(CString, i32)>, Failed> {
        let (all, begun) = (self.ends(of, false)?, Instant::now());
        loop {
            let stable = self.ends(of, true)?;
            let ends = of.iter().zip(stable.iter().zip(&all));
            let open: Vec<_> = ends.filter(|(_, (stable, all))| stable < all).map(|(place, _)| place.clone()).collect();
            if open.is_empty() || begun.elapsed() > OPEN {
                return Ok(open);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn drain(&mut self) -> Result<(), Failed> {
        loop {
            while let Some(taken) = self.consumer.pop() {
                match taken {
                    Taken::Message(message) => {
                        let (key, value) = (message.key().unwrap_or_default(), message.payload());
                        // What was deleted is nobody's.
                        let read = value.map_or(Ok(()), |value| self.identity.read(&mut self.standing, key, value));
                        self.position = message.offset() + 1;
                        read.map_err(|why| {
                            let topic = self.topic.to_string_lossy();
                            Failed::Refused(format!("a record of the progress topic {topic:?} can't be read: {why}"))
                        })?;
                    }
                    Taken::End { offset, .. } => self.position = self.position.max(offset),
                    Taken::Failed { cause, .. } => return Err(Failed::Passing(cause)),
                }
            }
            if self.consumer.fill(100) == 0 {
                return Ok(());
            }
        }
    }
}
