//! A problem in a pipeline file: where it is, what is wrong, what would be right.
//!
//! A diagnostic is data first (the REST API sends it as JSON) and text second. It never holds a secret: values of
//! connector properties stay out of messages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a pipeline file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// A value of a pipeline file together with its place, for errors that are found later (a component that is no
/// component, a configuration that the operator refuses).
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands in the file.
    pub position: Position,
}

/// Whether a pipeline with this problem can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It can't.
    Error,
    /// It can, but it probably does not do what its author wants.
    Warning,
}

/// What sort of problem it is; stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The file is too large, nested too deeply or grows too much by its aliases.
    TooLarge,
    /// Not UTF-8 or not YAML.
    Syntax,
    /// A value of the wrong type: text where a number belongs.
    WrongType,
    /// A value of the right type that is not allowed.
    InvalidValue,
    /// A field that does not exist.
    UnknownField,
    /// A field that must be there and is not.
    MissingField,
    /// A field given twice, or a name used twice.
    Duplicate,
    /// A source or sink with no connector or with several.
    Connector,
    /// `from:` names something that does not exist or has no output.
    UnknownInput,
    /// Operators that read each other in a circle.
    Cycle,
    /// A pipeline without sources or without sinks.
    Empty,
    /// A source or operator whose output nobody reads.
    Unread,
    /// Dead letters that no sink takes, or a sink that takes dead letters where there are none.
    DeadLetter,
    /// An operator kind that does not fit its place: a process without a key, a key on a map.
    KindMismatch,
    /// A component that can't be used as an operator: not Wasm, not a component, another world or version, refused
    /// by its limits or by its own `init`.
    Component,
    /// A reference such as `${env:NAME}` that leads to nothing.
    Reference,
    /// The process that should run the pipeline has no room for it at present: memory maps or threads.
    Room,
}

/// One problem in one pipeline file.
///
/// Its text form is one line: `pipeline.yaml:12:5: unknown field "form" in operator "counts"; did you mean "from"?`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Can the pipeline run nevertheless?
    pub severity: Severity,
    /// The sort of problem.
    pub code: Code,
    /// The file as its reader named it.
    pub file: String,
    /// The place; absent where the whole file is meant. In JSON: `line` and `column` beside the other fields.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What is wrong, one line.
    pub message: String,
    /// What would be right or what to do next, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at `position` of `file`.
    pub fn error(
        code: Code,
        file: impl Into<String>,
        position: impl Into<Option<Position>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            file: file.into(),
            position: position.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// A warning at `position` of `file`.
    pub fn warning(
        code: Code,
        file: impl Into<String>,
        position: impl Into<Option<Position>>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, file, position, message) }
    }

    /// The same with a hint: what would be right, or the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(if self.severity == Severity::Warning { ": warning: " } else { ": " })?;
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Why a pipeline can't run: all its errors, in the order of the file. Its text form has one line for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{}", self.lines())]
#[serde(transparent)]
pub struct Error {
    /// The errors, at least one; no warnings among them.
    pub diagnostics: Vec<Diagnostic>,
}

impl Error {
    fn lines(&self) -> String {
        self.diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic] }
    }
}
