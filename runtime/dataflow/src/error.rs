//! Errors at the boundary of a task. The restart policy matches on the variant, never on text.

/// Why a task can't go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The user's component or a record that it refused. Starting again meets the same record.
    #[error("{0}")]
    Plugin(String),
    /// Something outside failed in a way that may pass: a broker, a disk.
    #[error("{0}")]
    Retryable(String),
    /// A broken invariant, a wrong configuration, corrupt data. Starting again does not help.
    #[error("{0}")]
    Fatal(String),
    /// Whoever took the output wants no more of it. Nothing is wrong, and there is no use in going on.
    #[error("{0}")]
    Closed(String),
}

impl Error {
    /// The same error with a prefix that says where it happened.
    pub fn at(self, place: &str) -> Error {
        match self {
            Error::Plugin(m) => Error::Plugin(format!("{place}: {m}")),
            Error::Retryable(m) => Error::Retryable(format!("{place}: {m}")),
            Error::Fatal(m) => Error::Fatal(format!("{place}: {m}")),
            Error::Closed(m) => Error::Closed(format!("{place}: {m}")),
        }
    }
}
