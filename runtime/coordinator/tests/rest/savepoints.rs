//! Savepoints that are asked for, and jobs that begin with one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_model::api::{
    Checked, Description, Job, JobState, Jobs, RefusalCode, Savepoint, SavepointDetail, SavepointState, Savepoints,
    part,
};
use serde_json::json;

use crate::server::{ENDLESS, Server, form};

/// Counts up to that number, fast, and takes a checkpoint only when somebody asks.
fn counting(name: &str, count: u64) -> String {
    format!(
        "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\n\
         sources:\n  in: {{generator: {{count: {count}, rate: 2000}}}}\n\
         sinks:\n  out: {{blackhole: {{}}, from: in}}\n\
         checkpoint: {{interval: 1h}}\n"
    )
}

fn list(server: &Server, job: &str) -> Vec<Savepoint> {
    let all: Savepoints = server.get(&format!("/jobs/{job}/savepoints")).expect("it takes some");
    assert!(all.now > 1_700_000_000_000, "{}", all.now);
    all.savepoints
}

/// Waits until one is no longer under way.
fn over(server: &Server, job: &str, name: &str) -> Savepoint {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let all = list(server, job);
        let found = all.iter().find(|savepoint| savepoint.name.as_str() == name);
        match found {
            Some(savepoint) if savepoint.state != SavepointState::InProgress => return savepoint.clone(),
            _ => assert!(Instant::now() < deadline, "{all:#?}"),
        }
        sleep(Duration::from_millis(5));
    }
}

fn next(detail: &SavepointDetail, source: &str) -> i64 {
    let node = detail.nodes.iter().find(|node| node.name.as_str() == source).expect("it is there");
    node.splits.iter().map(|split| split.next).sum()
}

/// Submits it with what it is to begin with.
fn begin(server: &Server, pipeline: &str, start: serde_json::Value) -> Result<Job, (u16, flow_model::api::Refusal)> {
    server.send("/jobs/submit", form(pipeline).text(part::START, &start.to_string()))
}

#[test]
fn one_is_taken_looked_at_and_given_up() {
    let server = Server::start();
    server.submit(&counting("counting", 1_000_000)).expect("it starts");
    assert_eq!(list(&server, "counting"), []);
    let asked: Savepoint = server.post_text("/jobs/counting/savepoints", "{\"name\": \"a\"}").expect("it takes one");
    assert_eq!((asked.name.as_str(), asked.job.as_str()), ("a", "counting"));
    let a = over(&server, "counting", "a");
    assert_eq!((a.state, a.bytes), (SavepointState::Completed, Some(0)), "{a:?}");
    // Something is read between the two.
    let read = || server.get::<Description>("/jobs/counting").expect("it runs").operators[0].figures.records_out;
    let (before, deadline) = (read(), Instant::now() + Duration::from_secs(30));
    while read() == before {
        assert!(Instant::now() < deadline, "the job stands still");
        sleep(Duration::from_millis(5));
    }
    // Without a word about its name it gets one.
    let asked: Savepoint = server.post("/jobs/counting/savepoints").expect("it takes one");
    let named = over(&server, "counting", asked.name.as_str());
    assert!(named.checkpoint > a.checkpoint && named.name.as_str().len() == "20261124-093012-123".len(), "{named:?}");
    assert_eq!(list(&server, "counting"), [named.clone(), a.clone()], "newest first");
    let detail: SavepointDetail = server.get("/jobs/counting/savepoints/a").expect("it is there");
    assert_eq!(detail.savepoint, a);
    let later: SavepointDetail = server.get(&format!("/jobs/counting/savepoints/{}", named.name)).expect("it is there");
    assert!(next(&detail, "in") < next(&later, "in"), "{detail:?} {later:?}");
    server.delete("/jobs/counting/savepoints/a").expect("it is given up");
    assert_eq!(list(&server, "counting"), std::slice::from_ref(&named));
    for gone in [
        server.get::<SavepointDetail>("/jobs/counting/savepoints/a").map(|_| ()),
        server.delete("/jobs/counting/savepoints/a"),
    ] {
        let (status, refusal) = gone.expect_err("it is gone");
        assert_eq!((status, refusal.message.as_str()), (404, "\"counting\" has no savepoint \"a\""));
        assert!(refusal.hint.is_some_and(|hint| hint.contains(named.name.as_str())));
    }
}

