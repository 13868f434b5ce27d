//! Objects that are written once.

use flow_store::{Error, Listed, Store};
use tokio::runtime::Runtime;

use crate::all;

pub fn content(runtime: &Runtime, store: Store) {
    runtime.block_on(async {
        for content in [&b""[..], b"one", &[0, 255, 13, 10], &vec![7; 3 << 20]] {
            // What has the name already is written over.
            store.put("a/b", content.to_vec()).await.expect("written");
            assert_eq!(store.get("a/b").await.expect("read"), content);
            let (read, version) = store.read("a/b").await.expect("read").expect("it exists");
            assert_eq!(read, content);
            assert_eq!(store.read("a/b").await.expect("read").expect("it exists").1, version);
        }
        let error = store.get("a/c").await.expect_err("it does not exist");
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
        assert!(error.to_string().contains("content/a/c does not exist"), "{error}");
        assert!(!error.is_retryable());
        assert!(store.read("a/c").await.expect("asked").is_none());
    });
    // A plain thread has the same calls.
    let plain = std::thread::spawn(move || {
        let spawned = store.clone();
        let written = store.spawn(async move { spawned.put("plain", "thread").await });
        store.block_on(written).expect("it does not panic").expect("written");
        store.block_on(store.get("plain")).expect("read")
    });
    assert_eq!(plain.join().expect("it does not panic"), "thread");
}

pub fn ranges(runtime: &Runtime, store: Store) {
    runtime.block_on(async {
        store.put("digits", "0123456789").await.expect("written");
        for (range, expected) in [(0..10, "0123456789"), (0..1, "0"), (9..10, "9"), (3..7, "3456"), (4..4, "")] {
            assert_eq!(store.get_range("digits", range.clone()).await.expect("read"), expected, "{range:?}");
        }
        // An object that was cut off is told from one that is whole, wherever the range begins.
        for range in [0..11, 9..12, 10..11, 100..200] {
            let error = store.get_range("digits", range.clone()).await.expect_err("it is shorter");
            let Error::Short { object, length: 10, wanted } = &error else { panic!("{range:?}: {error:?}") };
            assert_eq!(*wanted, range.end);
            assert!(object.ends_with("ranges/digits"), "{object}");
        }
        let error = store.get_range("none", 0..1).await.expect_err("it does not exist");
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    });
}

