//! What every kind of store has to do, asked of a directory and of a real MinIO.

mod copies;
mod large;
mod objects;
mod swaps;

use std::collections::BTreeSet;

use flow_e2e::minio::{KEY, Minio, SECRET};
use flow_store::{Error, Keys, Location, Settings, Store};
use tokio::runtime::{Builder, Runtime};

/// A case is asked for a part of a store of its own.
type Case = fn(&Runtime, Store);

const CASES: &[(&str, Case)] = &[
    ("content", objects::content),
    ("ranges", objects::ranges),
    ("deletion", objects::deletion),
    ("names", objects::names),
    ("list", objects::list),
    ("pages", objects::pages),
    ("below", objects::below),
    ("swap", swaps::swap),
    ("race", swaps::race),
    ("probe", swaps::probe),
    ("file", large::file),
    ("ranges-of-files", large::ranges),
    ("missing-file", large::missing),
    ("many-at-once", large::many),
    ("copy", copies::copy),
    ("large-copy", copies::large),
];

/// Asks all cases of the store at a location.
fn ask(location: &str, settings: &Settings) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let location: Location = location.parse().expect("a location");
    let store = runtime.block_on(Store::open(&location, settings)).expect("it opens");
    for (name, case) in CASES {
        // Shown only if the case fails.
        eprintln!("{name}");
        case(&runtime, store.below(name).expect("a name"));
    }
    // Each case left what it left below its own name, and the probe nothing.
    let names = runtime.block_on(all(&store, "")).expect("a list");
    let folders: BTreeSet<&str> = names.iter().filter_map(|name| name.split('/').next()).collect();
    assert!(folders.iter().all(|folder| CASES.iter().any(|(case, _)| case == folder)), "{folders:?}");
}

/// All names that begin with `prefix`.
async fn all(store: &Store, prefix: &str) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let page = store.list(prefix, names.last().map(String::as_str)).await?;
        names.extend(page.objects.into_iter().map(|listed| listed.name));
        if !page.more {
            return Ok(names);
        }
    }
}

#[test]
fn directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("not/yet/there");
    ask(root.to_str().expect("text"), &Settings::default());
    let left: Vec<_> = std::fs::read_dir(root.join(".flow")).expect("it is there").flatten().collect();
    assert_eq!(left.len(), 1, "the lock, and no temporary files: {left:?}");
}

#[test]
fn minio() {
    let minio = Minio::shared();
    let keys = Some(Keys { id: KEY.to_owned(), secret: SECRET.to_owned() });
    let settings = Settings { endpoint: Some(minio.endpoint()), keys, ..Settings::default() };
    ask(&format!("s3://{}", minio.bucket()), &settings);
    ask(&format!("s3://{}/some/prefix", minio.bucket()), &settings);
}

/// Copies between places of which neither can reach the other: they pass through this process.
#[test]
fn copies_between_kinds() {
    let (minio, directory) = (Minio::shared(), tempfile::tempdir().expect("a directory"));
    let keys = Some(Keys { id: KEY.to_owned(), secret: SECRET.to_owned() });
    let settings = Settings { endpoint: Some(minio.endpoint()), keys, ..Settings::default() };
    // The same store under another address is another store, as far as one can tell.
    let aside = Settings { endpoint: Some(format!("{}/", minio.endpoint())), ..settings.clone() };
    let bucket = minio.bucket();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let open = |location: &str, settings: &Settings| {
        let location: Location = location.parse().expect("a location");
        runtime.block_on(Store::open(&location, settings)).expect("it opens")
    };
    let stores = [
        open(&format!("s3://{bucket}/a"), &settings),
        open(&format!("s3://{bucket}/b"), &aside),
        open(directory.path().to_str().expect("text"), &settings),
    ];
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        copies::between(&runtime, &stores[from], &stores[to]);
    }
}