#[test]
fn what_can_not_be_asked_for_is_refused_by_name() {
    let server = Server::start();
    server.submit(&counting("counting", 1_000_000)).expect("it starts");
    let check = |body: &str, status: u16, part: &str| {
        let refused = server.post_text::<Savepoint>("/jobs/counting/savepoints", body).expect_err(part);
        assert!(refused.0 == status && refused.1.message.contains(part), "{refused:?}");
        refused.1
    };
    let refusal = check("{\"nam\": \"a\"}", 400, "unknown field `nam`");
    assert_eq!(refusal.code, RefusalCode::BadRequest);
    assert!(refusal.hint.is_some_and(|hint| hint.contains("{\"name\": ")));
    check("{\"stop\": \"yes\"}", 400, "stop: invalid type");
    check("{\"name\": \"Not one\"}", 400, "name: \"Not one\" is no valid name");
    check("name=a", 400, "the body: ");
    // The fields in their order, and no names: it would stop the job.
    check("[\"a\", true]", 400, "the body: invalid type: array, expected an object");
    check(&format!("{{\"name\": \"{}\"}}", "a".repeat(1 << 20)), 400, "longer than 65536 bytes");
    check("{\"name\": \"previous\"}", 409, "\"previous\" is kept");
    server.post_text::<Savepoint>("/jobs/counting/savepoints", "{\"name\": \"a\"}").expect("it takes one");
    check("{\"name\": \"a\"}", 409, "there is a savepoint \"a\" already");
    let refused = server.get::<SavepointDetail>("/jobs/counting/savepoints/Not%20one").expect_err("no name");
    assert!(refused.0 == 400 && refused.1.message.contains("no valid name"), "{refused:?}");
    for path in ["/jobs/nobody/savepoints", "/jobs/nobody/savepoints/a"] {
        assert_eq!(server.get::<Savepoints>(path).expect_err("no such job").0, 404);
    }
    server.submit(ENDLESS).expect("it starts");
    let refused = server.post::<Savepoint>("/jobs/endless/savepoints").expect_err("it takes none");
    assert!(refused.0 == 409 && refused.1.message.ends_with("takes no checkpoints"), "{refused:?}");
    for path in ["/jobs/endless/savepoints", "/jobs/endless/savepoints/a"] {
        let (status, refusal) = server.get::<serde_json::Value>(path).expect_err("it takes none");
        assert!(status == 409 && refusal.message.ends_with("takes no checkpoints"), "{refusal:?}");
        assert!(refusal.hint.is_some_and(|hint| hint.contains("checkpoint: {interval: 10s}")));
    }
    let (status, refusal) = server.delete("/jobs/endless/savepoints/a").expect_err("it takes none");
    assert!(status == 409 && refusal.message.ends_with("takes no checkpoints"), "{refusal:?}");
}

#[test]
fn a_job_ends_with_one_and_the_next_begins_with_it() {
    let server = Server::start();
    server.submit(&counting("counting", 100_000)).expect("it starts");
    let stop = "{\"name\": \"end\", \"stop\": true}";
    server.post_text::<Savepoint>("/jobs/counting/savepoints", stop).expect("it takes one");
    assert_eq!(server.ended("counting").job.state, JobState::Canceled);
    let end = over(&server, "counting", "end");
    assert_eq!(end.state, SavepointState::Completed);
    let detail: SavepointDetail = server.get("/jobs/counting/savepoints/end").expect("it is there");
    let read = next(&detail, "in");
    // Nothing was given after its barrier.
    let given = server.ended("counting").operators[0].figures.records_out;
    assert_eq!(given, u64::try_from(read).expect("a number"));
    let refused = server.post_text::<Savepoint>("/jobs/counting/savepoints", stop).expect_err("it has ended");
    assert!(refused.0 == 409 && refused.1.message.contains("has already ended"), "{refused:?}");
    // Another one goes on there, a few records from the end.
    let last = read + 100;
    let from = json!({"from": {"savepoint": {"job": "counting", "name": "end"}}});
    let other = counting("other", u64::try_from(last).expect("a number"));
    begin(&server, &other, from).expect("it fits");
    let ended = server.ended("other");
    assert_eq!((ended.job.state, ended.operators[0].figures.records_out), (JobState::Finished, 100), "{ended:#?}");
    // The first one's is as it was.
    assert_eq!(over(&server, "counting", "end"), end);
    server.delete("/jobs/counting/savepoints/end").expect("nobody needs it");
    assert_eq!(list(&server, "counting"), []);
}

