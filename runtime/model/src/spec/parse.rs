//! The tree of a pipeline file → [`Pipeline`]: the file's own fields, names and operators.

use std::collections::HashMap;

use super::checkpoint;
use super::fields::Fields;
use super::on_error;
use super::parse_connector;
use super::report::Report;
use super::trace::Shape;
use super::yaml::{self, Entry, Node, Value};
use super::{
    API_VERSION, DEAD_LETTER, Delivery, Input, Limits, OPERATORS_MAX, Operator, PARALLELISM_MAX, Pipeline, SOURCES_MAX,
    Sink, SinkConnector,
};
use crate::diagnostic::{Code, Diagnostic, Error, Located, Position, Severity};
use crate::graph::{self, Declared, Role};
use crate::ids::{self, OperatorName, PipelineName};
use crate::key_group::{KeyGroups, MAX_KEY_GROUPS};
use crate::key_selector::KeySelector;
use crate::nearest::quoted;
use crate::quantity::ByteSize;

const FILE_FIELDS: [&str; 11] = [
    "apiVersion",
    "kind",
    "metadata",
    "parallelism",
    "key-groups",
    "state",
    "checkpoint",
    "restart",
    "sources",
    "operators",
    "sinks",
];
const OPERATOR_FIELDS: [&str; 8] =
    ["component", "from", "parallelism", "key", "config", "on-error", "limits", "grants"];
const LIMITS: [&str; 5] = ["memory", "time-per-batch", "output-per-batch", "state-per-key", "log-rate"];
const DEFAULT_CACHE: ByteSize = ByteSize::mebibytes(256);

/// What all sources, operators and sinks inherit.
pub(super) struct Defaults {
    pub parallelism: u32,
    pub key_groups: KeyGroups,
}

pub(super) fn pipeline(file: &str, bytes: &[u8]) -> Result<Pipeline, Error> {
    let root = yaml::read(file, bytes)?;
    if root.value == Value::Null {
        return Err(Diagnostic::error(Code::Empty, file, None, "the file is empty")
            .hint(format!("begin with `apiVersion: {API_VERSION}` and `kind: Pipeline`"))
            .into());
    }
    let mut report = Report::new(file);
    let pipeline = read(&mut report, &root);
    let (errors, warnings) = report.finish().into_iter().partition::<Vec<_>, _>(|d| d.severity == Severity::Error);
    match pipeline {
        Some(pipeline) if errors.is_empty() => Ok(Pipeline { warnings, ..pipeline }),
        _ => Err(Error { diagnostics: errors }),
    }
}

