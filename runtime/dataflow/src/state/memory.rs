//! State in memory: the reference that every other backend is compared with, and what small jobs and tests use.

use std::collections::BTreeMap;
use std::ops::Bound;

use flow_frame::BytesBuilder;

use super::StateBackend;
use crate::Error;
use crate::element::Barrier;

/// An ordered map; nothing of it is durable.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    entries: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl StateBackend for MemoryBackend {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        let wanted = keys.column();
        for row in 0..keys.rows() {
            if values.data.len() > most {
                break;
            }
            values.push(self.entries.get(wanted.raw(row)).map(|v| &v[..]));
        }
        Ok(())
    }

    fn put_many(&mut self, keys: &BytesBuilder, values: &BytesBuilder) -> Result<(), Error> {
        let (at, to) = (keys.column(), values.column());
        for row in 0..keys.rows() {
            match to.get(row) {
                Some(value) => drop(self.entries.insert(at.raw(row).into(), value.into())),
                None => drop(self.entries.remove(at.raw(row))),
            }
        }
        Ok(())
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        for (key, value) in self.entries.range::<[u8], _>((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) || !each(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, _barrier: Barrier) -> Result<(), Error> {
        Ok(())
    }
}
