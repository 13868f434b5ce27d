//! What a source, operator or sink has done and taken up so far: counted in each subtask, added up for who wants less.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What has happened so far in one subtask, or in several together. All but the state only ever grows while a job runs,
/// so two of them, and the time between, make rates.
///
/// Times are microseconds of a slot, which steps one subtask at a time: while it is busy in one node the others of its
/// slot wait, so the three of one subtask are together less than the time that has passed. What is missing the slot was
/// at work for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Figures {
    /// Records taken.
    pub records_in: u64,
    /// Records given.
    pub records_out: u64,
    /// Bytes of the values of the records taken.
    pub bytes_in: u64,
    /// Bytes of the values of the records given.
    pub bytes_out: u64,
    /// Records that were not taken and left the stream, as `on-error` says: those skipped, and the dead letters.
    pub rejected: u64,
    /// Those of them that became dead letters.
    pub dead_letters: u64,
    /// Microseconds that slots spent in it: in the component and in what the engine does around it.
    pub busy_us: u64,
    /// Microseconds in which its task could not pass on its output, since what is behind it is slower.
    pub backpressured_us: u64,
    /// Microseconds in which its task had no input.
    pub idle_us: u64,
    /// Microseconds of CPU time out of `busy_us`: less where the machine had other things to do. Each slot's CPU time is
    /// shared out by the time that its nodes were busy.
    pub cpu_us: u64,
    /// Its keyed state, if it has any and it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateFigures>,
}

/// What keyed state takes up now, and how often it was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct StateFigures {
    /// Bytes in the write-back cache.
    pub cache_bytes: u64,
    /// Entries in the write-back cache, keys that are known to have no value among them.
    pub cache_entries: u64,
    /// Bytes in the store below the cache, by its estimate. What is in both counts in both.
    pub store_bytes: u64,
    /// Entries in the store, by its estimate.
    pub store_entries: u64,
    /// Keys that were asked for and found in the cache.
    pub hits: u64,
    /// Keys that were asked for and had to be looked up in the store.
    pub misses: u64,
}

/// How far a partition of a Kafka source was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartitionFigures {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The offset of the next record; none before it is known.
    pub position: Option<i64>,
    /// The offset after its last record, as the broker told lately; none before it did.
    pub end: Option<i64>,
}

impl PartitionFigures {
    /// How many offsets are still to come, as far as both are known. Those that transactions and compaction use up count.
    pub fn lag(&self) -> Option<u64> {
        self.end.zip(self.position).map(|(end, position)| u64::try_from(end - position).unwrap_or(0))
    }

    /// The lag of several partitions together, as far as it is known; none where it is of none.
    pub fn lag_of(all: &[PartitionFigures]) -> Option<u64> {
        all.iter().filter_map(PartitionFigures::lag).reduce(u64::saturating_add)
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.records_in += other.records_in;
        self.records_out += other.records_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.rejected += other.rejected;
        self.dead_letters += other.dead_letters;
        self.busy_us += other.busy_us;
        self.backpressured_us += other.backpressured_us;
        self.idle_us += other.idle_us;
        self.cpu_us += other.cpu_us;
        if let Some(state) = other.state {
            *self.state.get_or_insert_default() += state;
        }
    }
}

impl AddAssign for StateFigures {
    fn add_assign(&mut self, other: StateFigures) {
        self.cache_bytes += other.cache_bytes;
        self.cache_entries += other.cache_entries;
        self.store_bytes += other.store_bytes;
        self.store_entries += other.store_entries;
        self.hits += other.hits;
        self.misses += other.misses;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_added_up() {
        let names = serde_json::to_value(Figures { state: Some(StateFigures::default()), ..Figures::default() });
        let mut counting = 0;
        let mut fill = |value: &mut serde_json::Value| {
            counting += 1;
            *value = counting.into();
        };
        let mut json = names.expect("JSON");
        for value in json.as_object_mut().expect("an object").values_mut() {
            match value.as_object_mut() {
                Some(state) => state.values_mut().for_each(&mut fill),
                None => fill(value),
            }
        }
        let one: Figures = serde_json::from_value(json.clone()).expect("figures");
        let mut sum = Figures::default();
        (0..2).for_each(|_| sum += one);
        let double = |value: &mut serde_json::Value| *value = (value.as_u64().expect("a number") * 2).into();
        for value in json.as_object_mut().expect("an object").values_mut() {
            match value.as_object_mut() {
                Some(state) => state.values_mut().for_each(double),
                None => double(value),
            }
        }
        assert_eq!(serde_json::to_value(sum).expect("JSON"), json);
    }
}
