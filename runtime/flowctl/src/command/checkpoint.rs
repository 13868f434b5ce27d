//! `flowctl checkpoint`: takes checkpoints of a job, and shows what became of them.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::Subcommand;
use flow_model::api::{
    Checkpoint, CheckpointAsked, CheckpointState, Checkpoints, Description, Job, JobState, one_line,
};
use flow_model::checkpoint::CheckpointId;

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, size};
use crate::server::Server;
use crate::table::table;
use crate::{time, wait};

/// So long who does not want to wait waits for slots: workers may just look for a coordinator that leads.
const PATIENCE: Duration = Duration::from_secs(10);

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
            let server = remote.server(output)?;
            let id = when_it_runs(&server, job, Some(PATIENCE), output)?.id;
            let asked: CheckpointAsked = server.post(&path(id.as_str())?)?;
            let id = asked.checkpoint.to_string();
            output.print_named(&asked, || vec![id.clone()], || id.clone())?;
            output.note(&format!("see what becomes of it with `flowctl checkpoint ls {job}`"));
        }
        What::Now { job, wait: true, remote } => {
            let server = remote.server(output)?;
            let job = when_it_runs(&server, job, None, output)?;
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

/// The job, when it waits for nothing before it can run, such as slots: the server would answer no sooner. A name may be another job's by the
/// time that a checkpoint counts.
fn when_it_runs(server: &Server, job: &str, patience: Option<Duration>, output: &Output) -> Result<Job, Failure> {
    let Description { job, waits_for, .. } = server.get(&format!("/jobs/{}", super::segment(job)?))?;
    if waits_for.is_none() {
        return Ok(job);
    }
    let begun = Instant::now();
    wait::until(server, output, |waiting| {
        let now: Description = waiting.ask(&job, &format!("/jobs/{}", job.id))?;
        match &now.waits_for {
            None => Ok(ControlFlow::Break(now.job)),
            Some(why) if patience.is_some_and(|patience| begun.elapsed() >= patience) => {
                let message = format!("{} takes no checkpoint while it waits: it {why}", job.id);
                let hint =
                    "it does as soon as it runs: --wait waits for that; `flowctl workers` shows who has free slots";
                Err(Failure::new(Exit::Refused, "conflict", message).hint(hint))
            }
            Some(_) => Ok(ControlFlow::Continue(wait::standing(&now))),
        }
    })
}

/// The first look that finds that one or a later one counting. There is no time limit of its own: a checkpoint has one.
fn until_counted(server: &Server, job: &Job, asked: CheckpointId, output: &Output) -> Result<Checkpoint, Failure> {
    let path = path(job.id.as_str())?;
    wait::until(server, output, |waiting| {
        let all: Checkpoints = waiting.ask(job, &path)?;
        if let Some(latest) = all.summary.latest.filter(|latest| latest.id >= asked) {
            return Ok(ControlFlow::Break(latest));
        }
        match all.job {
            Some(job) if job.state.is_terminal() => {
                let message = format!("{} is {}, and no checkpoint since {asked} counts", job.id, job.state);
                Err(Failure::new(Exit::Failed, "job-not-finished", message))
            }
            Some(job) => {
                let why = job
                    .error
                    .filter(|_| job.state != JobState::Running)
                    .map_or(String::new(), |why| format!(": {why}"));
                Ok(ControlFlow::Continue(format!("{asked} does not count yet; {} is {}{why}", job.id, job.state)))
            }
            // What the store says of it does not change any more.
            None => Err(waiting.forgotten(job)),
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
