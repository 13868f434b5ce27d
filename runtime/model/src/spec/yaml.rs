//! YAML text → a tree of nodes that know their place. Knows nothing of pipelines.
//!
//! The tree is bounded before it is built: bytes, depth, nodes and what aliases expand to. It must never panic,
//! whatever the bytes.

use std::fmt;
use std::io::{self, Read};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::localizer::ExternalMessageSource;
use serde_saphyr::{DuplicateKeyPolicy, Error as YamlError, Location, Spanned};

use crate::diagnostic::{Code, Diagnostic, Position};
use crate::nearest::quoted;

/// The largest pipeline file, in bytes.
pub const FILE_MAX: usize = 10 << 20;

/// All of a file that may have [`FILE_MAX`] bytes, or one more than that: what is longer is refused when it is parsed, and a
/// device has no end.
pub fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
const DEPTH_MAX: usize = 48;
const NODES_MAX: usize = 100_000;
/// Text that aliases repeat counts each time.
const TEXT_MAX: usize = 20 << 20;
const REPLAYED_MAX: usize = 20_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub position: Position,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key may come twice.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub position: Position,
    pub value: Node,
}

/// Reads one YAML document.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Node, Diagnostic> {
    if bytes.len() > FILE_MAX {
        let mib = bytes.len().div_ceil(1 << 20);
        return Err(Diagnostic::error(Code::TooLarge, file, None, format!("the file has {mib} MiB"))
            .hint("a pipeline file may have 10 MiB; put data beside it"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Diagnostic::error(Code::Syntax, file, end_of(&good), "not UTF-8 text").hint("save the file as UTF-8")
    })?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_total_scalar_bytes: TEXT_MAX,
            max_documents: 2,
            flow_nesting_limit: DEPTH_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_MAX,
        },
        // Found later, together with all other errors.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(file, &error))
}

fn explain(file: &str, error: &YamlError) -> Diagnostic {
    let error = error.without_snippet();
    let position = error.location().filter(|l| *l != Location::UNKNOWN).map(position);
    let at = |code, message: &str| Diagnostic::error(code, file, position, message);
    let too_much = || {
        at(Code::TooLarge, "the file is nested too deeply or too large with its aliases")
            .hint(format!("at most {DEPTH_MAX} levels, {NODES_MAX} values and 20 MiB of text are read"))
    };
    match error {
        YamlError::AliasError { error, .. } => explain(file, error),
        YamlError::Budget { .. } => too_much(),
        YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasReplayCounterOverflow { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. } => {
            at(Code::TooLarge, "the aliases of the file expand to too much").hint("write the values out")
        }
        YamlError::MultipleDocuments { .. } => at(Code::Syntax, "more than one YAML document")
            .hint("one file holds one pipeline; remove what follows \"---\""),
        YamlError::NullIntoString { .. } | YamlError::Unexpected { expected: "string scalar", .. } => {
            at(Code::WrongType, "a field name must be text")
        }
        YamlError::RecursiveReferencesRequireWeakTypes { .. } => at(Code::Syntax, "the anchor contains itself"),
        YamlError::UnknownAnchor { .. } => at(Code::Syntax, "the alias has no anchor before it"),
        YamlError::UnsupportedTag { tag, .. } => {
            at(Code::Syntax, &format!("the tag {} has no meaning here", quoted(tag))).hint("remove it")
        }
        YamlError::ExternalMessage { source, .. } if is_depth(source) => too_much(),
        YamlError::ExternalMessage { msg, .. } => at(Code::Syntax, &format!("not YAML: {}", one_line(msg))),
        YamlError::Message { msg, .. } => at(Code::Syntax, &one_line(msg)),
        YamlError::NonFiniteFloat { value, .. } => {
            at(Code::InvalidValue, &format!("{} is no finite number", quoted(value))).hint("put text in quotes")
        }
        other => at(Code::Syntax, &format!("not YAML: {}", without_place(&one_line(&other.to_string())))),
    }
}

/// The scanner looks ahead, so it meets deep brackets before the budget counts them.
fn is_depth(source: &ExternalMessageSource) -> bool {
    matches!(source, ExternalMessageSource::Parser(error) if matches!(error.kind(), ErrorKind::RecursionLimitExceeded))
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

/// The YAML crate ends its texts with "at line 3, column 5"; the place is told once, in front.
fn without_place(text: &str) -> &str {
    text.rfind(" at line ").map_or(text, |end| &text[..end])
}

fn position(location: Location) -> Position {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    Position { line: number(location.line()), column: number(location.column()) }
}

fn end_of(text: &str) -> Position {
    let lines = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Position { line: lines as u32, column: column as u32 }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { position: position(defined), value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Negative(value), Value::Unsigned))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value()?;
            entries.push(Entry { key: key.value, position: position(key.defined), value });
        }
        Ok(Value::Map(entries))
    }
}

impl Value {
    /// As the end of a sentence: "found …".
    pub fn described(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(value) => value.to_string(),
            Self::Unsigned(value) => format!("the number {value}"),
            Self::Negative(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text {}", quoted(text)),
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a map".into(),
        }
    }
}
