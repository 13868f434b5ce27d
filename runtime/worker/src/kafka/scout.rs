//! Which partitions there are for one subtask to read, and where reading each starts and stops: asked when the source starts
//! and now and then while it runs. On a thread of its own: a broker may let it wait.
//!
//! What is added to a topic while the source runs is read from its beginning. A topic that is gone, or was made anew under
//! its old name, is an error: records that were to be read are lost with it.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use flow_model::checkpoint::snapshot::Split;
use flow_model::spec::{KafkaStart, KafkaStop};

use super::opening::{Patience, QUESTION, Refused};
use super::raw::{Client, Described, EARLIEST, LATEST, Offset, is_leaderless, is_unanswered};
use super::{Error, Share, Topics, murmur2};

/// A partition to read from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// What fetching starts with: an offset, or a word of librdkafka's for one.
    pub(super) from: i64,
    /// The offset of the first record that can come.
    pub(super) next: i64,
    /// Reading ends before this offset.
    pub(super) stop: i64,
    /// The end at the time of asking, where `start` needs it.
    pub(super) end: i64,
    /// The id of the topic.
    pub(super) id: Option<String>,
}

/// How a checkpoint names a partition: `orders[3]`.
pub(super) fn name(topic: &str, partition: i32) -> String {
    format!("{topic}[{partition}]")
}

/// The topic and partition of such a name.
pub(super) fn parse(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.strip_suffix(']')?.rsplit_once('[')?;
    Some((topic, partition.parse().ok()?))
}

/// What a scout found.
pub(super) struct Found {
    pub(super) new: Vec<Span>,
    /// Partitions of this subtask that are not read yet: they have no leader.
    pub(super) waiting: usize,
}

/// A topic that was seen.
struct Known {
    name: Arc<str>,
    id: Option<String>,
    /// How many partitions it had when the source started.
    at_start: u32,
    /// Those of this subtask that are read.
    read: Vec<i32>,
}

/// What to look for, and what was found.
pub(super) struct Scout {
    pub(super) topics: Topics,
    pub(super) start: KafkaStart,
    pub(super) stop: KafkaStop,
    /// Which partitions are this subtask's.
    pub(super) share: Share,
    /// Whether an open transaction's records are left out.
    pub(super) committed: bool,
    known: HashMap<String, Known>,
    /// Of a source that goes on from a checkpoint: where each partition does.
    restored: Option<HashMap<(String, i32), Split>>,
    /// When the first look began, milliseconds since the Unix epoch.
    since: Option<i64>,
}

impl Scout {
    pub(super) fn new(topics: Topics, (start, stop): (KafkaStart, KafkaStop), share: Share, committed: bool) -> Scout {
        Scout { topics, start, stop, share, committed, known: HashMap::new(), restored: None, since: None }
    }

    /// The same, which goes on where the subtasks of an earlier source stopped. A partition that they did not know is read from
    /// its beginning.
    pub(super) fn restored(self, splits: &[Split]) -> Result<Scout, Error> {
        let wrong = |split: &Split| Error::Setting {
            name: "start".to_owned(),
            reason: format!("the checkpoint names {:?}, which is no partition of a topic", split.split),
        };
        let mut restored = HashMap::new();
        for split in splits {
            let (topic, partition) = parse(&split.split).ok_or_else(|| wrong(split))?;
            restored.insert((topic.to_owned(), partition), split.clone());
        }
        Ok(Scout { restored: Some(restored), ..self })
    }

    /// The restored partitions of this subtask.
    pub(super) fn to_go_on(&self) -> Vec<Split> {
        let mine = |(topic, partition): &(String, i32)| {
            let partitions = *partition as u32 + 1;
            self.topics.has(topic) && self.share.of(topic).partitions(partitions).any(|mine| mine == *partition)
        };
        let all = self.restored.iter().flatten();
        all.filter(|(partition, _)| mine(partition)).map(|(_, split)| split.clone()).collect()
    }

    fn is_bounded(&self) -> bool {
        self.stop != KafkaStop::Never
    }

