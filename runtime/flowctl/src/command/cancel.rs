//! `flowctl cancel`: stops a job.

use flow_model::api::{Job, JobState};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::wait;

/// Stop a job
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
    let server = args.remote.server(output)?;
    let mut job: Job = server.post(&format!("/jobs/{}/cancel", super::segment(&args.job)?))?;
    if args.wait {
        job = wait::until_ended(&server, job)?;
    }
    output.print_named(&job, || vec![job.id.to_string()], || format!("{} {}", job.id, job.state))?;
    // It may have failed, or come to its end, before it could be stopped.
    if job.state == JobState::Failed { wait::outcome(&job) } else { Ok(Exit::Ok) }
}