#[test]
fn what_a_job_begins_with_has_to_be_there_and_to_fit() {
    let server = Server::start();
    let pipeline = counting("counting", 1_000_000);
    server.submit(&pipeline).expect("it starts");
    server.post_text::<Savepoint>("/jobs/counting/savepoints", "{\"name\": \"a\"}").expect("it takes one");
    over(&server, "counting", "a");
    let renamed = pipeline
        .replace("name: counting", "name: other")
        .replace("in: ", "numbers: ")
        .replace("from: in", "from: numbers");
    let from = json!({"from": {"savepoint": {"job": "counting", "name": "a"}}});
    let check = |pipeline: &str, start: &serde_json::Value, status: u16, parts: &[&str]| {
        for path in ["/jobs/submit", "/jobs/check"] {
            let start = start.to_string();
            let refused =
                server.send::<serde_json::Value>(path, form(pipeline).text(part::START, &start)).expect_err(parts[0]);
            assert_eq!(refused.0, status, "{refused:?}");
            for part in parts {
                assert!(refused.1.message.contains(part), "{part} in: {refused:?}");
            }
        }
    };
    let differences = [
        "savepoint \"a\" of \"counting\" does not fit the pipeline:\n",
        "the checkpoint has positions of the source in, which the pipeline does not have: give up what it holds with --drop-state in",
        "the checkpoint does not have positions of the source numbers: let it begin where its `start` says with --new-state numbers",
    ];
    check(&renamed, &from, 409, &differences);
    let mut given = from.clone();
    (given["drop-state"], given["new-state"]) = (json!(["in"]), json!(["numbers"]));
    let checked: Checked =
        server.send("/jobs/check", form(&renamed).text(part::START, &given.to_string())).expect("it fits");
    assert_eq!(checked.plan.tasks[0].name, "numbers → out");
    let nowhere = json!({"from": {"savepoint": {"job": "counting", "name": "b"}}});
    check(&renamed, &nowhere, 404, &["\"counting\" has no savepoint \"b\"; those that it has: a"]);
    let nobody = json!({"from": {"savepoint": {"job": "nobody", "name": "b"}}});
    check(&renamed, &nobody, 404, &["there is no job \"nobody\" at "]);
    let running = json!({"from": {"checkpoint": {"job": "counting"}}});
    check(&renamed, &running, 409, &["\"counting\" is running, by test: stop it first"]);
    check(&renamed, &json!({"claim": true}), 400, &["--claim says what is done with a savepoint"]);
    check(&renamed, &json!({"settle": {"dead-letter": "a b"}}), 400, &["\"a b\", which is no topic name; use letters"]);
    let plain = renamed.replace("checkpoint: {interval: 1h}\n", "");
    check(&plain, &from, 400, &["a pipeline without checkpoints begins with none"]);
    let jobs: Jobs = server.get("/jobs").expect("a list");
    assert_eq!(jobs.jobs.len(), 1, "nothing else was started: {jobs:?}");
}

#[test]
fn a_source_of_another_kind_or_place_does_not_begin_anew_unasked() {
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a directory");
    let generator = counting("counting", 1_000_000);
    let reading = |from: &str| {
        let from = directory.path().join(from);
        std::fs::create_dir_all(&from).and_then(|()| std::fs::write(from.join("a.txt"), "x\n")).expect("a file");
        let files = format!("files: {{path: '{}/*.txt'}}", from.display());
        generator.replace("generator: {count: 1000000, rate: 2000}", &files)
    };
    // One of a generator.
    server.submit(&generator).expect("it starts");
    server.post_text::<Savepoint>("/jobs/counting/savepoints", "{\"name\": \"a\"}").expect("it takes one");
    over(&server, "counting", "a");
    // One of files: the checkpoint at their end.
    server.submit(&reading("old").replace("name: counting", "name: reading")).expect("it starts");
    assert_eq!(server.ended("reading").job.state, JobState::Finished);
    let check = |pipeline: &str, from: serde_json::Value, expect: Result<(), &str>| {
        let pipeline = pipeline.replace("name: counting", "name: other");
        let asked = |start: &serde_json::Value| {
            server.send::<Checked>("/jobs/check", form(&pipeline).text(part::START, &start.to_string())).map(|_| ())
        };
        let mut start = json!({ "from": from });
        match (asked(&start), expect) {
            (Ok(()), Ok(())) => return,
            (Err((409, refusal)), Err(part)) if refusal.message.contains(part) => {}
            (found, expect) => panic!("{found:?}, and not {expect:?}"),
        }
        start["drop-state"] = json!(["in"]);
        asked(&start).expect("it is meant");
    };
    let generated = json!({"savepoint": {"job": "counting", "name": "a"}});
    let read = json!({"checkpoint": {"job": "reading"}});
    check(&generator.replace("rate: 2000", "rate: 3000"), generated.clone(), Ok(()));
    let wider = generator.replace("in: {", "in: {parallelism: 2, ");
    check(&wider, generated.clone(), Ok(()));
    check(&reading("old"), generated, Err("has positions in a generator in the checkpoint and reads files of /"));
    check(&reading("old").replace("*.txt", "**/*.txt"), read.clone(), Ok(()));
    // The same place by other paths.
    std::os::unix::fs::symlink("old", directory.path().join("link")).expect("linked");
    check(&reading("link"), read.clone(), Ok(()));
    check(&reading("new/../old"), read.clone(), Ok(()));
    check(&reading("new"), read.clone(), Err("old/a.txt) in the checkpoint and reads files of /"));
    check(&generator, read, Err("old/a.txt) in the checkpoint and reads a generator in the pipeline"));
}

