//! `flowctl deploy`: a pipeline with its components goes to the server and starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_model::api::Job;
use flow_model::ids::{OperatorName, PipelineName};
use flow_model::start::{self, From, Start};

use crate::cli::Remote;
use crate::deployment::Deployment;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::parallelism::{self, Of};
use crate::wait;

/// Send a pipeline with its components to the server and start it
///
/// The server checks everything before it starts anything. Relative paths of file sources and sinks start from the
/// directory of the pipeline file; the server must see the same files. Unless told what to begin with, a job begins with empty state
/// at the `start` of its sources, whatever ran under its name before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl deploy pipeline.yaml
  flowctl deploy pipeline.yaml --wait            until its input ends; exit code 1 if it fails
  flowctl deploy pipeline.yaml --name orders-2   beside a running job of the same pipeline
  flowctl deploy pipeline.yaml --parallelism counts=8 --parallelism out=2
  flowctl deploy pipeline.yaml --from-savepoint before-v2
  flowctl deploy pipeline.yaml --from-checkpoint latest        where a canceled or failed job was
  flowctl deploy copy.yaml --from-savepoint orders/before-v2   another job, with its state")]
pub struct Args {
    /// The pipeline file
    file: PathBuf,

    /// Name of the job instead of the pipeline's own
    #[arg(long)]
    name: Option<PipelineName>,

    /// How many subtasks a source, operator or sink has instead of what the file says; may be repeated
    #[arg(long, value_name = "NODE=N", value_parser = parallelism::of)]
    parallelism: Vec<Of>,

    /// Wait until the job has come to its end
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    pub remote: Remote,

    // Last, since its heading is that of all that follows.
    #[command(flatten)]
    beginning: Beginning,
}

/// What the job begins with.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What it begins with")]
struct Beginning {
    /// Begin with the state and the positions of a savepoint, of this job or of another one
    #[arg(long, value_name = "[JOB/]NAME", value_parser = From::savepoint, conflicts_with = "from_checkpoint")]
    from_savepoint: Option<From>,

    /// The same with a checkpoint that is retained, of a job that does not run
    #[arg(long, value_name = "[JOB/]ID|latest", value_parser = From::checkpoint)]
    from_checkpoint: Option<From>,

    /// Take the objects of the savepoint over instead of copying them; the savepoint is gone then
    #[arg(long)]
    claim: bool,

    /// Give up state that it holds, or the positions of a source; may be repeated
    #[arg(long, value_name = "OPERATOR[/STATE]")]
    drop_state: Vec<String>,

    /// Let state that it does not hold begin empty, or a source at its `start`; may be repeated
    #[arg(long, value_name = "OPERATOR[/STATE]")]
    new_state: Vec<String>,

    /// Begin with it though the job went on after it: what was written since is written again
    #[arg(long)]
    allow_repeat: bool,

    /// Take the job over from a flowd that is gone for good, though the store says that it runs there
    #[arg(long)]
    take_over: bool,

    /// Never write output that the former life of the job has confirmed and not written: it is lost
    #[arg(long, conflicts_with = "reset_progress")]
    abandon_output: bool,

    /// DANGER: the Kafka cluster was replaced; do not ask it how much output it has
    ///
    /// What the last checkpoint of the former life carries is written as if none of it were there, whatever a copy of its progress topic says. In
    /// the same Kafka records come twice by it. What this flag itself has written to a cluster counts there: given again, it goes on behind that.
    #[arg(long)]
    reset_progress: bool,
}

impl Beginning {
    fn start(&self) -> Start {
        Start {
            from: self.from_savepoint.clone().or_else(|| self.from_checkpoint.clone()),
            claim: self.claim,
            drop_state: self.drop_state.clone(),
            new_state: self.new_state.clone(),
            allow_repeat: self.allow_repeat,
            take_over: self.take_over,
            abandon_output: self.abandon_output,
            reset_progress: self.reset_progress,
            settle: None,
        }
    }
}

/// Deploys and shows the job.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let how = (&args.beginning.start(), parallelism::all(&args.parallelism)?);
    submit(&args.file, args.name.as_ref(), how, (args.wait, &args.remote), output)
}

/// Sends a pipeline with what it begins with and how many subtasks it has, and shows the job; waits for its end if that is wanted.
pub fn submit(
    file: &Path,
    name: Option<&PipelineName>,
    (start, parallelism): (&Start, BTreeMap<OperatorName, u32>),
    (waits, remote): (bool, &Remote),
    output: &Output,
) -> Result<Exit, Failure> {
    start.check().map_err(refused)?;
    let server = remote.server(output)?.awaited();
    let deployment = Deployment::read(file)?.with_parallelism(parallelism);
    for warning in deployment.warnings() {
        output.note(&warning.to_string());
    }
    if start.reset_progress {
        output.warn("--reset-progress: Kafka is not asked how much of the output it has; if it is the old one, records come twice");
    }
    let upload = deployment.upload(name.map(PipelineName::as_str), start, output.shows_progress())?;
    let job: Job = server.upload("/jobs/submit", upload)?;
    if !waits {
        output.print_named(&job, || vec![job.id.to_string()], || format!("{} {}", job.id, job.state))?;
        output.note(&format!("watch it with `flowctl describe {0}`, stop it with `flowctl cancel {0}`", job.id));
        wait::remark(&server, [&job.id], wait::runs, output);
        return Ok(Exit::Ok);
    }
    output.note(&format!("{} runs; waiting for its end", job.id));
    let job = wait::until_ended(&server, job, output)?;
    output.print_named(&job, || vec![job.id.to_string()], || format!("{} {}", job.id, job.state))?;
    wait::outcome(&job)
}

fn refused(error: start::Error) -> Failure {
    let failure = Failure::invalid(&error);
    match error {
        start::Error::Nothing(_) => failure.hint("name one with --from-savepoint or --from-checkpoint"),
        _ => failure,
    }
}
