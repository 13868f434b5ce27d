//! `flowctl stop`: ends a job, with a savepoint to begin with again.

use flow_model::api::{Savepoint, SavepointWanted};
use flow_model::ids::SavepointName;

use super::{cancel, savepoint};
use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::wait;

/// Stop a job, with a savepoint to begin with again
///
/// With --savepoint its sources give nothing more, what they gave is processed and written, and the job ends with a savepoint that holds all
/// of it: what begins with that loses nothing and repeats nothing. Without --savepoint it ends at once, as by `flowctl cancel`: what
/// came after its last checkpoint is not kept, and sinks that are not exactly-once write it once more when a job begins with that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl stop orders --savepoint --wait
  flowctl stop orders --savepoint=before-v2 --wait
  flowctl deploy orders.yaml --from-savepoint before-v2       begins with it
  flowctl stop orders                                         without, as `flowctl cancel orders`")]
pub struct Args {
    /// Id or name of the job
    job: String,

    /// Stop with a savepoint; what to call it [default: the time, like 20261124-093012-123]
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true)]
    savepoint: Option<Option<SavepointName>>,

    /// Wait until the savepoint is completed and the job has stopped
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    pub remote: Remote,
}

/// Asks the server to stop it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let server = args.remote.server(output)?;
    let Some(name) = &args.savepoint else {
        return cancel::stop(&server, &args.job, args.wait, output);
    };
    let wanted = SavepointWanted { name: name.clone(), stop: true };
    if !args.wait {
        let savepoint = savepoint::asked(&server, &args.job, &wanted)?;
        savepoint::show(&savepoint, output)?;
        output.note(&format!("when `flowctl savepoint ls {}` shows it as completed, {}", args.job, next(&savepoint)));
        return Ok(Exit::Ok);
    }
    let (job, savepoint) = savepoint::completed(&server, &args.job, &wanted, output)?;
    let job = wait::until_ended(&server, job, output)?;
    savepoint::show(&savepoint, output)?;
    output.note(&format!("{} is {}; {}", job.id, job.state, next(&savepoint)));
    // It may have failed after that, or come to its end.
    cancel::outcome(&job)
}

/// The command that begins with a savepoint.
fn next(savepoint: &Savepoint) -> String {
    format!("begin with it: flowctl deploy FILE --from-savepoint {}/{}", savepoint.job, savepoint.name)
}
