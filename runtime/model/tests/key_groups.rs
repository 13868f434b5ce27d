//! The mapping of keys to key groups and subtasks, which stored state depends on: goldens and properties.

use flow_model::ids::SubtaskIndex;
use flow_model::key_group::{KeyGroup, KeyGroups, MAX_KEY_GROUPS};
use proptest::prelude::*;

fn groups(count: u64) -> KeyGroups {
    KeyGroups::new(count).expect("a possible count")
}

/// Computed with the reference implementation of XXH3; keys of each length class that it treats apart. Never change a
/// number of this table: stored state would be looked for in the wrong place.
#[test]
fn keys_stay_in_their_groups() {
    let check = |key: &[u8], of_128: u16, of_32768: u16| {
        assert_eq!((groups(128).of(key), groups(32768).of(key)), (KeyGroup(of_128), KeyGroup(of_32768)), "{key:?}");
        assert_eq!(groups(1).of(key), KeyGroup(0));
    };
    check(b"", 66, 5314);
    check(b"a", 31, 19999);
    check(b"the", 125, 15741);
    check("größe".as_bytes(), 44, 1836);
    check(b"customer-001", 72, 21448);
    check(b"customer-0000000001", 66, 3266);
    check(&[0, 255, 0], 122, 19194);
    check(&[7; 100], 77, 11725);
    check(&[7; 200], 37, 16293);
    check(&[7; 300], 83, 21587);
    check(&[7; 5000], 99, 31715);
}

/// Ranges that Flink's `KeyGroupRangeAssignment.computeKeyGroupRangeForOperatorIndex` gives.
#[test]
fn ranges_are_flinks() {
    let check = |count, parallelism, expect: &[std::ops::Range<u16>]| {
        let ranges: Vec<_> = (0..parallelism).map(|i| groups(count).range(SubtaskIndex(i), parallelism)).collect();
        assert_eq!(ranges, expect);
    };
    assert_eq!(groups(128).range(SubtaskIndex(0), 1), 0..128);
    check(128, 2, &[0..64, 64..128]);
    check(128, 3, &[0..43, 43..86, 86..128]);
    check(10, 4, &[0..3, 3..5, 5..8, 8..10]);
    check(3, 3, &[0..1, 1..2, 2..3]);
    check(2, 4, &[0..1, 1..1, 1..2, 2..2]);
    assert_eq!(groups(128).range(SubtaskIndex(5), 2), 128..128);
    assert_eq!(groups(128).range(SubtaskIndex(u32::MAX), u32::MAX), 128..128);
    assert_eq!(groups(128).range(SubtaskIndex(0), 0), 0..128, "no parallelism counts as 1");
}

#[test]
fn impossible_counts() {
    for count in [0, 32769, u64::MAX] {
        let message = KeyGroups::new(count).expect_err("impossible").to_string();
        assert_eq!(message, format!("{count} key groups are not possible; 1 to 32768 are"));
    }
    assert!(serde_json::from_str::<KeyGroups>("0").is_err());
    assert_eq!(KeyGroups::default(), groups(128));
}

proptest! {
    #[test]
    fn each_group_has_one_owner(count in 1..=MAX_KEY_GROUPS, share in 1u32..=MAX_KEY_GROUPS.into()) {
        let parallelism = 1 + share % u32::from(count);
        let groups = groups(count.into());
        let mut next = 0;
        let (least, most) = (u32::from(count) / parallelism, u32::from(count).div_ceil(parallelism));
        for subtask in (0..parallelism).map(SubtaskIndex) {
            let range = groups.range(subtask, parallelism);
            prop_assert_eq!(range.start, next, "contiguous and in order");
            prop_assert!((least..=most).contains(&(range.len() as u32)), "balanced within one");
            for group in range.clone() {
                prop_assert_eq!(groups.subtask(KeyGroup(group), parallelism), subtask);
            }
            next = range.end;
        }
        prop_assert_eq!(next, count, "all are owned");
    }

    #[test]
    fn a_key_is_always_in_some_group(key in proptest::collection::vec(any::<u8>(), 0..600), count in 1..=MAX_KEY_GROUPS) {
        prop_assert!(groups(count.into()).of(&key).0 < count);
    }
}
