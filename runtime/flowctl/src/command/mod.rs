//! The subcommands, one a file.

pub mod build;
pub mod cancel;
pub mod check;
pub mod completion;
pub mod deploy;
pub mod describe;
pub mod list;
pub mod logs;
pub mod run;

use flow_model::ids::JobId;

use crate::cli::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Runs the subcommand.
pub fn run(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    match cli.command {
        Command::Check(args) => check::run(&args, output),
        Command::Run(args) => run::run(&args, output),
        Command::Deploy(args) => deploy::run(&args, output),
        Command::List(args) => list::run(&args, output),
        Command::Describe(args) => describe::run(&args, output),
        Command::Logs(args) => logs::run(&args, output),
        Command::Cancel(args) => cancel::run(&args, output),
        Command::Build(args) => build::run(args, output),
        Command::Completion(args) => completion::run(&args, output),
    }
}

/// A job's id or name as a segment of a path: what is neither would ask for something else.
fn segment(job: &str) -> Result<&str, Failure> {
    match JobId::new(job) {
        Ok(_) => Ok(job),
        Err(error) => Err(Failure::invalid(error).hint("`flowctl list` shows the jobs")),
    }
}
