//! Good pipeline files, and files that are nothing at all: what is read from the former, and that the latter never
//! panic.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flow_model::diagnostic::Severity;
use flow_model::key_selector::KeySelector;
use flow_model::quantity::{ByteSize, Rate};
use flow_model::spec::{
    Input, KafkaStart, KafkaStop, Limits, LineFormat, OnError, Pipeline, RecordFormat, Retry, SinkConnector,
    SourceConnector, Then, kafka::Topics,
};
use proptest::prelude::*;

const FULL: &str = r#"
apiVersion: flow/v1
kind: Pipeline
metadata: {name: everything}
parallelism: 2
key-groups: 64
state: {cache: 1Gi}
sources:
  lines: {files: {path: ./texts, format: json, max-line: 1Mi}, parallelism: 3}
  clicks: {generator: {count: 1000000, rate: 50000, keys: 1000, value: '{"id": {{seq}}, "key": "{{key}}"}'}}
  orders:
    kafka:
      brokers: localhost:9092
      topic: orders
      start: latest
      stop: latest
      group: me
      properties: {fetch.min.bytes: 1000, socket.keepalive.enable: true, sasl.password: hunter2}
operators:
  tokens:
    component: ./tokenize.wasm
    from: [lines, clicks, orders]
    parallelism: 4
    config: {any: [1, -2, 1.5, true, null, "text"]}
    on-error: skip
    limits: {memory: 64Mi, time-per-batch: 500ms, output-per-batch: 1Mi, state-per-key: 10Mi, log-rate: 7/s}
    grants: {}
  counts: {component: /abs/count.wasm, from: tokens, key: customer.id, on-error: {retry: 2, backoff: 200ms, then: dead-letter}}
sinks:
  out: {files: {path: ./out, format: records}, from: counts}
  topic: {kafka: {brokers: localhost:9092, topic: totals, delivery: at-least-once, properties: {linger.ms: 5}}, from: counts}
  screen: {stdout: {format: lines}, from: counts}
  none: {blackhole: {}, from: [counts]}
  dead: {files: {path: ./dead}, from: dead-letter}
"#;

#[test]
fn everything_that_a_file_can_say() {
    let pipeline = Pipeline::parse("p.yaml", FULL.as_bytes()).expect("good");
    assert_eq!(
        (pipeline.name.as_str(), pipeline.key_groups.get(), pipeline.cache),
        ("everything", 64, ByteSize(1 << 30))
    );
    let warnings: Vec<String> = pipeline.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("\"sasl.password\" in properties"), "{warnings:?}");
    let [lines, clicks, orders] = pipeline.sources.as_slice() else { panic!("three sources") };
    let [tokens, counts] = pipeline.operators.as_slice() else { panic!("two operators") };
    let [out, topic, screen, none, dead] = pipeline.sinks.as_slice() else { panic!("five sinks") };

    assert_eq!([lines.parallelism, clicks.parallelism, tokens.parallelism, out.parallelism], [3, 2, 4, 2]);
    let SourceConnector::Files(files) = &lines.connector else { panic!("{lines:?}") };
    assert_eq!((files.path.value.as_path(), files.format), (Path::new("./texts"), LineFormat::Json));
    assert_eq!(files.max_line, ByteSize::mebibytes(1));
    let SourceConnector::Generator(generator) = &clicks.connector else { panic!("{clicks:?}") };
    assert_eq!((generator.count, generator.rate, generator.keys), (Some(1_000_000), Some(50_000), 1000));
    let SourceConnector::Kafka(kafka) = &orders.connector else { panic!("{orders:?}") };
    assert_eq!(kafka.cluster.brokers.value.as_plain(), Some("localhost:9092"));
    let Topics::Named(topics) = &kafka.topics else { panic!("{:?}", kafka.topics) };
    assert_eq!(topics.iter().map(|topic| topic.value.as_plain()).collect::<Vec<_>>(), [Some("orders")]);
    assert_eq!((&kafka.start, &kafka.stop), (&KafkaStart::Latest, &KafkaStop::Latest));
    assert_eq!(kafka.group.as_ref().and_then(|group| group.value.as_plain()), Some("me"));
    let properties: Vec<(&str, &str)> =
        kafka.cluster.properties.0.iter().filter_map(|(k, v)| Some((k.as_str(), v.value.as_plain()?))).collect();
    assert_eq!(
        properties,
        [("fetch.min.bytes", "1000"), ("sasl.password", "hunter2"), ("socket.keepalive.enable", "true")]
    );

    assert_eq!(tokens.config.value, serde_json::json!({"any": [1, -2, 1.5, true, null, "text"]}));
    assert_eq!((tokens.on_error, &tokens.key), (Then::Skip.into(), &None));
    let limits = Limits {
        memory: ByteSize::mebibytes(64),
        time_per_batch: Duration::from_millis(500),
        output_per_batch: ByteSize::mebibytes(1),
        state_per_key: Some(ByteSize::mebibytes(10)),
        log_rate: Rate(7),
    };
    assert_eq!((tokens.limits.value, tokens.limits.position.line), (limits, 26));
    assert_eq!((tokens.position.line, tokens.component.position.line), (20, 21));
    let retry =
        OnError { retry: Some(Retry { times: 2, backoff: Duration::from_millis(200) }), then: Then::DeadLetter };
    let key = counts.key.as_ref().expect("a key");
    assert_eq!(key.value, KeySelector::Field(vec!["customer".into(), "id".into()]));
    assert_eq!(
        (counts.on_error, counts.limits.value, &counts.config.value),
        (retry, Limits::default(), &serde_json::Value::Null)
    );

    let SinkConnector::Files(files) = &out.connector else { panic!("{out:?}") };
    assert_eq!((files.path.value.as_path(), files.format), (Path::new("./out"), RecordFormat::Records));
    let SinkConnector::Kafka(kafka) = &topic.connector else { panic!("{topic:?}") };
    assert_eq!(kafka.topic.value.as_plain(), Some("totals"));
    assert_eq!(kafka.cluster.properties.0["linger.ms"].value.as_plain(), Some("5"));
    assert_eq!(
        (&screen.connector, &none.connector),
        (&SinkConnector::Stdout(RecordFormat::Lines), &SinkConnector::Blackhole)
    );
    let SinkConnector::Files(files) = &dead.connector else { panic!("{dead:?}") };
    assert_eq!((&dead.from[0].value, files.format), (&Input::DeadLetters(None), RecordFormat::Records));
    assert_eq!(none.from[0].value, Input::Output("counts".parse().expect("a name")));
}

