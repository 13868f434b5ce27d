//! What is refused before anything starts, and what `check` says.

use std::fs;

use flow_model::api::{Checked, Job, JobState, Jobs, Refusal, RefusalCode, part};
use flow_model::diagnostic::Code;
use ureq::unversioned::multipart::{Form, Part};

use crate::server::{FINITE, OPERATOR, Server, form};

fn check_bad(server: &Server, form: Form<'_>, message: &str) {
    let (status, refusal) = server.send::<Job>("/jobs/submit", form).expect_err(message);
    assert_eq!((status, refusal.code, refusal.message.as_str()), (400, RefusalCode::BadRequest, message));
    assert!(refusal.hint.is_some(), "{refusal:?}");
}

#[test]
fn forms_that_make_no_sense() {
    let server = Server::start();
    check_bad(&server, Form::new().text("other", "x"), "the form has no part \"pipeline\"");
    check_bad(&server, form(FINITE).text(part::PIPELINE, "x"), "the form has the part \"pipeline\" twice");
    check_bad(&server, form(OPERATOR).text("a", "x").text("a", "y"), "the form has the part \"a\" twice");
    let names = form(FINITE).text(part::NAME, "x").text(part::NAME, "y");
    check_bad(&server, names, &format!("the form has the part \"{}\" twice", part::NAME));
    let surplus = "the component \"shouts\" is for no operator of the pipeline";
    check_bad(&server, form(OPERATOR).text("shouts", "x"), surplus);
    check_bad(&server, form(FINITE).text("", "x"), "a part of the form has no name");
    let name = "\"Not a name\" is no valid name: lower-case letters, digits and \"-\" inside, at most 63 characters";
    check_bad(&server, form(FINITE).text(part::NAME, "Not a name"), name);
    let directory = |path: &str, expect: &str| {
        let refused = server.send::<Checked>("/jobs/check", form(FINITE).text(part::DIRECTORY, path)).expect_err(path);
        assert_eq!((refused.0, refused.1.message.as_str()), (400, expect));
        assert!(refused.1.hint.is_some_and(|hint| hint.contains("the absolute path of the directory")));
    };
    directory("texts", "the directory \"texts\" is not absolute");
    directory("/dev/null", "the directory \"/dev/null\" is no directory");
    directory("/dev/null/texts", "the directory \"/dev/null/texts\" is no directory");
    directory("/te\0xts", "the directory \"/te\\0xts\" has a zero byte in it");
    let elsewhere = form(FINITE).text(part::DIRECTORY, "/no/such/directory");
    server.send::<Checked>("/jobs/check", elsewhere).expect("its files need not be here");
    let long = "x".repeat(5000);
    check_bad(&server, form(FINITE).text(part::NAME, &long), "the part \"$name\" is longer than 4096 bytes");
    let bytes = Form::new().part(part::PIPELINE, Part::text(FINITE)).part(part::NAME, Part::bytes(b"\xff"));
    check_bad(&server, bytes, "the part \"$name\" is no text");
    assert_eq!(server.get::<Jobs>("/jobs").expect("a list").jobs, []);
}

#[test]
fn two_sinks_of_one_directory_are_refused_by_the_check() {
    let server = Server::start();
    let text = FINITE.replace(
        "out: {blackhole: {}, from: in}",
        "a: {files: {path: out}, from: in}\n  b: {files: {path: ./x/../out}, from: in}",
    );
    for path in ["/jobs/check", "/jobs/submit"] {
        let (status, refusal) = server.send::<serde_json::Value>(path, form(&text)).expect_err("they collide");
        let [problem] = &refusal.diagnostics[..] else { panic!("{refusal:?}") };
        assert_eq!((status, place(problem)), (400, (Code::Connector, "p.yaml", 9)));
        assert!(problem.message.starts_with("sinks \"a\" and \"b\" both write to /"), "{refusal:?}");
    }
}

#[test]
fn a_pipeline_with_errors_comes_back_with_their_places() {
    let server = Server::start();
    let bad = FINITE.replace("from: in", "from: inn").replace("count: 10", "count: ten");
    for path in ["/jobs/submit", "/jobs/check"] {
        let (status, refusal) = server.send::<Job>(path, form(&bad)).expect_err("two errors");
        assert_eq!((status, refusal.code), (400, RefusalCode::InvalidPipeline));
        assert_eq!(refusal.message, "the pipeline has 2 errors");
        let places: Vec<_> = refusal.diagnostics.iter().map(place).collect();
        assert_eq!(places, [(Code::WrongType, "p.yaml", 6), (Code::UnknownInput, "p.yaml", 8)], "{refusal:?}");
        assert!(refusal.diagnostics[1].hint.as_deref().is_some_and(|hint| hint.contains("\"in\"")), "{refusal:?}");
    }
}

