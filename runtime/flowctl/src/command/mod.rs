//! The subcommands, one a file.

pub mod build;
pub mod cancel;
pub mod certs;
pub mod check;
pub mod checkpoint;
pub mod completion;
pub mod context;
pub mod deploy;
pub mod describe;
pub mod dev;
pub mod drain;
pub mod explain;
pub mod graph;
pub mod list;
pub mod logs;
pub mod new;
pub mod plugin;
pub mod run;
pub mod savepoint;
pub mod scale;
pub mod schema;
pub mod sink;
pub mod stop;
pub mod test;
pub mod top;
pub mod workers;

use flow_model::ids::JobId;

use crate::cli::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Runs the subcommand.
pub fn run(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    match cli.command {
        Command::New(args) => new::run(&args, output),
        Command::Dev(args) => dev::run(&args, output),
        Command::Top(args) => top::run(&args, output),
        Command::Test(args) => test::run(&args, output),
        Command::Check(args) => check::run(&args, output),
        Command::Run(args) => run::run(&args, output),
        Command::Deploy(args) => deploy::run(&args, output),
        Command::List(args) => list::run(&args, output),
        Command::Describe(args) => describe::run(&args, output),
        Command::Logs(args) => logs::run(&args, output),
        Command::Stop(args) => stop::run(&args, output),
        Command::Cancel(args) => cancel::run(&args, output),
        Command::Scale(args) => scale::run(&args, output),
        Command::Workers(args) => workers::run(&args, output),
        Command::Drain(args) => drain::run(&args, output),
        Command::Certs(args) => certs::run(&args, output),
        Command::Checkpoint(args) => checkpoint::run(&args, output),
        Command::Savepoint(args) => savepoint::run(&args, output),
        Command::Sink(args) => sink::run(&args, output),
        Command::Build(args) => build::run(args, output),
        Command::Graph(args) => graph::run(&args, output),
        Command::Plugin(args) => plugin::run(&args, output),
        Command::Context(args) => context::run(&args, output),
        Command::Explain(args) => explain::run(&args, output),
        Command::Schema(_) => schema::run(output),
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
