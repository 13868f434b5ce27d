//! The command line: global options and the subcommands. Each subcommand's own options are in its file.

use clap::{Parser, Subcommand};

use crate::command;
use crate::exit;
use crate::output::Format;

/// Check, build, deploy and watch Flow pipelines
#[derive(Debug, Parser)]
#[command(name = "flowctl", version, after_help = exit::CODES, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// For people or for programs; may also follow the command [default: table]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,

    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Check(command::check::Args),
    Run(command::run::Args),
    Deploy(command::deploy::Args),
    List(command::list::Args),
    Describe(command::describe::Args),
    Logs(command::logs::Args),
    Cancel(command::cancel::Args),
    Build(command::build::Args),
    Completion(command::completion::Args),
}

/// What every subcommand takes that asks the server.
#[derive(Debug, clap::Args)]
pub struct Remote {
    /// Address of the coordinator [env: FLOW_SERVER] [default: http://127.0.0.1:8081]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,

    #[command(flatten)]
    pub shown: Shown,
}

/// How the answer is shown.
#[derive(Debug, clap::Args)]
pub struct Shown {
    /// For people or for programs [default: table]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
}

impl Cli {
    /// What `-o` says; the one after the command counts.
    pub fn format(&self) -> Format {
        let own = match &self.command {
            Command::Check(args) => args.shown.output,
            Command::Run(args) => args.shown.output,
            Command::Deploy(args) => args.remote.shown.output,
            Command::List(args) => args.remote.shown.output,
            Command::Describe(args) => args.remote.shown.output,
            Command::Logs(args) => args.remote.shown.output,
            Command::Cancel(args) => args.remote.shown.output,
            Command::Build(args) => args.output,
            Command::Completion(_) => None,
        };
        own.or(self.output).unwrap_or(Format::Table)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_format_may_stand_before_or_after_the_command() {
        let check = |line: &str, expect: Format| {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert_eq!(cli.format(), expect, "{line}");
        };
        check("flowctl list", Format::Table);
        check("flowctl list -o json", Format::Json);
        check("flowctl -o json list", Format::Json);
        check("flowctl -o json list -o table", Format::Table);
        check("flowctl build -o x.wasm", Format::Table);
        check("flowctl build -o x.wasm --output json", Format::Json);
    }
}
