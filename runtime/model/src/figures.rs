//! What a source, operator or sink has done and taken up so far: counted in each subtask, added up for who wants less.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The bounds of the classes of [`CallFigures`], in microseconds. They never change, so that figures of different times and
/// versions can be held against each other. A call is cut to take 5 ms, and may take 5 s unless its operator's limit says otherwise.
pub const CALL_BOUNDS_US: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000];

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
    /// The calls of its component, if it is an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<CallFigures>,
    /// Its keyed state, if it has any and it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateFigures>,
}

/// The calls of a component, a batch each, by how long they took: with what the engine does around a call, and with those that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct CallFigures {
    /// Microseconds of all calls together.
    pub sum_us: u64,
    /// How many calls took as long as each of [`CALL_BOUNDS_US`] at most, and longer than the one before; last of all how many took
    /// longer than all of them.
    pub counts: [u64; CALL_BOUNDS_US.len() + 1],
}

impl CallFigures {
    /// How many calls there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those that are not in `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            sum_us: self.sum_us.saturating_sub(before.sum_us),
            counts: std::array::from_fn(|class| self.counts[class].saturating_sub(before.counts[class])),
        }
    }

    /// The microseconds that a share of the calls, from 0 to 1, did not exceed: estimated as if those of a class were spread
    /// evenly over it, and never more than the last bound. None without calls.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = self.count() as f64 * share;
        let (mut passed, mut from) = (0.0, 0.0);
        for (bound, count) in
            CALL_BOUNDS_US.into_iter().zip(self.counts).map(|(bound, count)| (bound as f64, count as f64))
        {
            if count > 0.0 && passed + count >= wanted {
                return Some(from + (bound - from) * (wanted - passed).max(0.0) / count);
            }
            (passed, from) = (passed + count, bound);
        }
        (self.count() > 0).then_some(from)
    }
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
        if let Some(calls) = other.calls {
            *self.calls.get_or_insert_default() += calls;
        }
        if let Some(state) = other.state {
            *self.state.get_or_insert_default() += state;
        }
    }
}

impl AddAssign for CallFigures {
    fn add_assign(&mut self, other: CallFigures) {
        self.sum_us += other.sum_us;
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
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
    use serde_json::Value;

    use super::*;

    /// Calls `each` with every number in it.
    fn numbers(value: &mut Value, each: &mut impl FnMut(&mut Value)) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(|value| numbers(value, each)),
            Value::Array(items) => items.iter_mut().for_each(|value| numbers(value, each)),
            number => each(number),
        }
    }

    #[test]
    fn every_figure_is_added_up() {
        let all =
            Figures { state: Some(StateFigures::default()), calls: Some(CallFigures::default()), ..Figures::default() };
        let mut json = serde_json::to_value(all).expect("JSON");
        let mut counting = 0;
        numbers(&mut json, &mut |value| {
            counting += 1;
            *value = counting.into();
        });
        let one: Figures = serde_json::from_value(json.clone()).expect("figures");
        let mut sum = Figures::default();
        (0..2).for_each(|_| sum += one);
        numbers(&mut json, &mut |value| *value = (value.as_u64().expect("a number") * 2).into());
        assert_eq!(serde_json::to_value(sum).expect("JSON"), json);
    }

    #[test]
    fn quantiles_are_estimated_within_their_class() {
        let check = |counts: &[(usize, u64)], share: f64, expect: Option<f64>| {
            let mut figures = CallFigures::default();
            counts.iter().for_each(|(class, count)| figures.counts[*class] = *count);
            assert_eq!(figures.quantile(share), expect, "{share} of {counts:?}");
        };
        check(&[], 0.5, None);
        // Ten of up to 10 µs: the fifth of them is in the middle.
        check(&[(0, 10)], 0.5, Some(5.0));
        check(&[(0, 10)], 1.0, Some(10.0));
        // Between 50 and 100 µs, behind an empty class.
        check(&[(1, 50), (3, 50)], 0.75, Some(75.0));
        check(&[(1, 50), (3, 50)], 0.5, Some(25.0));
        check(&[(14, 1)], 0.5, Some(5_000_000.0));
        check(&[(0, 1)], 0.0, Some(0.0));
    }

    #[test]
    fn calls_since_then() {
        let (mut before, mut now) = (CallFigures::default(), CallFigures::default());
        (before.counts[2], now.counts[2], now.counts[5]) = (3, 4, 2);
        (before.sum_us, now.sum_us) = (100, 900);
        let since = now.since(&before);
        assert_eq!((since.count(), since.counts[2], since.sum_us), (3, 1, 800));
        // Of another job of that name.
        assert_eq!(before.since(&now).count(), 0);
    }
}
