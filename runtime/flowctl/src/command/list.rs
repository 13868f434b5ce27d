//! `flowctl list`: the jobs that the server knows.

use flow_model::api::{Job, Jobs, one_line};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::table::table;
use crate::time;

/// List the jobs of the server, newest first
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  flowctl list
  flowctl list -o wide                       with ends and errors
  flowctl list -o json | jq -r '.jobs[] | select(.state == \"running\") | .id'"
)]
pub struct Args {
    #[command(flatten)]
    pub remote: Remote,
}

/// Shows them.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let jobs: Jobs = args.remote.server(output)?.get("/jobs")?;
    if jobs.jobs.is_empty() {
        output.note("no jobs; start one with `flowctl deploy FILE`");
    }
    let names = || jobs.jobs.iter().map(|job| job.id.to_string()).collect();
    output.print_named(&jobs, names, || text(&jobs.jobs, output))?;
    Ok(Exit::Ok)
}

fn text(jobs: &[Job], output: &Output) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let mut titles = vec!["ID", "NAME", "STATE", "SUBMITTED", "RAN"];
    if output.is_wide() {
        titles.extend(["ENDED", "ERROR"]);
    }
    table(&titles, jobs.iter().map(|job| row(job, output.is_wide())))
}

fn row(job: &Job, is_wide: bool) -> Vec<String> {
    let ran = job.ended.map_or(String::new(), |ended| time::duration(ended.saturating_sub(job.submitted)));
    let mut row = vec![job.id.to_string(), job.name.to_string(), job.state.to_string(), time::utc(job.submitted), ran];
    if is_wide {
        row.push(job.ended.map_or(String::new(), time::utc));
        row.push(one_line(job.error.as_deref().unwrap_or_default()));
    }
    row
}