fn place(diagnostic: &flow_model::diagnostic::Diagnostic) -> (Code, &str, u32) {
    (diagnostic.code, &diagnostic.file, diagnostic.position.expect("a place").line)
}

fn check_component(form: Form<'_>, contained: &str) {
    let server = Server::start();
    let (status, refusal) = server.send::<Job>("/jobs/submit", form).expect_err(contained);
    assert_eq!((status, refusal.code), (400, RefusalCode::InvalidPipeline));
    let [diagnostic] = &refusal.diagnostics[..] else { panic!("one error: {refusal:?}") };
    assert_eq!(place(diagnostic), (Code::Component, "p.yaml", 8));
    assert!(diagnostic.message.contains(contained), "{diagnostic:?}");
}

#[test]
fn components_that_are_none() {
    check_component(form(OPERATOR), "operator \"shout\": its component was not handed in");
    check_component(
        form(OPERATOR).text("shout", "(module)"),
        "./shout.wasm is not WebAssembly: it is WebAssembly text",
    );
    // An empty core module; by its path this time.
    let module = Part::bytes(b"\0asm\x01\0\0\0");
    check_component(form(OPERATOR).part("./shout.wasm", module), "component");
}

#[test]
fn a_source_that_can_not_be_opened_refuses_the_job() {
    let server = Server::start();
    let text = FINITE.replace("generator: {count: 10, value: 'record {{seq}}'}", "files: {\n    path: nowhere}");
    let directory = server.data().to_str().expect("text").to_owned();
    let result = server.send::<Job>("/jobs/submit", form(&text).text(part::DIRECTORY, &directory));
    let (status, refusal) = result.expect_err("no such directory");
    assert_eq!((status, refusal.code), (400, RefusalCode::InvalidPipeline));
    assert_eq!(place(&refusal.diagnostics[0]), (Code::Connector, "p.yaml", 7), "the line of its path");
    let message = &refusal.diagnostics[0].message;
    assert!(message.contains("nowhere") && message.contains("; correct `path`, "), "{message}");
    assert_eq!(server.get::<Jobs>("/jobs").expect("a list").jobs, []);
    assert_eq!(fs::read_dir(server.data().join("jobs")).expect("it exists").count(), 0);
}

#[test]
fn check_answers_the_plan_and_starts_nothing() {
    let server = Server::start();
    let checked: Checked = server.send("/jobs/check", form(FINITE)).expect("a good pipeline");
    assert_eq!(checked.plan.tasks[0].name, "in → out");
    assert_eq!(checked.warnings, []);
    assert_eq!(server.get::<Jobs>("/jobs").expect("a list").jobs, []);
}

#[test]
fn relative_paths_start_from_the_directory_that_is_given() {
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("texts")).expect("a directory");
    fs::write(directory.path().join("texts/a.txt"), "one\ntwo").expect("a file");
    let text = FINITE
        .replace("generator: {count: 10, value: 'record {{seq}}'}", "files: {path: texts}")
        .replace("blackhole: {}", "files: {path: copies}");
    let path = directory.path().to_str().expect("text");
    let job: Job = server.send("/jobs/submit", form(&text).text(part::DIRECTORY, path)).expect("a good pipeline");
    assert_eq!(server.ended(job.id.as_str()).job.state, JobState::Finished);
    let copies = fs::read_dir(directory.path().join("copies")).expect("the sink made it");
    let mut lines: Vec<String> = copies
        .map(|file| fs::read_to_string(file.expect("a file").path()).expect("text"))
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    assert_eq!(lines, ["one", "two"]);
}

#[test]
fn a_refusal_is_json_with_a_place() {
    let server = Server::start();
    let (_, refusal): (u16, Refusal) = server.send::<Job>("/jobs/submit", form("kind: [")).expect_err("no YAML");
    let json = serde_json::to_value(&refusal).expect("JSON");
    assert_eq!(json["code"], "invalid-pipeline");
    assert_eq!(json["diagnostics"][0]["file"], "p.yaml");
    assert!(json["diagnostics"][0]["line"].is_u64() && json["diagnostics"][0]["column"].is_u64(), "{json}");
}
