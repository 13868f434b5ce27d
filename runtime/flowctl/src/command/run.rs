//! `flowctl run`: a pipeline in one process on this machine, until its input ends or Ctrl-C.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use crate::cli::Shown;
use crate::exit::{Exit, Failure};
use crate::flowd;
use crate::output::Output;

/// Run a pipeline here, in one process, until its input ends
///
/// Needs no server. What stdout sinks write goes to the standard output, everything else to the standard error. Ctrl-C
/// stops the job cleanly, a second one at once. When nobody reads the standard output any more, the run ends as if it had
/// finished.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl run pipeline.yaml
  flowctl run pipeline.yaml > out.jsonl
  flowctl run pipeline.yaml | head           the first lines, then the end")]
pub struct Args {
    /// The pipeline file
    file: PathBuf,

    #[command(flatten)]
    pub shown: Shown,
}

/// Becomes `flowd run`: signals, streams and the exit code are then its own, and no process is left behind.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let mut command = flowd::command()?;
    command.arg("run").arg(&args.file);
    if output.is_for_programs() {
        command.args(["--output", "json"]);
    }
    Err(Failure::failed(format!("can't run flowd: {}", command.exec())))
}
