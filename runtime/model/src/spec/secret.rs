//! Text of a pipeline file that may refer to what only the machine knows that runs the job: `${env:NAME}`, `${file:PATH}`.
//!
//! Nothing here looks a reference up: that is the worker's, when the job starts. Until then a [`Text`] shows references and
//! hides what stands between them, and what it becomes is a [`Secret`], which shows nothing at all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How a key or a certificate begins that is no path.
pub const PEM: &str = "-----BEGIN ";

/// What a text refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `${env:NAME}`: a variable of flowd's environment.
    Env(String),
    /// `${file:PATH}`: the content of a file that flowd reads, without the end of its last line.
    File(PathBuf),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "${{env:{name}}}"),
            Self::File(path) => write!(f, "${{file:{}}}", path.display()),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    /// As it is.
    Plain(String),
    Reference(Reference),
}

/// Text with references in it, none of them looked up.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// No two plain parts side by side.
    parts: Vec<Part>,
}

/// Why a text is none. It names no part of the text, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `${` and no `}` after it.
    #[error(
        "\"${{\" without \"}}\" after it; write ${{env:NAME}} or ${{file:PATH}}, and $${{ for the characters themselves"
    )]
    Open,
    /// Something else in the braces.
    #[error(
        "\"${{\" that begins no reference; write ${{env:NAME}} or ${{file:PATH}}, and $${{ for the characters themselves"
    )]
    Unknown,
    /// No name that a variable can have.
    #[error("${{env:…}} without the name of a variable: letters, digits and \"_\"")]
    Variable,
    /// No path.
    #[error("${{file:}} without a path")]
    Path,
}

impl Text {
    /// Text that refers to nothing.
    pub fn plain(text: impl Into<String>) -> Text {
        Text { parts: vec![Part::Plain(text.into())] }
    }

    /// The text, if it refers to nothing.
    pub fn as_plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Plain(text)] => Some(text),
            _ => None,
        }
    }

    /// What it refers to, in its order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Plain(_) => None,
        })
    }

    /// The whole text, each reference replaced by what `look_up` finds.
    ///
    /// # Errors
    /// The first of `look_up`.
    pub fn resolve<E>(&self, mut look_up: impl FnMut(&Reference) -> Result<String, E>) -> Result<Secret, E> {
        let mut all = String::new();
        for part in &self.parts {
            match part {
                Part::Plain(text) => all.push_str(text),
                Part::Reference(reference) => all.push_str(&look_up(reference)?),
            }
        }
        Ok(Secret(all))
    }

    /// Makes paths of `${file:…}` relative to `base`.
    pub fn resolve_paths(&mut self, base: &Path) {
        for part in &mut self.parts {
            if let Part::Reference(Reference::File(path)) = part {
                *path = base.join(&path);
            }
        }
    }
}

impl FromStr for Text {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                plain.push_str(before);
                plain.push_str("${");
                rest = after;
                continue;
            }
            plain.push_str(before);
            let (reference, after) = after.split_once('}').ok_or(Error::Open)?;
            let reference = match reference.split_once(':') {
                Some(("env", name)) if is_variable(name) => Reference::Env(name.into()),
                Some(("env", _)) => return Err(Error::Variable),
                Some(("file", path)) if !path.is_empty() && !path.contains('\0') => Reference::File(path.into()),
                Some(("file", _)) => return Err(Error::Path),
                _ => return Err(Error::Unknown),
            };
            if !plain.is_empty() {
                parts.push(Part::Plain(std::mem::take(&mut plain)));
            }
            parts.push(Part::Reference(reference));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Plain(plain));
        }
        Ok(Self { parts })
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.as_bytes()[0].is_ascii_digit()
}

/// References alone: the rest may be a secret that somebody wrote into the file.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(")?;
        for part in &self.parts {
            match part {
                Part::Plain(_) => f.write_str("…")?,
                Part::Reference(reference) => write!(f, "{reference}")?,
            }
        }
        f.write_str(")")
    }
}

/// Text that must not be shown. It has no text form, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Text to keep to oneself.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for who needs it and shows it to nobody.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> String {
        let text: Text = text.parse().expect("good text");
        let secret = text.resolve(|reference| match reference {
            Reference::Env(name) => Ok::<_, ()>(format!("<{name}>")),
            Reference::File(path) => Ok(format!("[{}]", path.display())),
        });
        secret.expect("everything is found").expose().to_owned()
    }

    #[test]
    fn references_are_replaced() {
        let check = |text: &str, expect: &str| assert_eq!(resolved(text), expect, "{text}");
        check("", "");
        check("plain", "plain");
        check("${env:A}", "<A>");
        check("x ${env:A_1} y ${file:/a b/c} z", "x <A_1> y [/a b/c] z");
        check("${env:A}${env:B}", "<A><B>");
        check("$${env:A} $ $$ {} $${", "${env:A} $ $$ {} ${");
        check("price: 5$", "price: 5$");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let check =
            |text: &str, expect: Error| assert_eq!(text.parse::<Text>().expect_err("bad text"), expect, "{text}");
        check("a${env:A", Error::Open);
        check("a${vault:b}", Error::Unknown);
        check("${A}", Error::Unknown);
        check("${env:}", Error::Variable);
        check("${env:1A}", Error::Variable);
        check("${env:A-B}", Error::Variable);
        check("${file:}", Error::Path);
    }

    #[test]
    fn debug_hides() {
        let text: Text = "hunter2 ${env:NAME} hunter3".parse().expect("good text");
        assert_eq!(format!("{text:?}"), "Text(…${env:NAME}…)");
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn files_lie_beside_the_pipeline() {
        let mut text: Text = "${file:a}${file:/b}".parse().expect("good text");
        text.resolve_paths(Path::new("/base"));
        assert_eq!(format!("{text:?}"), "Text(${file:/base/a}${file:/b})");
    }
}
