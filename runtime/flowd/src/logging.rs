//! The process's own log: to stderr, as text or JSON, one line an event whatever is in it. Stdout belongs to the sinks.

use std::io::{self, IsTerminal};

use flow_model::api::one_line;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format;

use crate::cli::{LogFormat, Process};

/// What is logged without `-v`.
pub enum Quiet {
    /// A daemon: what goes on.
    Daemon,
    /// One job: the lines of its log (they say what the worker says of it), and what is odd otherwise.
    Job,
    /// Nothing but what is odd.
    Check,
}

/// Sets it up; call once.
pub fn start(process: &Process, quiet: Quiet, unless_set: LogFormat) {
    let filter = match (process.verbose, quiet) {
        (0, Quiet::Daemon) => "info",
        (0, Quiet::Job) => "warn,flow_worker=off,flow_coordinator::jobs::end=off,job=info",
        (0, Quiet::Check) => "warn",
        (1, _) => "info,flowd=debug,flow_coordinator=debug,flow_worker=debug,flow_plugin=debug,job=debug",
        (_, _) => "trace",
    };
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(colour)
        // It would tell on stderr that nobody reads stderr, and panic.
        .log_internal_errors(false);
    // What operators and clients say gets into the log; it must not look like lines of others, nor steer a terminal.
    let fields = format::debug_fn(|writer, field, value| {
        let value = one_line(&format!("{value:?}"));
        if field.name() == "message" { write!(writer, "{value}") } else { write!(writer, "{field}={value}") }
    });
    match process.log_format.unwrap_or(unless_set) {
        LogFormat::Text => log.fmt_fields(fields.delimited(" ")).init(),
        LogFormat::Json => log.json().init(),
    }
}
