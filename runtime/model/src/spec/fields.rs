//! Typed reading of a map's fields. Everything wrong is reported and reading goes on, so that a user sees all errors of
//! a file at once; a reader returns `None` for what is absent and for what it has reported.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::report::Report;
use super::trace::Shape;
use super::yaml::{Entry, Node, Value};
use crate::diagnostic::{Code, Located, Position};
use crate::nearest::{nearest, quoted};
use crate::quantity::{ByteSize, parse_duration};

/// The fields of one map, checked against the names that it may have.
pub(crate) struct Fields<'n> {
    /// What the map describes, for messages: `operator "counts"`.
    what: String,
    position: Position,
    entries: Vec<&'n Entry>,
}

impl<'n> Fields<'n> {
    /// Reads `node` as a map whose field names are all in `known`; nothing at all counts as an empty map.
    pub fn read(report: &mut Report, node: &'n Node, what: &str, known: &[&str]) -> Option<Self> {
        report.saw_map(node.position, known);
        let mut fields = Self { what: what.into(), position: node.position, entries: Vec::new() };
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            other => {
                let message = format!("{what} must be a map, found {}", other.described());
                report.error_with(Code::WrongType, node.position, message, known_fields(known));
                return None;
            }
        };
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let hint = match nearest(&entry.key, known.iter().copied()) {
                    Some(name) => format!("did you mean {}?", quoted(name)),
                    None => known_fields(known),
                };
                let message = format!("unknown field {} in {what}", quoted(&entry.key));
                report.error_with(Code::UnknownField, entry.position, message, hint);
            } else if let Some(first) = fields.entry(&entry.key) {
                let message = format!("field {} given twice in {what}", quoted(&entry.key));
                let hint = format!("first given on line {}", first.position.line);
                report.error_with(Code::Duplicate, entry.position, message, hint);
            } else {
                fields.entries.push(entry);
            }
        }
        Some(fields)
    }

    /// Where the map begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What the map describes.
    pub fn what(&self) -> &str {
        &self.what
    }

    pub fn entry(&self, name: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == name).copied()
    }

    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// The field, or an error that shows how to add it.
    pub fn require(&self, report: &mut Report, name: &str, example: &str) -> Option<&'n Node> {
        report.saw_required(self.position, name);
        let node = self.get(name);
        if node.is_none() {
            let message = format!("{} has no {}", self.what, quoted(name));
            report.error_with(Code::MissingField, self.position, message, format!("add for example `{example}`"));
        }
        node
    }

    fn wrong_type(&self, report: &mut Report, name: &str, node: &Node, expected: &str) {
        let message = format!("{} of {} must be {expected}, found {}", quoted(name), self.what, node.value.described());
        let number = matches!(node.value, Value::Bool(_) | Value::Unsigned(_) | Value::Negative(_) | Value::Float(_));
        if number && expected.starts_with("text") {
            report.error_with(Code::WrongType, node.position, message, "put it in quotes");
        } else {
            report.error(Code::WrongType, node.position, message);
        }
    }

    fn invalid(&self, report: &mut Report, name: &str, at: Position, why: &str) {
        let message = format!("{} of {}: {why}", quoted(name), self.what);
        report.error(Code::InvalidValue, at, message);
    }

    fn as_text(&self, report: &mut Report, name: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) if text.trim().is_empty() => {
                self.invalid(report, name, node.position, "must not be empty");
                None
            }
            Value::Text(text) => Some(text),
            _ => {
                self.wrong_type(report, name, node, "text");
                None
            }
        }
    }

    /// Text that is not empty.
    pub fn text(&self, report: &mut Report, name: &str) -> Option<Located<&'n str>> {
        report.saw(self.position, name, || Shape::Text);
        self.text_unseen(report, name)
    }

    fn text_unseen(&self, report: &mut Report, name: &str) -> Option<Located<&'n str>> {
        let node = self.get(name)?;
        Some(Located { value: self.as_text(report, name, node)?, position: node.position })
    }

    /// Text that must be there and not be empty.
    pub fn required_text(&self, report: &mut Report, name: &str, example: &str) -> Option<Located<&'n str>> {
        self.require(report, name, example).and_then(|_| self.text(report, name))
    }

    /// A path that must be there.
    pub fn required_path(&self, report: &mut Report, name: &str, example: &str) -> Option<Located<PathBuf>> {
        let text = self.required_text(report, name, example)?;
        if text.value.contains('\0') {
            self.invalid(report, name, text.position, "a path can't contain a zero byte");
            return None;
        }
        Some(Located { value: PathBuf::from(text.value), position: text.position })
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, report: &mut Report, name: &str, choices: &[(&str, T)]) -> Option<T> {
        report.saw(self.position, name, || Shape::Words(choices.iter().map(|(word, _)| (*word).to_owned()).collect()));
        let text = self.text_unseen(report, name)?;
        let found = choices.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
        if found.is_none() {
            let words = || choices.iter().map(|(word, _)| *word);
            let message = format!("{} is no {} of {}", quoted(text.value), quoted(name), self.what);
            let hint = match nearest(text.value, words()) {
                Some(word) => format!("did you mean {}?", quoted(word)),
                None => format!("write {}", words().map(quoted).collect::<Vec<_>>().join(" or ")),
            };
            report.error_with(Code::InvalidValue, text.position, message, hint);
        }
        found
    }

    /// A whole number in `range`.
    pub fn number(&self, report: &mut Report, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        report.saw(self.position, name, || Shape::Number(range.clone()));
        let node = self.get(name)?;
        let out_of_range = match node.value {
            Value::Unsigned(number) if range.contains(&number) => return Some(number),
            Value::Unsigned(_) | Value::Negative(_) => true,
            _ => false,
        };
        if out_of_range {
            let bounds = match (*range.start(), *range.end()) {
                (least, u64::MAX) => format!("at least {least}"),
                (least, most) => format!("{least} to {most}"),
            };
            let why = format!("must be {bounds}, found {}", node.value.described());
            let message = format!("{} of {} {why}", quoted(name), self.what);
            report.error(Code::InvalidValue, node.position, message);
        } else {
            self.wrong_type(report, name, node, "a whole number");
        }
        None
    }

    /// A byte size in `range`: `64Mi`, or a plain number of bytes.
    pub fn bytes(&self, report: &mut Report, name: &str, range: RangeInclusive<ByteSize>) -> Option<ByteSize> {
        report.saw(self.position, name, || Shape::Bytes(range.clone()));
        let node = self.get(name)?;
        let size = match &node.value {
            Value::Unsigned(bytes) => ByteSize(*bytes),
            Value::Text(text) => self.parsed(report, name, node.position, text)?,
            _ => {
                self.wrong_type(report, name, node, "a byte size such as 64Mi");
                return None;
            }
        };
        if !range.contains(&size) {
            let why = format!("must be {} to {}, found {size}", range.start(), range.end());
            let message = format!("{} of {} {why}", quoted(name), self.what);
            report.error(Code::InvalidValue, node.position, message);
            return None;
        }
        Some(size)
    }

    /// A duration of more than nothing: `500ms`.
    pub fn duration(&self, report: &mut Report, name: &str) -> Option<Duration> {
        report.saw(self.position, name, || Shape::Duration);
        let node = self.get(name)?;
        let Value::Text(text) = &node.value else {
            self.wrong_type(report, name, node, "a duration such as 500ms");
            return None;
        };
        match parse_duration(text) {
            Ok(duration) if !duration.is_zero() => Some(duration),
            Ok(_) => {
                self.invalid(report, name, node.position, "must be more than 0");
                None
            }
            Err(error) => {
                self.invalid(report, name, node.position, &error.to_string());
                None
            }
        }
    }

    fn parsed<T: FromStr<Err: ToString>>(
        &self,
        report: &mut Report,
        name: &str,
        at: Position,
        text: &str,
    ) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.invalid(report, name, at, &error.to_string())).ok()
    }

    /// Text that `T` can be read from.
    pub fn parse<T: FromStr<Err: ToString>>(&self, report: &mut Report, name: &str) -> Option<Located<T>> {
        let text = self.text(report, name)?;
        Some(Located { value: self.parsed(report, name, text.position, text.value)?, position: text.position })
    }

    /// One text or a list of texts.
    pub fn texts(&self, report: &mut Report, name: &str) -> Option<Vec<Located<&'n str>>> {
        report.saw(self.position, name, || Shape::Texts);
        let node = self.get(name)?;
        match &node.value {
            Value::List(nodes) if !nodes.is_empty() => Some(
                nodes
                    .iter()
                    .filter_map(|n| Some(Located { value: self.as_text(report, name, n)?, position: n.position }))
                    .collect(),
            ),
            Value::Text(_) => self.text_unseen(report, name).map(|text| vec![text]),
            Value::List(_) => {
                self.invalid(report, name, node.position, "must not be empty");
                None
            }
            _ => {
                self.wrong_type(report, name, node, "text or a list of texts");
                None
            }
        }
    }
}

fn known_fields(known: &[&str]) -> String {
    match known {
        [] => "it has no fields".into(),
        _ => format!("its fields: {}", known.join(", ")),
    }
}
