//! Bad pipeline files: the exact text that a user reads for each of them. Nothing here may panic or stay silent.

mod validator;

use std::sync::LazyLock;

use flow_model::diagnostic::{Code, Diagnostic, Error};
use flow_model::spec::{FILE_MAX, Pipeline, schema};

const GOOD: &str = "\
apiVersion: flow/v1
kind: Pipeline
metadata: {name: wordcount}
sources:
  lines: {files: {path: ./texts}}
operators:
  tokens:
    component: ./tokenize.wasm
    from: lines
  counts:
    component: ./count.wasm
    from: [tokens]
    key: $value
sinks:
  out: {stdout: {}, from: counts}
";

fn errors(bytes: &[u8]) -> Vec<String> {
    match Pipeline::parse("p.yaml", bytes) {
        Ok(pipeline) => panic!("no error: {pipeline:?}"),
        Err(Error { diagnostics }) => diagnostics.iter().map(Diagnostic::to_string).collect(),
    }
}

/// The whole file and every message that it gives. What is wrong with its form the schema for editors refuses too.
#[track_caller]
fn check(file: &str, expect: &[&str]) {
    assert_eq!(errors(file.as_bytes()), expect);
    let formal =
        |code: Code| matches!(code, Code::UnknownField | Code::MissingField | Code::WrongType | Code::Connector);
    let Err(error) = Pipeline::parse("p.yaml", file.as_bytes()) else { return };
    if error.diagnostics.iter().any(|diagnostic| formal(diagnostic.code))
        && let Ok(document) = serde_saphyr::from_str::<serde_json::Value>(file)
    {
        static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(|| schema::schema().expect("the reference is good"));
        assert!(!validator::errors(&SCHEMA, &document).is_empty(), "the schema takes it: {file}");
    }
}

/// The good file with one part replaced, and every message that this gives.
#[track_caller]
fn check_edit(part: &str, replaced: &str, expect: &[&str]) {
    assert_eq!(GOOD.matches(part).count(), 1, "{part:?} is not one place");
    check(&GOOD.replace(part, replaced), expect);
}

/// The good file with the text put behind it.
#[track_caller]
fn check_end(end: &str, expect: &[&str]) {
    check(&format!("{GOOD}{end}"), expect);
}

#[test]
fn the_good_file_is_good() {
    let pipeline = Pipeline::parse("p.yaml", GOOD.as_bytes()).expect("good");
    assert_eq!(pipeline.warnings, []);
}

