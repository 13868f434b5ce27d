//! `flowctl savepoint`, `flowctl stop --savepoint` and what `flowctl deploy` begins with, on real jobs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::golden;
use crate::look::built;
use crate::session::Session;

/// Counts records by key into files, each of which is there once.
fn counting(name: &str, source: &str) -> String {
    let counter = built("counter");
    format!(
        "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\ncheckpoint: {{interval: 20ms}}\n\
         sources:\n  in: {{generator: {{rate: 5000, keys: 3}}}}\n\
         operators:\n  {source}: {{component: '{}', from: in, key: $key}}\n\
         sinks:\n  out: {{files: {{path: out-{name}}}, from: {source}}}\n",
        counter.display()
    )
}

fn session() -> Session {
    let endless = counting("endless", "totals");
    let wide = endless.replace("key: $key", "key: $key, parallelism: 3");
    let renamed = counting("endless", "sums");
    let other = counting("other", "totals");
    // Only those that somebody asks for.
    let rare = endless.replace("interval: 20ms", "interval: 1h");
    let files = [
        ("p.yaml", &endless),
        ("wide.yaml", &wide),
        ("rare.yaml", &rare),
        ("renamed.yaml", &renamed),
        ("other.yaml", &other),
    ];
    Session::new(&files.map(|(name, text)| (name, text.as_str())))
}

/// The counts in a directory, by key, in the order in which they were written.
fn counts(directory: &Path) -> BTreeMap<String, Vec<u64>> {
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for file in fs::read_dir(directory).expect("it was made").map(|file| file.expect("listed")) {
        // What no checkpoint has confirmed is hidden.
        if file.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        for line in fs::read_to_string(file.path()).expect("text").lines() {
            let update: Value = serde_json::from_str(line).expect("JSON");
            let key = update["key"].as_str().expect("text").to_owned();
            counts.entry(key).or_default().push(update["count"].as_u64().expect("a number"));
        }
    }
    // A file has the life of its job in its name, not when that was.
    counts.values_mut().for_each(|all| all.sort_unstable());
    counts
}

