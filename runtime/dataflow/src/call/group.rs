//! Grouping a batch by key: each distinct key once, its rows together in arrival order; and the way back.

use flow_frame::BytesColumn;
use flow_frame::layout::{Type, id};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::answer;
use crate::build::fixed_column;
use crate::function::{CallError, Rejection};
use crate::{Batch, Error};

/// The distinct keys of a batch and the rows of each.
pub(super) struct Groups {
    /// The first row of each group, in arrival order.
    firsts: Vec<u32>,
    /// Number of rows of each group.
    sizes: Vec<u32>,
    /// Rows in grouped order; none when that is arrival order.
    order: Option<Vec<u32>>,
}

impl Groups {
    /// Groups by the key column, which must have no nulls.
    pub(super) fn of(batch: &Batch) -> Result<Groups, Error> {
        let keys = key_of(batch)?;
        let mut index: HashTable<(u64, u32)> = HashTable::with_capacity(batch.rows());
        let (mut firsts, mut sizes): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut group_of = Vec::with_capacity(batch.rows());
        for row in 0..batch.rows() {
            let key = keys.raw(row);
            let hash = xxh3_64(key);
            let same = |(h, group): &(u64, u32)| *h == hash && keys.raw(firsts[*group as usize] as usize) == key;
            let group = match index.find(hash, same) {
                Some((_, group)) => *group,
                None => {
                    let group = firsts.len() as u32;
                    index.insert_unique(hash, (hash, group), |(h, _)| *h);
                    firsts.push(row as u32);
                    sizes.push(0);
                    group
                }
            };
            sizes[group as usize] += 1;
            group_of.push(group);
        }
        let order = (firsts.len() < batch.rows()).then(|| {
            let mut next: Vec<u32> = sizes
                .iter()
                .scan(0, |at, size| {
                    *at += size;
                    Some(*at - size)
                })
                .collect();
            let mut order = vec![0; group_of.len()];
            for (row, group) in group_of.iter().enumerate() {
                let at = &mut next[*group as usize];
                order[*at as usize] = row as u32;
                *at += 1;
            }
            order
        });
        Ok(Groups { firsts, sizes, order })
    }

    /// How many of the batch's first rows have no other keys than the first so many, at least one.
    pub(super) fn rows_of_first(&self, keys: usize) -> usize {
        self.firsts.get(keys.max(1)).map_or_else(|| self.sizes.iter().sum::<u32>(), |row| *row) as usize
    }

    /// Number of distinct keys.
    pub(super) fn len(&self) -> usize {
        self.firsts.len()
    }

    /// A batch in grouped order, without its key column (the keys come in [`Groups::keys`]).
    pub(super) fn arrange(&self, batch: &Batch) -> Batch {
        let mut batch = batch.clone();
        batch.remove(id::KEY);
        match &self.order {
            Some(order) => batch.select(order),
            None => batch,
        }
    }

    /// One row a key: the key and how many rows it has.
    pub(super) fn keys(&self, batch: &Batch) -> Batch {
        let keys = match &self.order {
            Some(_) => batch.project(&[id::KEY]).select(&self.firsts),
            None => batch.project(&[id::KEY]),
        };
        let sizes = self.sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
        let mut keys = keys;
        keys.set(fixed_column(id::GROUP_ROWS, Type::U32, sizes, None));
        keys
    }

    /// The keys of [`Groups::keys`].
    pub(super) fn key_column<'a>(&self, keys: &'a Batch) -> BytesColumn<'a> {
        keys.bytes(id::KEY).unwrap_or(BytesColumn::new(&[], &[], None))
    }

    fn arrival(&self, row: u32) -> u32 {
        self.order.as_ref().map_or(row, |order| order[row as usize])
    }

    /// Rejections by arrival row. Rows must be in range.
    pub(super) fn to_arrival(&self, mut rejected: Vec<Rejection>) -> Vec<Rejection> {
        rejected.iter_mut().for_each(|r| r.row = self.arrival(r.row));
        rejected.sort_by_key(|r| r.row);
        rejected
    }

    /// The output rows in arrival order (as they are if `unordered`), completed from their input rows.
    pub(super) fn collect(
        &self,
        batch: &Batch,
        answer: Batch,
        rejected: &[Rejection],
        unordered: bool,
    ) -> Result<Batch, CallError> {
        if answer.is_empty() {
            return Ok(Batch::default());
        }
        let mut inputs = answer::input_rows(&answer, batch.rows())?;
        inputs.iter_mut().for_each(|row| *row = self.arrival(*row));
        if unordered || inputs.is_sorted() {
            return answer::complete(batch, answer, inputs, rejected);
        }
        let mut by_arrival: Vec<u32> = (0..inputs.len() as u32).collect();
        by_arrival.sort_by_key(|i| inputs[*i as usize]);
        let inputs = by_arrival.iter().map(|i| inputs[*i as usize]).collect();
        answer::complete(batch, answer.select(&by_arrival), inputs, rejected)
    }
}

fn key_of(batch: &Batch) -> Result<BytesColumn<'_>, Error> {
    batch.bytes(id::KEY).ok_or_else(|| Error::Fatal("a keyed operator got rows without a key".into()))
}

/// Checks the states that a keyed call returned against the keys that it got.
pub(super) fn check_states(states: &Batch, keys: &Batch) -> Result<(), CallError> {
    if states.columns().is_empty() {
        return Ok(());
    }
    if states.rows() != keys.rows() {
        let what = format!("{} rows of states came back for {} keys", states.rows(), keys.rows());
        return Err(CallError::Answer(what));
    }
    match states.columns().iter().find(|c| c.id < id::DECLARED || keys.column(c.id).is_none() || c.ty != Type::Bytes) {
        Some(c) => Err(CallError::Answer(format!("column {} of the states is not a value state", c.id))),
        None => Ok(()),
    }
}
