//! Savepoints from the outside: jobs that end with one and begin with one, at another width, under another name, with less or other
//! state; what they keep, and what they refuse. Made-up records, counted by key, to files, each once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::flowd::{Flowd, state};
use serde_json::{Value, json};

use crate::counts_in;

const KEYS: u64 = 50;
const RECORDS: u64 = 20_000;
/// Records a second of a life that something is to happen in: it has ten times the seconds that this takes on a machine at rest.
const SLOW: u64 = 2_000;
/// Of one that has to come to its end after that.
const BRISK: u64 = 4_000;
/// Of one that only has to come to its end.
const FAST: u64 = 20_000;

/// Counts by key what it reads, at such a rate; `width` of the operator that counts.
fn counting(out: &Path, width: u32, rate: u64) -> String {
    format!(
        "checkpoint: {{interval: 100ms}}\n\
         restart: {{pause: 20ms}}\n\
         sources:\n  in: {{generator: {{count: {RECORDS}, rate: {rate}, keys: {KEYS}}}}}\n\
         operators:\n  counts: {{component: '{{plugins}}/counter.wasm', from: in, key: $key, parallelism: {width}}}\n\
         sinks:\n  out: {{files: {{path: '{}'}}, from: counts}}\n",
        out.display()
    )
}

/// Each key has these counts, each once, in whatever files. With more than one life a file of a later one may come first by name.
#[track_caller]
fn counted(out: &Path, wanted: std::ops::RangeInclusive<u64>) {
    let all: Vec<u64> = wanted.collect();
    let counts: BTreeMap<String, Vec<u64>> = counts_in(out);
    assert_eq!(counts.len() as u64, KEYS);
    for (key, mut counts) in counts {
        counts.sort_unstable();
        assert!(counts == all, "{key}: {counts:?}");
    }
}

fn from(name: &str) -> Value {
    json!({"from": {"savepoint": {"name": name}}})
}

/// How far the source is in a savepoint.
fn read(flowd: &Flowd, job: &str, name: &str) -> u64 {
    let detail = flowd.ask(&format!("/jobs/{job}/savepoints/{name}")).expect("it is there");
    let source = detail["nodes"].as_array().expect("a list").iter().find(|node| node["name"] == "in");
    source.expect("it is one")["splits"][0]["next"].as_u64().expect("a number")
}

#[test]
fn a_job_goes_on_from_one_at_any_width() {
    let flowd = Flowd::new();
    let out = flowd.path("out");
    let mut job = flowd.deploy("widths", &counting(&out, 2, SLOW));
    for (name, width, rate) in [("first", 5, SLOW), ("second", 1, SLOW), ("third", 3, FAST)] {
        flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(2));
        let taken = flowd.savepoint(&job, name, true);
        assert_eq!(taken["state"], "completed", "{taken:#}");
        let ended = flowd.ended(&job);
        assert_eq!(state(&ended), "canceled");
        assert!(read(&flowd, "widths", name) < RECORDS, "it was taken in between");
        job = flowd.deploy_from("widths", &counting(&out, width, rate), &from(name)).expect("it fits");
    }
    flowd.finished(&job);
    counted(&out, 1..=RECORDS / KEYS);
    let mut names = flowd.savepoints("widths");
    names.retain(|name| name != "previous");
    assert_eq!(names, ["third", "second", "first"], "they outlive lives of the job");
}

