//! The list of problems that reading one file fills. It is bounded: a hostile file can't make it grow.

use super::trace::{Shape, Trace};
use crate::diagnostic::{Code, Diagnostic, Position};

/// More problems than these are only counted.
const REPORTED_MAX: usize = 50;

/// The problems found so far in one file.
pub(crate) struct Report<'a> {
    file: &'a str,
    found: Vec<Diagnostic>,
    unreported: usize,
    /// What was looked for, where somebody wants to know.
    trace: Option<Trace>,
}

impl<'a> Report<'a> {
    pub fn new(file: &'a str) -> Self {
        Self { file, found: Vec::new(), unreported: 0, trace: None }
    }

    /// One that also records what is looked for.
    pub fn tracing(file: &'a str) -> Self {
        Self { trace: Some(Trace::default()), ..Self::new(file) }
    }

    /// What was looked for.
    pub fn into_trace(self) -> Trace {
        self.trace.unwrap_or_default()
    }

    /// The map at `map` may have these fields.
    pub fn saw_map(&mut self, map: Position, known: &[&str]) {
        if let Some(trace) = &mut self.trace {
            trace.maps.insert(map, known.iter().map(|&name| name.to_owned()).collect());
        }
    }

    /// The field of the map at `map` may have this shape.
    pub fn saw(&mut self, map: Position, field: &str, shape: impl FnOnce() -> Shape) {
        if let Some(trace) = &mut self.trace {
            trace.shapes.entry((map, field.to_owned())).or_default().push(shape());
        }
    }

    /// The map at `map` must have the field.
    pub fn saw_required(&mut self, map: Position, field: &str) {
        if let Some(trace) = &mut self.trace {
            trace.required.push((map, field.to_owned()));
        }
    }

    /// The map at `map` must have exactly one of these fields.
    pub fn saw_one_of(&mut self, map: Position, fields: &[&str]) {
        if let Some(trace) = &mut self.trace {
            trace.one_of.insert(map, fields.iter().map(|&name| name.to_owned()).collect());
        }
    }

    /// The file that all problems are in.
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// No more problems are recorded: those that cost work need not be looked for.
    pub fn is_full(&self) -> bool {
        self.found.len() >= REPORTED_MAX
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.unreported += 1;
        } else {
            self.found.push(diagnostic);
        }
    }

    pub fn error(&mut self, code: Code, at: Position, message: impl Into<String>) {
        self.push(Diagnostic::error(code, self.file, at, message));
    }

    pub fn error_with(&mut self, code: Code, at: Position, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Diagnostic::error(code, self.file, at, message).hint(hint));
    }

    /// All problems in the order of the file.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| d.position);
        if self.unreported > 0 {
            let more = format!("{} more problems are not shown", self.unreported);
            self.found.push(Diagnostic::error(Code::TooLarge, self.file, None, more).hint("correct the first ones"));
        }
        self.found
    }
}