/// `None` only after an error was reported.
pub(super) fn read(report: &mut Report, root: &Node) -> Option<Pipeline> {
    let fields = Fields::read(report, root, "the pipeline", &FILE_FIELDS)?;
    constant(report, &fields, "apiVersion", API_VERSION);
    constant(report, &fields, "kind", "Pipeline");
    let name = fields
        .require(report, "metadata", "metadata: {name: my-pipeline}")
        .and_then(|node| Fields::read(report, node, "metadata", &["name"]))
        .and_then(|fields| fields.required_text(report, "name", "name: my-pipeline"))
        .and_then(|name| named(report, name, |text| PipelineName::new(text)));
    let key_groups = fields.number(report, "key-groups", 1..=MAX_KEY_GROUPS.into());
    let defaults = Defaults {
        parallelism: parallelism(report, &fields, 1),
        key_groups: key_groups.and_then(|n| KeyGroups::new(n).ok()).unwrap_or_default(),
    };
    let cache = fields
        .get("state")
        .and_then(|node| Fields::read(report, node, "state", &["cache"]))
        .and_then(|fields| fields.bytes(report, "cache", ByteSize(1)..=ByteSize(1 << 40)));

    let checkpoint = fields.get("checkpoint").and_then(|node| checkpoint::checkpointing(report, node));
    let restart = fields.get("restart").and_then(|node| checkpoint::restart(report, node));

    let sources = section(report, &fields, "sources");
    let operators = section(report, &fields, "operators");
    let sinks = section(report, &fields, "sinks");
    require_some(report, sources, "sources", "sources: {in: {files: {path: ./input}}}");
    require_some(report, sinks, "sinks", "sinks: {out: {stdout: {}, from: in}}");
    let (sources, operators, sinks) = (sources?, operators?, sinks?);
    let count = sources.len() + operators.len() + sinks.len();
    if count > OPERATORS_MAX {
        let message = format!("the pipeline has {count} sources, operators and sinks");
        let hint = format!("at most {OPERATORS_MAX} are possible; split it");
        report.push(Diagnostic::error(Code::TooLarge, report.file(), None, message).hint(hint));
        return None;
    }
    if sources.len() > SOURCES_MAX {
        let message = format!("the pipeline has {} sources", sources.len());
        let hint = format!("at most {SOURCES_MAX} are possible; split it, or let one read a pattern");
        report.push(Diagnostic::error(Code::TooLarge, report.file(), None, message).hint(hint));
        return None;
    }
    let declared = declare(report, [sources, operators, sinks]);
    let sources = all(sources, |entry| parse_connector::source(report, entry, &defaults));
    let operators = all(operators, |entry| operator(report, entry, &defaults));
    let sinks = all(sinks, |entry| parse_connector::sink(report, entry, &defaults));
    if checkpoint.is_none() {
        refuse_exactly_once(report, &sinks);
    }
    Some(Pipeline {
        sources,
        operators,
        sinks,
        graph: graph::connect(report, &declared)?,
        name: name?,
        file: report.file().into(),
        directory: std::path::PathBuf::new(),
        key_groups: defaults.key_groups,
        cache: cache.unwrap_or(DEFAULT_CACHE),
        checkpoint,
        restart: restart.unwrap_or_default(),
        warnings: Vec::new(),
    })
}

/// What is written once has to travel in checkpoints first.
fn refuse_exactly_once(report: &mut Report, sinks: &[Sink]) {
    for sink in sinks {
        if let SinkConnector::Kafka(kafka) = &sink.connector
            && kafka.delivery.value == Delivery::ExactlyOnce
        {
            let message = format!("sink \"{}\" can't deliver exactly-once without checkpoints", sink.name);
            let hint =
                "add for example `checkpoint: {interval: 1s}` to the pipeline, or write `delivery: at-least-once`";
            report.error_with(Code::InvalidValue, kafka.delivery.position, message, hint);
        }
    }
}

fn all<'n, T>(entries: &'n [Entry], read: impl FnMut(&'n Entry) -> Option<T>) -> Vec<T> {
    entries.iter().filter_map(read).collect()
}

fn constant(report: &mut Report, fields: &Fields, name: &str, value: &str) {
    let example = format!("{name}: {value}");
    report.saw(fields.position(), name, || Shape::Words(vec![value.to_owned()]));
    if let Some(text) = fields.required_text(report, name, &example).filter(|text| text.value != value) {
        let message = format!("{} must be {value}, found {}", quoted(name), quoted(text.value));
        report.error_with(Code::InvalidValue, text.position, message, format!("write `{example}`"));
    }
}

/// The entries of a section, none if it is left out; `None` after an error.
fn section<'n>(report: &mut Report, fields: &Fields<'n>, name: &str) -> Option<&'n [Entry]> {
    report.saw(fields.position(), name, || Shape::Named);
    match fields.get(name).map(|node| (node, &node.value)) {
        Some((_, Value::Map(entries))) => Some(entries),
        None | Some((_, Value::Null)) => Some(&[]),
        Some((node, other)) => {
            let message = format!("{} must be a map from names, found {}", quoted(name), other.described());
            report.error(Code::WrongType, node.position, message);
            None
        }
    }
}

fn require_some(report: &mut Report, section: Option<&[Entry]>, name: &str, example: &str) {
    if section.is_some_and(<[Entry]>::is_empty) {
        let message = format!("the pipeline has no {name}");
        let hint = format!("add for example `{example}`");
        report.push(Diagnostic::error(Code::Empty, report.file(), None, message).hint(hint));
    }
}

