//! Data: files that are not as one expects them.

use std::collections::BTreeMap;

use flow_e2e::flowd::{Flowd, counter, state};

/// Words, counted by key.
fn words(file: &str, to: &str, more: &str) -> String {
    format!(
        "sources:\n  in: {{files: {{path: {file}}}}}\n\
         operators:\n  tokens: {{component: '{{plugins}}/tokenizer.wasm', from: in{more}}}\n  \
         count: {{component: '{{plugins}}/counter.wasm', from: tokens, key: $value, parallelism: 2}}\n\
         sinks:\n  out: {{files: {{path: {to}}}, from: count}}\n"
    )
}

/// Lines as they are, through a component.
fn copy(file: &str, to: &str, more: &str) -> String {
    format!(
        "sources:\n  in: {{files: {{path: {file}{more}}}}}\n\
         operators:\n  copy: {{component: '{{plugins}}/identity.wasm', from: in}}\n\
         sinks:\n  out: {{files: {{path: {to}}}, from: copy}}\n"
    )
}

/// The last count of each word.
fn counts(lines: &[String]) -> BTreeMap<String, u64> {
    let read = |line: &String| {
        let update: serde_json::Value = serde_json::from_str(line).expect("JSON");
        (update["key"].as_str().expect("text").to_owned(), update["count"].as_u64().expect("a number"))
    };
    lines.iter().map(read).collect()
}

/// A file's name and text, and what its words count to.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, u64)]);

#[test]
fn odd_files_are_read_whole() {
    let flowd = Flowd::new();
    let long = "abcdefgh ijk ".repeat(20_000_000 / 13);
    let cases: [Case; 5] = [
        ("empty", "", &[]),
        ("only-newlines", "\n\n\n", &[]),
        ("no-last-newline", "one two\ntwo", &[("one", 1), ("two", 2)]),
        ("carriage-returns", "one two\r\ntwo\r\n", &[("one", 1), ("two", 2)]),
        (
            "long-line",
            &format!("first\n{long}\nlast\n"),
            &[("abcdefgh", 1_538_461), ("first", 1), ("ijk", 1_538_461), ("last", 1)],
        ),
    ];
    for (name, text, expect) in cases {
        flowd.write(&format!("{name}.txt"), text);
        let job = flowd.deploy(name, &copy(&format!("{name}.txt"), &format!("{name}-copy"), ""));
        let description = flowd.finished(&job);
        let lines: Vec<&str> = text.lines().collect();
        assert!(flowd.lines(&format!("{name}-copy")) == lines, "{name} is not copied as it is");
        assert_eq!(counter(&description, "in", "records-out"), lines.len() as u64, "{name}");

        flowd.finished(&flowd.deploy(name, &words(&format!("{name}.txt"), &format!("{name}-words"), "")));
        let expect = expect.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        assert_eq!(counts(&flowd.lines(&format!("{name}-words"))), expect, "{name}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let flowd = Flowd::new();
    let bytes = b"fine\ngr\xf6sse ok\nfine too\n";
    flowd.write("latin.txt", bytes);
    flowd.finished(&flowd.deploy("copy", &copy("latin.txt", "copied", "")));
    assert_eq!(std::fs::read(flowd.path("copied/part-00000.txt")).expect("a file"), bytes, "bytes pass as they are");

    let description = flowd.ended(&flowd.deploy("fail", &words("latin.txt", "failed", "")));
    let error = description["error"].as_str().unwrap_or_default();
    assert_eq!(state(&description), "failed");
    assert!(
        error.contains("tokens: ") && error.contains("latin.txt:2 was rejected (bad-utf8): invalid utf-8"),
        "{error}"
    );
    assert!(error.contains("next: mend the record or the operator, or set `on-error: skip`"), "{error}");

    let description = flowd.finished(&flowd.deploy("skip", &words("latin.txt", "skipped", ", on-error: skip")));
    assert_eq!(counter(&description, "tokens", "rejected"), 1);
    assert_eq!(counts(&flowd.lines("skipped")), [("fine".to_owned(), 2), ("too".to_owned(), 1)].into());
}

#[test]
fn what_a_source_refuses() {
    let flowd = Flowd::new();
    flowd.write("long.txt", format!("short\n{}\nshort\n", "x".repeat((1 << 20) + 1)));
    flowd.write("records.jsonl", "{\"a\":1}\n\n{\"a\":\n");
    for (name, file, more, expect) in [
        ("long", "long.txt", ", max-line: 1Mi", "long.txt:2: the line is longer than `max-line: 1Mi`; raise that"),
        (
            "json",
            "records.jsonl",
            ", format: json",
            "records.jsonl:3: column 5: the line is no JSON: EOF while parsing",
        ),
    ] {
        let description = flowd.ended(&flowd.deploy(name, &copy(file, &format!("{name}-out"), more)));
        let error = description["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("in: ") && error.contains(expect), "{error}");
        assert_eq!(state(&description), "failed");
    }
    flowd.finished(&flowd.deploy("enough", &copy("long.txt", "enough", ", max-line: 1048577")));
}

#[test]
fn paths_that_are_not_there() {
    let flowd = Flowd::new();
    let called = flowd.ctl(&["deploy", &flowd.pipeline("nowhere", &copy("nowhere.txt", "out", ""))]);
    assert_eq!(called.code, 2, "{}", called.stderr);
    assert!(called.stderr.starts_with("nowhere.yaml:5:") && called.stderr.contains("nowhere.txt"), "{}", called.stderr);
}
