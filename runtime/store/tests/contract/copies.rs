//! Objects that become others.

use flow_store::{Error, Store};
use tokio::runtime::Runtime;

use crate::all;
use crate::large::bytes;

pub fn copy(runtime: &Runtime, store: Store) {
    between(runtime, &store.below("from").expect("a name"), &store.below("to").expect("a name"));
    runtime.block_on(async {
        store.put("itself", "1").await.expect("written");
        assert_eq!(store.copy(&store, "itself", "itself").await.expect("nothing is to be done"), 1);
        assert_eq!(store.get("itself").await.expect("read"), "1");
    });
}

/// Larger than the store copies in one request.
pub fn large(runtime: &Runtime, store: Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let content = bytes((64 << 20) + 77);
    std::fs::write(&from, &content).expect("written");
    runtime.block_on(async {
        store.put_file("a", &from).await.expect("written");
        assert_eq!(store.copy(&store, "a", "b").await.expect("copied"), content.len() as u64);
        store.delete(["a"]).await.expect("deleted");
        store.get_file("b", 0..content.len() as u64, &to).await.expect("read");
        assert!(std::fs::read(&to).expect("read") == content);
        store.delete(["b"]).await.expect("deleted");
    });
}

/// What every pair of stores does.
pub fn between(runtime: &Runtime, from: &Store, to: &Store) {
    runtime.block_on(async {
        for (length, name) in [(0, "empty"), (5, "a b/ü+&%41.x"), (20 << 20, "parts")] {
            let content = bytes(length);
            from.put(name, content.clone()).await.expect("written");
            // Again, as after a crash that came before anybody knew of it.
            for _ in 0..2 {
                assert_eq!(to.copy(from, name, &format!("copies/{name}")).await.expect(name), length as u64);
                assert!(to.get(&format!("copies/{name}")).await.expect("read") == content, "{name}");
            }
        }
        // It is neither changed nor deleted with what it was made of.
        from.put("empty", "not any more").await.expect("written");
        from.delete(["parts"]).await.expect("deleted");
        assert_eq!(to.get("copies/empty").await.expect("read"), "");
        assert!(to.get("copies/parts").await.expect("read") == bytes(20 << 20));
        to.copy(from, "empty", "copies/parts").await.expect("over what has the name");
        assert_eq!(to.get("copies/parts").await.expect("read"), "not any more");
        for missing in ["part", "none/at/all"] {
            let error = to.copy(from, missing, "copies/none").await.expect_err("there is no such object");
            assert!(matches!(&error, Error::Missing { object } if object.ends_with(missing)), "{error:?}");
        }
        assert!(to.read("copies/none").await.expect("asked").is_none());
        let mut left = all(to, "copies").await.expect("a list");
        left.sort_unstable();
        assert_eq!(left, ["copies/a b/ü+&%41.x", "copies/empty", "copies/parts"]);
        from.delete(all(from, "").await.expect("a list")).await.expect("deleted");
    });
}
