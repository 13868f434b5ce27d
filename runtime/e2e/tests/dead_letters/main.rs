//! Records that operators do not take, in the real daemon: exactly those become dead letters, each with what happened to it,
//! and the rest goes on as if they had not been there.

mod limits;
mod poison;
mod stopped;

use std::collections::BTreeMap;

use flow_e2e::flowd::{Flowd, counter, state};
use serde_json::Value;

/// The dead letters that a sink wrote, by their value.
fn letters(flowd: &Flowd, directory: &str) -> BTreeMap<String, Value> {
    let read = |line: &String| serde_json::from_str::<Value>(line).expect("JSON");
    let lines = flowd.lines(directory);
    let all: BTreeMap<String, Value> =
        lines.iter().map(read).map(|letter| (letter["value"].as_str().expect("text").to_owned(), letter)).collect();
    assert_eq!(all.len(), lines.len(), "none comes twice");
    all
}

#[track_caller]
fn tells(letter: &Value, expect: &[(&str, Value)]) {
    for (name, value) in expect {
        assert_eq!(&letter["error"][*name], value, "{name} of {letter:#}");
    }
}

/// Words of lines, through a flat-map and an exchange: what a dead letter tells of its place is the line all the same.
#[test]
fn a_trap_tells_the_place_and_the_functions() {
    let flowd = Flowd::new();
    let line = |n: usize| if n % 10 == 3 { format!("one bad{n} three\n") } else { format!("one two{n} three\n") };
    flowd.write("in/lines.txt", (1..=100).map(line).collect::<String>());
    let job = flowd.deploy(
        "traps",
        "sources:
  in: {files: {path: in}}
operators:
  words: {component: '{plugins}/tokenizer.wasm', from: in}
  evil:
    component: '{plugins}/hostile.wasm'
    from: words
    parallelism: 2
    config: {mode: panic, when: bad}
    on-error: dead-letter
sinks:
  out: {files: {path: out}, from: evil, parallelism: 2}
  dead: {files: {path: dead}, from: dead-letter}
",
    );
    let description = flowd.finished(&job);
    assert_eq!(counter(&description, "evil", "rejected"), 10);
    assert_eq!(counter(&description, "evil", "dead-letters"), 10);
    assert_eq!(counter(&description, "dead", "records-out"), 10);

    let mut out = flowd.lines("out");
    out.sort();
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut wanted: Vec<String> = (1..=100).map(line).flat_map(words).filter(|word| !word.starts_with("bad")).collect();
    wanted.sort();
    assert_eq!(out, wanted);

    let all = letters(&flowd, "dead");
    assert_eq!(all.len(), 10);
    for n in (3..100).step_by(10) {
        let letter = &all[&format!("bad{n}")];
        let file = flowd.path("in/lines.txt").display().to_string();
        tells(
            letter,
            &[
                ("code", "trap".into()),
                ("pipeline", "traps".into()),
                ("operator", "evil".into()),
                ("source", "in".into()),
                ("line", n.into()),
                ("attempts", 1.into()),
            ],
        );
        let text = |name: &str| letter["error"][name].as_str().unwrap_or_default();
        assert!(file.ends_with(text("file").trim_start_matches("./")) && !text("file").is_empty(), "{letter:#}");
        assert!(text("reason").starts_with("it panicked: panicked at"), "{letter:#}");
        assert!(text("backtrace").lines().any(|function| function.ends_with("#apply")), "{letter:#}");
        assert!(text("component").starts_with("sha256:") && text("component").len() == 71, "{letter:#}");
        assert!(letter["error"]["time"].as_u64() > Some(1_700_000_000_000), "{letter:#}");
        assert_eq!(letter["headers"], serde_json::json!([]));
    }
    // Nothing goes without a line in the log, and none says that it is lost.
    let log = flowd.ctl(&["logs", "traps", "--tail", "1000"]).stdout;
    assert_eq!(log.matches("went to the dead letters (trap)").count(), 10, "{log}");
    assert!(!log.contains("was skipped"), "{log}");
}