#[test]
fn secrets_stay_out_of_debug_texts() {
    let pipeline = Pipeline::parse("p.yaml", FULL.as_bytes()).expect("good");
    let text = format!("{pipeline:?}");
    assert!(text.contains("sasl.password") && !text.contains("hunter2"));
}

#[test]
fn relative_paths_get_a_base() {
    let mut pipeline = Pipeline::parse("p.yaml", FULL.as_bytes()).expect("good");
    pipeline.resolve_paths(Path::new("/base"));
    let components: Vec<PathBuf> = pipeline.operators.iter().map(|operator| operator.component.value.clone()).collect();
    assert_eq!(components, [Path::new("/base/./tokenize.wasm"), Path::new("/abs/count.wasm")]);
    let SourceConnector::Files(files) = &pipeline.sources[0].connector else { panic!("files") };
    assert_eq!(files.path.value, Path::new("/base/./texts"));
    let SinkConnector::Files(files) = &pipeline.sinks[0].connector else { panic!("files") };
    assert_eq!(files.path.value, Path::new("/base/./out"));
}

#[test]
fn other_ways_to_write_the_same() {
    let plain = "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: a}\nsources: {in: {generator: {}}}\nsinks: {out: {stdout: {}, from: in}}\n";
    let expect = Pipeline::parse("p.yaml", plain.as_bytes()).expect("good");
    let check = |text: String| {
        let pipeline = Pipeline::parse("p.yaml", text.as_bytes()).expect("good");
        assert_eq!((pipeline.graph(), pipeline.cache), (expect.graph(), ByteSize::mebibytes(256)));
        assert_eq!(pipeline.key_groups.get(), 128);
    };
    check(plain.replace('\n', "\r\n"));
    check(format!("\u{feff}{plain}"));
    check(format!("# a comment\n---\n{plain}...\n"));
    check(plain.replace("{stdout: {}, from: in}", "{stdout: , from: [in]}"));
    check(format!("{plain}operators:\nstate: {{}}\n"));
    check(plain.replace("{generator: {}}", "&g {generator: {}}").replace("stdout: {}", "stdout: {format: lines}"));
    check(r#"{"apiVersion": "flow/v1", "kind": "Pipeline", "metadata": {"name": "a"}, "sources": {"in": {"generator": {}}}, "sinks": {"out": {"stdout": {}, "from": "in"}}}"#.into());
}

/// Reads anything: it may be good or bad, and errors are never silent.
fn read(bytes: &[u8]) {
    if let Err(error) = Pipeline::parse("p.yaml", bytes) {
        assert!(!error.diagnostics.is_empty(), "an error without a reason for {:?}", String::from_utf8_lossy(bytes));
        for diagnostic in &error.diagnostics {
            assert_eq!(diagnostic.severity, Severity::Error);
            assert!(diagnostic.to_string().chars().all(|c| !c.is_control()), "{diagnostic}");
        }
    }
}

/// Text made of what pipeline files are made of, so that it gets past the first checks.
fn yaml_like() -> impl Strategy<Value = String> {
    let words = [
        "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: a}\n",
        "sources:\n",
        "operators:\n",
        "sinks:\n",
        "  a:\n",
        "  b: ",
        "    component: x\n",
        "    from: a\n",
        "    from: [a, b]\n",
        "    key: $value\n",
        "{generator: {}}\n",
        "{stdout: {}, from: a}\n",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "&x ",
        "*x",
        "<<: *x\n",
        "!!str ",
        "\"",
        "'",
        "|\n",
        "#",
        "~",
        "0",
        "-1",
        "1e999",
        ".nan",
        "0x7f",
        "files",
        "kafka",
        "parallelism: 2\n",
        "limits: {memory: 1Mi}",
        "? ",
        "---\n",
        "\t",
        "ä",
        "\u{0}",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }

    #[test]
    fn anything_like_yaml_is_read_without_a_panic(text in yaml_like()) {
        read(text.as_bytes());
    }

    #[test]
    fn a_damaged_file_is_read_without_a_panic(at in 0..FULL.len(), length in 0..40usize, new in yaml_like()) {
        let end = (at + length).min(FULL.len());
        let bytes = [&FULL.as_bytes()[..at], new.as_bytes(), &FULL.as_bytes()[end..]].concat();
        read(&bytes);
    }
}