#[test]
fn a_clone_leaves_the_first_one_alone() {
    let flowd = Flowd::new();
    let (out, other) = (flowd.path("out"), flowd.path("other"));
    let job = flowd.deploy("first", &counting(&out, 2, BRISK));
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(2));
    assert_eq!(flowd.savepoint(&job, "here", false)["state"], "completed");
    // At once, while the first one goes on, whose later checkpoints make garbage of what this one needs.
    let mut start = from("here");
    start["from"]["savepoint"]["job"] = "first".into();
    let at = read(&flowd, &job, "here");
    let clone = flowd.deploy_from("second", &counting(&other, 4, FAST), &start).expect("it fits");
    flowd.finished(&clone);
    let counts: u64 = counts_in(&other).values().map(|counts| counts.len() as u64).sum();
    assert_eq!(counts, RECORDS - at, "exactly what the first one had not read then");
    let claimed = flowd.deploy_from("third", &counting(&other, 4, FAST), &{
        let mut start = start.clone();
        start["claim"] = true.into();
        start
    });
    let refused = claimed.expect_err("it is not its own");
    assert!(refused.status == 409 && refused.message.contains("can't be claimed by another job"), "{refused:?}");
    flowd.finished(&job);
    counted(&out, 1..=RECORDS / KEYS);
    // It is still good when its job has long ended, and its name gone by.
    let third = flowd.path("third");
    let clone = flowd.deploy_from("third", &counting(&third, 1, FAST), &start).expect("it fits");
    flowd.finished(&clone);
    let counts: u64 = counts_in(&third).values().map(|counts| counts.len() as u64).sum();
    assert_eq!(counts, RECORDS - at);
    flowd.delete("/jobs/first/savepoints/here").expect("nobody needs it");
    let refused = flowd.deploy_from("third", &counting(&third, 1, FAST), &start).expect_err("it is gone");
    assert!(refused.status == 404 && refused.message.contains("those that it has: none"), "{refused:?}");
}

#[test]
fn a_life_that_could_not_begin_is_no_life() {
    let flowd = Flowd::new();
    let out = flowd.path("out");
    let job = flowd.deploy("retried", &counting(&out, 2, SLOW));
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(2));
    flowd.savepoint(&job, "end", true);
    flowd.ended(&job);
    // Nothing but its start can tell that no directory can be made below a file.
    fs::write(flowd.path("file"), "").expect("a file");
    let nowhere = counting(&flowd.path("file/out"), 2, FAST);
    let mut claimed = from("end");
    claimed["claim"] = true.into();
    let job = flowd.deploy_from("retried", &nowhere, &claimed).expect("it may be tried");
    let failed = flowd.ended(&job);
    assert_eq!(state(&failed), "failed", "{failed:#}");
    assert!(flowd.savepoints("retried").contains(&"end".to_owned()), "it was claimed by nobody who ran");
    let job = flowd.deploy_from("retried", &counting(&out, 2, FAST), &claimed).expect("nothing was written since");
    flowd.finished(&job);
    assert!(!flowd.savepoints("retried").contains(&"end".to_owned()));
    counted(&out, 1..=RECORDS / KEYS);
}

/// How many objects lie in a job's root.
fn objects(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { objects(&entry.path()) } else { 1 }).sum()
}

#[test]
fn one_that_is_claimed_is_given_up_and_one_that_is_not_stays() {
    let flowd = Flowd::new();
    let (out, root) = (flowd.path("out"), flowd.path("data/checkpoints/claimed"));
    let job = flowd.deploy("claimed", &counting(&out, 2, SLOW));
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(2));
    flowd.savepoint(&job, "early", false);
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(8));
    flowd.savepoint(&job, "end", true);
    flowd.ended(&job);
    let mut start = from("end");
    start["claim"] = true.into();
    let job = flowd.deploy_from("claimed", &counting(&out, 2, BRISK), &start).expect("it fits");
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(3));
    assert!(!flowd.savepoints(&job).contains(&"end".to_owned()), "{:?}", flowd.savepoints(&job));
    flowd.finished(&job);
    counted(&out, 1..=RECORDS / KEYS);
    // The early one is whole: two lives and many checkpoints later.
    let third = flowd.path("third");
    let mut start = from("early");
    start["from"]["savepoint"]["job"] = "claimed".into();
    let at = read(&flowd, "claimed", "early");
    let clone = flowd.deploy_from("clone", &counting(&third, 3, FAST), &start).expect("it fits");
    flowd.finished(&clone);
    let counts: u64 = counts_in(&third).values().map(|counts| counts.len() as u64).sum();
    assert_eq!(counts, RECORDS - at);
    // With all of them given up hardly anything is left.
    let before = objects(&root);
    for name in flowd.savepoints("claimed") {
        flowd.delete(&format!("/jobs/claimed/savepoints/{name}")).expect("nobody needs it");
    }
    assert!(objects(&root) < before, "{before} objects, and then {}", objects(&root));
    assert_eq!(flowd.savepoints("claimed"), [""; 0]);
}

