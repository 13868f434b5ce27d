//! RocksDB under the write-back cache, as a keyed operator uses it, answers as the memory backend does.

use flow_dataflow::state::{Cached, MemoryBackend, StateBackend, key};
use flow_frame::BytesBuilder;
use proptest::prelude::*;

use super::tiny;

/// State 0 is only ever read by key, state 1 is scanned too.
type Name = (u16, u8);

#[derive(Clone, Debug)]
enum Operation {
    Get(Vec<Name>),
    Put(Vec<(Name, Option<(u8, usize)>)>),
    Scan { after: Option<u8>, limit: usize },
    Snapshot,
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || (0..2u16, 0..60u8);
    let value = prop::option::weighted(0.7, (any::<u8>(), 0..300usize));
    prop_oneof![
        4 => prop::collection::vec(name(), 1..20).prop_map(Operation::Get),
        4 => prop::collection::vec((name(), value), 1..20).prop_map(Operation::Put),
        2 => (prop::option::of(0..60u8), 1..30usize).prop_map(|(after, limit)| Operation::Scan { after, limit }),
        1 => Just(Operation::Snapshot),
    ]
}

fn full((state, entry): Name) -> Vec<u8> {
    let mut out = Vec::new();
    key::encode(3, state, b"key", &mut out);
    out.push(entry);
    out
}

/// What the operation reads.
fn apply(operation: &Operation, backend: &mut dyn StateBackend) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    let mut read = Vec::new();
    match operation {
        Operation::Get(names) => {
            names.iter().for_each(|name| keys.push(Some(&full(*name))));
            backend.get_many(&keys, &mut values, usize::MAX).expect("it reads");
            let values = (0..names.len()).map(|row| values.column().get(row).map(<[u8]>::to_vec));
            read.extend(names.iter().map(|name| full(*name)).zip(values));
        }
        Operation::Put(writes) => {
            for (name, value) in writes {
                keys.push(Some(&full(*name)));
                values.push(value.map(|(byte, length)| vec![byte; length]).as_deref());
            }
            backend.put_many(&keys, &values).expect("it writes");
        }
        Operation::Scan { after, limit } => {
            let mut prefix = Vec::new();
            key::encode(3, 1, b"key", &mut prefix);
            let after = after.map(|entry| full((1, entry)));
            let mut each = |key: &[u8], value: &[u8]| {
                read.push((key.to_vec(), Some(value.to_vec())));
                read.len() < *limit
            };
            backend.scan(&prefix, after.as_deref(), &mut each).expect("it scans");
        }
        Operation::Snapshot => {
            backend.snapshot(flow_dataflow::Barrier::first(flow_model::checkpoint::CheckpointId(1))).expect("it begins")
        }
    }
    read
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn answers_as_the_memory_backend(
        operations in prop::collection::vec(operation(), 1..150),
        budget in prop_oneof![Just(0usize), 200..12_000usize],
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = tiny().open(dir.path()).expect("it opens");
        let mut cached = Cached::new(store, budget, &[1]);
        let mut memory = MemoryBackend::default();
        for operation in &operations {
            prop_assert_eq!(apply(operation, &mut cached), apply(operation, &mut memory), "{:?}", operation);
        }
        prop_assert!(cached.used() <= budget);
    }
}
