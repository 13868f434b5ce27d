//! `flowctl new` and `flowctl test`: a project as a newcomer makes it, to the letter, with the compiler of this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Called, run};

const KINDS: [&str; 4] = ["map", "filter", "flat-map", "process"];

fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust/flow-sdk").canonicalize().expect("the SDK")
}

/// Makes a project, with the SDK of this checkout: that is compiled already.
fn project(directory: &Path, name: &str, kind: &str) -> PathBuf {
    let made = run(directory, &["new", name, "--kind", kind, "--sdk", sdk().to_str().expect("text")]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stdout.starts_with(&format!("{name}: a {kind} operator; ")), "{}", made.stdout);
    directory.join(name)
}

#[test]
fn a_new_project_builds_and_shows_its_first_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let made = run(directory.path(), &["new", "totals", "--kind", "process", "-o", "json"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let json: Value = serde_json::from_str(&made.stdout).expect("JSON");
    assert_eq!((&json["directory"], &json["kind"]), (&"totals".into(), &"process".into()));
    let project = directory.path().join("totals");
    assert!(project.join("vendor/flow-sdk/src/lib.rs").is_file(), "a copy of the SDK");

    let built = run(&project, &["build", "--", "--offline"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!(built.stdout.starts_with("totals.wasm: process operator ("), "{}", built.stdout);
    // One that ends by itself, where the README says to end it by Ctrl-C.
    let pipeline = fs::read_to_string(project.join("pipeline.yaml")).expect("it is there");
    let ending = pipeline.replace("rate: 5\n", "count: 4\n");
    assert_ne!(ending, pipeline);
    fs::write(project.join("ending.yaml"), ending).expect("a file");
    let ran = run(&project, &["run", "ending.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let first = r#"{"customer":"c0","orders":1,"total":0.5}"#;
    assert_eq!((ran.stdout.lines().next(), ran.stdout.lines().count()), (Some(first), 4), "{}", ran.stdout);

    let tested = run(&project, &["test"]);
    assert_eq!(tested.code, 0, "{}{}", tested.stdout, tested.stderr);
    assert!(tested.stdout.starts_with("totals.test.yaml: process "), "{}", tested.stdout);
    assert!(tested.stdout.ends_with("1 passed, 0 failed\n"), "{}", tested.stdout);
}

#[test]
fn every_kind_passes_its_own_tests() {
    let directory = tempfile::tempdir().expect("a directory");
    let projects = KINDS.map(|kind| project(directory.path(), &format!("a-{kind}"), kind));
    let tested = run(directory.path(), &["test"]);
    assert_eq!(tested.code, 0, "{}{}", tested.stdout, tested.stderr);
    assert!(tested.stdout.ends_with("4 passed, 0 failed\n"), "{}", tested.stdout);
    // Natively, in one place, so that what they share is compiled once.
    let target = directory.path().join("target");
    for project in projects {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["test", "--offline", "--lib", "--target-dir"]).arg(&target).current_dir(&project);
        let ran = cargo.stdin(Stdio::null()).output().expect("cargo starts");
        assert!(ran.status.success(), "{}: {}", project.display(), String::from_utf8_lossy(&ran.stderr));
        assert!(String::from_utf8_lossy(&ran.stdout).contains("1 passed"), "{}", project.display());
    }
}

#[test]
fn what_can_not_be_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    fs::create_dir(here.join("there")).expect("a directory");
    fs::write(here.join("file"), "mine").expect("a file");
    let check = |arguments: &[&str], expect: &str| {
        let called = run(here, &[&["new"], arguments].concat());
        assert_eq!((called.code, called.stdout.as_str()), (2, ""), "{}", called.stderr);
        assert!(called.stderr.contains(expect), "{arguments:?}: {}", called.stderr);
    };
    check(&["there"], "error: there exists already\n  choose another name");
    check(&["file"], "error: file exists already");
    check(&["My_Op"], "\"My_Op\" is no valid name");
    check(&["../up"], "is no valid name");
    check(&["7up"], "can't be the name of a project: it does not begin with a letter");
    check(&["serde"], "another part of the project is called so");
    check(&["self"], "it is a word of Rust or YAML");
    check(&["null"], "it is a word of Rust or YAML");
    check(&["x", "--kind", "sink"], "possible values: map, filter, flat-map, process");
    check(&["x", "--sdk", "."], ". does not hold the crate flow-sdk\n");
    let mut left: Vec<_> =
        fs::read_dir(here).expect("a directory").map(|entry| entry.expect("one").file_name()).collect();
    left.sort();
    assert_eq!(left, ["file", "there"], "nothing else was made");
}

/// A project whose component is compiled, so that its test file needs no compiler.
struct Compiled {
    directory: TempDir,
    text: String,
}

impl Compiled {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let project = project(directory.path(), "totals", "process");
        let built = run(directory.path(), &["build", "totals", "-o", "totals.wasm"]);
        assert_eq!(built.code, 0, "{}", built.stderr);
        let text = fs::read_to_string(project.join("totals.test.yaml")).expect("it is there");
        fs::remove_dir_all(project).expect("it was there");
        Self { directory, text: text.replace("crate: .", "component: totals.wasm") }
    }

    /// Calls `flowctl test` on the test file with a part replaced.
    fn test(&self, part: &str, instead: &str, arguments: &[&str]) -> Called {
        assert!(self.text.contains(part), "{part} in {}", self.text);
        fs::write(self.file(), self.text.replacen(part, instead, 1)).expect("a file");
        run(self.directory.path(), &[&["test"], arguments].concat())
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("t.test.yaml")
    }
}

#[test]
fn a_test_file_is_held_against_what_comes() {
    let compiled = Compiled::new();
    let failed = |part: &str, instead: &str, expect: &str| {
        let called = compiled.test(part, instead, &[]);
        assert_eq!(called.code, 1, "{}{}", called.stdout, called.stderr);
        assert!(called.stdout.contains(expect), "{expect}\nin\n{}", called.stdout);
        assert!(
            called
                .stdout
                .contains("  FAILED each customer has a total (4 in, 3 out, 1 rejected)\n         t.test.yaml:5\n"),
            "{}",
            called.stdout
        );
        assert!(called.stdout.ends_with("0 passed, 1 failed\n"), "{}", called.stdout);
    };
    let ok = compiled.test("cases:", "cases:", &[]);
    assert_eq!(ok.code, 0, "{}{}", ok.stdout, ok.stderr);
    failed(
        "orders: 2, total: 4}\n      rejects",
        "orders: 3, total: 4}\n      rejects",
        "         output 2\n         - {\"value\":{\"customer\":\"c1\",\"orders\":3,\"total\":4}}\n         \
         + {\"value\":{\"customer\":\"c1\",\"orders\":2,\"total\":4.0}}\n",
    );
    failed("code: bad-json", "code: bad-yaml", "+ {\"input\":3,\"code\":\"bad-json\",\"message\":");
    failed("c1: {orders: 2", "c1: {orders: 7", "         state orders of c1\n         - 7\n         + 2\n");
    let names = compiled.test("c1: {orders: 2", "c1: {orders: 7", &["-o", "name"]);
    assert_eq!((names.code, names.stdout.as_str()), (1, "t.test.yaml:5\n"), "{}", names.stderr);
    let json = compiled.test("c1: {orders: 2", "c1: {orders: 7", &["-o", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let case = &json["files"][0]["cases"][0];
    assert_eq!(
        (&json["failed"], &case["line"], &case["outcome"]["state"]["c1"]["orders"]),
        (&1.into(), &5.into(), &2.into())
    );

    let called = compiled.test("cases:", "cases:", &["--case", "nobody"]);
    assert_eq!(
        (called.code, called.stderr.as_str()),
        (2, "error: no case's name contains \"nobody\"\n  leave out --case to run them all\n")
    );
    let refused = compiled.test("cases:", "config: {rate: 2}\ncases:", &[]);
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(refused.stdout.contains("the operator stopped: "), "{}", refused.stdout);
}

#[test]
fn what_comes_out_is_written_into_the_file() {
    let compiled = Compiled::new();
    let called = compiled.test("total: 1.5}", "total: 99}", &["--update"]);
    assert_eq!((called.code, called.stdout.as_str()), (0, ""), "{}", called.stderr);
    assert_eq!(called.stderr, "t.test.yaml is written anew; look at the difference\n");
    let text = fs::read_to_string(compiled.file()).expect("a file");
    assert!(text.contains("        - value: {\"customer\":\"c1\",\"orders\":1,\"total\":1.5}\n"), "{text}");
    assert!(text.starts_with("# What the operator does"), "comments stay: {text}");
    let again = run(compiled.directory.path(), &["test"]);
    assert_eq!(again.code, 0, "{}", again.stdout);
    let nothing_new = run(compiled.directory.path(), &["test", "--update"]);
    assert_eq!((nothing_new.code, nothing_new.stderr.as_str()), (0, ""));
}

#[test]
fn a_soak_repeats_with_other_batches_and_instances() {
    let compiled = Compiled::new();
    let called = compiled.test("cases:", "cases:", &["--soak", "500ms", "-o", "json"]);
    assert_eq!(called.code, 0, "{}{}", called.stdout, called.stderr);
    let json: Value = serde_json::from_str(&called.stdout).expect("JSON");
    let soak = &json["files"][0]["cases"][0]["outcome"]["soak"];
    let number = |field: &str| soak[field].as_f64().unwrap_or_default();
    assert!(number("rounds") > 10.0 && number("replaced") > 1.0 && number("records-per-second") > 0.0, "{soak}");
    assert_eq!(soak["difference"], Value::Null);
}

#[test]
fn test_files_that_can_not_be_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    let none = run(here, &["test"]);
    assert_eq!(none.code, 2);
    assert!(none.stderr.starts_with("error: no .test.yaml file is there\n"), "{}", none.stderr);
    let check = |text: &str, expect: &str| {
        fs::write(here.join("t.test.yaml"), text).expect("a file");
        let called = run(here, &["test"]);
        assert_eq!((called.code, called.stdout.as_str()), (2, ""), "{text}: {}", called.stderr);
        assert!(called.stderr.contains(expect), "{text}: {}", called.stderr);
    };
    check("crate: .\ncaes: []", "t.test.yaml:2:1: unknown field \"caes\" in the test file; did you mean \"cases\"?\n");
    check("crate: .\ncases: []", "error: the test file has 1 error\n");
    check("crate: nowhere\ncases: [{name: x}]", "error: no directory nowhere");
    check("component: no.wasm\ncases: [{name: x}]", "error: t.test.yaml:1:12: no component no.wasm\n  build it");
    fs::write(here.join("text.wasm"), "text").expect("a file");
    check("component: text.wasm\ncases: [{name: x}]", "text.wasm is not WebAssembly: it is text");
}
