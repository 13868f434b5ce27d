//! `flowctl dev`: what an author sees while an operator is being written.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::{flowctl, run};

/// A build may have to wait for that of another test.
const PATIENCE: Duration = Duration::from_secs(120);

struct Dev {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Dev {
    fn start(project: &Path, arguments: &[&str]) -> Self {
        let mut command = flowctl(project);
        command.arg("dev").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let out = lines(BufReader::new(child.stdout.take().expect("piped")).lines());
        let err = lines(BufReader::new(child.stderr.take().expect("piped")).lines());
        Self { child, out, err }
    }

    /// The next line of the output that contains this.
    #[track_caller]
    fn shows(&self, part: &str) -> String {
        wait_for(&self.out, part)
    }

    /// The next line beside the output that contains this.
    #[track_caller]
    fn says(&self, part: &str) -> String {
        wait_for(&self.err, part)
    }

    fn stop(mut self) -> Option<i32> {
        let done = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status();
        assert!(done.expect("kill exists").success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It has most likely ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

trait Stream: BufRead + Send + 'static {}
impl Stream for BufReader<ChildStdout> {}
impl Stream for BufReader<ChildStderr> {}

fn lines(lines: Lines<impl Stream>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

#[track_caller]
fn wait_for(lines: &Receiver<String>, part: &str) -> String {
    let begun = Instant::now();
    let mut seen = Vec::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
        if line.contains(part) {
            return line;
        }
        seen.push(line);
    }
    panic!("no {part:?} in {seen:#?}");
}

#[test]
fn a_change_is_built_and_run_and_a_mistake_stops_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust/flow-sdk").canonicalize().expect("the SDK");
    let made = run(directory.path(), &["new", "half", "--sdk", sdk.to_str().expect("text")]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let project = directory.path().join("half");
    let dev = Dev::start(&project, &["pipeline.yaml"]);
    dev.says("[dev] building");
    dev.says("[dev] runs, ");
    assert_eq!(dev.shows("\"order\":0,"), r#"{"order":0,"customer":"c0","items":["pen","ink"],"amount":0.25}"#);

    let source = project.join("src/lib.rs");
    let text = fs::read_to_string(&source).expect("it is there");
    fs::write(&source, text.replace("order.amount *= self.rate;", "order.amount *= self.rate * 100.0;"))
        .expect("a file");
    dev.says("[dev] runs, ");
    // Only some lines of each second are shown, and these end otherwise than those of the first run.
    dev.shows(".0}");

    fs::write(&source, text.replace("order.amount *= self.rate;", "order.amount *= nothing;")).expect("a file");
    dev.says("cannot find value `nothing`");
    dev.says("error: half does not compile");
    dev.says("[dev] what ran before goes on; waiting for a change");
    dev.shows("\"order\":");

    // The pipeline alone needs no compiler; a config that the operator refuses stops nothing either.
    fs::write(&source, &text).expect("a file");
    dev.says("[dev] runs, ");
    let pipeline = fs::read_to_string(project.join("pipeline.yaml")).expect("it is there");
    fs::write(project.join("pipeline.yaml"), pipeline.replace("rate: 0.5", "rte: 0.5")).expect("a file");
    dev.says("unknown field `rte`");
    dev.says("[dev] what ran before goes on");
    fs::write(project.join("pipeline.yaml"), pipeline.replace("rate: 0.5", "rate: 1000")).expect("a file");
    dev.shows("500.0}");
    // Rates are told from time to time.
    dev.says("orders 5/s, half 5/s, out 5/s; 0 rejected in all");

    // A crate that the file names only now is built and watched like the first.
    let made = run(&project, &["new", "again", "--sdk", sdk.to_str().expect("text")]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let second =
        "  again: {component: again.wasm, from: half, config: {rate: 10}}\nsinks:\n  out: {stdout: {}, from: again}";
    let (operators, _) = pipeline.split_once("sinks:").expect("it has sinks");
    fs::write(project.join("pipeline.yaml"), format!("{operators}{second}")).expect("a file");
    dev.says("[dev] building");
    dev.says("[dev] runs, ");
    dev.says("again 5/s");
    let source = project.join("again/src/lib.rs");
    fs::write(&source, text.replace("order.amount *= self.rate;", "order.amount = 777.0;")).expect("a file");
    dev.shows("\"amount\":777.0}");
    assert_eq!(dev.stop(), Some(130));
}

#[test]
fn it_ends_when_nobody_reads_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let pipeline = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: p}\nsources:\n  in: {generator: {rate: 50}}\nsinks:\n  out: {stdout: {}, from: in}\n";
    fs::write(directory.path().join("p.yaml"), pipeline).expect("a file");
    let mut child = flowctl(directory.path())
        .args(["dev", "p.yaml"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("a line");
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(20)),
            None => panic!("it goes on: {:?}", child.kill()),
        }
    };
    assert_eq!(status.code(), Some(0), "{first}");
}

#[test]
fn what_can_not_begin() {
    let directory = tempfile::tempdir().expect("a directory");
    let called = run(directory.path(), &["dev", "none.yaml"]);
    assert_eq!((called.code, called.stdout.as_str()), (2, ""));
    assert!(called.stderr.starts_with("error: can't read the pipeline file none.yaml"), "{}", called.stderr);
    let pipeline = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: p}\nsources:\n  in: {generator: {}}\nsinks:\n  out: {stdout: {}, from: in}\n";
    fs::write(directory.path().join("p.yaml"), pipeline).expect("a file");
    let called = run(directory.path(), &["dev", "p.yaml", "--crate", "nowhere"]);
    assert_eq!(called.code, 2, "{}", called.stderr);
    assert!(called.stderr.starts_with("error: nowhere holds no crate\n"), "{}", called.stderr);
}
