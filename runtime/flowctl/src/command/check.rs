//! `flowctl check`: can this pipeline run? Loads its components and tries their configs without starting anything.

use std::path::PathBuf;
use std::process::Stdio;

use flow_model::api::{Checked, Refusal, Start};

use crate::cli::Shown;
use crate::deployment::{Deployment, invalid};
use crate::exit::{Exit, Failure};
use crate::flowd;
use crate::output::Output;
use crate::server::{Server, Target};

/// Check a pipeline and its components without starting anything
///
/// Reads the pipeline file, loads its components under their limits, holds their kinds against their places, lets each
/// operator read its config, and shows the plan. It does not ask Kafka, and opens no file of a source or sink: whether a
/// topic or a path exists, the start of the job tells. Needs no server: the flowd beside flowctl does it; with --server,
/// that server does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl check pipeline.yaml
  flowctl check pipeline.yaml -o json
  flowctl check pipeline.yaml --server http://flow.example:8081")]
pub struct Args {
    /// The pipeline file
    file: PathBuf,

    /// Let this server check it instead of this machine
    #[arg(long, value_name = "URL", conflicts_with = "context")]
    server: Option<String>,

    /// Let the server of this context check it
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    #[command(flatten)]
    pub shown: Shown,
}

/// Checks and shows the plan.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let checked = match (&args.server, &args.context) {
        (None, None) => here(args)?,
        (server, context) => {
            let target = Target::find(server.as_deref(), context.as_deref())?;
            let server = Server::new(target, !output.is_for_programs())?;
            let upload = Deployment::read(&args.file)?.upload(None, &Start::default(), output.shows_progress())?;
            server.upload("/jobs/check", upload)?
        }
    };
    for warning in &checked.warnings {
        output.note(&warning.to_string());
    }
    output.print_named(&checked, || vec![checked.plan.pipeline.to_string()], || checked.plan.to_string())?;
    Ok(Exit::Ok)
}

fn here(args: &Args) -> Result<Checked, Failure> {
    let answer = flowd::command()?
        .arg("check")
        .arg(&args.file)
        .args(["--output", "json", "--die-with-parent"])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::failed(format!("can't run flowd: {error}")))?;
    if answer.status.success() {
        return serde_json::from_slice(&answer.stdout)
            .map_err(|error| Failure::failed(format!("flowd answers what flowctl does not know: {error}")));
    }
    let refusal: Refusal = serde_json::from_slice(&answer.stdout)
        .map_err(|_| Failure::failed(format!("flowd could not check the pipeline ({})", answer.status)))?;
    if refusal.diagnostics.is_empty() {
        return Err(refusal.into());
    }
    Err(invalid(refusal.diagnostics))
}
