//! The text of a `*.test.yaml` → [`TestFile`], or all that is wrong with it. Reads with what reads pipeline files, so a
//! mistake is told in the same words, with its line.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{Blob, Record};
use crate::diagnostic::{Code, Diagnostic, Error, Located, Position, Severity};
use crate::nearest::quoted;
use crate::spec::fields::Fields;
use crate::spec::parse::json;
use crate::spec::report::Report;
use crate::spec::yaml::{self, Node, Value};

const FILE_FIELDS: [&str; 6] = ["component", "crate", "config", "now", "watermark", "cases"];
const CASE_FIELDS: [&str; 6] = ["name", "config", "now", "watermark", "input", "expect"];
const RECORD_FIELDS: [&str; 6] = ["value", "value-base64", "key", "key-base64", "timestamp", "headers"];
const OUTPUT_FIELDS: [&str; 7] = ["value", "value-base64", "key", "key-base64", "timestamp", "headers", "port"];

/// A checked test file.
#[derive(Debug, Clone, PartialEq)]
pub struct TestFile {
    /// What is tried.
    pub component: Located<Component>,
    /// The cases, at least one.
    pub cases: Vec<Case>,
}

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// `component:` a compiled one.
    File(PathBuf),
    /// `crate:` the directory of a crate, which is compiled first.
    Crate(PathBuf),
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What people call it.
    pub name: String,
    /// Where it begins.
    pub position: Position,
    /// The operator's config.
    pub config: Json,
    /// Processing time in milliseconds since the Unix epoch.
    pub now: i64,
    /// The event-time watermark.
    pub watermark: Option<i64>,
    /// What goes in.
    pub input: Vec<Record>,
    /// What has to come of it.
    pub expect: Expected,
    /// Where the field `expect` stands, if it does.
    pub expect_at: Option<Position>,
}

/// What has to come of a case. What is absent is not looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    /// All that comes out, in order.
    pub output: Option<Vec<ExpectedOutput>>,
    /// All that is refused, in order of the inputs.
    pub rejects: Option<Vec<ExpectedReject>>,
    /// State of some keys: key, name, value.
    pub state: Option<Vec<(String, String, Json)>>,
    /// A part of the error with which the operator refuses to start or stops the job; without, it must do neither.
    pub error: Option<String>,
}

/// A record that has to come out; what is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpectedOutput {
    /// Where it stands.
    pub position: Option<Position>,
    /// The value: JSON is compared as JSON.
    pub value: Option<ExpectedValue>,
    /// The key; the inner `None` is no key.
    pub key: Option<Option<Blob>>,
    /// Event time; the inner `None` is none.
    pub timestamp: Option<Option<i64>>,
    /// All headers in order.
    pub headers: Option<Vec<(String, Option<Blob>)>>,
    /// The output port.
    pub port: Option<String>,
}

/// How a value has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectedValue {
    /// No value: a tombstone.
    Null,
    /// These bytes.
    Bytes(Blob),
    /// This document, however it is written.
    Json(Json),
}

/// A record that has to be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedReject {
    /// Which of the inputs, from 0.
    pub input: usize,
    /// The code, if it matters.
    pub code: Option<String>,
    /// A part of the message, if it matters.
    pub message: Option<String>,
}

/// What cases inherit.
#[derive(Clone)]
struct Defaults {
    config: Json,
    now: i64,
    watermark: Option<i64>,
}

impl TestFile {
    /// Reads a test file. `file` is its name for messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let root = yaml::read(file, bytes)?;
        let mut report = Report::new(file);
        let read = test_file(&mut report, &root);
        let errors: Vec<Diagnostic> = report.finish().into_iter().filter(|d| d.severity == Severity::Error).collect();
        match read {
            Some(read) if errors.is_empty() => Ok(read),
            _ => Err(Error { diagnostics: errors }),
        }
    }
}

/// `None` only after an error was reported.
fn test_file(report: &mut Report, root: &Node) -> Option<TestFile> {
    let fields = Fields::read(report, root, "the test file", &FILE_FIELDS)?;
    let component = component(report, &fields);
    let config = fields.get("config").map_or(Json::Null, |node| json(report, node, "the test file"));
    let defaults = Defaults {
        config,
        now: time(report, &fields, "now").unwrap_or(0),
        watermark: time(report, &fields, "watermark"),
    };
    let cases = fields.require(report, "cases", "cases: [{name: it works, input: [hello]}]")?;
    let Value::List(nodes) = &cases.value else {
        let message = format!("\"cases\" must be a list, found {}", cases.value.described());
        report.error(Code::WrongType, cases.position, message);
        return None;
    };
    if nodes.is_empty() {
        report.error(Code::Empty, cases.position, "there are no cases");
    }
    let cases = nodes.iter().enumerate().filter_map(|(n, node)| case(report, node, n, &defaults)).collect();
    Some(TestFile { component: component?, cases })
}

