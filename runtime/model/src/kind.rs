//! What a component turned out to be, as its `describe` said.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of an operator: which interface of `flow:operator` its component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorKind {
    /// One record in, one record out.
    Map,
    /// One record in, the same record or nothing out.
    Filter,
    /// One record in, any number out.
    FlatMap,
    /// Keyed: any number out, with state per key. Needs `key:`.
    Process,
}

impl OperatorKind {
    /// Has state per key, and so a key.
    pub fn is_keyed(self) -> bool {
        self == Self::Process
    }

    /// `map`, `filter`, `flat-map` or `process`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Filter => "filter",
            Self::FlatMap => "flat-map",
            Self::Process => "process",
        }
    }
}

impl fmt::Display for OperatorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
