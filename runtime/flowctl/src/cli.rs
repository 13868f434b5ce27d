//! The command line: global options and the subcommands. Each subcommand's own options are in its file.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::exit::Failure;
use crate::output::{Format, Output};
use crate::server::{self, Server};
use crate::{command, listing};

/// Make, test, build, run, deploy and watch Flow operators and pipelines
#[derive(Debug, Parser)]
#[command(name = "flowctl", version = env!("FLOW_VERSION"), after_help = listing::after(), help_template = listing::template())]
#[command(arg_required_else_help = true, max_term_width = 110)]
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
    Stop(command::stop::Args),
    Cancel(command::cancel::Args),
    Scale(command::scale::Args),
    Checkpoint(command::checkpoint::Args),
    Savepoint(command::savepoint::Args),
    Sink(command::sink::Args),
    Workers(command::workers::Args),
    Drain(command::drain::Args),
    Certs(command::certs::Args),
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
            Command::Stop(args) => args.remote.shown.output,
            Command::Cancel(args) => args.remote.shown.output,
            Command::Scale(args) => args.remote.shown.output,
            Command::Workers(args) => args.remote.shown.output,
            Command::Drain(args) => args.remote.shown.output,
            Command::Certs(args) => args.shown.output,
            Command::Checkpoint(args) => args.output(),
            Command::Savepoint(args) => args.output(),
            Command::Sink(args) => args.output(),
            Command::Build(args) => args.output,
            Command::Plugin(args) => args.output,
            Command::Context(args) => args.output,
            Command::Explain(args) => args.shown.output,
            Command::Graph(args) => args.is_json().then_some(Format::Json),
            Command::Completion(_) | Command::Dev(_) | Command::Schema(_) => None,
        };
        own.or(self.output).unwrap_or(Format::Table)
    }
}

/// Whether words that are no command ask for JSON, or for YAML, which JSON is too.
pub fn asks_for_json(words: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let is_json = |form: &str| ["json", "yaml"].contains(&form);
    let joined = |word: &String| {
        let form = word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o"));
        form.is_some_and(|form| is_json(form.trim_start_matches('=')))
    };
    words.iter().any(joined)
        || words.windows(2).any(|pair| ["-o", "--output"].contains(&pair[0].as_str()) && is_json(&pair[1]))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn mistakes_may_ask_for_json_too() {
        let asks = |words: &[&str]| asks_for_json(words.iter().map(OsString::from));
        for words in
            [&["list", "-o", "json", "--nosuch"][..], &["list", "-oyaml"], &["x", "--output=json"], &["-o=json"]]
        {
            assert!(asks(words), "{words:?}");
        }
        for words in [&["list", "-o", "table"][..], &["build", "-o", "x.wasm"], &["json"], &["-o"]] {
            assert!(!asks(words), "{words:?}");
        }
    }

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
