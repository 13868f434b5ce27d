//! The tree of one source or sink → [`Source`] or [`Sink`].

use std::collections::BTreeMap;

use super::connector::{
    FilesSink, FilesSource, Generator, KafkaSink, KafkaSource, KafkaStart, KafkaStop, LineFormat, Properties,
    RecordFormat, Sink, SinkConnector, Source, SourceConnector,
};
use super::fields::Fields;
use super::parse::{Defaults, from, name, parallelism};
use super::property;
use super::report::Report;
use super::trace::Shape;
use super::yaml::{Entry, Node, Value};
use crate::diagnostic::{Code, Located};
use crate::nearest::quoted;
use crate::quantity::ByteSize;

const SOURCES: [&str; 3] = ["files", "generator", "kafka"];
const SINKS: [&str; 4] = ["files", "kafka", "stdout", "blackhole"];
const LINE_MAX: ByteSize = ByteSize::mebibytes(32);
const DEFAULT_VALUE: &str = r#"{"seq": {{seq}}, "key": "{{key}}"}"#;
const RECORD_FORMATS: [(&str, RecordFormat); 2] = [("lines", RecordFormat::Lines), ("records", RecordFormat::Records)];

/// `None` only after an error was reported.
pub(super) fn source(report: &mut Report, entry: &Entry, defaults: &Defaults) -> Option<Source> {
    let what = format!("source {}", quoted(&entry.key));
    let known: Vec<&str> = SOURCES.into_iter().chain(["parallelism"]).collect();
    let fields = Fields::read(report, &entry.value, &what, &known)?;
    let parallelism = parallelism(report, &fields, defaults.parallelism);
    let (connector, node) = connector(report, &fields, &SOURCES)?;
    let what = format!("{connector} of {what}");
    let connector = match connector {
        "files" => SourceConnector::Files(files_source(report, node, &what)?),
        "generator" => SourceConnector::Generator(generator(report, node, &what)?),
        _ => SourceConnector::Kafka(kafka_source(report, node, &what)?),
    };
    Some(Source { name: name(entry)?, position: entry.position, parallelism, connector })
}

/// `None` only after an error was reported.
pub(super) fn sink(report: &mut Report, entry: &Entry, defaults: &Defaults) -> Option<Sink> {
    let what = format!("sink {}", quoted(&entry.key));
    let known: Vec<&str> = SINKS.into_iter().chain(["from", "parallelism"]).collect();
    let fields = Fields::read(report, &entry.value, &what, &known)?;
    let parallelism = parallelism(report, &fields, defaults.parallelism);
    let from = from(report, &fields);
    let (connector, node) = connector(report, &fields, &SINKS)?;
    let what = format!("{connector} of {what}");
    let connector = match connector {
        "files" => SinkConnector::Files(files_sink(report, node, &what)?),
        "kafka" => SinkConnector::Kafka(kafka_sink(report, node, &what)?),
        "stdout" => {
            let fields = Fields::read(report, node, &what, &["format"])?;
            SinkConnector::Stdout(record_format(report, &fields))
        }
        _ => {
            Fields::read(report, node, &what, &[])?;
            SinkConnector::Blackhole
        }
    };
    Some(Sink { name: name(entry)?, position: entry.position, parallelism, from: from?, connector })
}

