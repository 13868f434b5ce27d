//! How a command ends: the documented exit codes, and the error that a user sees.

use std::fmt::Display;
use std::process::ExitCode;

use flow_model::api::{Refusal, RefusalCode};
use flow_model::diagnostic::Diagnostic;

/// The end of `flowctl --help`; the codes are an interface that scripts rely on.
pub const CODES: &str = "\
Exit codes:
  0    done
  1    the job or the operation failed
  2    wrong usage, or a pipeline or component that can't run
  3    the server is not reachable
  4    no such job, or its state does not allow this
  5    a tool that is needed is missing on this machine
  130  stopped by Ctrl-C";

/// The exit code of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The job or the operation failed.
    Failed = 1,
    /// Wrong usage, a pipeline with errors, a component that is no operator. Clap uses the same number.
    Invalid = 2,
    /// Nobody listens at the server's address.
    Unreachable = 3,
    /// The server refuses: no such job, or its state does not allow this.
    Refused = 4,
    /// This machine lacks a compiler or another program.
    MissingTool = 5,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked to: what is wrong, and what to do next.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// A stable word for programs.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do next, lines.
    pub hint: Option<String>,
    /// The problems of a pipeline file, with their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// A failure that ends the process with `exit`; `code` is a stable word for programs.
    pub fn new(exit: Exit, code: &str, message: impl Display) -> Self {
        let message = message.to_string();
        Self { exit, code: code.to_owned(), message, hint: None, diagnostics: Vec::new() }
    }

    /// The operation failed.
    pub fn failed(message: impl Display) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    /// What was given can't be used.
    pub fn invalid(message: impl Display) -> Self {
        Self::new(Exit::Invalid, "invalid", message)
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let exit = match refusal.code {
            RefusalCode::InvalidPipeline
            | RefusalCode::BadRequest
            | RefusalCode::TooLarge
            | RefusalCode::Unauthorized => Exit::Invalid,
            RefusalCode::NotFound | RefusalCode::Conflict => Exit::Refused,
            RefusalCode::Unavailable => Exit::Unreachable,
            RefusalCode::Forbidden
            | RefusalCode::MethodNotAllowed
            | RefusalCode::TooSlow
            | RefusalCode::Internal
            | RefusalCode::Unknown => Exit::Failed,
        };
        let Refusal { code, message, hint, diagnostics } = refusal;
        Self { hint, diagnostics, ..Self::new(exit, code.as_str(), message) }
    }
}
