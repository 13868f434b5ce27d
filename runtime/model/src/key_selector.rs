//! What `key:` says: where the key of a keyed operator comes from. Evaluating it is the data plane's work.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::nearest::quoted;

/// The longest `key:` text, in bytes.
pub const SELECTOR_MAX: usize = 1024;

/// Where the grouping key of a record comes from. The key so found replaces the record's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeySelector {
    /// `$key`: the record's own key.
    Record,
    /// `$value`: the whole value, byte for byte.
    Value,
    /// A field of the JSON value, by its path from the outside in; never empty, no segment empty. Strings count as
    /// their text, numbers in canonical form (`1.0` as `1`), booleans as `true` and `false`; a record whose field is
    /// missing, null or an object is rejected.
    Field(Vec<String>),
}

/// Why a text is no key selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `$` and something else than `key` or `value`.
    #[error(
        "{} is no key; \"$key\" is the record's key, \"$value\" its value, anything else a field like customer.id",
        quoted(_0)
    )]
    Special(String),
    /// Empty, or with an empty segment: `a..b`.
    #[error("{} is no field path; write names with single dots between them, like customer.id", quoted(_0))]
    EmptySegment(String),
    /// Longer than [`SELECTOR_MAX`].
    #[error("a key of {0} bytes is too long; at most 1024 are allowed")]
    TooLong(usize),
}

impl FromStr for KeySelector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "$key" => Ok(Self::Record),
            "$value" => Ok(Self::Value),
            _ if text.len() > SELECTOR_MAX => Err(Error::TooLong(text.len())),
            _ if text.starts_with('$') => Err(Error::Special(text.into())),
            _ if text.split('.').any(str::is_empty) => Err(Error::EmptySegment(text.into())),
            _ => Ok(Self::Field(text.split('.').map(str::to_owned).collect())),
        }
    }
}

impl fmt::Display for KeySelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => f.write_str("$key"),
            Self::Value => f.write_str("$value"),
            Self::Field(path) => f.write_str(&path.join(".")),
        }
    }
}

impl TryFrom<String> for KeySelector {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<KeySelector> for String {
    fn from(selector: KeySelector) -> Self {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        let field = |path: &[&str]| Ok(KeySelector::Field(path.iter().map(|s| s.to_string()).collect()));
        let check = |text: &str, expect: Result<KeySelector, Error>| {
            let selector = text.parse::<KeySelector>();
            assert_eq!(selector, expect);
            if let Ok(selector) = selector {
                assert_eq!(selector.to_string(), text);
            }
        };
        check("$key", Ok(KeySelector::Record));
        check("$value", Ok(KeySelector::Value));
        check("customer", field(&["customer"]));
        check("customer.id", field(&["customer", "id"]));
        check("größe", field(&["größe"]));
        check("$keys", Err(Error::Special("$keys".into())));
        check("", Err(Error::EmptySegment(String::new())));
        check("a..b", Err(Error::EmptySegment("a..b".into())));
        check(".a", Err(Error::EmptySegment(".a".into())));
        check(&"x".repeat(1025), Err(Error::TooLong(1025)));
    }
}
