//! The value template of the generator: text with `{{seq}}` and `{{key}}` in it.

use std::fmt;
use std::str::FromStr;

use crate::nearest::{nearest, quoted};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Text as it is.
    Text(String),
    /// `{{seq}}`: the number of the record, from 0.
    Sequence,
    /// `{{key}}`: the key of the record, as text.
    Key,
}

/// A template, cut into its parts once, so that filling it costs only copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// No two texts side by side, none empty.
    parts: Vec<Part>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `{{` and no `}}` after it.
    #[error("\"{{{{\" without \"}}}}\" after it; write {{{{seq}}}} or {{{{key}}}}")]
    Open,
    /// A placeholder that does not exist.
    #[error("unknown placeholder {}; {}", quoted(_0), match nearest(_0, ["seq", "key"]) {
        Some(word) => format!("did you mean {{{{{word}}}}}?"),
        None => "there are {{seq}} and {{key}}".into(),
    })]
    Unknown(String),
}

impl Template {
    /// Appends the value of record number `sequence` with `key` to `out`.
    pub fn fill(&self, sequence: u64, key: &str, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Sequence => {
                    use std::io::Write;
                    write!(out, "{sequence}").expect("a vector takes every write");
                }
                Part::Key => out.extend_from_slice(key.as_bytes()),
            }
        }
    }
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or(Error::Open)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(match name.trim() {
                "seq" => Part::Sequence,
                "key" => Part::Key,
                other => return Err(Error::Unknown(other.into())),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Sequence => f.write_str("{{seq}}"),
            Part::Key => f.write_str("{{key}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills() {
        let check = |template: &str, expect: &str| {
            let template: Template = template.parse().expect("a good template");
            let mut out = Vec::new();
            template.fill(7, "k3", &mut out);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), expect);
        };
        check(r#"{"id": {{seq}}, "key": "{{ key }}"}"#, r#"{"id": 7, "key": "k3"}"#);
        check(r#"{"a": {"b": {{seq}}}}"#, r#"{"a": {"b": 7}}"#);
        check("", "");
        check("{{seq}}{{seq}}", "77");
        check("no placeholder }}", "no placeholder }}");
    }

    #[test]
    fn refuses() {
        let check = |template: &str, expect: &str| {
            assert_eq!(template.parse::<Template>().expect_err("a bad template").to_string(), expect);
        };
        check("{{seq", r#""{{" without "}}" after it; write {{seq}} or {{key}}"#);
        check("{{sqe}}", r#"unknown placeholder "sqe"; did you mean {{seq}}?"#);
        check("{{now}}", r#"unknown placeholder "now"; there are {{seq}} and {{key}}"#);
    }
}
