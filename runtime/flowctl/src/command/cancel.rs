//! `flowctl cancel`: stops a job.

use flow_model::api::{Job, JobState};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::server::Server;
use crate::wait;

/// Stop a job at once
///
/// What is under way is not finished: a job with checkpoints has processed what its last one holds, and
/// `flowctl deploy FILE --from-checkpoint latest` goes on there. `flowctl stop --savepoint` ends it where nothing is left over.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl cancel wordcount
  flowctl cancel wordcount-3f9a2c --wait     until nothing of it runs any more")]
pub struct Args {
    /// Id or name of the job
    job: String,

    /// Wait until the job has stopped
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    pub remote: Remote,
}

/// Asks the server to stop it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    stop(&args.remote.server(output)?, &args.job, args.wait, output)
}

/// Has a job stopped at once, and shows it.
pub fn stop(server: &Server, job: &str, wait: bool, output: &Output) -> Result<Exit, Failure> {
    let mut job: Job = server.post(&format!("/jobs/{}/cancel", super::segment(job)?))?;
    if wait {
        job = wait::until_ended(server, job, output)?;
    }
    output.print_named(&job, || vec![job.id.to_string()], || format!("{} {}", job.id, job.state))?;
    if let (JobState::Canceled, Some(note)) = (job.state, &job.error) {
        output.warn(note);
    }
    outcome(&job)
}

/// How the process ends for a job that was to stop. It may have failed, or come to its end, before it could be stopped.
pub fn outcome(job: &Job) -> Result<Exit, Failure> {
    if job.state == JobState::Failed { wait::outcome(job) } else { Ok(Exit::Ok) }
}