fn component(report: &mut Report, fields: &Fields) -> Option<Located<Component>> {
    match (fields.get("component"), fields.get("crate")) {
        (Some(_), None) => {
            let path = fields.required_path(report, "component", "component: operator.wasm")?;
            Some(Located { value: Component::File(path.value), position: path.position })
        }
        (None, Some(_)) => {
            let path = fields.required_path(report, "crate", "crate: .")?;
            Some(Located { value: Component::Crate(path.value), position: path.position })
        }
        (Some(_), Some(second)) => {
            report.error(Code::Duplicate, second.position, "both \"component\" and \"crate\" are given; keep one");
            None
        }
        (None, None) => {
            let hint = "add for example `crate: .`, or `component: operator.wasm` for a compiled one";
            report.error_with(Code::MissingField, fields.position(), "the test file names nothing to try", hint);
            None
        }
    }
}

fn case(report: &mut Report, node: &Node, number: usize, defaults: &Defaults) -> Option<Case> {
    let what = format!("case {}", number + 1);
    let fields = Fields::read(report, node, &what, &CASE_FIELDS)?;
    let name = fields.required_text(report, "name", "name: it works").map(|name| name.value.to_owned());
    let config = fields.get("config").map_or(defaults.config.clone(), |node| json(report, node, &what));
    let input = list(report, &fields, "input").unwrap_or_default();
    let input = input.iter().filter_map(|node| record(report, node)).collect();
    let expect = fields.get("expect").map(|node| expected(report, node));
    Some(Case {
        name: name?,
        position: node.position,
        config,
        now: time(report, &fields, "now").unwrap_or(defaults.now),
        watermark: time(report, &fields, "watermark").or(defaults.watermark),
        input,
        expect: expect.unwrap_or(Some(Expected::default()))?,
        expect_at: fields.entry("expect").map(|entry| entry.position),
    })
}

/// The items of a list; none for nothing at all.
fn list<'n>(report: &mut Report, fields: &Fields<'n>, name: &str) -> Option<&'n [Node]> {
    match fields.get(name).map(|node| (node, &node.value)) {
        Some((_, Value::List(nodes))) => Some(nodes),
        Some((_, Value::Null)) => Some(&[]),
        Some((node, other)) => {
            let message = format!("{} of {} must be a list, found {}", quoted(name), fields.what(), other.described());
            report.error(Code::WrongType, node.position, message);
            None
        }
        None => None,
    }
}

/// Milliseconds since the Unix epoch, before it too.
fn time(report: &mut Report, fields: &Fields, name: &str) -> Option<i64> {
    let node = fields.get(name)?;
    let time = match node.value {
        Value::Unsigned(ms) => i64::try_from(ms).ok(),
        Value::Negative(ms) => Some(ms),
        _ => None,
    };
    if time.is_none() {
        let found = node.value.described();
        let message = format!("{} of {} must be milliseconds since 1970, found {found}", quoted(name), fields.what());
        report.error(Code::WrongType, node.position, message);
    }
    time
}

/// A record that goes in: text alone is its value, anything but text and null is a JSON document.
fn record(report: &mut Report, node: &Node) -> Option<Record> {
    let given = output(report, node, "a record of the input", &RECORD_FIELDS)?;
    Some(Record {
        key: given.key.flatten(),
        value: match given.value {
            Some(ExpectedValue::Bytes(bytes)) => Some(bytes),
            Some(ExpectedValue::Json(document)) => Some(Blob(document.to_string().into_bytes())),
            Some(ExpectedValue::Null) | None => None,
        },
        timestamp: given.timestamp.flatten(),
        headers: given.headers.unwrap_or_default(),
    })
}

fn output(report: &mut Report, node: &Node, what: &str, known: &[&str]) -> Option<ExpectedOutput> {
    let position = Some(node.position);
    if let Value::Text(text) = &node.value {
        let value = Some(ExpectedValue::Bytes(text.as_str().into()));
        return Some(ExpectedOutput { position, value, ..ExpectedOutput::default() });
    }
    let fields = Fields::read(report, node, what, known)?;
    let value = match (bytes(report, &fields, "value-base64"), fields.get("value")) {
        (Some(bytes), _) => Some(bytes.map_or(ExpectedValue::Null, ExpectedValue::Bytes)),
        (None, None) => None,
        (None, Some(Node { value: Value::Null, .. })) => Some(ExpectedValue::Null),
        (None, Some(Node { value: Value::Text(text), .. })) => Some(ExpectedValue::Bytes(text.as_str().into())),
        (None, Some(node)) => Some(ExpectedValue::Json(json(report, node, what))),
    };
    let timestamp = match fields.get("timestamp").map(|node| &node.value) {
        Some(Value::Null) => Some(None),
        _ => time(report, &fields, "timestamp").map(Some),
    };
    Some(ExpectedOutput {
        position,
        value,
        key: bytes(report, &fields, "key-base64").or_else(|| scalar(report, &fields, "key")),
        timestamp,
        headers: headers(report, &fields),
        port: fields.text(report, "port").map(|port| port.value.to_owned()),
    })
}

