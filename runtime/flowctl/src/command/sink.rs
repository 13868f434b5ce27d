//! `flowctl sink`: has a job that is over write what it owes.

use std::path::PathBuf;

use clap::Subcommand;
use flow_model::ids::PipelineName;
use flow_model::start::{Settle, Start};

use super::deploy;
use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};

/// Write the output that a job left when it ended
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl sink settle orders.yaml --wait")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write what the exactly-once sinks of a job that is over have confirmed and not written
    ///
    /// A job writes that itself before it ends, as long as its Kafka lets it; what begins with its checkpoint, or under its name,
    /// writes it first. This does nothing else: no record is read, and the job is over again when all is written.
    #[command(after_help = "\
Examples:
  flowctl sink settle orders.yaml --wait
  flowctl sink settle orders.yaml --dead-letter orders.refused   where what is refused goes")]
    Settle {
        /// The pipeline file of the job, with its sinks as they were
        file: PathBuf,
        /// Name of the job if it was deployed with one
        #[arg(long)]
        name: Option<PipelineName>,
        /// Write records that their own topic refuses to this one, as dead letters
        ///
        /// Without it one of them keeps all output behind it from being written.
        #[arg(long, value_name = "TOPIC")]
        dead_letter: Option<String>,
        /// DANGER: the Kafka cluster was replaced; do not ask it how much output it has
        ///
        /// All that the last checkpoint carries is written as if none of it were there, whatever a copy of its progress topic says. In the same
        /// Kafka records come twice by it. What this flag itself has written to a cluster counts there: given again, it goes on behind that.
        #[arg(long)]
        reset_progress: bool,
        /// Wait until all is written
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Args {
    /// The form that was asked for.
    pub fn output(&self) -> Option<Format> {
        let What::Settle { remote, .. } = &self.what;
        remote.shown.output
    }
}

/// Does it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let What::Settle { file, name, dead_letter, reset_progress, wait, remote } = &args.what;
    let settle = Some(Settle { dead_letter: dead_letter.clone() });
    let start = Start { settle, reset_progress: *reset_progress, ..Start::default() };
    deploy::submit(file, name.as_ref(), (&start, Default::default()), (*wait, remote), output)
}
