//! `flowd`: the daemon, and the engine behind `flowctl check`, `run` and `test`. It only puts the parts together; what
//! a job does is the worker's, what the API says the coordinator's.

mod beginning;
mod check;
mod cli;
mod coordinator;
mod data;
mod logging;
mod metrics;
mod parent;
mod run;
mod say;
mod signals;
mod standalone;
mod tls;
mod token;
mod trial;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use mimalloc::MiMalloc;

/// Also the one of librdkafka and RocksDB: what one thread allocates another frees, which glibc's does at twice the price
/// of all reading from Kafka (`docs/adr/0004-kafka-batch-calls.md`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The exit codes, those of flowctl.
mod exit {
    pub const FAILED: u8 = 1;
    pub const INVALID: u8 = 2;
    pub const INTERRUPTED: u8 = 130;
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Standalone(args) => standalone::run(&args),
        Command::Coordinator(args) => coordinator::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Trial(args) => trial::run(&args),
    };
    done.unwrap_or_else(|error| {
        say::err(&format!("error: {error:#}"));
        ExitCode::from(exit::FAILED)
    })
}
