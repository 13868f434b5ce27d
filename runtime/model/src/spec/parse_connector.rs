//! The tree of one source or sink → [`Source`] or [`Sink`].

use std::path::PathBuf;

use super::connector::{
    FilesSink, FilesSource, Generator, Input, LineFormat, RecordFormat, Sink, SinkConnector, Source, SourceConnector,
};
use super::fields::Fields;
use super::on_error;
use super::parse::{Defaults, from, name, parallelism};
use super::parse_kafka;
use super::report::Report;
use super::secret::Text;
use super::yaml::{Entry, Node};
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
    let known: Vec<&str> = SOURCES.into_iter().chain(["parallelism", "on-error"]).collect();
    let fields = Fields::read(report, &entry.value, &what, &known)?;
    let parallelism = parallelism(report, &fields, defaults.parallelism);
    let (connector, node) = connector(report, &fields, &SOURCES)?;
    let what = format!("{connector} of {what}");
    let connector = match connector {
        "files" => SourceConnector::Files(files_source(report, node, &what)?),
        "generator" => SourceConnector::Generator(generator(report, node, &what)?),
        _ => SourceConnector::Kafka(Box::new(parse_kafka::source(report, node, &what)?)),
    };
    let none = match &connector {
        SourceConnector::Files(FilesSource { format: LineFormat::Json, .. }) => None,
        SourceConnector::Files(_) => Some("no line is refused unless the `format` is json"),
        SourceConnector::Generator(_) => Some("a generator makes no record that is refused"),
        SourceConnector::Kafka(_) => Some("no record of Kafka is refused as it is read"),
    };
    let on_error = on_error::read_of_end(report, &fields, none).unwrap_or_default();
    Some(Source { name: name(entry)?, position: entry.position, parallelism, connector, on_error })
}

/// `None` only after an error was reported.
pub(super) fn sink(report: &mut Report, entry: &Entry, defaults: &Defaults) -> Option<Sink> {
    let what = format!("sink {}", quoted(&entry.key));
    let known: Vec<&str> = SINKS.into_iter().chain(["from", "parallelism", "on-error"]).collect();
    let fields = Fields::read(report, &entry.value, &what, &known)?;
    let parallelism = parallelism(report, &fields, defaults.parallelism);
    let from = from(report, &fields, Input::of);
    let only_dead_letters = |from: &Vec<Located<Input>>| from.iter().all(|i| matches!(i.value, Input::DeadLetters(_)));
    // Why a record is a dead letter stands beside its value.
    let format = match from.as_ref().is_some_and(only_dead_letters) {
        true => RecordFormat::Records,
        false => RecordFormat::Lines,
    };
    let (connector, node) = connector(report, &fields, &SINKS)?;
    let what = format!("{connector} of {what}");
    let connector = match connector {
        "files" => SinkConnector::Files(files_sink(report, node, &what, format)?),
        "kafka" => SinkConnector::Kafka(Box::new(parse_kafka::sink(report, node, &what)?)),
        "stdout" => {
            let fields = Fields::read(report, node, &what, &["format"])?;
            SinkConnector::Stdout(record_format(report, &fields, format))
        }
        _ => {
            Fields::read(report, node, &what, &[])?;
            SinkConnector::Blackhole
        }
    };
    let none = match &connector {
        SinkConnector::Kafka(_) => None,
        SinkConnector::Files(_) | SinkConnector::Stdout(_) | SinkConnector::Blackhole => {
            Some("only Kafka refuses records")
        }
    };
    let on_error = on_error::read_of_end(report, &fields, none).unwrap_or_default();
    Some(Sink { name: name(entry)?, position: entry.position, parallelism, from: from?, connector, on_error })
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
    let path = path(report, &fields, "path: ./input");
    let format = fields.choice(report, "format", &[("lines", LineFormat::Lines), ("json", LineFormat::Json)]);
    let max_line = fields.bytes(report, "max-line", ByteSize(1)..=ByteSize(1 << 30));
    Some(FilesSource {
        path: path?,
        format: format.unwrap_or(LineFormat::Lines),
        max_line: max_line.unwrap_or(LINE_MAX),
    })
}

/// A path, in which references may stand.
fn path(report: &mut Report, fields: &Fields, example: &str) -> Option<Located<PathBuf>> {
    let path = fields.required_path(report, "path", example)?;
    if let Some(Err(error)) = path.value.to_str().map(str::parse::<Text>) {
        report.error(Code::InvalidValue, path.position, format!("\"path\" of {}: {error}", fields.what()));
        return None;
    }
    Some(path)
}

fn files_sink(report: &mut Report, node: &Node, what: &str, default: RecordFormat) -> Option<FilesSink> {
    let fields = Fields::read(report, node, what, &["path", "format"])?;
    let path = path(report, &fields, "path: ./output");
    let format = record_format(report, &fields, default);
    Some(FilesSink { path: path?, format })
}

fn record_format(report: &mut Report, fields: &Fields, default: RecordFormat) -> RecordFormat {
    fields.choice(report, "format", &RECORD_FORMATS).unwrap_or(default)
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