#[test]
fn no_yaml() {
    let begin = "p.yaml: the file is empty; begin with `apiVersion: flow/v1` and `kind: Pipeline`";
    check("", &[begin]);
    check("# a comment\n", &[begin]);
    check("a: [1\nb: 2\n", &["p.yaml:2:2: not YAML: illegal placement of ':' indicator"]);
    check("a: 'x\n", &["p.yaml:1:4: not YAML: unclosed quote"]);
    check("a:\n\tb: c\n", &["p.yaml:2:2: not YAML: tabs disallowed within this context (block indentation)"]);
    check("a: b: c\n", &["p.yaml:1:5: not YAML: mapping values are not allowed in this context"]);
    check("a: *x\n", &["p.yaml:1:4: the alias has no anchor before it"]);
    check("a: &a [*a]\n", &["p.yaml:1:8: the anchor contains itself"]);
    check("? [a]\n: b\n", &["p.yaml:1:3: a field name must be text"]);
    check("~: b\n", &["p.yaml:1:1: a field name must be text"]);
    check("a: .inf\n", &[r#"p.yaml:1:4: ".inf" is no finite number; put text in quotes"#]);
    check("a: !include b\n", &[r#"p.yaml:1:13: the tag "!include" has no meaning here; remove it"#]);
    check_end(
        "---\na: b\n",
        &[r#"p.yaml:17:1: more than one YAML document; one file holds one pipeline; remove what follows "---""#],
    );
    assert_eq!(errors(b"a: b\nc: \xff"), ["p.yaml:2:4: not UTF-8 text; save the file as UTF-8"]);
    assert_eq!(errors(&[0xff; 100]), ["p.yaml:1:1: not UTF-8 text; save the file as UTF-8"]);
}

#[test]
fn too_large() {
    let parts = "the file is nested too deeply or too large with its aliases; at most 48 levels, 100000 values and 20 MiB of text are read";
    check(
        &" ".repeat(FILE_MAX + 1),
        &["p.yaml: the file has 11 MiB; a pipeline file may have 10 MiB; put data beside it"],
    );
    check(&format!("a: {}", "[".repeat(100_000)), &[&format!("p.yaml:1:52: {parts}")]);
    check(&format!("a: {}", "{b: ".repeat(100_000)), &[&format!("p.yaml:1:192: {parts}")]);
    check(&(0..500).map(|n| " ".repeat(n) + "a:\n").collect::<String>(), &[&format!("p.yaml:49:49: {parts}")]);
    check(&format!("a: [{}]", "x,".repeat(200_000)), &[&format!("p.yaml:1:199999: {parts}")]);
    let text = "x".repeat(1 << 20);
    check(&format!("a: &a {text}\nb: [{}]\n", "*a, ".repeat(2000)), &[&format!("p.yaml:1:7: {parts}")]);
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, last) in "bcdefghi".chars().zip("abcdefgh".chars()) {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{last}"); 10].join(", "));
    }
    check(&bomb, &["p.yaml:1:36: the aliases of the file expand to too much; write the values out"]);
}

#[test]
fn unknown_fields() {
    check_edit(
        "    from: lines\n",
        "    form: lines\n",
        &[
            r#"p.yaml:8:5: operator "tokens" has no "from"; add for example `from: some-source`"#,
            r#"p.yaml:9:5: unknown field "form" in operator "tokens"; did you mean "from"?"#,
        ],
    );
    check_edit(
        "    key: $value\n",
        "    window: {tumbling: 1m}\n",
        &[
            r#"p.yaml:13:5: unknown field "window" in operator "counts"; its fields: component, from, parallelism, key, config, on-error, limits, grants"#,
        ],
    );
    check_end(
        "keygroups: 7\n",
        &[r#"p.yaml:16:1: unknown field "keygroups" in the pipeline; did you mean "key-groups"?"#],
    );
    check_edit(
        "{path: ./texts}",
        "{path: ./texts, form: json}",
        &[r#"p.yaml:5:34: unknown field "form" in files of source "lines"; did you mean "format"?"#],
    );
    check_edit(
        "{stdout: {}, from: counts}",
        "{stout: {}, from: counts}",
        &[
            r#"p.yaml:15:8: sink "out" has no connector; add one of files, kafka, stdout, blackhole"#,
            r#"p.yaml:15:9: unknown field "stout" in sink "out"; did you mean "stdout"?"#,
        ],
    );
    check_edit(
        "{stdout: {}, from: counts}",
        "{blackhole: {fast: true}, from: counts}",
        &[r#"p.yaml:15:21: unknown field "fast" in blackhole of sink "out"; it has no fields"#],
    );
    check_edit(
        "{name: wordcount}",
        "{name: wordcount, \"la\\nbel\": x}",
        &[r#"p.yaml:3:29: unknown field "la\nbel" in metadata; its fields: name"#],
    );
}

#[test]
fn missing_fields() {
    check(
        "a: b\n",
        &[
            "p.yaml: the pipeline has no sources; add for example `sources: {in: {files: {path: ./input}}}`",
            "p.yaml: the pipeline has no sinks; add for example `sinks: {out: {stdout: {}, from: in}}`",
            r#"p.yaml:1:1: unknown field "a" in the pipeline; its fields: apiVersion, kind, metadata, parallelism, key-groups, state, checkpoint, restart, sources, operators, sinks"#,
            r#"p.yaml:1:1: the pipeline has no "apiVersion"; add for example `apiVersion: flow/v1`"#,
            r#"p.yaml:1:1: the pipeline has no "kind"; add for example `kind: Pipeline`"#,
            r#"p.yaml:1:1: the pipeline has no "metadata"; add for example `metadata: {name: my-pipeline}`"#,
        ],
    );
    check_edit(
        "{name: wordcount}",
        "",
        &[r#"p.yaml:3:9: metadata has no "name"; add for example `name: my-pipeline`"#],
    );
    check_edit(
        "    component: ./tokenize.wasm\n",
        "",
        &[r#"p.yaml:8:5: operator "tokens" has no "component"; add for example `component: ./operator.wasm`"#],
    );
    check_edit(
        "{path: ./texts}",
        "{}",
        &[r#"p.yaml:5:18: files of source "lines" has no "path"; add for example `path: ./input`"#],
    );
    check_edit(
        "{files: {path: ./texts}}",
        "{kafka: {}}",
        &[
            r#"p.yaml:5:18: kafka of source "lines" has no "brokers"; add for example `brokers: localhost:9092`"#,
            r#"p.yaml:5:18: kafka of source "lines" has no "topic"; add for example `topic: orders`"#,
        ],
    );
    check_edit(
        "{stdout: {}, from: counts}",
        "{stdout: }",
        &[r#"p.yaml:15:8: sink "out" has no "from"; add for example `from: some-source`"#],
    );
}

#[test]
fn empty_pipelines() {
    let head = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: x}\n";
    check(
        head,
        &[
            "p.yaml: the pipeline has no sources; add for example `sources: {in: {files: {path: ./input}}}`",
            "p.yaml: the pipeline has no sinks; add for example `sinks: {out: {stdout: {}, from: in}}`",
        ],
    );
    check(
        &format!("{head}sources: {{a: {{generator: {{}}}}}}\nsinks:\n"),
        &["p.yaml: the pipeline has no sinks; add for example `sinks: {out: {stdout: {}, from: in}}`"],
    );
    check(
        &format!(
            "{head}sources: {{}}\noperators: {{a: {{component: a.wasm, from: a}}}}\nsinks: {{b: {{stdout: {{}}, from: a}}}}\n"
        ),
        &[
            "p.yaml: the pipeline has no sources; add for example `sources: {in: {files: {path: ./input}}}`",
            r#"p.yaml:5:42: records would go round in a circle: a → a; let "a" read something else"#,
        ],
    );
    let many: String = (0..1001).map(|n| format!("  s{n}: {{generator: {{}}}}\n")).collect();
    check(
        &format!("{head}sources:\n{many}sinks: {{out: {{stdout: {{}}, from: s1}}}}\n"),
        &["p.yaml: the pipeline has 1002 sources, operators and sinks; at most 1000 are possible; split it"],
    );
    let many: String = (0..257).map(|n| format!("  s{n}: {{generator: {{}}}}\n")).collect();
    check(
        &format!("{head}sources:\n{many}sinks: {{out: {{stdout: {{}}, from: s1}}}}\n"),
        &["p.yaml: the pipeline has 257 sources; at most 256 are possible; split it, or let one read a pattern"],
    );
}

#[test]
fn wrong_types() {
    check(
        "hello",
        &[
            r#"p.yaml:1:1: the pipeline must be a map, found the text "hello"; its fields: apiVersion, kind, metadata, parallelism, key-groups, state, checkpoint, restart, sources, operators, sinks"#,
        ],
    );
    check(
        "[1]",
        &[
            "p.yaml:1:1: the pipeline must be a map, found a list; its fields: apiVersion, kind, metadata, parallelism, key-groups, state, checkpoint, restart, sources, operators, sinks",
        ],
    );
    check_edit(
        "{name: wordcount}",
        "{name: 7}",
        &[r#"p.yaml:3:18: "name" of metadata must be text, found the number 7; put it in quotes"#],
    );
    check_edit(
        "{name: wordcount}",
        "wordcount",
        &[r#"p.yaml:3:11: metadata must be a map, found the text "wordcount"; its fields: name"#],
    );
    check_edit(
        "kind: Pipeline",
        "kind: [Pipeline]",
        &[r#"p.yaml:2:7: "kind" of the pipeline must be text, found a list"#],
    );
    check_edit(
        "kind: Pipeline",
        "kind: Job",
        &[r#"p.yaml:2:7: "kind" must be Pipeline, found "Job"; write `kind: Pipeline`"#],
    );
    check_edit(
        "apiVersion: flow/v1",
        "apiVersion: flow/v2",
        &[r#"p.yaml:1:13: "apiVersion" must be flow/v1, found "flow/v2"; write `apiVersion: flow/v1`"#],
    );
    check_end(
        "parallelism: two\n",
        &[r#"p.yaml:16:14: "parallelism" of the pipeline must be a whole number, found the text "two""#],
    );
    check_end(
        "parallelism: 1.5\n",
        &[r#"p.yaml:16:14: "parallelism" of the pipeline must be a whole number, found the number 1.5"#],
    );
    check_end(
        "parallelism: 0\n",
        &[r#"p.yaml:16:14: "parallelism" of the pipeline must be 1 to 256, found the number 0"#],
    );
    check_end(
        "parallelism: -1\n",
        &[r#"p.yaml:16:14: "parallelism" of the pipeline must be 1 to 256, found the number -1"#],
    );
    check_end(
        "parallelism: 257\n",
        &[r#"p.yaml:16:14: "parallelism" of the pipeline must be 1 to 256, found the number 257"#],
    );
    check_end(
        "parallelism:\n",
        &[r#"p.yaml:16:12: "parallelism" of the pipeline must be a whole number, found nothing"#],
    );
    check_end(
        "key-groups: 40000\n",
        &[r#"p.yaml:16:13: "key-groups" of the pipeline must be 1 to 32768, found the number 40000"#],
    );
    check_end("state: 64Mi\n", &[r#"p.yaml:16:8: state must be a map, found the text "64Mi"; its fields: cache"#]);
    check_end(
        "state: {cache: 64MB}\n",
        &[
            r#"p.yaml:16:16: "cache" of state: "64MB" is no byte size; write a whole number with Ki, Mi, Gi or Ti, such as 64Mi"#,
        ],
    );
    check_end("state: {cache: 0}\n", &[r#"p.yaml:16:16: "cache" of state must be 1 to 1Ti, found 0"#]);
    check_end(
        "state: {cache: [1]}\n",
        &[r#"p.yaml:16:16: "cache" of state must be a byte size such as 64Mi, found a list"#],
    );
    check_edit(
        "    from: lines\n",
        "    from: {a: b}\n",
        &[r#"p.yaml:9:11: "from" of operator "tokens" must be text or a list of texts, found a map"#],
    );
    check_edit(
        "    from: lines\n",
        "    from: []\n",
        &[r#"p.yaml:9:11: "from" of operator "tokens": must not be empty"#],
    );
    check_edit(
        "    from: lines\n",
        "    from: [lines, 7]\n",
        &[r#"p.yaml:9:19: "from" of operator "tokens" must be text, found the number 7; put it in quotes"#],
    );
    check_edit(
        "    from: lines\n",
        "    from: \" \"\n",
        &[r#"p.yaml:9:11: "from" of operator "tokens": must not be empty"#],
    );
    check_edit(
        "component: ./count.wasm",
        "component: true",
        &[r#"p.yaml:11:16: "component" of operator "counts" must be text, found true; put it in quotes"#],
    );
    check_edit(
        "component: ./count.wasm",
        r#"component: "a\0""#,
        &[r#"p.yaml:11:16: "component" of operator "counts": a path can't contain a zero byte"#],
    );
    check_edit(
        "{files: {path: ./texts}}",
        "[files]",
        &[
            r#"p.yaml:5:10: source "lines" must be a map, found a list; its fields: files, generator, kafka, parallelism, on-error"#,
        ],
    );
    check_end(
        "operators_: 1\n",
        &[r#"p.yaml:16:1: unknown field "operators_" in the pipeline; did you mean "operators"?"#],
    );
    check(
        "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: x}\nsources: [a]\nsinks: {b: {blackhole: {}, from: a}}\n",
        &[
            // What a sink reads can't be told from this.
            r#"p.yaml:4:10: "sources" must be a map from names, found a list"#,
        ],
    );
}

#[test]
fn operator_fields() {
    let check = |fields: &str, expect: &[&str]| {
        check_edit("    from: lines\n", &format!("    from: lines\n    {fields}\n"), expect);
    };
    check(
        "key: $keys",
        &[
            r#"p.yaml:10:10: "key" of operator "tokens": "$keys" is no key; "$key" is the record's key, "$value" its value, anything else a field like customer.id"#,
        ],
    );
    check(
        "key: a..b",
        &[
            r#"p.yaml:10:10: "key" of operator "tokens": "a..b" is no field path; write names with single dots between them, like customer.id"#,
        ],
    );
    check(
        "on-error: retry",
        &[
            r#"p.yaml:10:15: "retry" is no "on-error" of operator "tokens"; say how often and what comes then: `on-error: {retry: 3, then: fail}`"#,
        ],
    );
    check(
        "on-error: never",
        &[r#"p.yaml:10:15: "never" is no "on-error" of operator "tokens"; write "fail" or "skip" or "dead-letter""#],
    );
    check(
        "on-error: {then: skip}",
        &[r#"p.yaml:10:15: on-error of operator "tokens" has no "retry"; add for example `retry: 3`"#],
    );
    check(
        "on-error: {retry: 0, then: no, wait: 1s}",
        &[
            r#"p.yaml:10:23: "retry" of on-error of operator "tokens" must be 1 to 1000, found the number 0"#,
            r#"p.yaml:10:32: "no" is no "then" of on-error of operator "tokens"; write "fail" or "skip" or "dead-letter""#,
            r#"p.yaml:10:36: unknown field "wait" in on-error of operator "tokens"; its fields: retry, backoff, then"#,
        ],
    );
    check("on-error: skp", &[r#"p.yaml:10:15: "skp" is no "on-error" of operator "tokens"; did you mean "skip"?"#]);
    check(
        "limits: {memory: 5Gi}",
        &[r#"p.yaml:10:22: "memory" of limits of operator "tokens" must be 64Ki to 4Gi, found 5Gi"#],
    );
    check(
        "limits: {time-per-batch: 5}",
        &[
            r#"p.yaml:10:30: "time-per-batch" of limits of operator "tokens" must be a duration such as 500ms, found the number 5"#,
        ],
    );
    check(
        "limits: {time-per-batch: 5sec}",
        &[
            r#"p.yaml:10:30: "time-per-batch" of limits of operator "tokens": "5sec" is no duration; write a whole number with ms, s, m, h or d, such as 500ms"#,
        ],
    );
    check(
        "limits: {time-per-batch: 0s}",
        &[r#"p.yaml:10:30: "time-per-batch" of limits of operator "tokens": must be more than 0"#],
    );
    check(
        "limits: {cpu: 1}",
        &[
            r#"p.yaml:10:14: unknown field "cpu" in limits of operator "tokens"; its fields: memory, time-per-batch, output-per-batch, state-per-key, log-rate"#,
        ],
    );
    check(
        "limits: {log-rate: 100, state-per-key: 1}",
        &[
            r#"p.yaml:10:24: "log-rate" of limits of operator "tokens" must be text, found the number 100; put it in quotes"#,
            r#"p.yaml:10:44: "state-per-key" of limits of operator "tokens" must be 1Ki to 1Ti, found 1"#,
        ],
    );
    check(
        "limits: {log-rate: 100/m}",
        &[
            r#"p.yaml:10:24: "log-rate" of limits of operator "tokens": "100/m" is no rate; write a whole number a second, such as 100/s"#,
        ],
    );
    check(
        "grants: {clock: true, http: [a]}",
        &[
            r#"p.yaml:10:14: "clock" can't be granted to operator "tokens": nothing of the outside can yet; a component gets its records, its state, its log and the time of each call; remove the grant"#,
            r#"p.yaml:10:27: "http" can't be granted to operator "tokens": nothing of the outside can yet; a component gets its records, its state, its log and the time of each call; remove the grant"#,
        ],
    );
    check("grants: all", &[r#"p.yaml:10:13: grants of operator "tokens" must be a map, found the text "all""#]);
    check("config: {a: {b: 1, b: 2}}", &[r#"p.yaml:10:24: field "b" given twice in the config of operator "tokens""#]);
}

#[test]
fn dead_letters() {
    let operator = |on_error: &str, sink: &str, expect: &[&str]| {
        let body = format!(
            "sources:\n  in: {{generator: {{}}}}\noperators:\n  a: {{component: a.wasm, from: in{on_error}}}\nsinks:\n  \
             out: {{blackhole: {{}}, from: a}}\n  {sink}\n"
        );
        check(&format!("apiVersion: flow/v1\nkind: Pipeline\nmetadata: {{name: x}}\n{body}"), expect);
    };
    let sends = ", on-error: dead-letter";
    operator(
        sends,
        "",
        &[
            r#"p.yaml:7:46: operator "a" sends dead letters, and no sink takes them; add a sink, for example `dead: {files: {path: ./dead}, from: dead-letter}`"#,
        ],
    );
    operator(
        ", on-error: {retry: 1, then: dead-letter}",
        "",
        &[
            r#"p.yaml:7:63: operator "a" sends dead letters, and no sink takes them; add a sink, for example `dead: {files: {path: ./dead}, from: dead-letter}`"#,
        ],
    );
    operator(
        "",
        "dead: {blackhole: {}, from: dead-letter}",
        &[
            r#"p.yaml:10:31: sink "dead" takes dead letters, and no operator sends any; write `on-error: dead-letter` in an operator, or remove the sink"#,
        ],
    );
    let of = |name: &str, expect: &[&str]| operator(sends, &format!("dead: {{blackhole: {{}}, from: {name}}}"), expect);
    let untaken = r#"p.yaml:7:46: operator "a" sends dead letters, and no sink takes them; add a sink, for example `dead: {files: {path: ./dead}, from: dead-letter}`"#;
    of(
        "b.dead-letter",
        &[untaken, r#"p.yaml:10:31: sink "dead" takes dead letters of "b", which does not exist; name an operator"#],
    );
    of(
        "in.dead-letter",
        &[
            untaken,
            r#"p.yaml:10:31: sink "dead" takes dead letters of source "in", which sends none; write `on-error: dead-letter` in the source"#,
        ],
    );
    of(
        "a.dead-letters",
        &[untaken, r#"p.yaml:10:31: sink "dead" reads "a.dead-letters", which does not exist; known: in, a"#],
    );
    of("[a.dead-letter, dead-letter]", &[r#"p.yaml:10:47: sink "dead" reads "dead-letter" twice"#]);
    operator(
        "",
        "dead: {blackhole: {}, from: a.dead-letter}",
        &[
            r#"p.yaml:10:31: sink "dead" takes dead letters of operator "a", which sends none; write `on-error: dead-letter` in the operator"#,
        ],
    );
    operator(
        sends,
        "dead: {kafka: {brokers: b, topic: t}, from: dead-letter, on-error: dead-letter}",
        &[r#"p.yaml:10:70: sink "dead" takes dead letters, and would send some itself; write `fail` or `skip`"#],
    );
    operator(
        "",
        "more: {kafka: {brokers: b, topic: t}, from: a, on-error: dead-letter}",
        &[
            r#"p.yaml:10:60: sink "more" sends dead letters, and no sink takes them; add a sink, for example `dead: {files: {path: ./dead}, from: dead-letter}`"#,
        ],
    );
    operator(
        "",
        "more: {stdout: {}, from: a, on-error: skip}",
        &[r#"p.yaml:10:41: sink "more" has an "on-error", and only Kafka refuses records; remove it"#],
    );
    check_edit(
        "files: {path: ./texts}",
        "files: {path: ./texts}, on-error: skip",
        &[
            r#"p.yaml:5:45: source "lines" has an "on-error", and no line is refused unless the `format` is json; remove it"#,
        ],
    );
    operator(
        sends,
        "dead-letter: {blackhole: {}, from: dead-letter}",
        &[r#"p.yaml:10:3: "dead-letter" can't be a name: sinks read dead letters by it; choose another name"#],
    );
    check_edit(
        "from: lines",
        "from: dead-letter",
        &[
            r#"p.yaml:9:11: operator "tokens" reads dead letters, which only sinks can; write them to a topic or to files, and read those in another pipeline"#,
        ],
    );
}

#[test]
fn places_of_checkpoints() {
    for place in ["s3:/bucket/flow", "S3://bucket/flow", "gs://bucket/flow"] {
        let hint = "write s3://bucket/prefix, file:///path, or a path; a directory with such a name begins with ./";
        let expect = format!(r#"p.yaml:4:32: "to" of checkpoint: "{place}" is no place for objects; {hint}"#);
        check_edit("sources:", &format!("checkpoint: {{interval: 1s, to: '{place}'}}\nsources:"), &[&expect]);
    }
}

#[test]
fn connectors() {
    let source = |text: &str, expect: &[&str]| check_edit("{files: {path: ./texts}}", text, expect);
    let sink = |text: &str, expect: &[&str]| check_edit("{stdout: {}, from: counts}", text, expect);
    source("{}", &[r#"p.yaml:5:10: source "lines" has no connector; add one of files, generator, kafka"#]);
    source(
        "{files: {path: a}, generator: {}}",
        &[r#"p.yaml:5:29: source "lines" has several connectors: files, generator; keep one"#],
    );
    source(
        "{files: {path: a, max-line: 2Gi}}",
        &[r#"p.yaml:5:38: "max-line" of files of source "lines" must be 1 to 1Gi, found 2Gi"#],
    );
    source(
        "{files: {path: a, format: csv}}",
        &[r#"p.yaml:5:36: "csv" is no "format" of files of source "lines"; write "lines" or "json""#],
    );
    source(
        "{generator: {rate: 0}}",
        &[r#"p.yaml:5:29: "rate" of generator of source "lines" must be 1 to 1000000000, found the number 0"#],
    );
    source(
        "{generator: {keys: -5}}",
        &[r#"p.yaml:5:29: "keys" of generator of source "lines" must be at least 1, found the number -5"#],
    );
    source(
        "{generator: {value: '{{sec}}'}}",
        &[r#"p.yaml:5:30: "value" of generator of source "lines": unknown placeholder "sec"; did you mean {{seq}}?"#],
    );
    source(
        "{kafka: {brokers: 'b:1', topic: a b, start: newest, properties: {group.id: x, a: [secret], b: c, b: d}}}",
        &[
            r#"p.yaml:5:42: "a b" of kafka of source "lines" is no topic name; use letters, digits, ".", "_" and "-", at most 249"#,
            r#"p.yaml:5:54: "newest" is no "start" of kafka of source "lines"; write "earliest" or "latest""#,
            r#"p.yaml:5:75: "group.id" can't be set in properties of kafka of source "lines"; write it as `group`"#,
            r#"p.yaml:5:91: "a" in properties of kafka of source "lines" must be text"#,
            r#"p.yaml:5:107: field "b" given twice in properties of kafka of source "lines""#,
        ],
    );
    sink(
        "{kafka: {brokers: 'b:1', topic: t, delivery: exactly-once}, from: counts}",
        &[
            r#"p.yaml:15:53: sink "out" can't deliver exactly-once without checkpoints; add for example `checkpoint: {interval: 1s}` to the pipeline, or write `delivery: at-least-once`"#,
        ],
    );
    sink(
        "{kafka: {brokers: 'b:1', topic: t, delivery: once}, from: counts}",
        &[r#"p.yaml:15:53: "once" is no "delivery" of kafka of sink "out"; write "at-least-once" or "exactly-once""#],
    );
    sink(
        "{files: {path: o, format: json}, from: counts}",
        &[r#"p.yaml:15:34: "json" is no "format" of files of sink "out"; write "lines" or "records""#],
    );
    sink(
        "{generator: {}, from: counts}",
        &[
            r#"p.yaml:15:8: sink "out" has no connector; add one of files, kafka, stdout, blackhole"#,
            r#"p.yaml:15:9: unknown field "generator" in sink "out"; its fields: files, kafka, stdout, blackhole, from, parallelism, on-error"#,
        ],
    );
}

#[test]
fn names() {
    check_edit(
        "name: wordcount",
        "name: Word_Count",
        &[
            r#"p.yaml:3:18: "Word_Count" is no valid name: lower-case letters, digits and "-" inside, at most 63 characters; write "word-count""#,
        ],
    );
    check_edit(
        "name: wordcount",
        "name: ÄÖ",
        &[r#"p.yaml:3:18: "ÄÖ" is no valid name: lower-case letters, digits and "-" inside, at most 63 characters"#],
    );
    // What reads the badly named source is not blamed as well.
    check(
        &GOOD.replace("lines", "Lines"),
        &[
            r#"p.yaml:5:3: "Lines" is no valid name: lower-case letters, digits and "-" inside, at most 63 characters; write "lines""#,
        ],
    );
    // Nor does a bad name get into other messages as it is.
    check_edit(
        "operators:\n",
        "operators:\n  \"a\\nb\": {component: x, from: [\"a\\nb\", none]}\n",
        &[
            r#"p.yaml:7:3: "a\nb" is no valid name: lower-case letters, digits and "-" inside, at most 63 characters; write "a-b""#,
            r#"p.yaml:7:33: records would go round in a circle: "a\nb" → "a\nb"; let "a\nb" read something else"#,
            r#"p.yaml:7:41: operator "a\nb" reads "none", which does not exist; known: lines, tokens, counts"#,
        ],
    );
    check(
        &GOOD.replace("  counts:\n", "  tokens:\n").replace("from: counts", "from: tokens"),
        &[r#"p.yaml:10:3: duplicate name "tokens": an operator on line 7 has it; choose another name"#],
    );
    check_edit(
        "  out:",
        "  lines:",
        &[r#"p.yaml:15:3: duplicate name "lines": a source on line 5 has it; choose another name"#],
    );
    check_end(
        "metadata: {name: again}\n",
        &[r#"p.yaml:16:1: field "metadata" given twice in the pipeline; first given on line 3"#],
    );
}

#[test]
fn missing_inputs() {
    check_edit(
        "[tokens]",
        "[tokns]",
        &[
            r#"p.yaml:12:12: operator "counts" reads "tokns", which does not exist; did you mean "tokens"? known: lines, tokens"#,
        ],
    );
    check_edit(
        "[tokens]",
        "[tokens, nothing]",
        &[r#"p.yaml:12:20: operator "counts" reads "nothing", which does not exist; known: lines, tokens"#],
    );
    check_edit("[tokens]", "[tokens, tokens]", &[r#"p.yaml:12:20: operator "counts" reads "tokens" twice"#]);
    check_edit(
        "[tokens]",
        "[tokens, out]",
        &[r#"p.yaml:12:20: operator "counts" reads "out", a sink, which has no output; read what "out" reads"#],
    );
    check_edit(
        "from: counts",
        "from: dead-letter",
        &[
            r#"p.yaml:15:27: sink "out" takes dead letters, and no operator sends any; write `on-error: dead-letter` in an operator, or remove the sink"#,
        ],
    );
}

#[test]
fn cycles() {
    check_edit(
        "    from: lines\n",
        "    from: [lines, counts]\n",
        &[
            r#"p.yaml:9:19: records would go round in a circle: tokens → counts → tokens; let "tokens" read something else"#,
        ],
    );
    check_edit(
        "    from: [tokens]\n",
        "    from: [counts]\n",
        &[r#"p.yaml:12:12: records would go round in a circle: counts → counts; let "counts" read something else"#],
    );
    let operators = "  a: {component: x, from: [b, lines]}\n  b: {component: x, from: a}\n  c: {component: x, from: e}\n  d: {component: x, from: c}\n  e: {component: x, from: [d, b]}\n";
    check_edit(
        "operators:\n",
        &format!("operators:\n{operators}"),
        &[
            r#"p.yaml:7:28: records would go round in a circle: a → b → a; let "a" read something else"#,
            r#"p.yaml:9:27: records would go round in a circle: c → d → e → c; let "c" read something else"#,
        ],
    );
    // Long enough to overflow a stack, were it walked by recursion.
    let ring: String = (0..900).map(|n| format!("  r{n}: {{component: x, from: r{}}}\n", (n + 899) % 900)).collect();
    check_edit(
        "operators:\n",
        &format!("operators:\n{ring}"),
        &[
            r#"p.yaml:7:28: records would go round in a circle: r0 → r1 → r2 → r3 → r4 → r5 → r6 → r7 → … 890 more … → r898 → r899 → r0; let "r0" read something else"#,
        ],
    );
}

#[test]
fn keyed_parallelism_fits_the_key_groups() {
    let message = r#"p.yaml:13:18: operator "counts" has parallelism 200, more than the 128 key groups; write at most `parallelism: 128`, or more `key-groups`"#;
    check_edit("    key: $value\n", "    parallelism: 200\n    key: $value\n", &[message]);
    let message = r#"p.yaml:10:3: operator "counts" has parallelism 2, more than the 1 key groups; write at most `parallelism: 1`, or more `key-groups`"#;
    check_end("parallelism: 2\nkey-groups: 1\n", &[message]);
}

#[test]
fn all_errors_come_at_once_up_to_a_limit() {
    let many: String = (0..70).map(|n| format!("field{n}: 1\n")).collect();
    let errors = errors(format!("{GOOD}{many}").as_bytes());
    assert_eq!(errors.len(), 51);
    assert!(errors[0].starts_with("p.yaml:16:1: unknown field"));
    assert_eq!(errors[50], "p.yaml: 20 more problems are not shown; correct the first ones");
}

#[test]
fn what_nobody_reads_is_a_warning() {
    let file = format!("{GOOD}  tail: {{blackhole: {{}}, from: lines}}\n").replace("from: counts", "from: tokens");
    let pipeline = Pipeline::parse("p.yaml", file.as_bytes()).expect("only a warning");
    let warnings: Vec<String> = pipeline.warnings.iter().map(Diagnostic::to_string).collect();
    let expect = r#"p.yaml:10:3: warning: nobody reads operator "counts"; its records are dropped; add a sink with `from: counts`"#;
    assert_eq!(warnings, [expect]);
}

#[test]
fn a_diagnostic_is_flat_json() {
    let diagnostic = Diagnostic::error(Code::Cycle, "p.yaml", None, "x");
    let json = serde_json::to_value(&diagnostic).expect("serializable");
    assert_eq!(json, serde_json::json!({"severity": "error", "code": "cycle", "file": "p.yaml", "message": "x"}));
    assert_eq!(serde_json::from_value::<Diagnostic>(json).expect("reads back"), diagnostic);

    let error = Pipeline::parse("p.yaml", b"kind: 1").expect_err("bad");
    let json = serde_json::to_value(&error).expect("serializable");
    assert_eq!(
        (&json[2]["line"], &json[2]["column"], &json[2]["code"]),
        (&1.into(), &1.into(), &"missing-field".into())
    );
    assert_eq!(serde_json::from_value::<Error>(json).expect("reads back"), error);
}