    /// What is new. Waits for brokers.
    pub(super) fn look(&mut self, patience: &mut Patience<'_>, client: &Client) -> Result<Found, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        let described = patience.ask(client, |client| self.describe(client))?;
        let mut found = Vec::new();
        let (mut waiting, mut leaderless) = (0, Vec::new());
        for topic in described {
            if self.since.is_none() {
                self.check_offsets(&topic)?;
            }
            let mine = self.compare(client, &topic)?;
            for partition in mine {
                if topic.leaders.get(partition as usize) == Some(&true) {
                    found.push((topic.name.clone(), partition));
                } else {
                    waiting += 1;
                    leaderless.push(format!("{}[{partition}]", topic.name));
                }
            }
        }
        if !leaderless.is_empty() {
            let all = leaderless.join(", ");
            let wait = "it is read when one of the brokers that hold it is back";
            patience.warn("leaderless", &format!("no broker leads {all}: {wait}; see kafka-topics --describe"));
        }
        if self.since.is_none() && self.known.is_empty() {
            patience.warn(
                "pattern",
                &format!("Kafka at {} has no topic that {} matches yet", client.brokers(), self.topics),
            );
        }
        let ask = |client: &Client| match self.spans(client, &found) {
            // Who leads now is for the next look to ask: to ask the same again might never come to an end.
            Err(Refused { code, topic: None }) if is_unanswered(code) || is_leaderless(code) => Ok(Vec::new()),
            answer => answer,
        };
        let new = if found.is_empty() { Vec::new() } else { patience.ask(client, ask)? };
        if new.len() < found.len() {
            let is_told = |(topic, partition): &&(String, i32)| {
                new.iter().any(|span| *span.topic == **topic && span.partition == *partition)
            };
            let silent = found.iter().filter(|partition| !is_told(partition));
            let all: Vec<String> = silent.map(|(topic, partition)| name(topic, *partition)).collect();
            let wait = "it is read when that one answers, or another leads";
            patience.warn("silent", &format!("the broker that leads {} does not answer: {wait}", all.join(", ")));
        }
        for span in &new {
            // A bounded source would take it for read to its end.
            if let (KafkaStart::Offsets(_), true) = (&self.start, span.next > span.end) {
                let (topic, partition) = (span.topic.to_string(), span.partition);
                return Err(Error::OffsetGone {
                    topic,
                    partition,
                    offset: span.next,
                    cause: format!("it ends at {}", span.end),
                });
            }
            if let Some(known) = self.known.get_mut(&*span.topic) {
                known.read.push(span.partition);
            }
        }
        self.since.get_or_insert(now);
        // What lost its leader between the two questions comes with the next look.
        Ok(Found { waiting: waiting + found.len() - new.len(), new })
    }

    fn describe(&self, client: &Client) -> Result<Vec<Described>, Refused> {
        let mut names: Vec<String> = match &self.topics {
            Topics::Named(names) => names.clone(),
            Topics::Pattern(pattern) => {
                let matches = |name: &String| !name.starts_with("__") && pattern.is_match(name);
                client.names(QUESTION)?.into_iter().filter(matches).collect()
            }
        };
        // A topic that is gone must not go unseen.
        names.extend(self.known.keys().cloned());
        names.sort_unstable();
        names.dedup();
        let names: Vec<CString> = names.into_iter().filter_map(|name| CString::new(name).ok()).collect();
        let described = client.describe(&names, QUESTION)?;
        match described.iter().find(|topic| topic.code != 0 || topic.leaders.is_empty()) {
            Some(bad) => Err(Refused { code: bad.code, topic: Some(bad.name.clone()) }),
            None => Ok(described),
        }
    }

    /// An offset for a partition that is not there would be taken for one that has no effect.
    fn check_offsets(&self, topic: &Described) -> Result<(), Error> {
        let start = if let KafkaStart::Offsets(offsets) = &self.start { Some(("start", offsets)) } else { None };
        let stop = if let KafkaStop::Offsets(offsets) = &self.stop { Some(("stop", offsets)) } else { None };
        for (name, offsets) in start.into_iter().chain(stop) {
            let beyond = offsets.of(&topic.name).keys().find(|partition| **partition as u32 >= topic.partitions());
            if let Some(partition) = beyond {
                let (topic, all) = (&topic.name, topic.partitions());
                let reason = format!(
                    "it names partition {partition} of topic {topic:?}, which has {all}: from 0 to {}",
                    all.saturating_sub(1)
                );
                return Err(Error::Setting { name: name.to_owned(), reason });
            }
        }
        Ok(())
    }

    /// The partitions of this subtask that are not read yet.
    fn compare(&mut self, client: &Client, topic: &Described) -> Result<Vec<i32>, Error> {
        let at_start = if self.since.is_some() { 0 } else { topic.partitions() };
        let known = self.known.entry(topic.name.clone()).or_insert_with(|| Known {
            name: topic.name.as_str().into(),
            id: topic.id.clone(),
            at_start,
            read: Vec::new(),
        });
        let was = self.restored.iter().flatten().find(|((name, _), split)| *name == topic.name && split.id.is_some());
        if was.is_some_and(|(_, split)| topic.id.is_some() && split.id != topic.id) {
            return Err(Error::Recreated { brokers: client.brokers().to_owned(), topic: topic.name.clone() });
        }
        if known.id != topic.id || known.read.iter().any(|read| *read as u32 >= topic.partitions()) {
            return Err(Error::Recreated { brokers: client.brokers().to_owned(), topic: topic.name.clone() });
        }
        // A bounded source reads what there was at its start.
        let until = if self.stop != KafkaStop::Never { known.at_start } else { topic.partitions() };
        let share = self.share.of(&topic.name);
        let is_open = |partition: &i32| match &self.restored {
            Some(restored) if self.stop != KafkaStop::Never => restored.contains_key(&(topic.name.clone(), *partition)),
            _ => true,
        };
        let unread = share.partitions(until).filter(|partition| !known.read.contains(partition));
        Ok(unread.filter(is_open).collect())
    }