/// What HEAD in a job's root says is wanted of it.
fn want(server: &Server, job: &str, was: &str, is: &str) {
    let head = server.data().join("checkpoints").join(job).join("HEAD");
    let text = std::fs::read_to_string(&head).expect("it is there");
    let (was, is) = (format!("\"wanted\": \"{was}\""), format!("\"wanted\": \"{is}\""));
    assert!(text.contains(&was), "{text}");
    std::fs::write(&head, text.replace(&was, &is)).expect("written");
}

#[test]
fn a_job_that_ended_without_telling_its_store_is_taken_over() {
    let server = Server::start();
    let pipeline = counting("counting", 1_000_000);
    server.submit(&pipeline).expect("it starts");
    server.post_text::<Savepoint>("/jobs/counting/savepoints", "{\"name\": \"a\"}").expect("it takes one");
    over(&server, "counting", "a");
    server.jobs.cancel("counting").expect("it runs");
    server.ended("counting");
    want(&server, "counting", "canceled", "running");
    let latest = json!({"from": {"checkpoint": {}}});
    let savepoint = json!({"from": {"savepoint": {"name": "a"}}});
    for start in [json!({}), latest, savepoint] {
        let (status, refusal) = begin(&server, &pipeline, start).expect_err("the store says that it runs");
        assert_eq!(status, 409, "{refusal:?}");
        for part in ["is run by test, which is this process", "ended without telling its store", "--take-over"] {
            assert!(refusal.message.contains(part), "{part} in {refusal:?}");
        }
    }
    begin(&server, &pipeline, json!({"take-over": true})).expect("it goes on");
    // While it runs here that is no reason.
    let (status, refusal) = begin(&server, &pipeline, json!({})).expect_err("it runs");
    assert!(status == 409 && refusal.message.contains("already running"), "{refusal:?}");
}

#[test]
fn output_of_a_former_run_is_said_before_anything_begins() {
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a directory");
    let sink = format!("files: {{path: '{}'}}", directory.path().display());
    let pipeline = counting("counting", 10).replace("blackhole: {}", &sink);
    server.submit(&pipeline).expect("it starts");
    assert_eq!(server.ended("counting").job.state, JobState::Finished);
    let (status, refusal) = server.submit(&pipeline).expect_err("its output is there");
    let [problem] = &refusal.diagnostics[..] else { panic!("{refusal:?}") };
    assert_eq!((status, refusal.code), (400, RefusalCode::InvalidPipeline));
    assert!(problem.message.contains("holds the output of a former run (part-00000-"), "{problem:?}");
    assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains("--from-checkpoint latest")), "{problem:?}");
    assert_eq!(server.get::<Jobs>("/jobs").expect("a list").jobs.len(), 1, "nothing was started");
    // Another job has nothing to go on with.
    let (_, refusal) = server.submit(&pipeline.replace("name: counting", "name: other")).expect_err("it is there");
    assert!(refusal.diagnostics[0].hint.is_none(), "{refusal:?}");
    // What can't be looked at is another problem, with a way out of its own.
    let sink = "files: {path: '${env:FLOW_TEST_NOWHERE}'}";
    let (_, refusal) = server.submit(&counting("counting", 10).replace("blackhole: {}", sink)).expect_err("not set");
    let [problem] = &refusal.diagnostics[..] else { panic!("{refusal:?}") };
    assert!(problem.message.contains("FLOW_TEST_NOWHERE"), "{problem:?}");
    assert!(problem.hint.as_ref().is_some_and(|hint| !hint.contains("--from-checkpoint")), "{problem:?}");
    begin(&server, &pipeline, json!({"from": {"checkpoint": {}}})).expect("it goes on");
    assert_eq!(server.ended("counting").job.state, JobState::Finished);
}

