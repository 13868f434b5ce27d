//! Why a record is refused, or a whole call fails. Must stay one pointer wide: every record's `Result` passes here.

use std::fmt;

/// What operators return. The error is one pointer wide, so an `Ok` costs nothing.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Either a refusal of the record at hand ([`reject`]) or a failure of the whole call ([`fail`], [`retry`]).
///
/// `?` turns the errors of serde_json (`bad-json`), of UTF-8 (`bad-utf8`) and of number parsing (`bad-number`) into
/// refusals.
///
/// ```
/// use flow_sdk::prelude::*;
///
/// fn age(text: &str) -> Result<u32> {
///     let age = text.parse()?;
///     if age > 150 {
///         return Err(reject("bad-age", format!("nobody is {age} years old")));
///     }
///     Ok(age)
/// }
/// assert_eq!(age("x").unwrap_err().code(), "bad-number");
/// assert_eq!(age("151").unwrap_err().to_string(), "bad-age: nobody is 151 years old");
/// assert!(age("151").unwrap_err().is_rejection());
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
enum Inner {
    Reject { code: String, message: String },
    Fail(Failure),
}

/// Why a call fails as a whole. Nothing of the call takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A short stable word for programs, such as `bad-config`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the same call may succeed when it is made again.
    pub retryable: bool,
}

/// Refuses the record at hand: it leaves no output and no state behind, and goes where the pipeline's `on-error` says.
/// `code` is a short stable word for programs, `message` a sentence for people.
#[cold]
pub fn reject(code: impl Into<String>, message: impl Into<String>) -> Error {
    Error(Box::new(Inner::Reject { code: code.into(), message: message.into() }))
}

/// Fails the whole call: for what is wrong with the operator or its surroundings, not with the record.
#[cold]
pub fn fail(code: impl Into<String>, message: impl Into<String>) -> Error {
    Failure { code: code.into(), message: message.into(), retryable: false }.into()
}

/// Fails the whole call, which may succeed when it is made again.
#[cold]
pub fn retry(code: impl Into<String>, message: impl Into<String>) -> Error {
    Failure { code: code.into(), message: message.into(), retryable: true }.into()
}

impl Error {
    /// The short stable word.
    pub fn code(&self) -> &str {
        match &*self.0 {
            Inner::Reject { code, .. } => code,
            Inner::Fail(f) => &f.code,
        }
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        match &*self.0 {
            Inner::Reject { message, .. } => message,
            Inner::Fail(f) => &f.message,
        }
    }

    /// Whether it concerns the record alone.
    pub fn is_rejection(&self) -> bool {
        matches!(*self.0, Inner::Reject { .. })
    }

    /// The refusal's code and message, or the failure.
    pub(crate) fn split(self) -> std::result::Result<(String, String), Failure> {
        match *self.0 {
            Inner::Reject { code, message } => Ok((code, message)),
            Inner::Fail(failure) => Err(failure),
        }
    }

    /// The error as a failure, for places where no record is at hand.
    pub(crate) fn into_failure(self) -> Failure {
        self.split().map_or_else(|f| f, |(code, message)| Failure { code, message, retryable: false })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error(Box::new(Inner::Fail(failure)))
    }
}

impl From<serde_json::Error> for Error {
    #[cold]
    fn from(e: serde_json::Error) -> Error {
        reject("bad-json", e.to_string())
    }
}

impl From<std::str::Utf8Error> for Error {
    #[cold]
    fn from(e: std::str::Utf8Error) -> Error {
        reject("bad-utf8", e.to_string())
    }
}

impl From<std::num::ParseIntError> for Error {
    #[cold]
    fn from(e: std::num::ParseIntError) -> Error {
        reject("bad-number", e.to_string())
    }
}

impl From<std::num::ParseFloatError> for Error {
    #[cold]
    fn from(e: std::num::ParseFloatError) -> Error {
        reject("bad-number", e.to_string())
    }
}