#[test]
fn what_does_not_fit_is_refused_and_what_is_dropped_is_gone() {
    let flowd = Flowd::new();
    let out = flowd.path("out");
    let job = flowd.deploy("fits", &counting(&out, 2, SLOW));
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(2));
    flowd.savepoint(&job, "end", true);
    flowd.ended(&job);
    let (at, before) = (read(&flowd, "fits", "end"), objects(&out));
    let pipeline = counting(&out, 2, FAST);
    let renamed = pipeline.replace("counts: {", "totals: {").replace("from: counts", "from: totals");
    let refused = flowd.deploy_from("fits", &renamed, &from("end")).expect_err("the names differ");
    assert_eq!(refused.status, 409);
    for part in [
        "savepoint \"end\" of \"fits\" does not fit the pipeline:",
        "the checkpoint has the state counts/count, which the pipeline does not have: give up what it holds with --drop-state counts/count",
        "the checkpoint does not have the state totals/count: let it begin empty with --new-state totals/count",
    ] {
        assert!(refused.message.contains(part), "{part} in: {}", refused.message);
    }
    let groups = format!("key-groups: 64\n{pipeline}");
    let refused = flowd.check("fits", &groups, &from("end")).expect_err("other key groups");
    assert!(refused.message.contains("say `key-groups: 128`"), "{}", refused.message);
    assert_eq!((objects(&out), flowd.json(&["list"])["jobs"].as_array().map(Vec::len)), (before, Some(1)));
    // Given up by name: what comes is counted from one, as if nothing had been before.
    let mut start = from("end");
    (start["drop-state"], start["new-state"]) = (json!(["counts/count"]), json!(["totals"]));
    let dropped = flowd.path("dropped");
    let other = renamed.replace(&out.display().to_string(), &dropped.display().to_string());
    let job = flowd.deploy_from("fits", &other, &start).expect("it fits");
    flowd.finished(&job);
    let counts = counts_in(&dropped);
    assert_eq!(counts.values().map(|counts| counts.len() as u64).sum::<u64>(), RECORDS - at);
    for (key, mut counts) in counts {
        counts.sort_unstable();
        assert!(counts == (1..=counts.len() as u64).collect::<Vec<_>>(), "{key}: {counts:?}");
    }
    // The same operator, its state dropped: not one of its entries is there.
    let mut start = from("end");
    start["drop-state"] = json!(["counts/count"]);
    let again = flowd.path("again");
    let same = pipeline.replace(&out.display().to_string(), &again.display().to_string());
    let mut start_repeat = start.clone();
    start_repeat["allow-repeat"] = true.into();
    let refused = flowd.deploy_from("fits", &same, &start).expect_err("the job went on since");
    assert!(refused.message.contains("--allow-repeat"), "{}", refused.message);
    let job = flowd.deploy_from("fits", &same, &start_repeat).expect("it fits");
    flowd.finished(&job);
    for (key, mut counts) in counts_in(&again) {
        counts.sort_unstable();
        assert!(counts == (1..=counts.len() as u64).collect::<Vec<_>>(), "{key}: {counts:?}");
    }
}

