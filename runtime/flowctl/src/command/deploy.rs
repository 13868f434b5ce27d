//! `flowctl deploy`: a pipeline with its components goes to the server and starts.

use std::path::PathBuf;

use flow_model::api::Job;
use flow_model::ids::PipelineName;

use crate::cli::Remote;
use crate::deployment::Deployment;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::wait;

/// Send a pipeline with its components to the server and start it
///
/// The server checks everything before it starts anything. Relative paths of file sources and sinks start from the
/// directory of the pipeline file; the server must see the same files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl deploy pipeline.yaml
  flowctl deploy pipeline.yaml --wait            until its input ends; exit code 1 if it fails
  flowctl deploy pipeline.yaml --name orders-2   beside a running job of the same pipeline")]
pub struct Args {
    /// The pipeline file
    file: PathBuf,

    /// Name of the job instead of the pipeline's own
    #[arg(long)]
    name: Option<PipelineName>,

    /// Wait until the job has come to its end
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    pub remote: Remote,
}

/// Deploys and shows the job.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let server = args.remote.server(output)?.awaited();
    let deployment = Deployment::read(&args.file)?;
    for warning in deployment.warnings() {
        output.note(&warning.to_string());
    }
    let upload = deployment.upload(args.name.as_ref().map(PipelineName::as_str), output.shows_progress())?;
    let job: Job = server.upload("/jobs/submit", upload)?;
    if !args.wait {
        output.print_named(&job, || vec![job.id.to_string()], || format!("{} {}", job.id, job.state))?;
        output.note(&format!("watch it with `flowctl describe {0}`, stop it with `flowctl cancel {0}`", job.id));
        return Ok(Exit::Ok);
    }
    output.note(&format!("{} runs; waiting for its end", job.id));
    let job = wait::until_ended(&server, job)?;
    output.print_named(&job, || vec![job.id.to_string()], || format!("{} {}", job.id, job.state))?;
    wait::outcome(&job)
}