/// A keyed operator's key is selected in front of the exchange, in another task.
#[test]
fn records_without_a_key_are_dead_letters_of_the_operator_that_wants_it() {
    let flowd = Flowd::new();
    let line = |n: usize| match n % 4 {
        0 => format!("no json {n}\n"),
        1 => format!("{{\"n\": {n}}}\n"),
        _ => format!("{{\"n\": {n}, \"customer\": {{\"id\": {}}}}}\n", n % 7),
    };
    flowd.write("lines.txt", (1..=400).map(line).collect::<String>());
    let pipeline = |count: u32| {
        format!(
            "sources:
  in: {{files: {{path: lines.txt}}}}
operators:
  count:
    component: '{{plugins}}/counter.wasm'
    from: in
    key: customer.id
    config: {{format: number}}
    parallelism: {count}
    on-error: dead-letter
sinks:
  out: {{files: {{path: out-{count}}}, from: count}}
  dead: {{files: {{path: dead-{count}}}, from: count.dead-letter}}
  values: {{files: {{path: values-{count}, format: lines}}, from: dead-letter}}
"
        )
    };
    for parallelism in [1, 2] {
        let job = flowd.deploy(&format!("keys-{parallelism}"), &pipeline(parallelism));
        let description = flowd.finished(&job);
        assert_eq!(counter(&description, "count", "dead-letters"), 200);
        assert_eq!(flowd.lines(&format!("out-{parallelism}")).len(), 200);
        let all = letters(&flowd, &format!("dead-{parallelism}"));
        assert_eq!(all.len(), 200);
        for n in (1..=400).filter(|n| n % 4 < 2) {
            let letter = &all[line(n).trim_end()];
            tells(letter, &[("code", "no-key".into()), ("operator", "count".into()), ("line", n.into())]);
            let reason = if n % 4 == 0 { "expected" } else { "there is no such field" };
            assert!(letter["error"]["reason"].as_str().unwrap_or_default().contains(reason), "{letter:#}");
        }
        // Written as lines they are what the source read, to be mended and read again, in its order.
        let wanted: Vec<String> = (1..=400).filter(|n| n % 4 < 2).map(|n| line(n).trim_end().to_owned()).collect();
        assert_eq!(flowd.lines(&format!("values-{parallelism}")), wanted);
    }
}

#[test]
fn an_operator_that_rejects_everything_leaves_everything_in_the_dead_letters() {
    let flowd = Flowd::new();
    let pipeline = |mode: &str| {
        format!(
            "sources:
  in: {{generator: {{count: 20000, keys: 10, value: '{{{{seq}}}}'}}}}
operators:
  evil: {{component: '{{plugins}}/hostile.wasm', from: in, config: {{mode: {mode}}}, on-error: dead-letter}}
sinks:
  out: {{files: {{path: out-{mode}}}, from: evil}}
  dead: {{files: {{path: dead-{mode}, format: lines}}, from: dead-letter}}
"
        )
    };
    for mode in ["reject", "trap"] {
        let description = flowd.finished(&flowd.deploy(mode, &pipeline(mode)));
        assert_eq!(counter(&description, "evil", "dead-letters"), 20_000);
        assert_eq!(flowd.lines(&format!("out-{mode}")), [""; 0]);
        let wanted: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
        assert_eq!(flowd.lines(&format!("dead-{mode}")), wanted, "{mode}: each once and in order");
    }
}

#[test]
fn retries_come_first_and_then_what_the_pipeline_says() {
    let flowd = Flowd::new();
    let pipeline = |on_error: &str, name: &str| {
        format!(
            "sources:
  in: {{generator: {{count: 100, value: 'v{{{{seq}}}}.'}}}}
operators:
  evil:
    component: '{{plugins}}/hostile.wasm'
    from: in
    config: {{mode: retry, when: '7.'}}
    on-error: {on_error}
sinks:
  out: {{files: {{path: out-{name}}}, from: evil}}
  {}
",
            if name == "dead" { "dead: {files: {path: dead}, from: dead-letter}" } else { "" }
        )
    };
    let dead = "{retry: 2, backoff: 50ms, then: dead-letter}";
    let description = flowd.finished(&flowd.deploy("dead", &pipeline(dead, "dead")));
    assert_eq!(counter(&description, "evil", "dead-letters"), 10);
    let wanted: Vec<String> = (0..100).filter(|n| n % 10 != 7).map(|n| format!("v{n}.")).collect();
    assert_eq!(flowd.lines("out-dead"), wanted);
    let all = letters(&flowd, "dead");
    assert_eq!(all.len(), 10);
    all.values().for_each(|letter| {
        let reason = ("reason", "failed for now as told".into());
        tells(letter, &[("code", "hostile".into()), reason, ("attempts", 3.into())]);
    });
    let log = flowd.ctl(&["logs", "dead", "--tail", "1000"]).stdout;
    assert!(log.contains("retry 1 of 2 in 50ms") && log.contains("retry 2 of 2 in 100ms"), "{log}");

    let job = flowd.deploy("fail", &pipeline("{retry: 3, backoff: 10ms}", "fail"));
    let description = flowd.ended(&job);
    let error = description["error"].as_str().unwrap_or_default();
    assert_eq!(state(&description), "failed");
    assert!(error.contains("evil: after 4 attempts: hostile: failed for now as told"), "{error}");
    let description = flowd.finished(&flowd.deploy("skip", &pipeline("{retry: 1, backoff: 10ms, then: skip}", "skip")));
    assert_eq!((counter(&description, "evil", "rejected"), counter(&description, "evil", "dead-letters")), (10, 0));
    assert_eq!(flowd.lines("out-skip"), wanted);
}