#[test]
fn a_job_goes_on_from_a_checkpoint_that_is_retained() {
    let flowd = Flowd::new();
    let out = flowd.path("out");
    let at = |rate| counting(&out, 2, rate).replace("interval: 100ms", "interval: 100ms, retain: 3");
    let pipeline = at(SLOW);
    let job = flowd.deploy("retained", &pipeline);
    let latest = json!({"from": {"checkpoint": {}}});
    let refused = flowd.deploy_from("retained", &pipeline, &latest).expect_err("it runs");
    assert!(refused.message.contains("a job named \"retained\" is already running"), "{refused:?}");
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(5));
    flowd.ctl(&["cancel", &job]);
    flowd.ended(&job);
    let history = flowd.json(&["checkpoint", "ls", &job]);
    let ids: Vec<String> = history["checkpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| one["retained"] == true)
        .map(|one| one["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(ids.len(), 3, "{history:#}");
    let older = json!({"from": {"checkpoint": {"id": ids[2]}}});
    let refused = flowd.deploy_from("retained", &pipeline, &older).expect_err("it went on");
    for part in [&format!("\"retained\" went on after checkpoint {}", ids[2]), "--allow-repeat"] {
        assert!(refused.status == 409 && refused.message.contains(part), "{part} in: {refused:?}");
    }
    let unknown = json!({"from": {"checkpoint": {"id": "00000001000000ff"}}});
    let refused = flowd.deploy_from("retained", &pipeline, &unknown).expect_err("there is none");
    assert!(refused.status == 404 && refused.message.contains(&ids.join(", ")), "{refused:?}");
    // The latest one: as if it had not been canceled.
    let job = flowd.deploy_from("retained", &pipeline, &latest).expect("it fits");
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(2));
    flowd.ctl(&["cancel", &job]);
    flowd.ended(&job);
    let job = flowd.deploy_from("retained", &at(FAST), &latest).expect("it fits");
    flowd.finished(&job);
    counted(&out, 1..=RECORDS / KEYS);
}

/// Waits until it has died at such a place.
#[track_caller]
fn dies(flowd: &mut Flowd, place: &str) {
    let begun = Instant::now();
    while !flowd.is_dead() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{place} is reached\n{}", flowd.log());
        sleep(Duration::from_millis(10));
    }
}

/// A daemon that dies while it copies what a life begins with, before it is done, behind it: the life begins with it all the same.
#[test]
fn a_daemon_that_dies_while_a_life_begins_goes_on_with_it() {
    for place in ["head-swap=kill", "adopting=kill:2", "adopted=kill", "head-swap=kill:2", "deploy=kill"] {
        let mut flowd = Flowd::new();
        let out = flowd.path("out");
        let job = flowd.deploy("dies", &counting(&out, 2, BRISK));
        flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(2));
        flowd.savepoint(&job, "end", true);
        flowd.ended(&job);
        flowd.kill();
        flowd.set_env("FLOW_FAILPOINT", place);
        flowd.start_again();
        // The answer may or may not come before.
        _ = flowd.deploy_from("dies", &counting(&out, 3, FAST), &from("end"));
        dies(&mut flowd, place);
        flowd.set_env("FLOW_FAILPOINT", "");
        flowd.start_again();
        let jobs = flowd.json(&["list"]);
        let job = jobs["jobs"].as_array().expect("a list").iter().find(|job| job["state"] != "failed").cloned();
        let job = job.unwrap_or_else(|| panic!("{place}: it goes on: {jobs:#}\n{}", flowd.log()));
        flowd.finished(job["id"].as_str().expect("an id"));
        counted(&out, 1..=RECORDS / KEYS);
    }
}

/// A daemon that dies while a savepoint is taken: it is none, or it is one; the job goes on, and the next one has that name.
#[test]
fn a_daemon_that_dies_while_one_is_taken_goes_on() {
    for place in
        ["triggered=kill", "manifest-written=kill", "head-swapped=kill:2", "confirmed=kill", "head-swap=kill:3"]
    {
        let mut flowd = Flowd::new();
        let out = flowd.path("out");
        // No checkpoint but those that somebody asks for, and the first.
        let pipeline = counting(&out, 2, 2 * BRISK).replace("interval: 100ms", "interval: 1h");
        let job = flowd.deploy("dies", &pipeline);
        flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() >= Some(1));
        flowd.kill();
        flowd.set_env("FLOW_FAILPOINT", place);
        flowd.start_again();
        flowd.until(&job, |d| d["state"] == "running");
        _ = flowd.post(&format!("/jobs/{job}/savepoints"), &json!({"name": "kept"}));
        dies(&mut flowd, place);
        flowd.set_env("FLOW_FAILPOINT", "");
        flowd.start_again();
        flowd.until(&job, |d| d["state"] == "running");
        if flowd.savepoints(&job).is_empty() {
            assert_eq!(flowd.savepoint(&job, "kept", false)["state"], "completed", "{place}");
        }
        let at = read(&flowd, &job, "kept");
        flowd.finished(&job);
        counted(&out, 1..=RECORDS / KEYS);
        let clone = flowd.path("clone");
        let mut start = from("kept");
        start["from"]["savepoint"]["job"] = "dies".into();
        let job = flowd.deploy_from("clone", &counting(&clone, 1, FAST), &start).expect("it fits");
        flowd.finished(&job);
        let counts: u64 = counts_in(&clone).values().map(|counts| counts.len() as u64).sum();
        assert_eq!(counts, RECORDS - at, "{place}");
    }
}

