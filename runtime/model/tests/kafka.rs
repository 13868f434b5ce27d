//! What a pipeline file says of Kafka: clusters and who we are there, topics, positions; and what is wrong with it, without
//! ever showing a secret.

use std::path::Path;

use flow_model::diagnostic::Diagnostic;
use flow_model::spec::kafka::{Mechanism, Offsets, Topics};
use flow_model::spec::{KafkaSink, KafkaSource, KafkaStart, KafkaStop, Pipeline, SinkConnector, SourceConnector};

/// A pipeline with a Kafka source and a Kafka sink of these fields.
fn file(source: &str, sink: &str) -> String {
    format!(
        "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {{name: p}}\nsources:\n  in: {{kafka: {{{source}}}}}\n\
         sinks:\n  out: {{kafka: {{{sink}}}, from: in}}\n"
    )
}

const SINK: &str = "brokers: 'b:1', topic: out";

#[track_caller]
fn source(fields: &str) -> KafkaSource {
    let text = file(fields, SINK);
    let mut pipeline = Pipeline::parse("p.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    match pipeline.sources.remove(0).connector {
        SourceConnector::Kafka(kafka) => *kafka,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn sink(fields: &str) -> KafkaSink {
    let text = file("brokers: 'b:1', topic: in", fields);
    let mut pipeline = Pipeline::parse("p.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    match pipeline.sinks.remove(0).connector {
        SinkConnector::Kafka(kafka) => *kafka,
        other => panic!("{other:?}"),
    }
}

/// A problem with its line; columns have tests elsewhere.
fn on_line(found: &Diagnostic) -> String {
    let line = found.position.expect("it has a place");
    found.to_string().replacen(&format!(":{}:{}:", line.line, line.column), &format!(":{}:", line.line), 1)
}

/// The source has just these errors.
#[track_caller]
fn wrong(fields: &str, expect: &[&str]) {
    let error = Pipeline::parse("p.yaml", file(fields, SINK).as_bytes()).expect_err("it has errors");
    assert_eq!(error.diagnostics.iter().map(on_line).collect::<Vec<_>>(), expect);
}

#[test]
fn clusters() {
    let kafka = source(
        "brokers: '${env:BROKERS}', topic: t, tls: {ca: ca.pem, certificate: c.pem, key: '${file:k.pem}', \
         key-password: x}, sasl: {mechanism: SCRAM-SHA-512, username: flow, password: '${env:PASSWORD}'}",
    );
    let tls = kafka.cluster.tls.expect("tls");
    assert_eq!(tls.ca.and_then(|ca| ca.value.as_plain().map(str::to_owned)).as_deref(), Some("ca.pem"));
    assert_eq!(format!("{:?}", tls.key.expect("a key").value), "Text(${file:k.pem})");
    let sasl = kafka.cluster.sasl.expect("sasl");
    assert_eq!(sasl.mechanism.as_str(), "SCRAM-SHA-512");
    assert_eq!(format!("{:?}", sasl.mechanism.secret().value), "Text(${env:PASSWORD})");

    let kafka = sink("brokers: 'b:1', topic: t, tls: , sasl: {mechanism: OAUTHBEARER, token: '${file:token}'}");
    assert!(kafka.cluster.tls.is_some(), "encrypted, with the system's certificates");
    assert!(matches!(kafka.cluster.sasl.expect("sasl").mechanism, Mechanism::OauthBearer(_)));
}

#[test]
fn files_of_references_lie_beside_the_pipeline() {
    let text = file("brokers: 'b:1', topic: t, properties: {a.b: '${file:secret}'}", SINK);
    let mut pipeline = Pipeline::parse("p.yaml", text.as_bytes()).expect("good");
    pipeline.resolve_paths(Path::new("/base"));
    let SourceConnector::Kafka(kafka) = &pipeline.sources[0].connector else { panic!("a Kafka source") };
    assert_eq!(format!("{:?}", kafka.cluster.properties.0["a.b"].value), "Text(${file:/base/secret})");
    assert_eq!(pipeline.directory, Path::new("/base"));
}

#[test]
fn topics() {
    let names = |topics: &Topics| match topics {
        Topics::Named(all) => all.iter().filter_map(|t| t.value.as_plain().map(str::to_owned)).collect(),
        Topics::Pattern(pattern) => vec![format!("/{}/", pattern.value.as_plain().unwrap_or_default())],
    };
    assert_eq!(names(&source("brokers: 'b:1', topic: a").topics), ["a"]);
    assert_eq!(names(&source("brokers: 'b:1', topics: [a, b]").topics), ["a", "b"]);
    assert_eq!(names(&source("brokers: 'b:1', pattern: 'orders-.*'").topics), ["/orders-.*/"]);
    let kafka = sink("brokers: 'b:1', topic: a, topics: [b, c], partitions: 6");
    assert_eq!(names(&kafka.others.expect("others")), ["b", "c"]);
    assert_eq!(kafka.partitions.map(|p| p.value), Some(6));
}

#[test]
fn positions() {
    let kafka = source(
        "brokers: 'b:1', topic: t, start: {timestamp: 2026-01-31T12:00:00Z}, stop: {timestamp: 1769860800001}, \
         discover: 500ms",
    );
    assert_eq!(kafka.start, KafkaStart::Timestamp(1_769_860_800_000));
    assert_eq!(kafka.stop, KafkaStop::Timestamp(1_769_860_800_001));
    assert_eq!(kafka.discover.as_millis(), 500);
    let kafka = source("brokers: 'b:1', topic: t, start: {offsets: {0: 12, 3: 7}}, stop: {offsets: {t: {0: 20}}}");
    let get = |offsets: &Offsets, partition| offsets.of("t").get(&partition).copied();
    let KafkaStart::Offsets(start) = &kafka.start else { panic!("{:?}", kafka.start) };
    assert_eq!([get(start, 0), get(start, 3), get(start, 1)], [Some(12), Some(7), None]);
    let KafkaStop::Offsets(stop) = &kafka.stop else { panic!("{:?}", kafka.stop) };
    assert_eq!([get(stop, 0), get(stop, 3)], [Some(20), None]);
}

#[test]
fn wrong_clusters() {
    wrong(
        "brokers: 'b:1', topic: t, tls: {certificate: c.pem}, sasl: {mechanism: GSSAPI}",
        &[
            r#"p.yaml:5: tls of kafka of source "in" has a certificate and no key; add `key: ./client.pem`"#,
            r#"p.yaml:5: "GSSAPI" is no "mechanism" of sasl of kafka of source "in"; write "PLAIN" or "SCRAM-SHA-256" or "SCRAM-SHA-512" or "OAUTHBEARER""#,
        ],
    );
    wrong(
        "brokers: 'b:1', topic: t, sasl: {mechanism: PLAIN, username: me, token: x}",
        &[
            r#"p.yaml:5: sasl of kafka of source "in" has no "password"; add for example `password: "${env:KAFKA_PASSWORD}"`"#,
            r#"p.yaml:5: sasl of kafka of source "in" has no use for "token" with this mechanism; remove it"#,
        ],
    );
}

#[test]
fn wrong_topics() {
    wrong(
        "brokers: 'b:1', topic: a, pattern: b",
        &[r#"p.yaml:5: kafka of source "in" has several of topic, pattern; keep one"#],
    );
    wrong("brokers: 'b:1', topics: [a, a]", &[r#"p.yaml:5: topic "a" given twice in kafka of source "in""#]);
    wrong(
        "brokers: 'b:1', pattern: 'a('",
        &[
            r#"p.yaml:5: "pattern" of kafka of source "in" is no regular expression: unclosed group; write for example `pattern: "orders-.*"`"#,
        ],
    );
}

#[test]
fn wrong_positions() {
    wrong(
        "brokers: 'b:1', topic: t, start: {timestamp: yesterday}",
        &[
            r#"p.yaml:5: "timestamp" of start of kafka of source "in" is no time, found the text "yesterday"; write 2026-01-31T12:00:00Z, or milliseconds since 1970"#,
        ],
    );
    wrong(
        "brokers: 'b:1', topics: [t, u], stop: {offsets: {0: 1}}",
        &[
            r#"p.yaml:5: "0" in offsets of stop of kafka of source "in" names no topic; write for example `{orders: {0: 12}}`"#,
        ],
    );
    wrong(
        "brokers: 'b:1', topic: orders, start: {offsets: {ordes: {0: 5000}}}",
        &[
            r#"p.yaml:5: "ordes" in offsets of start of kafka of source "in" is no topic that the source reads; did you mean "orders"?"#,
        ],
    );
    wrong(
        "brokers: 'b:1', pattern: 'orders-.*', start: {offsets: {payments: {0: 5000}}}",
        &[
            r#"p.yaml:5: "payments" in offsets of start of kafka of source "in" is no topic that the source reads; remove it, or add it to `topics`"#,
        ],
    );
    wrong(
        "brokers: 'b:1', topic: t, start: {offsets: {0: 12, t: {1: 7}}}",
        &[
            r#"p.yaml:5: offsets of start of kafka of source "in" has partitions beside topics; write all of them below their topic"#,
        ],
    );
    wrong(
        "brokers: 'b:1', topic: t, discover: 1ms",
        &[
            r#"p.yaml:5: "discover" of kafka of source "in" would ask the brokers all the time; write 100ms or more; it is 10s unless set"#,
        ],
    );
    wrong(
        "brokers: 'b:1', topic: t, start: {offsets: {0: -1}}",
        &[
            r#"p.yaml:5: 0: the number -1 in offsets of start of kafka of source "in" is no partition with its offset; write for example `{0: 12, 1: 7}`"#,
        ],
    );
}

/// Each way to write a secret wrongly, and nothing of it in what is said.
#[test]
fn secrets_stay_out_of_errors() {
    for fields in [
        "sasl: {mechanism: PLAIN, username: me, password: 'hunter2 ${oops'}",
        "sasl: {mechanism: PLAIN, username: me, password: 'hunter2 ${vault:hunter2}'}",
        "sasl: {mechanism: PLAIN, username: me, password: [hunter2]}",
        "sasl: {mechanism: PLAIN, username: me, password: '${env:hunter2-x}'}",
        "sasl: {mechanism: OAUTHBEARER, token: {a: hunter2}}",
        "properties: {a.b: '${hunter2}', group.id: hunter2, c: [hunter2]}",
    ] {
        let fields = format!("brokers: 'b:1', topic: t, {fields}");
        let error = Pipeline::parse("p.yaml", file(&fields, SINK).as_bytes()).expect_err("it has errors").to_string();
        assert!(error.contains("p.yaml:5:") && !error.contains("hunter2"), "{error}");
    }
    let fields = "brokers: 'b:1', topic: t, sasl: {mechanism: PLAIN, username: me, password: hunter2}, \
        tls: {certificate: c.pem, key: '-----BEGIN hunter2', key-password: hunter2}, \
        properties: {ssl.keystore.password: hunter2, linger.ms: 5, sasl.oauthbearer.client.secret: '${env:S}'}";
    let pipeline = Pipeline::parse("p.yaml", file(fields, SINK).as_bytes()).expect("good");
    let warnings: Vec<String> = pipeline.warnings.iter().map(on_line).collect();
    assert_eq!(
        warnings,
        [
            r#"p.yaml:5: warning: the password of sasl of kafka of source "in" stands in the file as it is; write `password: "${env:KAFKA_PASSWORD}"`, or ${file:PATH}"#,
            r#"p.yaml:5: warning: the key of tls of kafka of source "in" stands in the file as it is; write `key: ./client.pem`, or ${file:PATH}"#,
            r#"p.yaml:5: warning: the key-password of tls of kafka of source "in" stands in the file as it is; write `key-password: "${env:KAFKA_KEY_PASSWORD}"`, or ${file:PATH}"#,
            r#"p.yaml:5: warning: "ssl.keystore.password" in properties of kafka of source "in" stands in the file as it is; write `ssl.keystore.password: "${env:NAME}"`, or ${file:PATH}"#,
        ]
    );
    assert!(!format!("{pipeline:?}").contains("hunter2"));
}

#[test]
fn a_secret_in_the_clear_is_told() {
    let warnings = |brokers: &str, fields: &str| -> Vec<String> {
        let fields = format!("brokers: '{brokers}', topic: t, {fields}");
        let pipeline = Pipeline::parse("p.yaml", file(&fields, SINK).as_bytes()).expect("good");
        pipeline.warnings.iter().map(on_line).collect()
    };
    let plain = "sasl: {mechanism: PLAIN, username: me, password: '${env:P}'}";
    assert_eq!(
        warnings("b:1", plain),
        [
            r#"p.yaml:5: warning: sasl of kafka of source "in" sends its secret over the network without encryption; add `tls: {}`, or a mechanism that sends none, such as SCRAM-SHA-512"#,
        ]
    );
    assert_eq!(warnings("localhost:1,b:1", plain).len(), 1);
    assert_eq!(warnings("localhost:1,127.0.0.1:2", plain), [""; 0]);
    assert_eq!(warnings("b:1", &format!("{plain}, tls: {{}}")), [""; 0]);
    assert_eq!(warnings("b:1", &plain.replace("PLAIN", "SCRAM-SHA-256")), [""; 0]);
}
