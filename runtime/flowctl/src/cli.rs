//! The command line: global options and the subcommands. Each subcommand's own options are in its file.

use clap::{Parser, Subcommand};

use crate::command;
use crate::exit;
use crate::output::Format;

/// Check, build, deploy and watch Flow pipelines.
#[derive(Debug, Parser)]
#[command(name = "flowctl", version, after_help = exit::CODES, arg_required_else_help = true)]
pub struct Cli {
    /// For people or for programs; may also follow the command [default: table]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Build(command::build::Args),
}

impl Cli {
    /// What `-o` says; the one after the command counts.
    pub fn format(&self) -> Format {
        let own = match &self.command {
            Command::Build(args) => args.output,
        };
        own.or(self.output).unwrap_or(Format::Table)
    }
}
