//! `flowctl list`: the jobs that the server knows.

use flow_model::api::{Job, Jobs};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::server::Server;
use crate::table::table;
use crate::time;

/// List the jobs of the server, newest first
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  flowctl list
  flowctl list -o json | jq -r '.jobs[] | select(.state == \"running\") | .id'"
)]
pub struct Args {
    #[command(flatten)]
    pub remote: Remote,
}

/// Shows them.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let jobs: Jobs = Server::new(args.remote.server.as_deref(), !output.is_json())?.get("/jobs")?;
    if jobs.jobs.is_empty() {
        output.note("no jobs; start one with `flowctl deploy FILE`");
    }
    output.print(&jobs, || {
        if jobs.jobs.is_empty() { String::new() } else { table(&TITLES, jobs.jobs.iter().map(row)) }
    })?;
    Ok(Exit::Ok)
}

const TITLES: [&str; 5] = ["ID", "NAME", "STATE", "SUBMITTED", "RAN"];

fn row(job: &Job) -> Vec<String> {
    let ran = job.ended.map_or(String::new(), |ended| time::duration(ended.saturating_sub(job.submitted)));
    vec![job.id.to_string(), job.name.to_string(), job.state.to_string(), time::utc(job.submitted), ran]
}