/// The one field that is a connector.
fn connector<'n>(report: &mut Report, fields: &Fields<'n>, known: &[&'static str]) -> Option<(&'static str, &'n Node)> {
    report.saw_one_of(fields.position(), known);
    let found: Vec<(&'static str, &Entry)> =
        known.iter().filter_map(|name| Some((*name, fields.entry(name)?))).collect();
    match found.as_slice() {
        [] => {
            let message = format!("{} has no connector", fields.what());
            report.error_with(Code::Connector, fields.position(), message, format!("add one of {}", known.join(", ")));
            None
        }
        [(name, entry)] => Some((name, &entry.value)),
        [.., (_, last)] => {
            let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
            let message = format!("{} has several connectors: {}", fields.what(), names.join(", "));
            report.error_with(Code::Connector, last.position, message, "keep one");
            None
        }
    }
}

fn files_source(report: &mut Report, node: &Node, what: &str) -> Option<FilesSource> {
    let fields = Fields::read(report, node, what, &["path", "format", "max-line"])?;
    let path = fields.required_path(report, "path", "path: ./input");
    let format = fields.choice(report, "format", &[("lines", LineFormat::Lines), ("json", LineFormat::Json)]);
    let max_line = fields.bytes(report, "max-line", ByteSize(1)..=ByteSize(1 << 30));
    Some(FilesSource {
        path: path?,
        format: format.unwrap_or(LineFormat::Lines),
        max_line: max_line.unwrap_or(LINE_MAX),
    })
}

fn files_sink(report: &mut Report, node: &Node, what: &str) -> Option<FilesSink> {
    let fields = Fields::read(report, node, what, &["path", "format"])?;
    let path = fields.required_path(report, "path", "path: ./output");
    let format = record_format(report, &fields);
    Some(FilesSink { path: path?, format })
}

fn record_format(report: &mut Report, fields: &Fields) -> RecordFormat {
    fields.choice(report, "format", &RECORD_FORMATS).unwrap_or(RecordFormat::Lines)
}

fn generator(report: &mut Report, node: &Node, what: &str) -> Option<Generator> {
    let fields = Fields::read(report, node, what, &["count", "rate", "keys", "value"])?;
    let count = fields.number(report, "count", 0..=u64::MAX);
    let rate = fields.number(report, "rate", 1..=1_000_000_000);
    let keys = fields.number(report, "keys", 1..=u64::MAX);
    let value = match fields.get("value") {
        Some(_) => fields.parse(report, "value")?.value,
        None => DEFAULT_VALUE.parse().expect("the default value is a good template"),
    };
    Some(Generator { count, rate, keys: keys.unwrap_or(1), value })
}

fn kafka_source(report: &mut Report, node: &Node, what: &str) -> Option<KafkaSource> {
    let fields = Fields::read(report, node, what, &["brokers", "topic", "start", "stop", "group", "properties"])?;
    let brokers = brokers(report, &fields);
    let topic = topic(report, &fields);
    let start = fields.choice(report, "start", &[("earliest", KafkaStart::Earliest), ("latest", KafkaStart::Latest)]);
    let stop = fields.choice(report, "stop", &[("latest", KafkaStop::Latest)]);
    let group = fields.text(report, "group").map(|group| group.value.to_owned());
    let properties = properties(report, &fields);
    Some(KafkaSource {
        brokers: brokers?,
        topic: topic?,
        start: start.unwrap_or(KafkaStart::Earliest),
        stop: stop.unwrap_or(KafkaStop::Never),
        group,
        properties,
    })
}

fn kafka_sink(report: &mut Report, node: &Node, what: &str) -> Option<KafkaSink> {
    let fields = Fields::read(report, node, what, &["brokers", "topic", "delivery", "properties"])?;
    let brokers = brokers(report, &fields);
    let topic = topic(report, &fields);
    if let Some(text) = fields.text(report, "delivery").filter(|text| text.value == "exactly-once") {
        let message = format!("{what} can't deliver exactly-once yet: that needs checkpoints");
        report.error_with(Code::InvalidValue, text.position, message, "write `delivery: at-least-once`");
    } else {
        fields.choice(report, "delivery", &[("at-least-once", ())]);
    }
    let properties = properties(report, &fields);
    Some(KafkaSink { brokers: brokers?, topic: topic?, properties })
}

fn brokers(report: &mut Report, fields: &Fields) -> Option<Located<String>> {
    let text = fields.required_text(report, "brokers", "brokers: localhost:9092")?;
    Some(Located { value: text.value.to_owned(), position: text.position })
}

/// Kafka's own rule for topic names.
fn topic(report: &mut Report, fields: &Fields) -> Option<Located<String>> {
    let Located { value, position } = fields.required_text(report, "topic", "topic: orders")?;
    let legal = value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !legal || value.len() > 249 || matches!(value, "." | "..") {
        let message = format!("{} of {} is no topic name", quoted(value), fields.what());
        let hint = "use letters, digits, \".\", \"_\" and \"-\", at most 249";
        report.error_with(Code::InvalidValue, position, message, hint);
        return None;
    }
    Some(Located { value: value.to_owned(), position })
}

/// Any scalar is taken as its text. Values stay out of messages: they may be secrets.
fn properties(report: &mut Report, fields: &Fields) -> Properties {
    let mut properties = BTreeMap::new();
    let what = format!("properties of {}", fields.what());
    report.saw(fields.position(), "properties", || Shape::Scalars);
    let entries = match fields.get("properties").map(|node| (node, &node.value)) {
        Some((_, Value::Map(entries))) => entries.as_slice(),
        None | Some((_, Value::Null)) => &[],
        Some((node, _)) => {
            report.error(Code::WrongType, node.position, format!("{what} must be a map from names to texts"));
            &[]
        }
    };
    for Entry { key, position, value } in entries {
        let text = match &value.value {
            Value::Text(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Unsigned(value) => value.to_string(),
            Value::Negative(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Null | Value::List(_) | Value::Map(_) => {
                report.error(Code::WrongType, value.position, format!("{} in {what} must be text", quoted(key)));
                continue;
            }
        };
        if let Some(instead) = property::refused(key) {
            let message = format!("{} can't be set in {what}", quoted(key));
            report.error_with(Code::InvalidValue, *position, message, instead);
        } else if properties.insert(key.clone(), text).is_some() {
            report.error(Code::Duplicate, *position, format!("field {} given twice in {what}", quoted(key)));
        }
    }
    Properties(properties)
}
