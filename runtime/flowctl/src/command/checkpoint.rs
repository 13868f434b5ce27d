//! `flowctl checkpoint`: takes checkpoints of a job, and shows what became of them.

use std::ops::ControlFlow;

use clap::Subcommand;
use flow_model::api::{Checkpoint, CheckpointAsked, CheckpointState, Checkpoints, Description, Job, one_line};
use flow_model::checkpoint::CheckpointId;

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, size};
use crate::server::Server;
use crate::table::table;
use crate::{time, wait};

/// Take a checkpoint of a job, or show those that there are
///
/// A job goes on from its last checkpoint by itself, whatever happens to it. Its pipeline file says how often one is taken, where
/// to, and how many stay (`flowctl explain checkpoint`).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl checkpoint now orders
  flowctl checkpoint now orders --wait       until it counts
  flowctl checkpoint ls orders")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take a checkpoint now, beside those that are taken by themselves
    ///
    /// The id comes at once. What was asked for counts as soon as that checkpoint does, or a later one: should it fail, the next
    /// is taken in its place.
    #[command(after_help = "\
Examples:
  flowctl checkpoint now orders
  flowctl checkpoint now orders --wait -o name")]
    Now {
        /// Id or name of the job
        job: String,
        /// Wait until it counts
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// List the checkpoints of a job, newest first
    ///
    /// SIZE is what a restore reads, NEW what the checkpoint added to the one before. What is not retained can't be restored from. The
    /// job need not run.
    #[command(
        visible_alias = "list",
        after_help = "\
Examples:
  flowctl checkpoint ls orders
  flowctl checkpoint ls orders -o json | jq -r '.checkpoints[] | select(.retained) | .id'"
    )]
    Ls {
        /// Id or name of the job
        job: String,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Args {
    /// The form that was asked for.
    pub fn output(&self) -> Option<Format> {
        match &self.what {
            What::Now { remote, .. } | What::Ls { remote, .. } => remote.shown.output,
        }
    }
}

/// Does it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    match &args.what {
        What::Now { job, wait: false, remote } => {
            let asked: CheckpointAsked = remote.server(output)?.post(&path(job)?)?;
            let id = asked.checkpoint.to_string();
            output.print_named(&asked, || vec![id.clone()], || id.clone())?;
            output.note(&format!("see what becomes of it with `flowctl checkpoint ls {job}`"));
        }
        What::Now { job, wait: true, remote } => {
            let server = remote.server(output)?;
            // A name may be another job's by the time that it counts.
            let Description { job, .. } = server.get(&format!("/jobs/{}", super::segment(job)?))?;
            let asked: CheckpointAsked = server.post(&path(job.id.as_str())?)?;
            let taken = until_counted(&server, &job, asked.checkpoint, output)?;
            let id = taken.id.to_string();
            output.print_named(&taken, || vec![id.clone()], || format!("{id} {}", taken.state.as_str()))?;
        }
        What::Ls { job, remote } => {
            let all: Checkpoints = remote.server(output)?.get(&path(job)?)?;
            if all.checkpoints.is_empty() {
                let id = all.job.as_ref().map_or(job.as_str(), |job| job.id.as_str());
                output.note(&format!("{id} has no checkpoint yet"));
            }
            let names = || all.checkpoints.iter().map(|checkpoint| checkpoint.id.to_string()).collect();
            output.print_named(&all, names, || text(&all, output))?;
        }
    }
    Ok(Exit::Ok)
}

fn path(job: &str) -> Result<String, Failure> {
    Ok(format!("/jobs/{}/checkpoints", super::segment(job)?))
}

/// The first look that finds that one or a later one counting. There is no time limit of its own: a checkpoint has one.
fn until_counted(server: &Server, job: &Job, asked: CheckpointId, output: &Output) -> Result<Checkpoint, Failure> {
    let path = path(job.id.as_str())?;
    wait::until(output, || {
        let all: Checkpoints = wait::ask(server, job, &path)?;
        if let Some(latest) = all.summary.latest.filter(|latest| latest.id >= asked) {
            return Ok(ControlFlow::Break(latest));
        }
        match all.job {
            Some(job) if job.state.is_terminal() => {
                let message = format!("{} is {}, and no checkpoint since {asked} counts", job.id, job.state);
                Err(Failure::new(Exit::Failed, "job-not-finished", message))
            }
            Some(_) => Ok(ControlFlow::Continue(format!("{asked} does not count yet"))),
            // What the store says of it does not change any more.
            None => Err(wait::forgotten(server, job)),
        }
    })
}

fn text(all: &Checkpoints, output: &Output) -> String {
    if all.checkpoints.is_empty() {
        return String::new();
    }
    let titles = ["ID", "STATE", "BEGUN", ">TOOK", ">SIZE", ">NEW", "RETAINED", "NOTE"];
    table(&titles, all.checkpoints.iter().map(|checkpoint| row(checkpoint, all.summary.restored, output)))
}

fn row(checkpoint: &Checkpoint, restored: Option<CheckpointId>, output: &Output) -> Vec<String> {
    let style = match checkpoint.state {
        CheckpointState::Completed => "32",
        CheckpointState::Failed => "31",
        CheckpointState::InProgress | CheckpointState::Subsumed => "33",
    };
    let bytes = |bytes: Option<u64>| bytes.map_or(String::new(), size);
    let note = match &checkpoint.reason {
        Some(reason) => one_line(reason),
        None if restored == Some(checkpoint.id) => "restored from".to_owned(),
        None => String::new(),
    };
    vec![
        checkpoint.id.to_string(),
        output.styled(style, checkpoint.state.as_str()),
        checkpoint.begun.or(checkpoint.ended).map_or(String::new(), time::utc),
        checkpoint.took().map_or(String::new(), time::duration),
        bytes(checkpoint.bytes),
        bytes(checkpoint.new_bytes),
        if checkpoint.retained { "yes" } else { "no" }.to_owned(),
        note,
    ]
}