/// A daemon that dies while a job is to stop with a savepoint: the next one stops it with that.
#[test]
fn a_job_that_was_to_stop_with_one_stops_after_a_restart() {
    for place in
        ["triggered=kill", "manifest-written=kill", "head-swapped=kill:2", "confirmed=kill", "head-swap=kill:3"]
    {
        let mut flowd = Flowd::new();
        let out = flowd.path("out");
        let pipeline = counting(&out, 2, SLOW).replace("interval: 100ms", "interval: 1h");
        let job = flowd.deploy("stops", &pipeline);
        flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() >= Some(1));
        flowd.kill();
        flowd.set_env("FLOW_FAILPOINT", place);
        flowd.start_again();
        flowd.until(&job, |d| d["state"] == "running");
        _ = flowd.post(&format!("/jobs/{job}/savepoints"), &json!({"name": "kept", "stop": true}));
        dies(&mut flowd, place);
        flowd.set_env("FLOW_FAILPOINT", "");
        flowd.start_again();
        // Where HEAD says that it is over, nobody knows the job any more.
        if flowd.ask(&format!("/jobs/{job}")).is_ok() {
            let ended = flowd.ended(&job);
            assert_eq!(state(&ended), "canceled", "{place}: {ended:#}\n{}", flowd.log());
        }
        assert!(flowd.savepoints("stops").contains(&"kept".to_owned()), "{place}\n{}", flowd.log());
        assert!(read(&flowd, "stops", "kept") < RECORDS, "{place}: it was taken in between");
        // Nothing was written after it.
        let job =
            flowd.deploy_from("stops", &counting(&out, 2, FAST), &from("kept")).expect("it is the end of that life");
        flowd.finished(&job);
        counted(&out, 1..=RECORDS / KEYS);
    }
}

/// What a request left that a daemon died of, and that could not be met, is in no later one's way.
#[test]
fn a_stop_that_can_not_be_had_is_forgotten() {
    let mut flowd = Flowd::new();
    let pipeline = counting(&flowd.path("out"), 1, 200);
    let job = flowd.deploy("goes-on", &pipeline);
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() >= Some(1));
    flowd.kill();
    let left = format!("data/jobs/{job}/stop-with-savepoint");
    flowd.write(&left, "previous");
    flowd.start_again();
    flowd.until(&job, |_| !flowd.path(&left).exists());
    let told = flowd.ctl(&["logs", &job]).stdout;
    assert!(told.contains("no savepoint \"previous\", and the job goes on: the name"), "{told}");
    flowd.until(&job, |d| d["state"] == "running");
}

#[test]
fn one_that_fails_says_why() {
    let flowd = Flowd::new();
    let pipeline = counting(&flowd.path("out"), 1, 200).replace("interval: 100ms", "interval: 1h, timeout: 60s");
    let job = flowd.deploy("fails", &pipeline);
    flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() >= Some(1));
    // It stops before one can be.
    flowd.post(&format!("/jobs/{job}/savepoints"), &json!({"name": "late"})).expect("it runs");
    flowd.ctl(&["cancel", &job]);
    flowd.ended(&job);
    let late = flowd.savepoint_over(&job, "late");
    if late["state"] == "failed" {
        assert_eq!(late["reason"], "the job was canceled before it was complete", "{late:#}");
        let refused = flowd.ask(&format!("/jobs/{job}/savepoints/late")).expect_err("there is none");
        assert!(
            refused.message.contains("came to nothing: the job was canceled before it was complete"),
            "{refused:?}"
        );
    }
}

