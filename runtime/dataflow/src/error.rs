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
        self.reworded(|m| format!("{place}: {m}"))
    }

    /// The same error with what to do next behind it.
    pub fn next(self, step: &str) -> Error {
        self.reworded(|m| format!("{m}; {step}"))
    }

    fn reworded(self, words: impl FnOnce(String) -> String) -> Error {
        match self {
            Error::Plugin(m) => Error::Plugin(words(m)),
            Error::Retryable(m) => Error::Retryable(words(m)),
            Error::Fatal(m) => Error::Fatal(words(m)),
            Error::Closed(m) => Error::Closed(words(m)),
        }
    }
}
