//! `flowctl`: checks, builds, deploys and watches pipelines. A client of flowd's REST API; it links no engine, so it
//! must never parse a pipeline's meaning itself: the server (or the `flowd` beside it) is asked.

mod build;
mod cli;
mod command;
mod exit;
mod output;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let output = output::Output::new(cli.format());
    match command::run(cli, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}
