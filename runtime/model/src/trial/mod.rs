//! Trying an operator out: what a `*.test.yaml` says, and what flowctl and flowd say to each other about it.
//!
//! [`TestFile::parse`] reads the file. For each component flowctl sends one [`Request`] to `flowd trial`, which runs the
//! cases in the sandbox and sends one [`Answer`]; comparing is flowctl's.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kind::OperatorKind;

mod file;

pub use file::{Case, Component, Expected, ExpectedOutput, ExpectedReject, ExpectedValue, TestFile};

/// Bytes of a key, a value or a header. In JSON the text if they are text, else `{"base64": …}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob(pub Vec<u8>);

impl From<&str> for Blob {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Bytes { base64: String },
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Written::Bytes { base64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into_bytes(),
            Written::Bytes { base64 } => STANDARD.decode(base64).map_err(serde::de::Error::custom)?,
        }))
    }
}

/// A record that goes in or comes out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Blob>,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Blob>,
    /// Event time in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// Headers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Option<Blob>)>,
}

/// What flowctl asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// The component's file.
    pub component: String,
    /// What it is tried with, each case on a new operator.
    pub cases: Vec<Trial>,
    /// Repeats each case for so many milliseconds, with other batches and with instances replaced at random.
    #[serde(default)]
    pub soak_ms: Option<u64>,
    /// Where the random choices of a soak begin.
    #[serde(default)]
    pub seed: u64,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trial {
    /// The operator's config.
    pub config: serde_json::Value,
    /// Processing time in milliseconds since the Unix epoch.
    pub now: i64,
    /// The event-time watermark.
    pub watermark: Option<i64>,
    /// What goes in.
    pub input: Vec<Record>,
}

/// What flowd answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answer {
    /// What the component says of itself.
    pub description: Description,
    /// SHA-256 of the component, as hex.
    pub digest: String,
    /// What became of each case; the text is why the operator did not start or stopped the job.
    pub outcomes: Vec<Result<Outcome, String>>,
}

/// What a component says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Description {
    /// Its kind.
    pub kind: OperatorKind,
    /// Names of the columns that it reads.
    pub columns: Vec<String>,
    /// Names of its outputs; the first is the main one.
    pub ports: Vec<String>,
    /// What it keeps by key.
    pub states: Vec<State>,
    /// What of the outside it asks for.
    pub capabilities: Vec<String>,
}

/// A state that an operator declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Its stable name.
    pub name: String,
    /// `value`, `map` or `list`.
    pub kind: String,
    /// The name of its encoding.
    pub encoding: String,
    /// The author's version of that.
    pub version: u32,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} of {}, version {})", self.name, self.kind, self.encoding, self.version)
    }
}

/// What a case gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// What came out, in order, that of the end of the input last.
    pub output: Vec<Emitted>,
    /// What was refused, by input.
    pub rejects: Vec<Reject>,
    /// What the operator logged: level and text.
    pub logs: Vec<(String, String)>,
    /// State after the end, by key (as text, or its base64 with `base64:` in front) and by name, decoded by the state's
    /// encoding.
    pub state: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// How the soak went, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soaked>,
}

/// A record that came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Emitted {
    /// Which of the inputs it belongs to; none if the end of the input emitted it.
    pub input: Option<usize>,
    /// The output port.
    pub port: String,
    /// The record.
    #[serde(flatten)]
    pub record: Record,
}

/// A record that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reject {
    /// Which of the inputs.
    pub input: usize,
    /// The operator's short word, or the engine's, such as `trap`.
    pub code: String,
    /// Its sentence.
    pub message: String,
}

/// How a soak went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Soaked {
    /// How often the whole input went through.
    pub rounds: u64,
    /// Instances that were replaced.
    pub replaced: u64,
    /// Records a second.
    pub records_per_second: f64,
    /// By how many bytes the process grew, the first tenth of the time left out; negative if it shrank.
    pub memory_growth: i64,
    /// The first difference from the first round, as text: the round's number and what differs.
    pub difference: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_json() {
        let check = |bytes: &[u8], json: &str| {
            let blob = Blob(bytes.to_vec());
            assert_eq!(serde_json::to_string(&blob).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Blob>(json).expect("bytes"), blob);
        };
        check(b"", "\"\"");
        check("ä\"".as_bytes(), "\"ä\\\"\"");
        check(b"\xff\0", r#"{"base64":"/wA="}"#);
        assert!(serde_json::from_str::<Blob>(r#"{"base64":"?"}"#).is_err());
    }
}
