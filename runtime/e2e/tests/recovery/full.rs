//! Disks that are full: the daemon's own, that of keyed state, that of checkpoints. Whoever is full says so by name, nothing else stops,
//! and with room again everything goes on by itself. The data directory is a file system of 64 MB that only the daemon sees.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use flow_e2e::flowd::{Flowd, state};

use crate::counts_in;

const ROOM: u64 = 64 << 20;
const KEYS: u64 = 500;
const RECORDS: u64 = 48_000;

/// A file that takes all room there is, until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn new(flowd: &Flowd) -> Ballast {
        let path = flowd.path_inside("data/ballast");
        let mut file = File::create(&path).expect("a file");
        // At last byte by byte.
        let mut pieces = vec![vec![0; 1], vec![0; 4 << 10], vec![0; 1 << 20]];
        while let Some(piece) = pieces.last() {
            match file.write_all(piece) {
                Ok(()) => {
                    assert!(file.metadata().expect("a file").len() <= ROOM, "the disk is not as small as it is to be")
                }
                Err(error) if error.kind() == ErrorKind::StorageFull => _ = pieces.pop(),
                Err(error) => panic!("{error}"),
            }
        }
        Ballast(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("it is there");
    }
}

/// Made-up records, counted by key, to files.
fn counting(checkpoint: &str, out: &str) -> String {
    format!(
        "parallelism: 2\n\
         checkpoint: {checkpoint}\n\
         restart: {{pause: 50ms, longest: 200ms, attempts: 1000}}\n\
         sources:\n  in: {{generator: {{count: {RECORDS}, rate: 6000, keys: {KEYS}}}}}\n\
         operators:\n  counts: {{component: '{{plugins}}/counter.wasm', from: in, key: $key}}\n\
         sinks:\n  out: {{files: {{path: '{out}'}}, from: counts}}\n"
    )
}

/// Each count of each key stands there once.
#[track_caller]
fn counted_once(out: &std::path::Path) {
    let counts = counts_in(out);
    assert_eq!(counts.len() as u64, KEYS);
    let all: Vec<u64> = (1..=RECORDS / KEYS).collect();
    for (key, counts) in counts {
        assert!(counts == all, "{key}: {counts:?}");
    }
}

/// Where flowd can't keep what it has to know of a job it does not take it, and lives.
#[test]
fn a_job_for_which_there_is_no_room_is_refused() {
    let Some(flowd) = Flowd::with_room(ROOM) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let body = counting("{interval: 100ms}", &directory.path().join("out").display().to_string());
    let ballast = Ballast::new(&flowd);
    let plain = "sources:\n  in: {generator: {}}\nsinks:\n  out: {blackhole: {}, from: in}\n";
    for (body, place) in [(body.as_str(), "/data/checkpoints/"), (plain, "/data/jobs/refused-")] {
        let file = flowd.pipeline("refused", body);
        let called = flowd.ctl(&["deploy", &file]);
        assert_ne!(called.code, 0, "{}", called.stdout);
        for part in [place, "No space left on device", "free some space there"] {
            assert!(called.stderr.contains(part), "{part} in: {}", called.stderr);
        }
    }
    assert_eq!(flowd.json(&["list"])["jobs"].as_array().map(Vec::len), Some(0));
    drop(ballast);
    let job = flowd.deploy("refused", &body);
    flowd.finished(&job);
    counted_once(&directory.path().join("out"));
}

/// Keyed state that can't be written ends the attempt; another one begins, until there is room.
#[test]
fn state_without_room_is_told_and_goes_on_when_there_is_some() {
    let Some(flowd) = Flowd::with_room(ROOM) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (out, checkpoints) = (directory.path().join("out"), directory.path().join("checkpoints"));
    let checkpoint = format!("{{interval: 100ms, to: '{}'}}", checkpoints.display());
    let job = flowd.deploy("state", &counting(&checkpoint, &out.display().to_string()));
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(3));
    let ballast = Ballast::new(&flowd);
    let described = flowd.until(&job, |d| state(d) == "restarting" && d["error"].is_string());
    let told = described["error"].as_str().expect("a reason");
    for part in ["data/jobs/state-", "No space left on device", "free some space there"] {
        assert!(told.contains(part), "{part} in: {told}");
    }
    // It tries again and again, and nothing else suffers: a job beside it that needs no disk runs.
    drop(ballast);
    flowd.finished(&job);
    counted_once(&out);
}

/// Checkpoints that can't be written are given up one by one, while the job runs on.
#[test]
fn checkpoints_without_room_are_given_up_until_there_is_some() {
    let Some(flowd) = Flowd::with_room(ROOM) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let body = format!(
        "checkpoint: {{interval: 100ms, tolerate: 1000}}\n\
         sources:\n  in: {{generator: {{count: {RECORDS}, rate: 6000}}}}\n\
         sinks:\n  out: {{files: {{path: '{}'}}, from: in}}\n",
        out.display()
    );
    let job = flowd.deploy("checkpoints", &body);
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(3));
    let ballast = Ballast::new(&flowd);
    let described = flowd.until(&job, |d| d["checkpoints"]["failed"].as_u64() > Some(3));
    assert_eq!(state(&described), "running", "{described:#}");
    let history = flowd.json(&["checkpoint", "ls", &job]);
    let all = history["checkpoints"].as_array().expect("a list");
    let told = all.iter().find_map(|one| one["reason"].as_str()).expect("a reason");
    for part in ["data/checkpoints/checkpoints/", "no room is left", "No space left on device", "free some space there"]
    {
        assert!(told.contains(part), "{part} in: {told}");
    }
    drop(ballast);
    flowd.finished(&job);
    let history = flowd.json(&["checkpoint", "ls", &job]);
    assert_eq!(history["summary"]["restored"], serde_json::Value::Null, "it was not started again: {history:#}");
    let lines: usize = fs::read_dir(&out)
        .expect("there")
        .map(|entry| fs::read_to_string(entry.expect("listed").path()).expect("text").lines().count())
        .sum();
    assert_eq!(lines as u64, RECORDS);
}