/// Collects what the graph needs of each source, operator and sink, also of those that have errors, and checks that
/// names are good and unique.
fn declare<'n>(report: &mut Report, sections: [&'n [Entry]; 3]) -> Vec<Declared<'n>> {
    let roles = [Role::Source as fn(usize) -> Role, Role::Operator, Role::Sink];
    let mut declared: Vec<Declared> = Vec::new();
    let mut places: HashMap<&str, (Role, Position)> = HashMap::new();
    for (entries, role) in sections.into_iter().zip(roles) {
        for (index, entry) in entries.iter().enumerate() {
            let (name, position, role) = (entry.key.as_str(), entry.position, role(index));
            named(report, Located { value: name, position }, |text| OperatorName::new(text));
            if name == DEAD_LETTER {
                let message = format!("{} can't be a name: sinks read dead letters by it", quoted(name));
                report.error_with(Code::InvalidValue, position, message, "choose another name");
            }
            if let Some((first, at)) = places.get(name) {
                let message = format!("duplicate name {}: {first} on line {} has it", quoted(name), at.line);
                report.error_with(Code::Duplicate, position, message, "choose another name");
            } else {
                places.insert(name, (role, position));
                let (from, mut dead_letters) = (inputs(&entry.value), on_error::dead_letters(&entry.value));
                if let (Role::Sink(_), Some(position)) = (role, dead_letters)
                    && from.iter().any(|input| matches!(Input::of(input.value), Some(Input::DeadLetters(_))))
                {
                    let message = format!("sink {} takes dead letters, and would send some itself", quoted(name));
                    report.error_with(Code::DeadLetter, position, message, "write `fail` or `skip`");
                    dead_letters = None;
                }
                declared.push(Declared { name, position, role, from, dead_letters });
            }
        }
    }
    declared
}

/// What `from:` names, as far as it can be read; what is wrong with it is told elsewhere.
fn inputs(node: &Node) -> Vec<Located<&str>> {
    fn text(node: &Node) -> Option<Located<&str>> {
        match &node.value {
            Value::Text(text) if !text.trim().is_empty() => Some(Located { value: text, position: node.position }),
            _ => None,
        }
    }
    let Value::Map(entries) = &node.value else { return Vec::new() };
    match entries.iter().find(|entry| entry.key == "from").map(|entry| &entry.value) {
        Some(Node { value: Value::List(nodes), .. }) => nodes.iter().filter_map(text).collect(),
        Some(node) => text(node).into_iter().collect(),
        None => Vec::new(),
    }
}

fn named<T>(report: &mut Report, text: Located<&str>, new: fn(&str) -> Result<T, ids::Error>) -> Option<T> {
    let error = match new(text.value) {
        Ok(name) => return Some(name),
        Err(error) => error,
    };
    let plain: String =
        text.value.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    match plain.trim_matches('-') {
        name if new(name).is_ok() => {
            report.error_with(Code::InvalidValue, text.position, error.to_string(), format!("write {}", quoted(name)));
        }
        _ => report.error(Code::InvalidValue, text.position, error.to_string()),
    }
    None
}

/// `from:` of an operator or a sink: each text as what `read` makes of it, without those that it makes nothing of. That the
/// names exist is the graph's to check.
pub(super) fn from<T>(
    report: &mut Report,
    fields: &Fields,
    read: impl Fn(&str) -> Option<T>,
) -> Option<Vec<Located<T>>> {
    fields.require(report, "from", "from: some-source")?;
    let located = |text: Located<&str>| Some(Located { value: read(text.value)?, position: text.position });
    Some(fields.texts(report, "from")?.into_iter().filter_map(located).collect())
}

/// `parallelism:`, or the default.
pub(super) fn parallelism(report: &mut Report, fields: &Fields, default: u32) -> u32 {
    let number = fields.number(report, "parallelism", 1..=PARALLELISM_MAX.into());
    number.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
}

/// The name of an entry whose name was checked before; `None` if it is not good.
pub(super) fn name(entry: &Entry) -> Option<OperatorName> {
    OperatorName::new(entry.key.as_str()).ok()
}

