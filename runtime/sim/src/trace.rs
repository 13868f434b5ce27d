//! What happened in a run, line by line: of the same seed the same bytes.

use std::fmt::{Arguments, Write};

/// The lines of a run.
#[derive(Debug, Default)]
pub struct Trace {
    text: String,
}

impl Trace {
    /// Something happened.
    pub fn line(&mut self, elapsed: u64, what: Arguments<'_>) {
        writeln!(self.text, "{elapsed:>6} {what}").expect("writing to a string never fails");
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }
}