/// How many counts there are, of which none is missing and none there twice.
fn without_gap(directory: &Path) -> u64 {
    let counts = counts(directory);
    assert_eq!(counts.len(), 3);
    for (key, all) in &counts {
        let expect: Vec<u64> = (1..=all.len() as u64).collect();
        assert!(*all == expect, "{key}: {} counts, the last {:?}", all.len(), all.last());
    }
    counts.values().map(|all| all.len() as u64).sum()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_job_stops_with_one_and_goes_on_with_it() {
    let session = session();
    let out = session.directory().join("out-endless");
    session.good("deploy p.yaml");
    session.good("checkpoint now endless --wait");
    let stopped = session.run("stop endless --savepoint=first --wait");
    assert_eq!((stopped.code, stopped.stdout.as_str()), (0, "first completed\n"), "{}", stopped.stderr);
    let next = " is canceled; begin with it: flowctl deploy FILE --from-savepoint endless/first\n";
    assert!(stopped.stderr.ends_with(next), "{}", stopped.stderr);
    let first = without_gap(&out);
    let inspected = json(&session.good("savepoint inspect endless first -o json"));
    let read = inspected["nodes"].as_array().expect("nodes").iter().find(|node| node["name"] == "in");
    assert_eq!(read.expect("the source")["splits"][0]["next"], first, "what it holds has left, and nothing after it");
    // With as many subtasks as before, and then with more.
    for (file, name) in [("p.yaml", "second"), ("wide.yaml", "third")] {
        let before = session.good("savepoint ls endless -o name").lines().next().expect("one").to_owned();
        session.good(&format!("deploy {file} --from-savepoint {before}"));
        session.good("checkpoint now endless --wait");
        let stopped = session.good(&format!("stop endless --savepoint={name} --wait -o name"));
        assert_eq!(stopped, format!("{name}\n"));
    }
    assert!(without_gap(&out) > first);
    assert_eq!(session.good("savepoint ls endless -o name"), "third\nprevious\nsecond\nfirst\n");
}

#[test]
fn one_is_taken_looked_at_and_removed() {
    let session = session();
    session.good("deploy p.yaml");
    session.good("checkpoint now endless --wait");
    let created = session.run("savepoint create endless --name before-v2");
    let hint = "see what becomes of it with `flowctl savepoint ls endless`\n";
    assert_eq!((created.code, created.stderr.as_str()), (0, hint));
    let waited = session.run("savepoint create endless --wait -o json");
    assert_eq!((waited.code, waited.stderr.as_str()), (0, ""));
    let timed = json(&waited.stdout);
    assert_eq!((&timed["job"], &timed["state"]), (&"endless".into(), &"completed".into()));
    let timed = timed["name"].as_str().expect("text");
    assert!(timed.starts_with("20") && timed.len() == "20261124-093012-123".len(), "{timed}");
    assert_eq!(session.good("savepoint list endless -o name"), format!("{timed}\nbefore-v2\n"));
    let listed = session.good("savepoint ls endless");
    assert!(listed.starts_with("NAME "), "{listed}");
    assert!(listed.lines().skip(1).all(|line| line.contains("  completed  ")), "{listed}");
    let table = session.good("savepoint inspect endless before-v2");
    for line in ["name       before-v2\n", "\ntotals           1  count (value)  ", "\nin      0"] {
        assert!(table.contains(line), "{line} in {table}");
    }
    let removed = session.run(&format!("savepoint rm endless {timed}"));
    let done = format!("the savepoint {timed} of endless is removed\n");
    assert_eq!((removed.code, removed.stdout.as_str(), removed.stderr), (0, "", done));
    assert_eq!(session.good("savepoint ls endless -o name"), "before-v2\n");
    golden::check("savepoints.json", &session.good("savepoint ls endless -o json"));
    golden::check("savepoint.json", &session.good("savepoint inspect endless before-v2 -o json"));
    let canceled = session.good("stop endless --wait");
    assert!(canceled.starts_with("endless-") && canceled.ends_with(" canceled\n"), "{canceled}");
    session.good("savepoint rm endless before-v2");
    let none = session.run("savepoint ls endless");
    let hint = "endless has no savepoint; `flowctl savepoint create endless` takes one\n";
    assert_eq!((none.code, none.stderr.as_str()), (0, hint));
}

#[test]
fn what_can_not_be_is_refused_with_its_cause() {
    let session = session();
    let job = session.good("deploy p.yaml -o name");
    let job = job.trim_end();
    session.good("savepoint create endless --name a --wait");
    let refused = |line: &str, code: i32, expect: &str| {
        let called = session.run(line);
        assert_eq!((called.code, called.stdout.as_str()), (code, ""), "{line}: {}", called.stderr);
        assert!(called.stderr.starts_with("error: ") && called.stderr.contains(expect), "{line}: {}", called.stderr);
    };
    refused(
        "savepoint create endless --name a",
        4,
        "there is a savepoint \"a\" already; choose another name, or remove it",
    );
    refused("savepoint create endless --name previous", 4, "the name \"previous\" is kept");
    refused("savepoint create nobody", 4, "no job \"nobody\"");
    refused("savepoint create nobody --wait", 4, "no job \"nobody\"");
    refused("savepoint inspect endless b", 4, "\"endless\" has no savepoint \"b\"\n  those that it has: a\n");
    refused("savepoint rm endless b", 4, "\"endless\" has no savepoint \"b\"\n  those that it has: a\n");
    refused("savepoint ls ../x", 2, "is no valid name");
    refused("deploy p.yaml --from-savepoint a", 4, "a job named \"endless\" is already running");
    refused("deploy other.yaml --from-savepoint endless/a --claim", 4, "can't be claimed by another job");
    refused(
        "deploy other.yaml --from-savepoint endless/b",
        4,
        "\"endless\" has no savepoint \"b\"; those that it has: a",
    );
    refused("deploy other.yaml --from-savepoint nobody/b", 4, "there is no job \"nobody\" at ");
    refused("deploy other.yaml --from-checkpoint endless/latest", 4, "\"endless\" is running, by ");
    session.good("stop endless --savepoint=b --wait");
    refused("stop endless --savepoint", 4, &format!("{job} has already ended: it is canceled"));
    refused("deploy p.yaml --from-savepoint a", 4, "if that is meant: --allow-repeat");
    let differences = "\
error: savepoint \"b\" of \"endless\" does not fit the pipeline:
  the checkpoint has the state totals/count, which the pipeline does not have: give up what it holds with --drop-state totals/count, or go back to the old name
  the checkpoint does not have the state sums/count: let it begin empty with --new-state sums/count
";
    let called = session.run("deploy renamed.yaml --from-savepoint b");
    assert_eq!((called.code, called.stderr.as_str()), (4, differences));
    let called = session.run("deploy renamed.yaml --from-savepoint b -o json");
    let error = json(&called.stderr);
    assert_eq!(error["code"], "conflict");
    assert!(error["message"].as_str().is_some_and(|message| message.lines().count() == 3), "{error}");
    refused("sink settle p.yaml", 4, "all of its output is written");
    // What is said to be given up, and to begin empty, is.
    session.good("deploy renamed.yaml --from-savepoint b --drop-state totals/count --new-state sums");
}

#[test]
fn a_job_without_checkpoints_has_none() {
    let plain = counting("plain", "totals").replace("checkpoint: {interval: 20ms}\n", "");
    let session = Session::new(&[("plain.yaml", &plain)]);
    let refused = session.run("deploy plain.yaml --from-checkpoint latest");
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("write `checkpoint: {interval: 10s}` into its pipeline file"),
        "{}",
        refused.stderr
    );
    let job = session.good("deploy plain.yaml -o name");
    let expect = format!(
        "error: {} takes no checkpoints\n  write `checkpoint: {{interval: 10s}}` into its pipeline file and deploy it again\n",
        job.trim_end()
    );
    for line in ["savepoint create plain", "stop plain --savepoint", "stop plain --savepoint --wait"] {
        let called = session.run(line);
        assert_eq!((called.code, called.stderr.as_str()), (4, expect.as_str()), "{line}");
    }
    assert_eq!(session.good("stop plain --wait -o name"), job);
}

