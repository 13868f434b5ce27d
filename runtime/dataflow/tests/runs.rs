//! Sorted runs: what is written is read again, by groups and merged; what is damaged is an error.

use std::collections::BTreeMap;
use std::io::Cursor;

use flow_dataflow::state::run::{Entries, Error, Index, Merge, RunWriter, Written};
use flow_dataflow::state::{Generation, key};
use flow_frame::BytesBuilder;
use proptest::prelude::*;

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn written(changes: &Changes) -> (Vec<u8>, Written) {
    let mut run = RunWriter::new(Vec::new());
    changes.iter().for_each(|(k, v)| run.push(k, v.as_deref()).expect("memory takes it"));
    run.finish().expect("memory takes it")
}

fn read(bytes: &[u8], range: std::ops::Range<u64>) -> Result<Changes, Error> {
    let from = bytes.get(range.start as usize..).unwrap_or_default();
    let mut entries = Entries::new(Cursor::new(from), range);
    let mut found = Changes::new();
    while entries.advance()? {
        found.insert(entries.key().to_vec(), entries.stored().map(<[u8]>::to_vec));
    }
    Ok(found)
}

fn read_all(bytes: &[u8]) -> Result<Changes, Error> {
    let index = Index::parse(bytes, bytes.len() as u64)?;
    read(bytes, index.range(&(0..=u16::MAX)))
}

/// Keys of few groups with much in common, some of them large.
fn changes() -> impl Strategy<Value = Changes> {
    let name = prop_oneof![
        4 => prop::collection::vec(prop::sample::select(vec![0u8, 1, b'a', 0xff]), 0..6),
        1 => (0u32..500).prop_map(|n| format!("customer-{n:07}").into_bytes()),
    ];
    let key = (0u16..6, 0u16..2, name).prop_map(|(group, state, name)| {
        let mut full = Vec::new();
        key::encode(group, state, &name, &mut full);
        full
    });
    let length = prop_oneof![9 => 0usize..30, 1 => Just(20_000usize)];
    let value = prop::option::weighted(0.7, (any::<u8>(), length).prop_map(|(byte, n)| vec![byte; n]));
    prop::collection::btree_map(key, value, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_run_is_read_as_it_was_written(changes in changes(), from in 0u16..7, groups in 0u16..7) {
        let (bytes, written) = written(&changes);
        prop_assert_eq!((written.length, written.crc), (bytes.len() as u64, crc32c::crc32c(&bytes)));
        prop_assert_eq!(written.entries, changes.len() as u64);
        prop_assert_eq!(written.tombstones, changes.values().filter(|v| v.is_none()).count() as u64);
        prop_assert_eq!(read_all(&bytes), Ok(changes.clone()));
        // A range of groups alone, from the tail alone.
        let tail = Index::tail(&bytes[bytes.len() - 40..], bytes.len() as u64).expect("a whole run");
        let index = Index::parse(&bytes[bytes.len() - tail as usize..], bytes.len() as u64).expect("a whole run");
        prop_assert_eq!(index.entries, written.entries);
        let wanted = from..=from + groups;
        let some = changes.into_iter().filter(|(k, _)| wanted.contains(&key::group_of(k).expect("a full key"))).collect();
        prop_assert_eq!(read(&bytes, index.range(&wanted)), Ok(some));
    }

    #[test]
    fn damage_is_an_error(changes in changes(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (mut bytes, _) = written(&changes);
        let cut = at.index(bytes.len());
        prop_assert!(read_all(&bytes[..cut]).is_err(), "cut off at {cut}");
        // Blocks alone tell too where they are cut off.
        if !changes.is_empty() {
            let blocks = Index::parse(&bytes, bytes.len() as u64).expect("whole").range(&(0..=u16::MAX));
            let cut = at.index(blocks.end as usize);
            prop_assert!(read(&bytes[..cut], blocks).is_err(), "blocks cut off at {cut}");
        }
        bytes[cut] ^= 1 << bit;
        prop_assert!(read_all(&bytes).is_err(), "bit {bit} of byte {cut}");
    }

    #[test]
    fn other_bytes_are_never_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), ends in any::<bool>()) {
        if ends && bytes.len() > 12 {
            let at = bytes.len() - 12;
            bytes[at..].copy_from_slice(b"\x01\0\0\0flow-run");
        }
        let _ = read_all(&bytes);
        let _ = read(&bytes, 0..bytes.len() as u64);
        let _ = Index::tail(&bytes, bytes.len() as u64);
    }

    #[test]
    fn the_newest_run_counts(runs in prop::collection::vec(changes(), 0..6)) {
        let mut expect = Changes::new();
        runs.iter().for_each(|run| expect.extend(run.clone()));
        let bytes: Vec<_> = runs.iter().map(written).collect();
        let entries = bytes.iter().map(|(bytes, w)| Entries::new(Cursor::new(&bytes[..]), 0..w.blocks));
        let mut merge = Merge::new(entries.collect()).expect("whole runs");
        let mut found = Vec::new();
        while merge.advance().expect("whole runs") {
            found.push((merge.key().to_vec(), merge.stored().map(<[u8]>::to_vec)));
        }
        prop_assert_eq!(found, expect.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_generation_is_put_in_order(parts in prop::collection::vec(prop::collection::vec(changes(), 1..4), 1..3)) {
        let mut expect = Changes::new();
        let mut all = Generation::default();
        for (number, changes) in (1..).zip(parts) {
            let (mut keys, mut values, mut of_part) = (BytesBuilder::default(), BytesBuilder::default(), Changes::new());
            changes.into_iter().for_each(|changes| of_part.extend(changes));
            for (k, v) in of_part.iter().rev() {
                keys.push(Some(k));
                values.push(v.as_deref());
            }
            let stored = |v: Vec<u8>| [&[1, 0], &v[..]].concat();
            expect.extend(of_part.into_iter().map(|(k, v)| (k, v.map(stored))));
            // Newer ones first: the number decides, not the place.
            all.segments.splice(0..0, Generation::of(number, &keys, &values).segments);
        }
        let found: Vec<_> = all.sorted().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
        prop_assert_eq!(found, expect.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn keys_have_to_ascend() {
    let mut run = RunWriter::new(Vec::new());
    run.push(b"bb", None).expect("the first key");
    for key in [&b"bb"[..], b"ba", b"aaa", b"b", b""] {
        assert!(run.push(key, None).is_err(), "{key:?}");
    }
}

#[test]
fn the_format_is_fixed() {
    let mut full = Vec::new();
    key::encode(3, 1, b"key", &mut full);
    let removed = [&full[..], b"x"].concat();
    let (bytes, _) = written(&Changes::from([(full, Some(vec![1, 0, 7])), (removed, None)]));
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, include_str!("runs/golden.hex").trim(), "a run that this version wrote reads differently");
}

#[test]
fn a_later_version_is_refused() {
    let (mut bytes, _) = written(&Changes::from([(b"abc".to_vec(), None)]));
    let at = bytes.len() - 12;
    bytes[at] = 2;
    let error = read_all(&bytes).expect_err("of another version");
    assert_eq!(error, Error::Version(2));
    assert!(error.to_string().contains("use the version of Flow that wrote it"), "{error}");
}
