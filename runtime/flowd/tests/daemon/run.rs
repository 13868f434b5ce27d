//! `flowd run`: one pipeline, its streams, its exit code.

use std::fs;

use crate::process::{FINITE, Place, Running, endless};

#[test]
fn it_runs_to_its_end() {
    let place = Place::new(FINITE);
    let (code, stdout, stderr) = place.call(&["run", "p.yaml"]);
    assert_eq!(code, 0, "{stderr}");
    let expect: Vec<String> = (0..10).map(|n| format!("record {n}")).collect();
    assert_eq!(stdout.lines().collect::<Vec<_>>(), expect);
    assert!(
        stderr.contains("finite finished after ") && stderr.contains("\n  out: 10 records in, 10 out\n"),
        "{stderr}"
    );
    let left = fs::read_dir(place.path().join("state/flow/runs")).expect("it exists").count();
    assert_eq!(left, 0, "the run's directory is removed");
}

#[test]
fn the_report_in_json() {
    let place = Place::new(&FINITE.replace("stdout", "blackhole"));
    let (code, stdout, stderr) = place.call(&["run", "p.yaml", "--output", "json"]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    let json = &stderr[stderr.find("{\n").expect("an object")..];
    let report: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!((&report["state"], &report["operators"][1]["records-in"]), (&"finished".into(), &10.into()));
}

#[test]
fn a_signal_stops_it() {
    for signal in ["INT", "TERM"] {
        let place = Place::new(&endless());
        let mut running = Running::start(place.flowd(&["run", "p.yaml"]));
        assert_eq!(running.line(), "record 0\n");
        running.signal(signal);
        assert_eq!(running.ended().code(), Some(130), "{signal}");
        let left = fs::read_dir(place.path().join("state/flow/runs")).expect("it exists").count();
        assert_eq!(left, 0, "the run's directory is removed");
    }
}

#[test]
fn a_signal_ends_what_has_not_begun() {
    let place = Place::new(FINITE);
    let made = std::process::Command::new("mkfifo").arg(place.path().join("pipe.yaml")).status();
    assert!(made.expect("mkfifo runs").success());
    let running = Running::start(place.flowd(&["run", "pipe.yaml"]));
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal("INT");
    assert_eq!(running.ended().code(), None, "the signal itself");
}

#[test]
fn what_was_written_before_a_signal_is_counted() {
    let place = Place::new(&endless());
    let mut running = Running::start(place.flowd(&["run", "p.yaml", "--output", "json"]));
    running.line();
    std::thread::sleep(std::time::Duration::from_millis(500));
    running.signal("INT");
    let (stdout, stderr) = running.rest();
    let json = &stderr[stderr.find("{\n").expect("an object")..];
    let report: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let out = report["operators"].as_array().and_then(|all| all.last()).expect("a sink");
    assert_eq!(out["records-out"].as_u64(), Some(1 + stdout.lines().count() as u64), "{report:#}");
}

#[test]
fn a_reader_that_stopped_reading_does_not_hold_it() {
    let place = Place::new(&endless().replace("rate: 100, ", "").replace("record", &"x".repeat(1000)));
    let mut running = Running::start(place.flowd(&["run", "p.yaml"]));
    running.line();
    // By now the pipe is full and the sink waits.
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal("INT");
    assert_eq!(running.ended().code(), Some(130));
}

#[test]
fn what_a_killed_run_left_is_cleared_by_the_next() {
    let place = Place::new(&endless());
    let mut running = Running::start(place.flowd(&["run", "p.yaml"]));
    running.line();
    running.signal("KILL");
    running.ended();
    let left = || fs::read_dir(place.path().join("state/flow/runs")).expect("it exists").count();
    assert_eq!(left(), 1);
    fs::write(place.path().join("p.yaml"), FINITE).expect("a file");
    assert_eq!(place.call(&["run", "p.yaml"]).0, 0);
    assert_eq!(left(), 0);
}

#[test]
fn a_run_that_lives_is_cleared_by_nobody() {
    let place = Place::new(&endless());
    let mut running = Running::start(place.flowd(&["run", "p.yaml"]));
    running.line();
    fs::write(place.path().join("p.yaml"), FINITE).expect("a file");
    let runs = place.path().join("state/flow/runs");
    let names = || fs::read_dir(&runs).expect("it exists").map(|entry| entry.expect("an entry").file_name());
    let alive: Vec<_> = names().collect();
    assert_eq!(alive.len(), 1);
    // Many at once, so that they meet each other while they are made and removed.
    std::thread::scope(|scope| {
        let run = || (0..5).map(|_| place.call(&["run", "p.yaml"])).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        for (code, stdout, stderr) in threads.into_iter().flat_map(|thread| thread.join().expect("they end")) {
            assert_eq!((code, stdout.lines().count()), (0, 10), "{stderr}");
        }
    });
    assert_eq!(names().collect::<Vec<_>>(), alive);
    assert!(runs.join(&alive[0]).join("jobs").is_dir(), "nothing of it was taken");
    running.signal("INT");
    assert_eq!(running.ended().code(), Some(130));
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let place = Place::new(&endless());
    for streams in ["", " 2>&1"] {
        let script = format!("\"$0\" run p.yaml --die-with-parent{streams} | head -n 2; echo ${{PIPESTATUS[0]}}");
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_flowd")]).current_dir(place.path());
        for (variable, directory) in [("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")] {
            shell.env(variable, place.path().join(directory));
        }
        let output = shell.output().expect("bash starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(stdout.ends_with("\n0\n"), "{streams}: {stdout} {stderr}");
        assert!(stderr.contains("job is canceled") || stderr.is_empty(), "{stderr}");
        assert!(!stderr.contains("ERROR") && !stderr.contains("error") && !stderr.contains("panic"), "{stderr}");
    }
}

#[test]
fn a_pipeline_that_can_not_run() {
    let place = Place::new(&FINITE.replace("from: in", "from: inn"));
    let (code, stdout, stderr) = place.call(&["run", "p.yaml"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.starts_with("p.yaml:7:"), "{stderr}");
    assert!(stderr.ends_with("error: the pipeline has 1 error\n"), "{stderr}");
    let (code, _, stderr) = place.call(&["run", "missing.yaml"]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("missing.yaml: can't read the pipeline file: No such file"), "{stderr}");
}