pub fn deletion(runtime: &Runtime, store: Store) {
    runtime.block_on(async {
        for name in ["a/x", "a/y", "a/b/c/d", "keep/x"] {
            store.put(name, name.to_owned()).await.expect("written");
        }
        // Again and again, with names that never were.
        for _ in 0..2 {
            store.delete(["a/x", "a/b/c/d", "never", "never/was"]).await.expect("deleted");
            assert_eq!(all(&store, "").await.expect("a list"), ["a/y", "keep/x"]);
            assert!(store.read("a/x").await.expect("asked").is_none());
        }
        store.delete(Vec::<String>::new()).await.expect("nothing is deleted");
        store.delete((0..2500).map(|number| format!("n/{number}"))).await.expect("any number");
        store.put("a/b/c/d", "again").await.expect("a place that was removed comes back");
        assert_eq!(store.get("a/b/c/d").await.expect("read"), "again");
    });
    // Deletions in a directory take nothing from those who write there.
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = store.clone();
            runtime.spawn(async move {
                for round in 0..20 {
                    let name = format!("shared/folder/{task}-{round}");
                    store.put(&name, "x").await.expect("written");
                    assert_eq!(store.get(&name).await.expect("read"), "x");
                    store.delete([&name]).await.expect("deleted");
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| runtime.block_on(task).expect("it goes well"));
    assert_eq!(runtime.block_on(all(&store, "shared")).expect("a list"), Vec::<String>::new());
}

pub fn names(runtime: &Runtime, store: Store) {
    runtime.block_on(async {
        for name in ["ü/ß €", "a+b&c=d?e#f", "%41%2F", "q\"uo'te", "UPPER", "x.y-z_0", "<&>"] {
            store.put(name, name.to_owned()).await.expect(name);
            assert_eq!(store.get(name).await.expect(name), name);
            assert_eq!(all(&store, name).await.expect(name), [name]);
            store.delete([name]).await.expect(name);
            assert!(store.read(name).await.expect(name).is_none());
        }
        for name in ["", "/a", "a/", "..", "../x", "a/../../x", ".flow/lock", "a\nb"] {
            let error = store.put(name, "x").await.expect_err(name);
            assert!(matches!(error, Error::Name(_)), "{error:?}");
            assert!(matches!(store.get(name).await, Err(Error::Name(_))), "{name:?}");
            assert!(matches!(store.swap(name, None, "x").await, Err(Error::Name(_))), "{name:?}");
            assert!(matches!(store.delete([name]).await, Err(Error::Name(_))), "{name:?}");
        }
        assert!(matches!(store.list("../", None).await, Err(Error::Name(_))));
        assert_eq!(all(&store, "").await.expect("a list"), Vec::<String>::new());
    });
}

pub fn list(runtime: &Runtime, store: Store) {
    // In the order of their bytes: a hyphen is before the slash, a zero behind it.
    let names = ["a", "a-b/x", "a.b", "a/b", "a/b-c/d", "a/b0", "a/c/d", "a0", "b"];
    runtime.block_on(async {
        for name in names.iter().rev() {
            // A name and what lies below it do not go together in a directory.
            if *name != "a" {
                store.put(name, name.to_string()).await.expect("written");
            }
        }
        let names = &names[1..];
        assert_eq!(all(&store, "").await.expect("a list"), names);
        let check = async |prefix: &str, after: Option<&str>| {
            let page = store.list(prefix, after).await.expect("a list");
            assert!(!page.more);
            let expected =
                names.iter().filter(|name| name.starts_with(prefix) && after.is_none_or(|after| **name > after));
            let expected: Vec<Listed> =
                expected.map(|name| Listed { name: name.to_string(), size: name.len() as u64 }).collect();
            assert_eq!(page.objects, expected, "{prefix:?} after {after:?}");
        };
        for prefix in ["", "a", "a/", "a/b", "a/b-c/d", "a/x", "c", "a-"] {
            for after in
                [None, Some("a"), Some("a-b/x"), Some("a/b"), Some("a/b-c"), Some("a/bz"), Some("a/c/d"), Some("z")]
            {
                check(prefix, after).await;
            }
        }
    });
}

pub fn pages(runtime: &Runtime, store: Store) {
    let names: Vec<String> = (0..1203).map(|number| format!("{}/{number:04}", number / 100)).collect();
    let written: Vec<_> = names
        .iter()
        .map(|name| {
            let (store, name) = (store.clone(), name.clone());
            runtime.spawn(async move { store.put(&name, "").await })
        })
        .collect();
    runtime.block_on(async {
        for written in written {
            written.await.expect("it does not panic").expect("written");
        }
        let page = store.list("", None).await.expect("a list");
        assert_eq!((page.objects.len(), page.more), (1000, true));
        let mut expected = names.clone();
        expected.sort_unstable();
        assert_eq!(all(&store, "").await.expect("a list"), expected);
        store.delete(&names).await.expect("deleted");
        assert_eq!(all(&store, "").await.expect("a list"), Vec::<String>::new());
    });
}

pub fn below(runtime: &Runtime, store: Store) {
    let inner = store.below("x/y").expect("a name");
    assert!(inner.place().ends_with("below/x/y"), "{}", inner.place());
    assert!(matches!(store.below("../x"), Err(Error::Name(_))));
    runtime.block_on(async {
        inner.put("z/1", "inside").await.expect("written");
        store.put("x/yy", "beside").await.expect("written");
        assert_eq!(store.get("x/y/z/1").await.expect("read"), "inside");
        assert_eq!(all(&inner, "").await.expect("a list"), ["z/1"]);
        assert_eq!(all(&inner, "z/").await.expect("a list"), ["z/1"]);
        inner.delete(["z/1"]).await.expect("deleted");
        assert_eq!(all(&store, "").await.expect("a list"), ["x/yy"]);
    });
}