    /// Where reading of these partitions starts and stops.
    fn spans(&self, client: &Client, of: &[(String, i32)]) -> Result<Vec<Span>, Refused> {
        let names: Vec<(CString, i32)> =
            of.iter().filter_map(|(topic, partition)| Some((CString::new(topic.as_str()).ok()?, *partition))).collect();
        let mut names: Vec<_> = names.iter().map(|(topic, partition)| (topic.as_c_str(), *partition)).collect();
        let low = Offsets::ask(client, &names, EARLIEST, self.committed)?;
        // Who did not answer is not asked again, and waited for again.
        names.retain(|(topic, partition)| low.get(&topic.to_string_lossy(), *partition).is_some());
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let low = Some(low);
        let ask = |which| Offsets::ask(client, &names, which, self.committed);
        let high = if self.is_bounded() || self.start != KafkaStart::Earliest { Some(ask(LATEST)?) } else { None };
        let from = match self.start {
            KafkaStart::Timestamp(time) => Some(time),
            // What had no leader at first: the end is where it was then, not where it is now.
            KafkaStart::Latest => self.since,
            _ => None,
        };
        let from_time = from.map(ask).transpose()?;
        let to_time = if let KafkaStop::Timestamp(time) = self.stop { Some(ask(time)?) } else { None };
        let mut spans = Vec::new();
        for (topic, partition) in of {
            // What was not asked is none.
            let told = |asked: &Option<Offsets>| asked.as_ref().map_or(Some(None), |all| all.get(topic, *partition));
            // One of the questions had no answer: its leader is gone.
            let (Some(Some(low)), Some(high), Some(from_time), Some(to_time)) =
                (told(&low), told(&high), told(&from_time), told(&to_time))
            else {
                continue;
            };
            let high = high.unwrap_or(low);
            let known = &self.known[topic];
            let restored = self.restored.as_ref().map(|restored| restored.get(&(topic.clone(), *partition)));
            let (from, next) = match (&self.start, restored) {
                (_, Some(Some(split))) => (split.next, split.next),
                (_, Some(None)) => (EARLIEST, low),
                _ if *partition as u32 >= known.at_start => (EARLIEST, low),
                (KafkaStart::Earliest, _) => (EARLIEST, low),
                // None is that late: what comes is.
                (KafkaStart::Latest | KafkaStart::Timestamp(_), _) => {
                    let offset = from_time.unwrap_or(high);
                    (offset, offset)
                }
                (KafkaStart::Offsets(offsets), _) => {
                    offsets.of(topic).get(partition).map_or((EARLIEST, low), |offset| (*offset, *offset))
                }
            };
            let until = restored.flatten().and_then(|split| split.until);
            let stop = until.unwrap_or_else(|| match &self.stop {
                KafkaStop::Never => i64::MAX,
                KafkaStop::Latest => high,
                KafkaStop::Timestamp(_) => to_time.unwrap_or(high),
                KafkaStop::Offsets(offsets) => offsets.of(topic).get(partition).copied().unwrap_or(high),
            });
            let (topic, id) = (known.name.clone(), known.id.clone());
            spans.push(Span { topic, partition: *partition, from, next, stop, end: high, id });
        }
        Ok(spans)
    }
}

/// Offsets of partitions whose leader answered; none where no record is that late.
struct Offsets(HashMap<(String, i32), Option<i64>>);

impl Offsets {
    fn ask(client: &Client, of: &[(&std::ffi::CStr, i32)], which: i64, committed: bool) -> Result<Offsets, Refused> {
        let mut all = HashMap::new();
        for Offset { topic, partition, offset } in client.offsets(of, which, committed, QUESTION)? {
            match offset {
                Ok(offset) => _ = all.insert((topic, partition), offset),
                Err(code) if is_leaderless(code) || is_unanswered(code) => {}
                Err(code) => return Err(Refused { code, topic: Some(topic) }),
            }
        }
        Ok(Offsets(all))
    }

    fn get(&self, topic: &str, partition: i32) -> Option<Option<i64>> {
        self.0.get(&(topic.to_owned(), partition)).copied()
    }
}

impl Share {
    /// The partitions of this subtask among so many: number `p` belongs to subtask `p % parallelism`.
    fn partitions(self, all: u32) -> impl Iterator<Item = i32> {
        (self.subtask..all).step_by(self.parallelism.max(1) as usize).map(|p| p as i32)
    }

    /// The same for one of several topics: small ones begin with different subtasks.
    fn of(self, topic: &str) -> Share {
        let parallelism = self.parallelism.max(1);
        let first = murmur2::hash(topic.as_bytes()) % parallelism;
        Share { subtask: (self.subtask + parallelism - first) % parallelism, parallelism }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_belongs_to_one_subtask() {
        for topic in ["orders", "payments", "x"] {
            let of = |subtask| Share { subtask, parallelism: 3 }.of(topic).partitions(8).collect::<Vec<i32>>();
            let mut all: Vec<i32> = (0..3).flat_map(of).collect();
            all.sort_unstable();
            assert_eq!(all, (0..8).collect::<Vec<i32>>(), "{topic}");
        }
    }
}