#[test]
fn what_goes_on_after_a_life_that_came_to_nothing_is_said() {
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a directory");
    let pipeline = |path: &str| {
        let sink = format!("files: {{path: '{}/{path}'}}", directory.path().display());
        counting("counting", 10).replace("blackhole: {}", &sink)
    };
    server.submit(&pipeline("out")).expect("it starts");
    assert_eq!(server.ended("counting").job.state, JobState::Finished);
    let broken = pipeline("other").replace("generator: {count: 10, rate: 2000}", "files: {path: ./nowhere}");
    for _ in 0..2 {
        server.submit(&broken).expect("it is deployed");
        let ended = server.ended("counting").job;
        assert!(ended.state == JobState::Failed && ended.error.is_some_and(|why| why.contains("nowhere")));
    }
    let (status, refusal) = begin(&server, &pipeline("out"), json!({"from": {"checkpoint": {}}})).expect_err("none");
    let text = "the last life of \"counting\" has no checkpoint; to begin with what there was before it: --from-savepoint previous";
    assert_eq!((status, refusal.message.as_str()), (404, text));
    let other = pipeline("out").replace("name: counting", "name: other");
    let from = json!({"from": {"checkpoint": {"job": "counting"}}});
    let (_, refusal) = begin(&server, &other, from).expect_err("none");
    assert!(refusal.message.ends_with("--from-savepoint counting/previous"), "{refusal:?}");
    // Its own output is in the way of a job that begins with nothing, however its directory is spelled.
    for path in ["out", "gone/../out"] {
        let (_, refusal) = server.submit(&pipeline(path)).expect_err("its output is there");
        assert!(refusal.diagnostics[0].message.contains("/out holds the output of a former run"), "{refusal:?}");
        let hint = "to go on where the job ended, deploy it with --from-savepoint previous";
        assert_eq!(refusal.diagnostics[0].hint.as_deref(), Some(hint));
    }
    // The life in between has written nothing that would come again.
    begin(&server, &pipeline("out"), json!({"from": {"savepoint": {"name": "previous"}}})).expect("it goes on");
    assert_eq!(server.ended("counting").job.state, JobState::Finished);
}

#[test]
fn a_head_that_is_none_is_told_with_what_to_do() {
    let server = Server::start();
    let pipeline = counting("counting", 10);
    let (status, refusal) = begin(&server, &pipeline, json!({"settle": {}})).expect_err("it never ran");
    assert!(
        status == 409 && refusal.message.contains("/checkpoints/counting/HEAD: look at the job's name"),
        "{refusal:?}"
    );
    server.submit(&pipeline).expect("it starts");
    assert_eq!(server.ended("counting").job.state, JobState::Finished);
    std::fs::write(server.data().join("checkpoints/counting/HEAD"), "not what it was").expect("written");
    for start in [json!({}), json!({"settle": {}}), json!({"from": {"checkpoint": {}}})] {
        let (status, refusal) = begin(&server, &pipeline, start.clone()).expect_err("it can't be read");
        assert!(status == 500 && refusal.message.contains("/checkpoints/counting/HEAD: "), "{start}: {refusal:?}");
        assert!(refusal.hint.is_some_and(|hint| hint.starts_with("put back the HEAD that was there")), "{start}");
    }
}

#[test]
fn a_form_says_once_and_clearly_what_a_job_begins_with() {
    let server = Server::start();
    let pipeline = counting("counting", 10);
    let check = |form, part: &str| {
        let (status, refusal) = server.send::<Job>("/jobs/submit", form).expect_err(part);
        assert_eq!((status, refusal.code), (400, RefusalCode::BadRequest), "{refusal:?}");
        assert!(refusal.message.contains(part) && refusal.message.contains("$start"), "{refusal:?}");
    };
    check(form(&pipeline).text(part::START, "{}").text(part::START, "{}"), "twice");
    check(form(&pipeline).text(part::START, "from: a"), "expected");
    check(form(&pipeline).text(part::START, "[]"), "array, expected an object");
    check(form(&pipeline).text(part::START, "{\"form\": {}}"), "unknown field `form`");
    check(
        form(&pipeline).text(part::START, "{\"from\": {\"savepoint\": {\"name\": \"A\"}}}"),
        "\"A\" is no valid name",
    );
    let long = " ".repeat(100_000);
    check(form(&pipeline).text(part::START, &long), "is longer than 65536 bytes");
    assert_eq!(server.get::<Jobs>("/jobs").expect("a list").jobs, []);
    let job: Job = server.send("/jobs/submit", form(&pipeline).text(part::START, "{}")).expect("it starts");
    assert_eq!(server.ended(job.id.as_str()).job.state, JobState::Finished);
}