#[test]
fn a_job_that_begins_anew_says_what_it_leaves() {
    let flowd = Flowd::new();
    for (out, says) in [("first", false), ("second", true)] {
        let job = flowd.deploy("anew", &counting(&flowd.path(out), 1, 200));
        let told = flowd.ctl(&["logs", &job]).stdout;
        assert_eq!(told.contains("begins with nothing; its former life ended at checkpoint"), says, "{told}");
        flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() >= Some(1));
        flowd.ctl(&["cancel", &job]);
        flowd.ended(&job);
    }
}

/// A job's name means where it was deployed last, after a restart too.
#[test]
fn a_name_that_moved_to_another_store_is_looked_for_there() {
    let mut flowd = Flowd::new();
    let moved = flowd.path("elsewhere").display().to_string();
    for (at, to, name) in [(0, "", "old"), (1, moved.as_str(), "new")] {
        let pipeline = counting(&flowd.path(&format!("out-{at}")), 1, 200);
        let to = if to.is_empty() { String::new() } else { format!(", to: '{to}'") };
        let job = flowd.deploy("moved", &pipeline.replace("interval: 100ms", &format!("interval: 100ms{to}")));
        flowd.until(&job, |d| d["checkpoints"]["completed"].as_u64() >= Some(1));
        flowd.savepoint(&job, name, true);
        flowd.ended(&job);
    }
    for _ in 0..2 {
        assert_eq!(flowd.savepoints("moved"), ["new"]);
        flowd.kill();
        flowd.start_again();
    }
}

/// Another daemon goes on with what one ran that is gone for good, if it is told so.
#[test]
fn a_life_is_taken_over_from_a_daemon_that_is_gone() {
    let (mut one, other) = (Flowd::new(), Flowd::new());
    let shared = tempfile::tempdir().expect("a directory");
    let out = shared.path().join("out");
    let to = format!("interval: 100ms, to: '{}'", shared.path().join("checkpoints").display());
    let pipeline = counting(&out, 2, SLOW).replace("interval: 100ms", &to);
    let refused = other.deploy_from("taken", &pipeline, &json!({"take-over": true})).expect_err("there is none");
    assert!(refused.status == 404 && refused.message.contains("there is no job \"taken\""), "{refused:?}");
    let job = one.deploy("taken", &pipeline);
    one.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(2));
    one.kill();
    let leader = one.url.trim_start_matches("http://").to_owned();
    for start in [json!({}), json!({"from": {"checkpoint": {}}})] {
        let refused = other.deploy_from("taken", &pipeline, &start).expect_err("nobody knows that it is gone");
        assert!(refused.status == 409 && refused.message.contains(&leader), "{refused:?}");
    }
    let narrow = counting(&out, 1, BRISK).replace("interval: 100ms", &to);
    let job = other.deploy_from("taken", &narrow, &json!({"take-over": true})).expect("it is told");
    // The machine comes back all the same, and leaves the job alone.
    other.until(&job, |d| d["checkpoints"]["completed"].as_u64() > Some(1));
    one.start_again();
    let back = one.ended("taken");
    assert_eq!(state(&back), "failed");
    assert!(
        back["error"].as_str().is_some_and(|error| error.contains("another life of the job has begun")),
        "{back:#}"
    );
    // It is told so once.
    one.kill();
    one.start_again();
    assert_eq!(one.json(&["list"])["jobs"], json!([]));
    other.finished(&job);
    counted(&out, 1..=RECORDS / KEYS);
    let refused = other.deploy_from("taken", &narrow, &json!({"take-over": true})).expect_err("it is over");
    assert!(refused.message.contains("there is nothing to take over"), "{refused:?}");
}
