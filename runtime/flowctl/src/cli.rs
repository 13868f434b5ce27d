//! The command line: global options and the subcommands. Each subcommand's own options are in its file.

use clap::{Parser, Subcommand};

use crate::command;
use crate::exit::{self, Failure};
use crate::output::{Format, Output};
use crate::server::{self, Server};

/// Make, test, build, run, deploy and watch Flow operators and pipelines
#[derive(Debug, Parser)]
#[command(name = "flowctl", version = env!("FLOW_VERSION"), after_help = exit::CODES, arg_required_else_help = true, max_term_width = 110)]
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
    New(command::new::Args),
    Build(command::build::Args),
    Test(command::test::Args),
    Dev(command::dev::Args),
    Check(command::check::Args),
    Run(command::run::Args),
    Deploy(command::deploy::Args),
    List(command::list::Args),
    Describe(command::describe::Args),
    Top(command::top::Args),
    Logs(command::logs::Args),
    Cancel(command::cancel::Args),
    Graph(command::graph::Args),
    Plugin(command::plugin::Args),
    Context(command::context::Args),
    Explain(command::explain::Args),
    Schema(command::schema::Args),
    Completion(command::completion::Args),
}

/// What every subcommand takes that asks the server.
#[derive(Debug, clap::Args)]
pub struct Remote {
    /// Address of the coordinator [env: FLOW_SERVER] [default: the current context's, else http://127.0.0.1:8081]
    #[arg(long, value_name = "URL", conflicts_with = "context")]
    server: Option<String>,

    /// A cluster by its name, as of `flowctl context` [env: FLOW_CONTEXT]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

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

impl Remote {
    /// Of options of a command's own.
    pub fn of(server: Option<String>, context: Option<String>) -> Self {
        Self { server, context, shown: Shown { output: None } }
    }

    /// The server that is meant. Nothing is sent yet.
    pub fn server(&self, output: &Output) -> Result<Server, Failure> {
        Server::new(server::Target::find(self.server.as_deref(), self.context.as_deref())?, !output.is_for_programs())
    }
}

impl Cli {
    /// What `-o` says; the one after the command counts.
    pub fn format(&self) -> Format {
        let own = match &self.command {
            Command::New(args) => args.shown.output,
            Command::Test(args) => args.shown.output,
            Command::Check(args) => args.shown.output,
            Command::Run(args) => args.shown.output,
            Command::Deploy(args) => args.remote.shown.output,
            Command::List(args) => args.remote.shown.output,
            Command::Describe(args) => args.remote.shown.output,
            Command::Top(args) => args.remote.shown.output,
            Command::Logs(args) => args.remote.shown.output,
            Command::Cancel(args) => args.remote.shown.output,
            Command::Build(args) => args.output,
            Command::Plugin(args) => args.output,
            Command::Context(args) => args.output,
            Command::Explain(args) => args.shown.output,
            Command::Completion(_) | Command::Dev(_) | Command::Graph(_) | Command::Schema(_) => None,
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
