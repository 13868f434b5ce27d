//! Jobs whose checkpoints are not what they were: each is refused by name, and nothing is overwritten.

use std::fs;
use std::path::{Path, PathBuf};

use flow_e2e::broker::Broker;
use flow_e2e::flowd::{Flowd, counted, state};
use flow_e2e::topic;
use serde_json::Value;

use crate::{PARTITIONS, counting, records, to_topic};

/// A job that counts made-up records for ever, and has some checkpoints.
fn with_checkpoints(flowd: &Flowd) -> (String, PathBuf) {
    let job = flowd.deploy(
        "made-up",
        "checkpoint: {interval: 50ms}\n\
         sources:\n  in: {generator: {rate: 2000, keys: 100}}\n\
         operators:\n  counts: {component: '{plugins}/counter.wasm', from: in, key: $key}\n\
         sinks:\n  out: {blackhole: {}, from: counts}\n",
    );
    let place = flowd.path("data/checkpoints/made-up");
    let begun = std::time::Instant::now();
    while head(&place).is_none_or(|head| head["retained"].as_array().is_none_or(|all| all.len() < 3)) {
        assert!(begun.elapsed().as_secs() < 60, "{}", flowd.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    (job, place)
}

/// What HEAD says.
fn head(place: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(place.join("HEAD")).ok()?).ok()
}

/// The directory of the checkpoint that counts, its id, and that before it.
fn latest(place: &Path) -> (PathBuf, String, String) {
    let head = head(place).expect("there is one");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (incarnation, latest) = (text(&head["incarnation"]), text(&head["latest"]));
    let retained = head["retained"].as_array().expect("a list");
    (place.join(incarnation).join(&latest), latest, text(&retained[retained.len() - 2]))
}

/// The checkpoint up to which the lane of the sink had written when the last one was taken.
fn progress(place: &Path) -> Option<String> {
    let manifest = fs::read(latest(place).0.join("manifest")).ok()?;
    let manifest: Value = serde_json::from_slice(&manifest).ok()?;
    Some(manifest["nodes"]["out"]["lanes"]["0"]["checkpoint"].as_str()?.to_owned())
}

/// Waits until a job has failed, for a reason that names all of these.
#[track_caller]
fn fails_naming(flowd: &Flowd, job: &str, parts: &[&str]) {
    let ended = flowd.ended(job);
    assert_eq!(state(&ended), "failed", "{ended:#}");
    let failure = ended["error"].as_str().expect("text");
    for part in parts {
        assert!(failure.contains(part), "{part} in: {failure}");
    }
}

#[test]
fn a_manifest_of_a_later_version_is_named() {
    let mut flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    flowd.kill();
    let (directory, id, earlier) = latest(&place);
    let path = directory.join("manifest");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("JSON");
    manifest["format"] = 7.into();
    fs::write(&path, manifest.to_string()).expect("written");
    flowd.start_again();
    fails_naming(&flowd, &job, &[&id, &earlier, "/manifest", "7"]);
}

/// Half a minute: somebody may be about to mend it.
#[test]
fn a_head_that_is_none_any_more_is_named() {
    let flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    fs::write(place.join("HEAD"), "not what it was").expect("written");
    fails_naming(&flowd, &job, &["/HEAD", "expected ident", "--take-over"]);
    let told = flowd.ctl(&["logs", &job]).stdout;
    assert!(told.contains("trying again"), "{told}");
    assert_eq!(fs::read(place.join("HEAD")).expect("there"), b"not what it was");
}

#[test]
fn a_head_that_was_deleted_is_named_and_goes_on_where_it_is_put_back() {
    let flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    let (head, away) = (place.join("HEAD"), flowd.path("HEAD"));
    fs::rename(&head, &away).expect("it is there");
    flowd.until(&job, |description| {
        // A swap that had begun before may bring it back.
        _ = fs::rename(&head, &away);
        state(description) == "failed"
    });
    fails_naming(&flowd, &job, &["/made-up/HEAD was deleted", "put it back", "--take-over", "begins with nothing"]);
    assert!(!head.exists(), "it is not made anew");
    fs::rename(&away, &head).expect("it is there");
    let called = flowd.ctl(&["deploy", "made-up.yaml", "--take-over"]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    flowd.until("made-up", |description| counted(description, "in", "records-out") > 0);
    assert_eq!(self::head(&place).expect("there is one")["origin"]["job"], "made-up", "it goes on");
}

/// What is not there when the daemon starts may be there when another one does: the job is not given up, but by who says so.
#[test]
fn a_job_whose_head_is_not_there_waits_for_another_start() {
    let mut flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    let (head, away) = (place.join("HEAD"), flowd.path("HEAD"));
    let again = |flowd: &mut Flowd| {
        flowd.kill();
        flowd.start_again();
    };
    flowd.kill();
    fs::rename(&head, &away).expect("it is there");
    flowd.start_again();
    fails_naming(&flowd, &job, &["there is no ", "/made-up/HEAD", "start flowd again"]);
    for command in [&["checkpoint", "now"][..], &["stop", "--savepoint"]] {
        let called = flowd.ctl(&[command, &[&job]].concat());
        assert!(called.code != 0 && called.stderr.contains("has already ended"), "{command:?}: {}", called.stderr);
    }
    again(&mut flowd);
    fails_naming(&flowd, &job, &["there is no "]);
    fs::rename(&away, &head).expect("it is there");
    again(&mut flowd);
    flowd.until(&job, |description| counted(description, "in", "records-out") > 0);
    // Once more, and this time its user wants it no more.
    flowd.kill();
    fs::rename(&head, &away).expect("it is there");
    flowd.start_again();
    fails_naming(&flowd, &job, &["there is no "]);
    let called = flowd.ctl(&["cancel", &job]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    fs::rename(&away, &head).expect("it is there");
    again(&mut flowd);
    let ended = flowd.ended(&job);
    assert_eq!(state(&ended), "canceled", "{ended:#}");
}

#[test]
fn a_job_that_waits_for_another_start_ends_when_its_name_is_deployed_elsewhere() {
    let mut flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    flowd.kill();
    fs::rename(place.join("HEAD"), flowd.path("HEAD")).expect("it is there");
    flowd.start_again();
    fails_naming(&flowd, &job, &["there is no "]);
    let record = format!("data/jobs/{job}/running.json");
    let recorded = fs::read(flowd.path(&record)).expect("it is kept");
    let elsewhere = flowd.path("elsewhere").display().to_string();
    let other = flowd.deploy(
        "made-up",
        &format!(
            "checkpoint: {{interval: 50ms, to: '{elsewhere}'}}\n\
             sources:\n  in: {{generator: {{rate: 2000, keys: 100}}}}\n\
             sinks:\n  out: {{blackhole: {{}}, from: in}}\n"
        ),
    );
    fs::rename(flowd.path("HEAD"), place.join("HEAD")).expect("it is there");
    assert!(!flowd.path(&record).exists());
    // As if the daemon had died before it came to that, too.
    for left in [None, Some(recorded)] {
        flowd.kill();
        left.iter().for_each(|recorded| flowd.write(&record, recorded));
        flowd.start_again();
        flowd.until(&other, |description| state(description) == "running");
        let jobs = flowd.json(&["list"]);
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "{jobs:#}");
    }
}

#[test]
fn a_job_whose_record_was_harmed_is_told_and_can_be_taken_over() {
    let mut flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    let record = format!("data/jobs/{job}/running.json");
    flowd.kill();
    let whole = fs::read(flowd.path(&record)).expect("it is kept");
    flowd.write(&record, &whole[..50]);
    for _ in 0..2 {
        flowd.start_again();
        fails_naming(&flowd, &job, &[&record, "can't be read", "--take-over", "pipeline.yaml"]);
        assert!(flowd.path(&format!("data/jobs/{job}/pipeline.yaml")).exists());
        let listed = flowd.ctl(&["checkpoint", "ls", &job]);
        assert!(listed.code == 0 && listed.stdout.contains(&latest(&place).1), "{}{}", listed.stdout, listed.stderr);
        flowd.kill();
    }
    flowd.start_again();
    let called = flowd.ctl(&["deploy", "made-up.yaml", "--take-over"]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    flowd.until("made-up", |description| counted(description, "in", "records-out") > 0);
    flowd.kill();
    flowd.start_again();
    let jobs = flowd.json(&["list"]);
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "{jobs:#}");
}

#[test]
fn checkpoints_that_can_not_be_read_are_listed() {
    let mut flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    flowd.ctl(&["cancel", &job]);
    flowd.ended(&job);
    flowd.kill();
    let (directory, id, earlier) = latest(&place);
    fs::remove_file(directory.join("manifest")).expect("it was there");
    flowd.start_again();
    let all = flowd.ask("/jobs/made-up/checkpoints").expect("its store knows it");
    let of = |id: &str| all["checkpoints"].as_array().expect("a list").iter().find(|one| one["id"] == id).cloned();
    let lost = of(&id).expect("it is listed");
    assert!(lost["reason"].as_str().is_some_and(|reason| reason.contains("/manifest")), "{all:#}");
    assert_eq!(all["summary"]["latest"]["id"], *id, "{all:#}");
    assert_eq!(of(&earlier).expect("it is listed")["reason"], Value::Null, "{all:#}");
    let listed = flowd.ctl(&["checkpoint", "ls", "made-up"]).stdout;
    assert!(listed.contains("its manifest can't be read: "), "{listed}");
}

#[test]
fn a_missing_manifest_is_named() {
    let mut flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    flowd.kill();
    let (directory, id, earlier) = latest(&place);
    fs::remove_file(directory.join("manifest")).expect("it was there");
    flowd.start_again();
    fails_naming(&flowd, &job, &[&id, &earlier, "/manifest"]);
}

#[test]
fn a_truncated_run_is_named() {
    let mut flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    flowd.kill();
    let (directory, _, earlier) = latest(&place);
    let manifest: Value = serde_json::from_slice(&fs::read(directory.join("manifest")).expect("there")).expect("JSON");
    let run = &manifest["nodes"]["counts"]["subtasks"][0]["state"]["runs"][0];
    let object = run["object"].as_str().expect("text");
    let path = place.join(object);
    let length = fs::metadata(&path).expect("there").len();
    fs::File::options().write(true).open(&path).and_then(|file| file.set_len(length / 2)).expect("cut off");
    // Copies of its own would do.
    fs::remove_dir_all(flowd.path("data/jobs").join(&job).join("state")).expect("it was there");
    flowd.start_again();
    fails_naming(&flowd, &job, &[object, &earlier]);
}

#[test]
fn what_a_life_begins_with_and_can_not_be_copied_is_told() {
    let flowd = Flowd::new();
    let (job, place) = with_checkpoints(&flowd);
    assert_eq!(flowd.savepoint(&job, "end", true)["state"], "completed");
    flowd.ended(&job);
    let (directory, id, _) = latest(&place);
    let manifest: Value = serde_json::from_slice(&fs::read(directory.join("manifest")).expect("there")).expect("JSON");
    let run = &manifest["nodes"]["counts"]["subtasks"][0]["state"]["runs"][0];
    fs::remove_file(place.join(run["object"].as_str().expect("text"))).expect("it was there");
    let called = flowd.ctl(&["deploy", "made-up.yaml", "--from-savepoint", "end"]);
    assert_eq!(called.code, 0, "{}", called.stderr);
    fails_naming(&flowd, "made-up", &["copying checkpoint", &id]);
    let told = flowd.ctl(&["logs", "made-up"]).stdout;
    assert!(told.lines().any(|line| line.contains("copying checkpoint") && line.contains(&id)), "{told}");
}

#[test]
fn two_daemons_do_not_run_one_job() {
    let (one, other) = (Flowd::new(), Flowd::new());
    let shared = tempfile::tempdir().expect("a directory");
    let pipeline = |flowd: &Flowd, name: &str| {
        let body = format!(
            "checkpoint: {{interval: 50ms, to: '{}'}}\n\
             sources:\n  in: {{generator: {{rate: 100}}}}\n\
             sinks:\n  out: {{blackhole: {{}}, from: in}}\n",
            shared.path().display()
        );
        flowd.pipeline(name, &body)
    };
    let file = pipeline(&one, "shared");
    assert_eq!(one.ctl(&["deploy", &file]).code, 0);
    let file = pipeline(&other, "shared");
    let refused = other.ctl(&["deploy", &file]);
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    let leader = one.url.trim_start_matches("http://");
    assert!(refused.stderr.contains(leader), "{}", refused.stderr);
    assert!(refused.stderr.contains("cancel it there"), "{}", refused.stderr);
    // It still runs, undisturbed.
    let jobs = one.json(&["list"]);
    assert_eq!(jobs["jobs"][0]["state"], "running", "{jobs:#}");
}

#[test]
fn a_checkpoint_older_than_the_progress_is_refused() {
    let broker = Broker::shared();
    let mut flowd = Flowd::new();
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    topic::write(broker, &from, &records());
    let sink = to_topic(broker, &to, "exactly-once");
    let unbounded = counting(broker, &from, "{interval: 50ms}", &sink).replace(", stop: latest", "");
    let job = flowd.deploy("older", &unbounded);
    let place = flowd.path("data/checkpoints/older");
    let out = |description: &Value| counted(description, "out", "records-in");
    flowd.until(&job, |description| {
        out(description) > 1000 && head(&place).is_some_and(|head| head["retained"][1].is_string())
    });
    // Put away while it runs: HEAD first, so that what it names is still there.
    let old = tempfile::tempdir().expect("a directory");
    let copied = std::process::Command::new("cp").arg("-r").arg(&place).arg(old.path()).status();
    // What is deleted meanwhile is not needed.
    copied.expect("cp runs");
    let (_, copied, _) = latest(&old.path().join("older"));
    // Until the lane is known to have written something that the copy does not know of.
    let begun = std::time::Instant::now();
    while progress(&place).is_none_or(|progress| progress <= copied) {
        topic::write(broker, &from, &records()[..100]);
        assert!(begun.elapsed().as_secs() < 60, "{}", flowd.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    flowd.kill();
    fs::remove_dir_all(&place).expect("there");
    fs::rename(old.path().join("older"), &place).expect("moved");
    flowd.start_again();
    fails_naming(&flowd, &job, &["progress"]);
}

#[test]
fn a_topic_that_goes_under_a_running_job_is_told() {
    let broker = Broker::shared();
    let flowd = Flowd::new();
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
    topic::write(broker, &from, &records());
    let sink = to_topic(broker, &to, "exactly-once");
    let unbounded = counting(broker, &from, "{interval: 100ms}", &sink).replace(", stop: latest", "");
    let job = flowd.deploy("gone", &unbounded);
    flowd.until(&job, |description| counted(description, "in", "records-out") > 0);
    broker.delete(&from);
    fails_naming(&flowd, &job, &[&from]);
}
