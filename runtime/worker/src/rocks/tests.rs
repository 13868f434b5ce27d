//! The contract of `Store`, run against RocksDB; and what a directory in a bad state says.

mod cached;
mod restored;

use std::collections::BTreeMap;
use std::path::Path;

use flow_dataflow::Error;
use flow_dataflow::state::{Generation, Store};
use flow_frame::BytesBuilder;
use proptest::prelude::*;

use super::{RocksStore, Settings, SharedRocks};

type Key = Vec<u8>;
type Entries = BTreeMap<Key, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Write(BTreeMap<Key, Option<Vec<u8>>>),
    Settle,
    Get(Vec<Key>),
    Scan { prefix: Key, after: Option<Key>, limit: usize },
    Reopen,
}

/// Few keys, so that they meet; bytes at both ends of the range, so that prefixes meet their bounds.
fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, b'a', 0xfe, 0xff]), 0..4)
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Some),
        1 => Just(None),
        1 => any::<u8>().prop_map(|b| Some(vec![b; 9000])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let scan = (key(), prop::option::of(key()), 1..40usize).prop_map(|(prefix, after, limit)| {
        let after = after.map(|rest| [&prefix[..], &rest].concat());
        Step::Scan { prefix, after, limit }
    });
    prop_oneof![
        6 => prop::collection::btree_map(key(), value(), 0..30).prop_map(Step::Write),
        2 => Just(Step::Settle),
        4 => prop::collection::vec(key(), 0..30).prop_map(Step::Get),
        4 => scan,
        1 => Just(Step::Reopen),
    ]
}

fn generation(number: usize, changes: &BTreeMap<Key, Option<Vec<u8>>>) -> Generation {
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    // Backwards: a generation may come in any order.
    for (key, value) in changes.iter().rev() {
        keys.push(Some(key));
        values.push(value.as_deref());
    }
    Generation::of(number as u32, &keys, &values)
}

/// Seals and stores a generation.
fn write(store: &mut impl Store, generation: Generation) {
    store.seal(generation.clone(), None).expect("the store takes a generation");
    store.store(generation).expect("the store takes a generation");
}

fn stored(store: &mut impl Store, wait: bool) -> usize {
    store.progress(wait).expect("it writes").stored as usize
}

fn get(store: &mut impl Store, keys: &[Key]) -> Vec<Option<Vec<u8>>> {
    // The longest value fits once, and some of the short ones with it.
    let (most, longest) = (9010, 9000);
    let mut all = Vec::new();
    while all.len() < keys.len() {
        let (mut wanted, mut found) = (BytesBuilder::default(), BytesBuilder::default());
        keys[all.len()..].iter().for_each(|key| wanted.push(Some(key)));
        store.get_many(&wanted, &mut found, most).expect("the store reads");
        assert!(!found.is_empty() && found.data.len() <= most + longest, "{} bytes", found.data.len());
        assert!(found.rows() == wanted.rows() || found.data.len() > most, "it stopped at {} bytes", found.data.len());
        all.extend((0..found.rows()).map(|row| found.column().get(row).map(<[u8]>::to_vec)));
    }
    all
}

/// What every store has to do, against an ordered map.
fn contract<S: Store>(open: impl Fn() -> S, close: impl Fn(S), steps: &[Step]) {
    let mut store = open();
    // What may be read: the contents after each generation since the last one that is known to be written.
    let mut versions = vec![Entries::new()];
    let mut sent = 0;
    for step in steps {
        match step {
            Step::Write(changes) => {
                sent += 1;
                write(&mut store, generation(sent, changes));
                let mut next = versions[versions.len() - 1].clone();
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(next.insert(key.clone(), value.clone())),
                        None => drop(next.remove(key)),
                    }
                }
                versions.push(next);
                let written = stored(&mut store, false);
                assert!(written <= sent);
                let known = written.saturating_sub(sent + 1 - versions.len());
                versions.drain(..known);
            }
            Step::Settle => {
                assert_eq!(stored(&mut store, true), sent);
                versions.drain(..versions.len() - 1);
            }
            Step::Get(keys) => {
                for (key, found) in keys.iter().zip(get(&mut store, keys)) {
                    assert!(versions.iter().any(|v| v.get(key) == found.as_ref()), "{key:?}: {found:?}");
                }
            }
            Step::Scan { prefix, after, limit } => {
                stored(&mut store, true);
                versions.drain(..versions.len() - 1);
                let behind = |key: &Key| after.as_ref().is_none_or(|a| key > a);
                let expect: Vec<_> = versions[0]
                    .iter()
                    .filter(|(key, _)| key.starts_with(prefix) && behind(key))
                    .take(*limit)
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                let mut found = Vec::new();
                let mut each = |key: &[u8], value: &[u8]| {
                    found.push((key.to_vec(), value.to_vec()));
                    found.len() < *limit
                };
                store.scan(prefix, after.as_deref(), &mut each).expect("the store scans");
                assert_eq!(found, expect);
            }
            Step::Reopen => {
                close(store);
                store = open();
                versions.drain(..versions.len() - 1);
                sent = 0;
                assert_eq!(stored(&mut store, true), 0);
            }
        }
    }
}

