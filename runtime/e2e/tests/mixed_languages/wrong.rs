//! Records and settings that the operator in Python can't work with.

use flow_e2e::flowd::{Flowd, counter, state};

fn pipeline(config: &str, on_error: &str) -> String {
    format!(
        "\
sources:
  in: {{files: {{path: rows.txt}}}}
operators:
  named: {{component: '{{plugins}}/python-enrich.wasm', from: in, config: {config}, on-error: {on_error}}}
  read: {{component: '{{plugins}}/json-map.wasm', from: named, config: {{expression: value.name}}}}
sinks:
  out: {{files: {{path: {on_error}}}, from: read}}
"
    )
}

const GOOD: &str = "{field: country, into: name, table: {de: Deutschland}}";

/// A record whose field `x` makes it so many levels deep.
fn deep(begin: &str, end: &str, levels: usize) -> Vec<u8> {
    format!(r#"{{"country":"de","x":{}1{}}}"#, begin.repeat(levels - 1), end.repeat(levels - 1)).into_bytes()
}

/// Runs rows, at most ten of them bad (the log shows so many a second), each with what is wrong for the log: nothing if
/// it is right.
#[track_caller]
fn rejects(rows: &[(&[u8], &str)]) {
    let flowd = Flowd::new();
    let text: Vec<u8> = rows.iter().flat_map(|(row, _)| [row, &b"\n"[..]].concat()).collect();
    flowd.write("rows.txt", text);
    let job = flowd.deploy("skip", &pipeline(GOOD, "skip"));
    let description = flowd.finished(&job);
    let bad = rows.iter().filter(|(_, wrong)| !wrong.is_empty()).count();
    assert_eq!(counter(&description, "named", "rejected"), bad as u64);
    assert_eq!(flowd.lines("skip"), vec![r#""Deutschland""#; rows.len() - bad]);
    let log = flowd.ctl(&["logs", &job, "--tail", "1000"]).stdout;
    for (line, (_, wrong)) in (1..).zip(rows).filter(|(_, (_, wrong))| !wrong.is_empty()) {
        let part = format!("rows.txt:{line} was skipped {wrong}");
        assert!(log.contains(&part), "{part} is not in: {log}");
    }
}

#[test]
fn bad_records_are_rejected_one_by_one() {
    rejects(&[
        (br#"{"country":"de"}"#, ""),
        (br#"{"country":"de""#, "(bad-json): Expecting ',' delimiter"),
        (b"", "(bad-json): Expecting value"),
        (b"{\"country\":\"\xff\"}", "(bad-json): no UTF-8: invalid start byte at byte 12"),
        (b"[1]", "(not-an-object): an object was expected, not list"),
        (br#"{"country":null}"#, "(no-key): field `country` is missing"),
        (br#"{"country":"fr"}"#, "(unknown-value): the table has nothing for 'fr'"),
        (br#"{"country":"de","x":NaN}"#, "(bad-json): NaN is not JSON"),
        (br#"{"country":"de","x":1e999}"#, "(bad-json): Out of range float values"),
        ("{\"country\":\"de\",\"x\":\"ö\"}".as_bytes(), ""),
    ]);
}

/// Python would fill the sandbox's stack before it gave up, and the instance would be lost each time.
#[test]
fn deep_nesting_is_a_bad_record_and_no_trap() {
    const DEEPER: &str = "(bad-json): nested deeper than 127 levels";
    rejects(&[
        // The most that the operator in Rust reads after it.
        (&deep("[", "]", 127), ""),
        (&deep("[", "]", 128), DEEPER),
        (&deep(r#"{"a":"#, "}", 128), DEEPER),
        (&deep("[", "]", 100_000), DEEPER),
        (&deep(r#"{"a":"#, "}", 1_000_000), DEEPER),
        (&b"[".repeat(1_000_000), DEEPER),
        (br#"{"country":"de"}"#, ""),
    ]);
}

#[test]
fn without_skip_the_first_bad_record_fails_the_job() {
    let flowd = Flowd::new();
    flowd.write("rows.txt", "{\"country\":\"de\"}\n[1]\n");
    let description = flowd.ended(&flowd.deploy("fail", &pipeline(GOOD, "fail")));
    assert_eq!(state(&description), "failed");
    let error = description["error"].as_str().unwrap_or_default();
    assert!(error.contains("rows.txt:2 was rejected (not-an-object): an object was expected, not list"), "{error}");
}

#[test]
fn wrong_settings_are_refused_before_the_job_starts() {
    let flowd = Flowd::new();
    flowd.write("rows.txt", "");
    let cases = [
        ("{}", "`field` must be the name of a field"),
        ("[1]", "config must be an object with `field`, `into` and `table`"),
        ("{field: a, into: b, table: {}}", "`table` must say for each value of the field what to add"),
        ("{field: a, into: b, table: {c: d}, more: 1}", "unknown field `more`; there are default, field, into, table"),
        ("{field: 3, into: b, table: {c: d}}", "`field` must be the name of a field"),
    ];
    for (config, reason) in cases {
        let file = flowd.pipeline("wrong", &pipeline(config, "fail"));
        let called = flowd.ctl(&["deploy", &file]);
        assert_eq!(called.code, 2, "{config}: {}", called.stderr);
        for part in ["wrong.yaml:7:", "operator \"named\"", "bad-config", reason] {
            assert!(called.stderr.contains(part), "{config}: {part} is not in: {}", called.stderr);
        }
    }
}
