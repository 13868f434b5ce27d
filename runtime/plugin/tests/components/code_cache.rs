//! Compiled code on disk: used when it is whole, ignored when it is not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use flow_dataflow::function::Kind;
use flow_plugin::{Engine, Options};

use crate::guest::Guest;
use crate::stage::{limits, serves, setup};

fn engine(dir: &tempfile::TempDir) -> Engine {
    let cache_dir = Some(dir.path().join("code"));
    Engine::new(Options { cache_dir, ..Options::default() }).expect("it starts")
}

fn files(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path().join("code")).into_iter().flatten().flatten();
    entries.map(|e| e.path()).collect()
}

fn works(engine: &Engine) {
    let guest = Guest::new(Kind::Map).bad_on_x("unreachable");
    let component = engine.load("guest.wasm", &guest.build(), &limits()).expect("an operator");
    serves(&mut *component.instantiate(setup(&std::sync::Arc::default())).expect("it starts"));
}

#[test]
fn code_is_kept_and_used_again() {
    let dir = tempfile::tempdir().expect("a directory");
    works(&engine(&dir));
    let kept = files(&dir);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let written = fs::metadata(&kept[0]).expect("it is there").ino();
    works(&engine(&dir));
    assert_eq!(files(&dir), kept);
    assert_eq!(fs::metadata(&kept[0]).expect("it is there").ino(), written, "not written again");
}

#[test]
fn what_is_not_whole_is_compiled_again() {
    let dir = tempfile::tempdir().expect("a directory");
    works(&engine(&dir));
    let path = files(&dir).remove(0);
    let good = fs::read(&path).expect("it is there");
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    let mut unmarked = good.clone();
    unmarked[0] ^= 1;
    // A right checksum over what wasmtime did not write.
    let mut foreign = good[..8].to_vec();
    foreign.extend(flow_plugin::Digest::of(b"nonsense").0);
    foreign.extend(b"nonsense");
    for broken in [&good[..0], &good[..39], &good[..good.len() / 2], &flipped, &unmarked, &foreign] {
        fs::write(&path, broken).expect("it can be written");
        works(&engine(&dir));
        assert_eq!(fs::read(&path).expect("it is there").len(), good.len(), "replaced by good code");
    }
    assert_eq!(files(&dir).len(), 1, "nothing is left beside it");
}

#[test]
fn a_directory_that_can_not_be_used_costs_time_only() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("code"), "a file where the directory should be").expect("it can be written");
    works(&engine(&dir));
}
