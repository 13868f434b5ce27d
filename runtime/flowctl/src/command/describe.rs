//! `flowctl describe`: one job in full.

use std::fmt::Write;

use flow_model::api::{Counters, Description, JobState, printable};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Output, size};
use crate::table::{count, table};
use crate::time;

/// Show a job: state, times, counters of each operator, and its plan
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl describe wordcount                 the last job of that name
  flowctl describe wordcount-3f9a2c
  flowctl describe wordcount -o json | jq '.operators[] | {operator, \"records-in\"}'")]
pub struct Args {
    /// Id or name of the job
    job: String,

    #[command(flatten)]
    pub remote: Remote,
}

/// Shows it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let server = args.remote.server(output)?;
    let description: Description = server.get(&format!("/jobs/{}", super::segment(&args.job)?))?;
    output.print_named(&description, || vec![description.job.id.to_string()], || text(&description, output))?;
    Ok(Exit::Ok)
}

fn text(description: &Description, output: &Output) -> String {
    let job = &description.job;
    let style = match job.state {
        JobState::Failed => "31",
        JobState::Canceling | JobState::Canceled => "33",
        JobState::Running | JobState::Finished => "32",
    };
    let until = if job.state.is_terminal() { job.ended } else { Some(description.now) };
    let ran = until.map_or("unknown".into(), |until| time::duration(until.saturating_sub(job.submitted)));
    let mut lines = vec![
        ("id", job.id.to_string()),
        ("name", job.name.to_string()),
        ("state", output.styled(style, job.state.as_str())),
        ("submitted", time::utc(job.submitted)),
    ];
    lines.extend(job.ended.map(|ended| ("ended", time::utc(ended))));
    lines.push(("ran", ran));
    lines.extend(job.error.as_ref().map(|error| ("error", printable(error))));
    lines.extend(description.warnings.iter().map(|warning| ("warning", printable(&warning.to_string()))));
    let mut text = String::new();
    for (name, value) in lines {
        // Writing into a string never fails.
        _ = writeln!(text, "{name:<10} {value}");
    }
    if description.operators.is_empty() {
        // A job that was lost with its flowd.
        _ = writeln!(text, "\nnothing is known of what its operators have done\n");
        return text + &description.plan.to_string();
    }
    let titles = ["OPERATOR", ">SUBTASKS", ">RECORDS IN", ">RECORDS OUT", ">BYTES IN", ">BYTES OUT", ">REJECTED"];
    _ = writeln!(text, "\n{}\n", table(&titles, description.operators.iter().map(row)));
    text + &description.plan.to_string()
}

fn row(counters: &Counters) -> Vec<String> {
    vec![
        counters.operator.to_string(),
        counters.subtasks.to_string(),
        count(counters.figures.records_in),
        count(counters.figures.records_out),
        size(counters.figures.bytes_in),
        size(counters.figures.bytes_out),
        count(counters.figures.rejected),
    ]
}
