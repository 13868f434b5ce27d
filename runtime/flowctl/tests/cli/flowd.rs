//! With the `flowd` that lies beside `flowctl`, as it is installed: what needs no server, and a server that goes away.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Called, call, flowctl};

const PIPELINE: &str = "\
apiVersion: flow/v1
kind: Pipeline
metadata: {name: words}
sources:
  in: {generator: {count: 3, value: 'word {{seq}}'}}
sinks:
  out: {stdout: {}, from: in}
";

fn flowd() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_flowctl")).with_file_name("flowd");
    assert!(path.is_file(), "{} is missing: cargo build --release --workspace --bins", path.display());
    path
}

/// A directory with a pipeline, which is also the home.
struct Place(TempDir);

impl Place {
    fn new(pipeline: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("p.yaml"), pipeline).expect("a file");
        Self(directory)
    }

    fn home(&self, command: &mut Command) {
        command.env("XDG_STATE_HOME", self.0.path().join("state")).env("XDG_CACHE_HOME", self.0.path().join("cache"));
    }

    /// Calls a flowctl that finds nothing on the PATH.
    fn call(&self, arguments: &[&str]) -> Called {
        let mut command = flowctl(self.0.path());
        self.home(command.args(arguments).env("PATH", "/nowhere"));
        call(&mut command)
    }
}

#[test]
fn check_and_run_take_the_flowd_beside_them() {
    flowd();
    let place = Place::new(PIPELINE);
    let checked = place.call(&["check", "p.yaml"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""));
    assert!(checked.stdout.starts_with("words: 1 task, 1 subtask, "), "{}", checked.stdout);
    let ran = place.call(&["run", "p.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "word 0\nword 1\nword 2\n"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("words finished after ") && ran.stderr.contains(" 1 subtask in 1 slot\n"),
        "{}",
        ran.stderr
    );
    let report = place.call(&["run", "p.yaml", "-o", "json"]);
    let json = &report.stderr[report.stderr.find("{\n").expect("an object")..];
    let report: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!((&report["state"], &report["operators"][1]["records-out"]), (&"finished".into(), &3.into()));
}

#[test]
fn a_flowctl_alone_takes_the_flowd_on_the_path() {
    let place = Place::new(PIPELINE);
    let alone = place.0.path().join("flowctl");
    fs::copy(env!("CARGO_BIN_EXE_flowctl"), &alone).expect("a copy");
    let mut command = Command::new(alone);
    place.home(command.args(["run", "p.yaml"]).current_dir(place.0.path()).env("PATH", flowd().with_file_name("")));
    let ran = call(&mut command);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "word 0\nword 1\nword 2\n"), "{}", ran.stderr);
}

#[test]
fn errors_of_the_flowd_beside_are_flowctl_s() {
    let place = Place::new(&PIPELINE.replace("from: in", "from: inn"));
    for command in ["check", "run"] {
        let called = place.call(&[command, "p.yaml"]);
        assert_eq!((called.code, called.stdout.as_str()), (2, ""));
        assert!(called.stderr.starts_with("p.yaml:7:"), "{command}: {}", called.stderr);
        assert!(called.stderr.ends_with("error: the pipeline has 1 error\n"), "{command}: {}", called.stderr);
    }
}

struct Standalone {
    child: Child,
    url: String,
}