/// `None` only after an error was reported.
fn operator(report: &mut Report, entry: &Entry, defaults: &Defaults) -> Option<Operator> {
    let what = format!("operator {}", quoted(&entry.key));
    let fields = Fields::read(report, &entry.value, &what, &OPERATOR_FIELDS)?;
    let component = fields.required_path(report, "component", "component: ./operator.wasm");
    let from = from(report, &fields, |name| OperatorName::new(name).ok());
    let parallelism = parallelism(report, &fields, defaults.parallelism);
    let key = fields.parse::<KeySelector>(report, "key");
    let groups = defaults.key_groups.get();
    if key.is_some() && parallelism > groups.into() {
        let at = fields.get("parallelism").map_or(entry.position, |node| node.position);
        let message = format!("{what} has parallelism {parallelism}, more than the {groups} key groups");
        let hint = format!("write at most `parallelism: {groups}`, or more `key-groups`");
        report.error_with(Code::InvalidValue, at, message, hint);
    }
    report.saw(fields.position(), "config", || Shape::Any);
    let config = match fields.get("config") {
        Some(node) => Located { value: json(report, node, &format!("the config of {what}")), position: node.position },
        None => Located { value: serde_json::Value::Null, position: entry.position },
    };
    let on_error = on_error::read(report, &fields);
    let limits = match fields.get("limits") {
        Some(node) => Located { value: limits(report, node, &what).unwrap_or_default(), position: node.position },
        None => Located { value: Limits::default(), position: entry.position },
    };
    grants(report, &fields);
    Some(Operator {
        name: name(entry)?,
        position: entry.position,
        component: component?,
        from: from?,
        parallelism,
        key,
        config,
        on_error: on_error.unwrap_or_default(),
        limits,
    })
}

fn limits(report: &mut Report, node: &Node, what: &str) -> Option<Limits> {
    let what = format!("limits of {what}");
    let fields = Fields::read(report, node, &what, &LIMITS)?;
    let default = Limits::default();
    let memory = fields.bytes(report, "memory", ByteSize(1 << 16)..=ByteSize(1 << 32));
    let time = fields.duration(report, "time-per-batch");
    let output = fields.bytes(report, "output-per-batch", ByteSize(1 << 10)..=ByteSize(1 << 30));
    let state_per_key = fields.bytes(report, "state-per-key", ByteSize(1 << 10)..=ByteSize(1 << 40));
    let log_rate = fields.parse(report, "log-rate").map(|rate| rate.value);
    Some(Limits {
        memory: memory.unwrap_or(default.memory),
        time_per_batch: time.unwrap_or(default.time_per_batch),
        output_per_batch: output.unwrap_or(default.output_per_batch),
        state_per_key,
        log_rate: log_rate.unwrap_or(default.log_rate),
    })
}

/// `grants:` of an operator. An empty one says what is so anyhow.
fn grants(report: &mut Report, fields: &Fields) {
    let Some(node) = fields.get("grants") else { return };
    report.saw_map(node.position, &[]);
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Null => &[],
        other => {
            let message = format!("grants of {} must be a map, found {}", fields.what(), other.described());
            return report.error(Code::WrongType, node.position, message);
        }
    };
    for entry in entries {
        let message =
            format!("{} can't be granted to {}: nothing of the outside can yet", quoted(&entry.key), fields.what());
        let hint = "a component gets its records, its state, its log and the time of each call; remove the grant";
        report.error_with(Code::UnknownField, entry.position, message, hint);
    }
}

/// Any value as JSON; `what` is what it belongs to, for messages. A field given twice is an error; the depth is bounded by the YAML reader.
pub(crate) fn json(report: &mut Report, node: &Node, what: &str) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::from(*value),
        Value::Unsigned(value) => Json::from(*value),
        Value::Negative(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(nodes) => nodes.iter().map(|node| json(report, node, what)).collect(),
        Value::Map(entries) => {
            let mut object = serde_json::Map::new();
            for entry in entries {
                let value = json(report, &entry.value, what);
                if object.insert(entry.key.clone(), value).is_some() {
                    let message = format!("field {} given twice in {what}", quoted(&entry.key));
                    report.error(Code::Duplicate, entry.position, message);
                }
            }
            Json::Object(object)
        }
    }
}