/// The bytes of a field in base64; the inner `None` for null.
fn bytes(report: &mut Report, fields: &Fields, name: &str) -> Option<Option<Blob>> {
    let node = fields.get(name)?;
    match &node.value {
        Value::Null => Some(None),
        Value::Text(text) => match STANDARD.decode(text) {
            Ok(bytes) => Some(Some(Blob(bytes))),
            Err(error) => {
                let message = format!("{} of {} is no base64: {error}", quoted(name), fields.what());
                report.error(Code::InvalidValue, node.position, message);
                None
            }
        },
        other => {
            let message = format!("{} of {} must be text, found {}", quoted(name), fields.what(), other.described());
            report.error(Code::WrongType, node.position, message);
            None
        }
    }
}

/// The text of a field, whatever scalar it is; the inner `None` for null.
fn scalar(report: &mut Report, fields: &Fields, name: &str) -> Option<Option<Blob>> {
    let node = fields.get(name)?;
    text_of(report, node, name, fields.what()).map(|text| text.map(|text| text.as_str().into()))
}

fn text_of(report: &mut Report, node: &Node, name: &str, what: &str) -> Option<Option<String>> {
    Some(match &node.value {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Unsigned(value) => Some(value.to_string()),
        Value::Negative(value) => Some(value.to_string()),
        Value::Float(_) | Value::List(_) | Value::Map(_) => {
            let message = format!("{} of {what} must be text, found {}", quoted(name), node.value.described());
            report.error_with(Code::WrongType, node.position, message, "put it in quotes");
            return None;
        }
    })
}

fn headers(report: &mut Report, fields: &Fields) -> Option<Vec<(String, Option<Blob>)>> {
    let node = fields.get("headers")?;
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Null => &[],
        other => {
            let message = format!("\"headers\" of {} must be a map, found {}", fields.what(), other.described());
            report.error(Code::WrongType, node.position, message);
            return None;
        }
    };
    let mut headers = Vec::new();
    for entry in entries {
        let value = text_of(report, &entry.value, &entry.key, "headers")?;
        headers.push((entry.key.clone(), value.map(|text| text.as_str().into())));
    }
    Some(headers)
}

fn expected(report: &mut Report, node: &Node) -> Option<Expected> {
    let fields = Fields::read(report, node, "expect", &["output", "rejects", "state", "error"])?;
    let output = list(report, &fields, "output").map(|nodes| {
        nodes.iter().filter_map(|node| output(report, node, "a record of the output", &OUTPUT_FIELDS)).collect()
    });
    let rejects =
        list(report, &fields, "rejects").map(|nodes| nodes.iter().filter_map(|node| reject(report, node)).collect());
    let state = fields.get("state").map(|node| state(report, node));
    let error = fields.text(report, "error").map(|error| error.value.to_owned());
    Some(Expected { output, rejects, state: state.unwrap_or(None), error })
}

fn reject(report: &mut Report, node: &Node) -> Option<ExpectedReject> {
    let fields = Fields::read(report, node, "a reject", &["input", "code", "message"])?;
    fields.require(report, "input", "input: 0")?;
    let input = fields.number(report, "input", 0..=u64::from(u32::MAX))?;
    let text = |report: &mut Report, name: &str| fields.text(report, name).map(|text| text.value.to_owned());
    Some(ExpectedReject { input: input as usize, code: text(report, "code"), message: text(report, "message") })
}

fn state(report: &mut Report, node: &Node) -> Option<Vec<(String, String, Json)>> {
    let map = |report: &mut Report, node: &Node, what: &str| match &node.value {
        Value::Map(_) => true,
        other => {
            let message = format!("{what} must be a map, found {}", other.described());
            report.error(Code::WrongType, node.position, message);
            false
        }
    };
    let mut all = Vec::new();
    if !map(report, node, "\"state\", from keys to states,") {
        return None;
    }
    let Value::Map(keys) = &node.value else { return None };
    for key in keys {
        if !map(report, &key.value, &format!("the state of key {}, from names to contents,", quoted(&key.key))) {
            continue;
        }
        let Value::Map(states) = &key.value.value else { continue };
        for entry in states {
            all.push((key.key.clone(), entry.key.clone(), json(report, &entry.value, "the test file")));
        }
    }
    Some(all)
}
