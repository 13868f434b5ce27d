//! `flowctl`: checks, builds, deploys and watches pipelines. A client of flowd's REST API that links no engine: it must
//! never load or run a component. Whether one fits its pipeline, the server or the `flowd` beside it says.

mod build;
mod cli;
mod codes;
mod command;
mod contexts;
mod deployment;
mod dev;
mod drawing;
mod exit;
mod flowd;
mod output;
mod patience;
mod project;
mod rates;
mod screen;
mod server;
mod table;
mod time;
mod trial;
mod upload;
mod wait;

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
