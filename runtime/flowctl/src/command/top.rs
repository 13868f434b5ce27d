//! `flowctl top`: what goes on in jobs right now.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::thread;
use std::time::Duration;

use flow_model::api::{Description, Job, Jobs, printable};
use flow_model::quantity::parse_duration;
use serde::Serialize;

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Output, size};
use crate::rates::{self, JobRates, OperatorRates};
use crate::screen;
use crate::server::Server;
use crate::table::{count, table};
use crate::time;

/// Watch operators: records a second, how busy they are, CPU, state
///
/// LAG is how many records a Kafka source has still to read. BUSY, BLOCKED and IDLE are shares of the time of an operator's
/// subtasks: at work, unable to pass on output because what is behind it is slower, without input. CPU is in cores. REJECTED
/// counts what was skipped and what became a dead letter. With -o wide also the calls of each component, a batch each, and how
/// long half of them (P50) and 99 of 100 (P99) took at most. On a terminal it is drawn anew until q or Ctrl-C; elsewhere it
/// is printed once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl top                                all running jobs
  flowctl top wordcount --interval 5s
  flowctl top wordcount -o json | jq '.jobs[0].operators[] | {operator, busy}'")]
pub struct Args {
    /// Id or name of a job; all running jobs if absent
    job: Option<String>,

    /// Over how long rates are taken
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// Print it once, also on a terminal
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    pub remote: Remote,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    if time < Duration::from_millis(100) { Err("at least 100ms".to_owned()) } else { Ok(time) }
}

/// All jobs that are shown.
#[derive(Serialize)]
struct Top {
    jobs: Vec<JobRates>,
}

/// Shows it, once or until the user has seen enough.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let server = args.remote.server(output)?;
    let job = args.job.as_deref().map(super::segment).transpose()?;
    let mut before = descriptions(&server, job)?;
    if args.once || output.is_for_programs() || !stdout().is_terminal() {
        thread::sleep(args.interval);
        let top = Top { jobs: next(&mut before, descriptions(&server, job)?) };
        let names = || top.jobs.iter().map(|job| job.id.clone()).collect();
        output.print_named(&top, names, || text(&top.jobs, output.is_wide()))?;
        return Ok(Exit::Ok);
    }
    let mut shown = "the first figures come in a moment\n".to_owned();
    let mut is_first = true;
    screen::show(args.interval, || {
        if !std::mem::take(&mut is_first) {
            shown = match descriptions(&server, job) {
                Ok(now) => {
                    format!("{}  (q quits)\n\n{}", server.url(), text(&next(&mut before, now), output.is_wide()))
                }
                Err(failure) => format!("{}\n\n{shown}", printable(&failure.message)),
            };
        }
        shown.clone()
    })?;
    Ok(Exit::Ok)
}

/// The job, or all that run.
fn descriptions(server: &Server, job: Option<&str>) -> Result<Vec<Description>, Failure> {
    let get = |job: &str| server.get::<Description>(&format!("/jobs/{job}"));
    if let Some(job) = job {
        return Ok(vec![get(job)?]);
    }
    let jobs: Jobs = server.get("/jobs")?;
    let running = jobs.jobs.iter().filter(|job: &&Job| !job.state.is_terminal());
    running.map(|job| get(job.id.as_str())).collect()
}

/// The rates since `before`, which becomes `now`. A job that has begun since then comes with the next ones.
fn next(before: &mut Vec<Description>, now: Vec<Description>) -> Vec<JobRates> {
    let earlier: BTreeMap<_, _> = before.iter().map(|description| (&description.job.id, description)).collect();
    let rates = now.iter().filter_map(|now| Some(rates::between(earlier.get(&now.job.id)?, now))).collect();
    *before = now;
    rates
}

fn text(jobs: &[JobRates], is_wide: bool) -> String {
    if jobs.is_empty() {
        return "no job runs; start one with `flowctl deploy FILE`".to_owned();
    }
    let one = |job: &JobRates| {
        let columns: Vec<&Column> = COLUMNS.iter().filter(|column| column.is_shown(job, is_wide)).collect();
        let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
        let rows = job.operators.iter().map(|operator| columns.iter().map(|column| (column.text)(operator)).collect());
        format!("{} {}\n{}", job.id, job.state, table(&titles, rows))
    };
    jobs.iter().map(one).collect::<Vec<_>>().join("\n\n")
}

/// A column: its title, when it is shown, and what it says of an operator.
struct Column {
    title: &'static str,
    when: When,
    text: fn(&OperatorRates) -> String,
}

#[derive(PartialEq)]
enum When {
    Always,
    /// An operator of the job has something to say there.
    Filled,
    Wide,
}

impl Column {
    fn is_shown(&self, job: &JobRates, is_wide: bool) -> bool {
        match self.when {
            When::Always => true,
            When::Filled => job.operators.iter().any(|operator| !(self.text)(operator).is_empty()),
            When::Wide => is_wide,
        }
    }
}

const COLUMNS: [Column; 17] = {
    const fn column(title: &'static str, when: When, text: fn(&OperatorRates) -> String) -> Column {
        Column { title, when, text }
    }
    [
        column("OPERATOR", When::Always, |o| o.operator.clone()),
        column(">SUBTASKS", When::Always, |o| o.subtasks.to_string()),
        column(">IN/S", When::Always, |o| per_second(o.records_in_per_second)),
        column(">OUT/S", When::Always, |o| per_second(o.records_out_per_second)),
        column(">LAG", When::Filled, |o| o.lag.map_or(String::new(), count)),
        column(">BUSY", When::Always, |o| share(o.busy)),
        column(">BLOCKED", When::Always, |o| share(o.backpressured)),
        column(">IDLE", When::Always, |o| share(o.idle)),
        column(">CPU", When::Always, |o| format!("{:.2}", o.cpu)),
        column(">STATE", When::Always, |o| o.state_bytes.map_or(String::new(), size)),
        column(">REJECTED", When::Always, |o| count(o.rejected)),
        column(">DEAD LETTERS", When::Always, |o| count(o.dead_letters)),
        column(">BYTES IN/S", When::Wide, |o| size(o.bytes_in_per_second.round() as u64)),
        column(">BYTES OUT/S", When::Wide, |o| size(o.bytes_out_per_second.round() as u64)),
        column(">CALLS/S", When::Wide, |o| {
            o.calls.as_ref().map_or(String::new(), |calls| per_second(calls.per_second))
        }),
        column(">P50", When::Wide, |o| {
            o.calls.as_ref().and_then(|calls| calls.p50_us).map_or(String::new(), time::brief)
        }),
        column(">P99", When::Wide, |o| {
            o.calls.as_ref().and_then(|calls| calls.p99_us).map_or(String::new(), time::brief)
        }),
    ]
};

fn share(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn per_second(rate: f64) -> String {
    count(rate.round() as u64)
}
