//! `flowctl describe`: one job in full.

use std::fmt::Write;

use flow_model::api::{CheckpointSummary, Counters, Description, JobState, printable};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Output, size};
use crate::table::{count, table};
use crate::time;

/// Show a job: state, times, counters of each operator, and its plan
///
/// REJECTED counts what was skipped and what became a dead letter; LAG is how many records a Kafka source has still to read.
/// With -o wide also each partition of the sources, and the calls of each component, a batch each, with how long half of them
/// (P50) and 99 of 100 (P99) took at most.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl describe wordcount                 the last job of that name
  flowctl describe wordcount-3f9a2c -o wide
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
        JobState::Restarting | JobState::Canceling | JobState::Canceled => "33",
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
    lines.extend(description.checkpoints.as_ref().map(|all| ("checkpoint", checkpoints(all, description.now))));
    lines.extend(trouble(description));
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
    let (operators, is_wide) = (&description.operators, output.is_wide());
    let has_lag = operators.iter().any(|operator| operator.lag.is_some());
    let mut titles = vec![
        "OPERATOR",
        ">SUBTASKS",
        ">RECORDS IN",
        ">RECORDS OUT",
        ">BYTES IN",
        ">BYTES OUT",
        ">REJECTED",
        ">DEAD LETTERS",
    ];
    titles.extend(has_lag.then_some(">LAG"));
    if is_wide {
        titles.extend([">BUSY", ">CPU", ">STATE", ">CALLS", ">P50", ">P99"]);
    }
    let rows = operators.iter().map(|operator| row(operator, has_lag, is_wide));
    _ = writeln!(text, "\n{}\n", table(&titles, rows));
    if is_wide && has_lag {
        let titles = ["SOURCE", "TOPIC", ">PARTITION", ">NEXT", ">END", ">LAG"];
        _ = writeln!(text, "{}\n", table(&titles, operators.iter().flat_map(partitions)));
    }
    text + &description.plan.to_string()
}

/// What is wrong with a job, and what was: one that runs has recovered from its last failure.
fn trouble(description: &Description) -> Vec<(&'static str, String)> {
    let Description { job, last_failure, .. } = description;
    let last = last_failure.as_ref().map(|last| {
        let when = format!("{}, attempt {}", time::utc(last.time), last.attempt);
        ("last failure", format!("{when}: {}", printable(&last.reason)))
    });
    let is_over = job.state == JobState::Running;
    match &job.error {
        Some(error) if is_over => vec![last.unwrap_or_else(|| ("last failure:", printable(error)))],
        Some(error) if last_failure.as_ref().is_some_and(|last| last.reason == *error) => {
            vec![("error", printable(error))]
        }
        Some(error) => Vec::from_iter([("error", printable(error))].into_iter().chain(last)),
        None => Vec::from_iter(last),
    }
}

/// The last checkpoint that counts, and how many there were.
fn checkpoints(all: &CheckpointSummary, now: u64) -> String {
    let latest = all.latest.as_ref().map_or("none yet".into(), |latest| {
        let age = latest.ended.map_or(String::new(), |at| format!(", {} ago", time::duration(now.saturating_sub(at))));
        let took = latest.took().map_or(String::new(), |took| format!(", took {}", time::duration(took)));
        let bytes = latest.bytes.map_or(String::new(), |bytes| format!(", {}", size(bytes)));
        format!("{}{age}{took}{bytes}", latest.id)
    });
    let restored = all.restored.map_or(String::new(), |id| format!("; restored from {id}"));
    format!("{latest}; {} completed, {} failed{restored}", all.completed, all.failed)
}

fn row(counters: &Counters, has_lag: bool, is_wide: bool) -> Vec<String> {
    let figures = &counters.figures;
    let mut row = vec![
        counters.operator.to_string(),
        counters.subtasks.to_string(),
        count(figures.records_in),
        count(figures.records_out),
        size(figures.bytes_in),
        size(figures.bytes_out),
        count(figures.rejected),
        count(figures.dead_letters),
    ];
    row.extend(has_lag.then(|| counters.lag.map_or(String::new(), count)));
    if is_wide {
        let call = |share| figures.calls.and_then(|calls| calls.quantile(share)).map_or(String::new(), time::brief);
        row.extend([
            time::brief(figures.busy_us as f64),
            time::brief(figures.cpu_us as f64),
            figures.state.map_or(String::new(), |state| size(state.store_bytes + state.cache_bytes)),
            figures.calls.map_or(String::new(), |calls| count(calls.count())),
            call(0.5),
            call(0.99),
        ]);
    }
    row
}

/// How far each partition of a source was read.
fn partitions(counters: &Counters) -> impl Iterator<Item = Vec<String>> {
    let offset = |offset: Option<i64>| offset.map_or("?".into(), |offset| offset.to_string());
    counters.partitions.iter().map(move |partition| {
        vec![
            counters.operator.to_string(),
            partition.topic.clone(),
            partition.partition.to_string(),
            offset(partition.position),
            offset(partition.end),
            partition.lag().map_or("?".into(), count),
        ]
    })
}
