//! The process's own log: to stderr, as text or JSON. Stdout belongs to the sinks.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

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
pub fn start(process: &Process, quiet: Quiet) {
    let filter = match (process.verbose, quiet) {
        (0, Quiet::Daemon) => "info",
        (0, Quiet::Job) => "warn,flow_worker=off,job=info",
        (0, Quiet::Check) => "warn",
        (1, _) => "info,flowd=debug,flow_coordinator=debug,flow_worker=debug,flow_plugin=debug,job=debug",
        (_, _) => "trace",
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(io::stderr).with_ansi(colour);
    match process.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