impl Standalone {
    fn start(place: &Place) -> Self {
        let mut command = Command::new(flowd());
        command.args(["standalone", "--listen", "127.0.0.1:0", "--die-with-parent", "--data"]);
        command.arg(place.0.path().join("data")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        place.home(&mut command);
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let url = line.trim_end().strip_prefix("flowd listens on ").expect("the line that says where").to_owned();
        Self { child, url }
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(done.expect("kill exists").success());
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // It has most likely ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn a_lost_job_has_no_empty_table() {
    let place = Place::new(&PIPELINE.replace("count: 3", "rate: 10").replace("stdout", "blackhole"));
    let standalone = Standalone::start(&place);
    assert_eq!(place.call(&["deploy", "p.yaml", "--server", &standalone.url]).code, 0);
    standalone.signal("KILL");
    drop(standalone);
    let standalone = Standalone::start(&place);
    let described = place.call(&["describe", "words", "--server", &standalone.url]);
    assert_eq!(described.code, 0, "{}", described.stderr);
    let expect = "\n\nnothing is known of what its operators have done\n\nwords: 1 task";
    assert!(described.stdout.contains(expect) && !described.stdout.contains("OPERATOR"), "{}", described.stdout);
}

/// What who waits for a job hears when its flowd gets a signal.
fn waiting_during(signal: &str) -> Called {
    let place = Place::new(&PIPELINE.replace("count: 3", "rate: 10").replace("stdout", "blackhole"));
    let standalone = Standalone::start(&place);
    let mut command = flowctl(place.0.path());
    place.home(command.args(["deploy", "p.yaml", "--wait", "--server", &standalone.url]));
    let mut waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut told = BufReader::new(waiting.stderr.take().expect("piped"));
    let mut stderr = String::new();
    while !stderr.contains(" runs; waiting for its end\n") {
        assert_ne!(told.read_line(&mut stderr).expect("text"), 0, "it does not wait: {stderr}");
    }
    standalone.signal(signal);
    // It may have seen the end; else it asks for a minute.
    while !stderr.contains("; trying again for 60 s\n") && told.read_line(&mut stderr).expect("text") > 0 {}
    _ = waiting.kill();
    let Output { status, stdout, .. } = waiting.wait_with_output().expect("it ends");
    let stdout = String::from_utf8(stdout).expect("text");
    Called { code: status.code().unwrap_or(-1), stdout, stderr }
}

#[test]
fn who_waits_is_told_that_flowd_was_killed() {
    let called = waiting_during("KILL");
    assert_eq!(called.code, -1, "it waits until somebody answers: {}", called.stderr);
    let line = called.stderr.lines().last().expect("a line");
    assert!(line.starts_with("waiting: ") && line.contains("http://127.0.0.1:"), "{line}");
}

#[test]
fn who_waits_is_told_that_flowd_was_stopped() {
    // It may see the job's last state, or be too late.
    let called = waiting_during("TERM");
    let is = |code: i32, text: &str| called.code == code && called.stderr.contains(text);
    assert!(is(1, " is canceled\n") || is(-1, "; trying again for"), "{} {}", called.code, called.stderr);
    assert!(!called.stderr.contains("start one with"), "{}", called.stderr);
}

#[test]
fn a_flowd_that_does_not_answer_is_waited_for_aloud_and_not_for_ever() {
    let place = Place::new(PIPELINE);
    let standalone = Standalone::start(&place);
    standalone.signal("STOP");
    let url = &standalone.url;
    let error = format!("the server at {url} takes connections and does not answer within 10 s");
    std::thread::scope(|scope| {
        let json = scope.spawn(|| place.call(&["list", "-o", "json", "--server", url]));
        let called = place.call(&["list", "--server", url]);
        let hint = "it is stopped, or has too much to do: look at its log, and at its state with `ps`";
        let expect = format!("no answer from {url} yet; waiting\nerror: {error}\n  {hint}\n");
        assert_eq!((called.code, called.stdout.as_str(), called.stderr), (3, "", expect));
        let json = json.join().expect("it ends");
        let object: serde_json::Value = serde_json::from_str(&json.stderr).expect("nothing but JSON");
        assert_eq!((json.code, &object["code"], &object["message"]), (3, &"no-answer".into(), &error.into()));
    });
    // One that goes on in time is only waited for.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.call(&["list", "--server", url]));
        std::thread::sleep(Duration::from_secs(4));
        standalone.signal("CONT");
        let called = waiting.join().expect("it ends");
        let expect = format!("no answer from {url} yet; waiting\nno jobs; start one with `flowctl deploy FILE`\n");
        assert_eq!((called.code, called.stderr), (0, expect));
    });
}
