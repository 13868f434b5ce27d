//! What tasks tell about themselves. Implemented by shells; must be cheap, and must never fail.

use std::fmt;

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author while writing.
    Trace,
    /// For finding faults.
    Debug,
    /// What one wants to know of a healthy job.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

/// A record that an operator, a source or a sink refused, or that made it fail.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Where the record came from: source split and position.
    pub origin: Option<(u32, i64)>,
    /// A short stable word: the operator's own, or `trap`, `timeout`, `bad-answer`, `no-key`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The guest's functions, innermost first, when it trapped.
    pub backtrace: Vec<String>,
    /// How often its call was made: 1 and the retries that `on-error` asks for.
    pub attempts: u32,
}

/// Where a record came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// For people, such as `orders[3]@1042` or `words.txt:17`.
    pub text: String,
    /// For programs: `topic`, `partition` and `offset`, or `file` and `line`.
    pub fields: Vec<(&'static str, String)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl From<String> for Place {
    /// One that is for people only.
    fn from(text: String) -> Place {
        Place { text, fields: Vec::new() }
    }
}

/// One operator's line to its shell; a clone per user of it.
pub trait Report: Send + Sync {
    /// A line for the job's log.
    fn log(&self, level: Level, message: &str);

    /// Where a record came from, from its split and position.
    fn locate(&self, split: u32, position: i64) -> Place;

    /// A call failed, and no line of [`Report::rejected`] and no error of the job will tell all of it. May come as often
    /// as calls do.
    fn call_failed(&self, message: &str) {
        self.log(Level::Warn, message);
    }

    /// A record left the stream for good.
    fn rejected(&self, record: &Rejected);

    /// A record left the stream and went to the dead letters.
    fn dead_letter(&self, record: &Rejected) {
        self.rejected(record);
    }
}
