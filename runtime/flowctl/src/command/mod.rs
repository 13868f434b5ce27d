//! The subcommands, one a file.

pub mod build;

use crate::cli::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Runs the subcommand.
pub fn run(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    match cli.command {
        Command::Build(args) => build::run(args, output),
    }
}
