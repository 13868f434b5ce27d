//! `flowctl`: checks, builds, deploys and watches pipelines. A client of flowd's REST API that links no engine: it must
//! never load or run a component. Whether one fits its pipeline, the server or the `flowd` beside it says.

mod authority;
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
mod listing;
mod output;
mod parallelism;
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
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let output = output::Output::new(cli.format());
    match command::run(cli, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

/// Words that are no command: help, which is none either, and mistakes, told in the form that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let wants_json = cli::asks_for_json(std::env::args_os().skip(1));
    if !error.use_stderr() || !wants_json {
        error.exit()
    }
    let text = error.render().to_string();
    let why = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let message: Vec<&str> = why.lines().map(str::trim).collect();
    let failure = exit::Failure::invalid(message.join(" ")).hint("see --help");
    output::Output::new(output::Format::Json).failure(&failure);
    failure.exit.into()
}
