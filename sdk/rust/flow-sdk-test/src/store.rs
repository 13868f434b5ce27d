//! Keyed state that the test can look into: the reference backend, shared with the operator at work. Knows how the engine
//! lays out keys, and nothing else of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow_dataflow::state::{MemoryBackend, StateBackend, key};
use flow_dataflow::{Barrier, Error};
use flow_frame::BytesBuilder;
use flow_model::key_group::KeyGroups;

/// The byte behind a list's prefix that its items' positions follow.
pub(crate) const ITEMS: u8 = 1;

/// A backend and another handle to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedStore(Arc<Mutex<MemoryBackend>>);

/// The key of a value state, or the prefix of a map's or list's entries.
pub(crate) fn prefix(state: u16, record_key: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    key::encode(KeyGroups::default().of(record_key).0, state, record_key, &mut out);
    out
}

impl SharedStore {
    fn backend(&self) -> MutexGuard<'_, MemoryBackend> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
        keys.push(Some(key));
        self.backend().get_many(&keys, &mut values, usize::MAX).expect("memory does not fail");
        values.column().get(0).map(<[u8]>::to_vec)
    }

    /// Entries under a prefix, without it.
    pub(crate) fn under(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| {
            found.push((key[prefix.len()..].to_vec(), value.to_vec()));
            true
        };
        self.backend().scan(prefix, None, &mut each).expect("memory does not fail");
        found
    }
}

impl StateBackend for SharedStore {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        self.backend().get_many(keys, values, most)
    }

    fn put_many(&mut self, keys: &BytesBuilder, values: &BytesBuilder) -> Result<(), Error> {
        self.backend().put_many(keys, values)
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.backend().scan(prefix, after, each)
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.backend().snapshot(barrier)
    }
}