#[test]
fn another_job_begins_with_a_copy_and_the_same_may_claim_it() {
    let session = session();
    session.good("deploy p.yaml");
    session.good("checkpoint now endless --wait");
    session.good("savepoint create endless --name a --wait");
    // While the first one runs.
    session.good("deploy other.yaml --from-savepoint endless/a");
    session.good("stop other --savepoint=b --wait");
    assert_eq!(session.good("savepoint ls other -o name"), "b\n");
    let first = |job: &str, name: &str| {
        let inspected = json(&session.good(&format!("savepoint inspect {job} {name} -o json")));
        inspected["nodes"][0]["splits"][0]["next"].as_i64().expect("a number")
    };
    let (a, b) = (first("endless", "a"), first("other", "b"));
    let written: usize = counts(&session.directory().join("out-other")).values().map(Vec::len).sum();
    assert_eq!(written as i64, b - a, "it has written what came after the savepoint, and no more");
    session.good("stop endless --savepoint=c --wait");
    session.good("deploy p.yaml --from-savepoint c --claim");
    session.good("checkpoint now endless --wait");
    let left = session.good("savepoint ls endless -o name");
    assert!(
        left.lines().any(|name| name == "a") && left.lines().all(|name| name != "c"),
        "the claimed one is gone: {left}"
    );
    session.good("stop endless --savepoint=d --wait");
    without_gap(&session.directory().join("out-endless"));
}

/// Checkpoints between which something is read.
fn three_checkpoints(session: &Session) {
    for _ in 0..3 {
        sleep(Duration::from_millis(100));
        session.good("checkpoint now endless --wait");
    }
}

#[test]
fn back_to_a_checkpoint() {
    let session = session();
    session.good("deploy rare.yaml");
    three_checkpoints(&session);
    session.good("cancel endless --wait");
    let out = session.directory().join("out-endless");
    let retained = || {
        let all = json(&session.good("checkpoint ls endless -o json"));
        let retained = all["checkpoints"].as_array().expect("some").iter().filter(|one| one["retained"] == true);
        retained.map(|one| one["id"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let oldest = retained().last().expect("one").clone();
    let refused = session.run(&format!("deploy rare.yaml --from-checkpoint {oldest}"));
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("\"endless\" went on after checkpoint "), "{}", refused.stderr);
    session.good("deploy rare.yaml --from-checkpoint latest");
    three_checkpoints(&session);
    session.good("cancel endless --wait");
    without_gap(&out);
    let oldest = retained().last().expect("one").clone();
    session.good(&format!("deploy rare.yaml --from-checkpoint {oldest} --allow-repeat"));
    session.good("checkpoint now endless --wait");
    session.good("stop endless --savepoint --wait");
    let written = counts(&out);
    assert!(written.values().any(|all| all.windows(2).any(|two| two[0] == two[1])), "some are there twice");
    for (key, all) in &written {
        let mut distinct = all.clone();
        distinct.dedup();
        assert!(distinct.iter().copied().eq(1..=distinct.len() as u64), "{key}: none is missing");
    }
}