/// So little memory that files and compactions take part.
fn tiny() -> SharedRocks {
    SharedRocks::with(Settings { memory: 1 << 20, write_buffers: 64 << 10, threads: 1 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn rocksdb_keeps_the_contract(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().expect("a directory");
        let rocks = tiny();
        let open = || rocks.open(dir.path()).expect("it opens");
        contract(open, |store: RocksStore| store.close().expect("it closes"), &steps);
    }
}

fn numbered(from: u32, to: u32, value: &str) -> Generation {
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    for n in from..to {
        keys.push(Some(&n.wrapping_mul(2_654_435_761).to_be_bytes()));
        values.push(Some(value.as_bytes()));
    }
    Generation::of(1, &keys, &values)
}

#[test]
fn a_dropped_store_ends_its_thread_and_opens_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let rocks = SharedRocks::new();
    let mut store = rocks.open(dir.path()).expect("it opens");
    write(&mut store, numbered(0, 50_000, "first"));
    assert_eq!(stored(&mut store, true), 1);
    for _ in 0..20 {
        write(&mut store, numbered(0, 50_000, "later"));
    }
    drop(store);
    // Its thread and its lock are gone, and what was counted is there.
    let mut store = rocks.open(dir.path()).expect("it opens again");
    let keys: Vec<Key> = (0..3000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec()).collect();
    for found in get(&mut store, &keys) {
        let found = found.expect("the first generation was written");
        assert!(found == b"first" || found == b"later");
    }
}

#[test]
fn stores_of_one_worker_keep_to_their_directories() {
    let dir = tempfile::tempdir().expect("a directory");
    let rocks = tiny();
    let mut stores: Vec<RocksStore> =
        (0..3).map(|n| rocks.open(&dir.path().join(n.to_string())).expect("it opens")).collect();
    for (n, store) in stores.iter_mut().enumerate() {
        write(store, numbered(0, 10_000, &n.to_string()));
    }
    for (n, store) in stores.iter_mut().enumerate() {
        assert_eq!(stored(store, true), 1);
        assert_eq!(
            get(store, &[7u32.wrapping_mul(2_654_435_761).to_be_bytes().to_vec()]),
            [Some(n.to_string().into())]
        );
    }
}

fn refusal(dir: &Path) -> Error {
    match SharedRocks::new().open(dir) {
        Ok(_) => panic!("{} can't be a good store", dir.display()),
        Err(error) => error,
    }
}

#[test]
fn a_directory_opens_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let _held = SharedRocks::new().open(dir.path()).expect("it opens");
    let error = refusal(dir.path());
    assert!(matches!(error, Error::Retryable(_)), "{error}");
    let shown = error.to_string();
    assert!(shown.contains(&dir.path().display().to_string()) && shown.contains("stop that one first"), "{shown}");
}

#[test]
fn a_file_is_no_directory() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = refusal(file.path());
    assert!(matches!(error, Error::Fatal(_)), "{error}");
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}

#[test]
fn damage_is_found() {
    let check = |part: &str| {
        let dir = tempfile::tempdir().expect("a directory");
        let rocks = SharedRocks::new();
        let mut store = rocks.open(dir.path()).expect("it opens");
        write(&mut store, numbered(0, 20_000, "value"));
        store.close().expect("it closes");
        let files = std::fs::read_dir(dir.path()).expect("a directory").map(|f| f.expect("an entry").path());
        for file in files.filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().contains(part))) {
            let mut bytes = std::fs::read(&file).expect("a file");
            let length = bytes.len();
            bytes[..length / 2].fill(0x5a);
            std::fs::write(&file, bytes).expect("it can be written");
        }
        let read = rocks.open(dir.path()).and_then(|mut store| {
            let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
            keys.push(Some(&77u32.wrapping_mul(2_654_435_761).to_be_bytes()));
            (0..20_000u32).for_each(|n| keys.push(Some(&n.wrapping_mul(2_654_435_761).to_be_bytes())));
            store.get_many(&keys, &mut values, usize::MAX)
        });
        let error = read.expect_err("the damage is found");
        assert!(matches!(error, Error::Fatal(_)), "{part}: {error}");
        let shown = error.to_string();
        assert!(shown.contains(&dir.path().display().to_string()), "{shown}");
        assert!(shown.contains("remove the directory"), "{shown}");
    };
    check(".sst");
    check("MANIFEST");
    check("CURRENT");
}
