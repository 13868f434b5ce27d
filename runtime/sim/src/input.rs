//! What a job reads: a log of splits, all of whose records follow from the seed, and the source that reads a part of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_dataflow::build::Row;
use flow_dataflow::source::Locator;
use flow_dataflow::{Batch, BatchBuilder, Error, Polled, Source};
use flow_model::checkpoint::snapshot::Split;

use crate::clock::Clock;
use crate::dice::Dice;

/// Records of each key.
pub type Counts = BTreeMap<String, u64>;

/// A record.
#[derive(Clone, Debug)]
struct Entry {
    key: String,
    /// From when on it is there, milliseconds from the beginning of the run.
    at: u64,
}

/// All records of a run, by split.
#[derive(Clone, Debug)]
pub struct Input(Vec<Vec<Entry>>);

impl Input {
    /// So many splits, whose last record is there after about `millis`.
    pub fn new(dice: &mut Dice, splits: usize, millis: u64) -> Input {
        let (records, keys) = (dice.between(40, 160), dice.between(3, 30));
        let split = |_| {
            // Most records have one of a few keys.
            let mut entry = |at| {
                let keys = if dice.one_in(3) { keys } else { keys.div_ceil(4) };
                Entry { key: format!("k{}", dice.roll(keys)), at }
            };
            (0..records).map(|n| entry(n * millis / records)).collect()
        };
        Input((0..splits).map(split).collect())
    }

    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.0.iter().map(|split| split.len() as u64).sum()
    }

    /// What a reader has seen that goes on at these positions, by split.
    pub fn seen(&self, positions: &BTreeMap<String, i64>) -> Counts {
        let mut counts = Counts::new();
        for (number, split) in self.0.iter().enumerate() {
            let next = positions.get(&name(number)).copied().unwrap_or(0);
            for entry in &split[..next as usize] {
                *counts.entry(entry.key.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// All that it has.
    pub fn counts(&self) -> Counts {
        let ends = self.0.iter().enumerate().map(|(number, split)| (name(number), split.len() as i64));
        self.seen(&ends.collect())
    }
}

/// The name of a split.
fn name(split: usize) -> String {
    format!("in[{split}]")
}

/// Reads some splits, in batches of any size.
pub struct Reader {
    input: Arc<Input>,
    clock: Clock,
    dice: Dice,
    /// Number and next position.
    splits: Vec<(usize, usize)>,
    /// Before the last batch, where a planted fault wants to know that.
    before: Option<Vec<(usize, usize)>>,
}

impl Reader {
    /// Of a subtask, which goes on at these positions.
    pub fn new(
        input: Arc<Input>,
        clock: Clock,
        dice: Dice,
        (subtask, parallelism): (usize, usize),
        positions: &BTreeMap<String, i64>,
    ) -> Reader {
        let mine = (subtask..input.0.len()).step_by(parallelism);
        let splits = mine.map(|split| (split, positions.get(&name(split)).copied().unwrap_or(0) as usize)).collect();
        Reader { input, clock, dice, splits, before: None }
    }

    /// The same with a planted fault.
    #[must_use]
    pub fn behind(self) -> Reader {
        Reader { before: Some(self.splits.clone()), ..self }
    }
}

impl Source for Reader {
    fn poll(&mut self, max_rows: usize, _max_bytes: usize) -> Result<Polled, Error> {
        let now = self.clock.elapsed();
        let rows = max_rows.min(self.dice.between(1, 24) as usize);
        let mut builder = BatchBuilder::default();
        let first = self.dice.roll(self.splits.len().max(1) as u64) as usize;
        self.splits.rotate_left(first);
        let mut left = false;
        if let Some(before) = &mut self.before {
            before.clone_from(&self.splits);
        }
        for (split, next) in &mut self.splits {
            let entries = &self.input.0[*split];
            while builder.rows() < rows
                && let Some(entry) = entries.get(*next).filter(|entry| entry.at <= now)
            {
                let key = Some(entry.key.as_bytes());
                builder.push(Row {
                    key,
                    value: Some(b"x"),
                    split: *split as u32,
                    position: *next as i64,
                    ..Row::default()
                });
                *next += 1;
            }
            left |= *next < entries.len();
        }
        Ok(match builder.finish() {
            batch if !batch.is_empty() => Polled::Batch(batch),
            Batch { .. } if left => Polled::Idle,
            Batch { .. } => Polled::End,
        })
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        self.splits.iter().map(|(split, next)| (*split as u32, *next as i64)).collect()
    }

    fn splits(&self) -> Vec<Split> {
        let split = |(split, next): &(usize, usize)| Split {
            split: name(*split),
            next: *next as i64,
            at: None,
            until: None,
            id: None,
            ended: false,
        };
        self.before.as_ref().unwrap_or(&self.splits).iter().map(split).collect()
    }

    fn locator(&self) -> Locator {
        Arc::new(|split, position| format!("in[{split}]@{position}").into())
    }
}
