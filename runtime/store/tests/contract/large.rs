//! Contents that do not fit into one request.

use std::fs;

use flow_store::{Error, Store};
use tokio::runtime::Runtime;

/// Bytes without a period that a mistake could hide in.
pub fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ state >> 31).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn file(runtime: &Runtime, store: Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    // Around the sizes at which a request becomes several.
    for length in [0, 1, (16 << 20) - 1, 16 << 20, (16 << 20) + 1, (41 << 20) + 77] {
        let content = bytes(length);
        fs::write(&from, &content).expect("written");
        runtime.block_on(async {
            assert_eq!(store.put_file("large", &from).await.expect("written"), length as u64);
            store.get_file("large", 0..length as u64, &to).await.expect("read");
            assert!(fs::read(&to).expect("read") == content, "{length}");
            assert!(store.get("large").await.expect("read") == content, "{length}");
            assert_eq!(store.list("", None).await.expect("a list").objects[0].size, length as u64);
        });
    }
}

pub fn ranges(runtime: &Runtime, store: Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let content = bytes(20 << 20);
    fs::write(&from, &content).expect("written");
    runtime.block_on(async {
        store.put_file("large", &from).await.expect("written");
        for range in [5..6, 1000..(17 << 20) + 1, 12 << 20..20 << 20] {
            store.get_file("large", range.clone(), &to).await.expect("read");
            let expected = &content[range.start as usize..range.end as usize];
            assert!(fs::read(&to).expect("read") == expected, "{range:?}");
            assert!(store.get_range("large", range.clone()).await.expect("read") == expected, "{range:?}");
        }
        let error = store.get_file("large", 0..(20 << 20) + 1, &to).await.expect_err("it is shorter");
        assert!(matches!(error, Error::Short { length, .. } if length == 20 << 20), "{error:?}");
    });
}

pub fn missing(runtime: &Runtime, store: Store) {
    let directory = tempfile::tempdir().expect("a directory");
    runtime.block_on(async {
        let error = store.put_file("large", &directory.path().join("none")).await.expect_err("no such file");
        assert!(matches!(&error, Error::Missing { object } if object.ends_with("/none")), "{error:?}");
        let error = store.get_file("none", 0..10, &directory.path().join("to")).await.expect_err("no such object");
        assert!(matches!(&error, Error::Missing { object } if object.ends_with("missing-file/none")), "{error:?}");
        assert!(store.list("", None).await.expect("a list").objects.is_empty());
    });
}

/// More at once than there are turns.
pub fn many(runtime: &Runtime, store: Store) {
    let written: Vec<_> = (0..60)
        .map(|number| {
            let store = store.clone();
            runtime.spawn(async move {
                let content = vec![number as u8; 300_000];
                store.put(&format!("{number}"), content.clone()).await.expect("written");
                assert!(store.get(&format!("{number}")).await.expect("read") == content);
            })
        })
        .collect();
    written.into_iter().for_each(|task| runtime.block_on(task).expect("it goes well"));
}
