//! `flowctl savepoint`: takes savepoints of a job, shows what they hold, gives them up.

use std::fmt::Write;
use std::ops::ControlFlow;

use clap::Subcommand;
use flow_model::api::{
    Description, Job, SavedState, Savepoint, SavepointDetail, SavepointNode, SavepointState, SavepointWanted,
    Savepoints, one_line,
};
use flow_model::ids::SavepointName;

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, size};
use crate::server::Server;
use crate::table::{count, table};
use crate::{time, wait};

/// Take a savepoint of a job, look at what one holds, or give one up
///
/// A savepoint is a checkpoint with a name that stays until you remove it, whatever becomes of the job. All output that it carries is
/// written. A job begins with it by `flowctl deploy FILE --from-savepoint NAME`: the same one, a changed one, or another one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl savepoint create orders --name before-v2 --wait
  flowctl savepoint ls orders
  flowctl savepoint inspect orders before-v2
  flowctl savepoint rm orders before-v2")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take a savepoint of a job, which goes on
    ///
    /// Its name comes at once. It is completed when its checkpoint is and all output of that is written.
    #[command(after_help = "\
Examples:
  flowctl savepoint create orders
  flowctl savepoint create orders --name before-v2 --wait
  name=$(flowctl savepoint create orders --wait -o name)")]
    Create {
        /// Id or name of the job
        job: String,
        /// What to call it [default: the time, like 20261124-093012-123]
        #[arg(long)]
        name: Option<SavepointName>,
        /// Wait until it is completed
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// List the savepoints of a job, newest first
    ///
    /// The job need not run. `previous` is the last checkpoint of the job's former life, which Flow keeps when a job is deployed again.
    #[command(
        visible_alias = "list",
        after_help = "\
Examples:
  flowctl savepoint ls orders
  flowctl savepoint ls orders -o name
  flowctl savepoint ls orders -o json | jq -r '.savepoints[] | select(.state == \"failed\") | .reason'"
    )]
    Ls {
        /// Id or name of the job
        job: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show what a savepoint holds: states by operator, and where each source goes on
    ///
    /// ENTRIES may count a little more than there are: what was replaced or deleted lately. SIZE is what it takes in the store.
    #[command(after_help = "\
Examples:
  flowctl savepoint inspect orders before-v2
  flowctl savepoint inspect orders before-v2 -o json | jq '.nodes[].states'")]
    Inspect {
        /// Id or name of the job
        job: String,
        /// Its name
        name: SavepointName,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a savepoint, with what only it needs in the store
    #[command(after_help = "\
Examples:
  flowctl savepoint rm orders before-v2")]
    Rm {
        /// Id or name of the job
        job: String,
        /// Its name
        name: SavepointName,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Args {
    /// The form that was asked for.
    pub fn output(&self) -> Option<Format> {
        let (What::Create { remote, .. }
        | What::Ls { remote, .. }
        | What::Inspect { remote, .. }
        | What::Rm { remote, .. }) = &self.what;
        remote.shown.output
    }
}

/// Does it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    match &args.what {
        What::Create { job, name, wait, remote } => {
            let wanted = SavepointWanted { name: name.clone(), stop: false };
            if *wait {
                let (_, savepoint) = completed(&remote.server(output)?, job, &wanted, output)?;
                show(&savepoint, output)?;
            } else {
                show(&asked(&remote.server(output)?, job, &wanted)?, output)?;
                output.note(&format!("see what becomes of it with `flowctl savepoint ls {job}`"));
            }
        }
        What::Ls { job, remote } => {
            let all: Savepoints = remote.server(output)?.patient().get(&path(job)?)?;
            if all.savepoints.is_empty() {
                output.note(&format!("{job} has no savepoint; `flowctl savepoint create {job}` takes one"));
            }
            let names = || all.savepoints.iter().map(|savepoint| savepoint.name.to_string()).collect();
            output.print_named(&all, names, || listed(&all.savepoints, output))?;
        }
        What::Inspect { job, name, remote } => {
            let detail: SavepointDetail = remote.server(output)?.patient().get(&format!("{}/{name}", path(job)?))?;
            output.print_named(&detail, || vec![name.to_string()], || text(&detail))?;
        }
        What::Rm { job, name, remote } => {
            remote.server(output)?.patient().delete(&format!("{}/{name}", path(job)?))?;
            output.note(&format!("the savepoint {name} of {job} is removed"));
        }
    }
    Ok(Exit::Ok)
}

fn path(job: &str) -> Result<String, Failure> {
    Ok(format!("/jobs/{}/savepoints", super::segment(job)?))
}

/// Asks for a savepoint.
pub fn asked(server: &Server, job: &str, wanted: &SavepointWanted) -> Result<Savepoint, Failure> {
    server.post_json(&path(job)?, wanted)
}

/// The same, when it is completed, and the job that it is of.
pub fn completed(
    server: &Server,
    job: &str,
    wanted: &SavepointWanted,
    output: &Output,
) -> Result<(Job, Savepoint), Failure> {
    // A name may be another job's by the time that it is there.
    let Description { job, .. } = server.get(&format!("/jobs/{}", super::segment(job)?))?;
    let Savepoint { name, .. } = asked(server, job.id.as_str(), wanted)?;
    let path = path(job.id.as_str())?;
    let savepoint = wait::until(server, output, |waiting| {
        let all: Savepoints = waiting.ask(&job, &path)?;
        let Some(found) = all.savepoints.into_iter().find(|savepoint| savepoint.name == name) else {
            let Description { job, .. } = waiting.ask(&job, &format!("/jobs/{}", job.id))?;
            return Err(none_came(&name, &format!("{} is {}", job.id, job.state)));
        };
        match found.state {
            SavepointState::Completed => Ok(ControlFlow::Break(found)),
            SavepointState::InProgress => {
                let now: Description = waiting.ask(&job, &format!("/jobs/{}", job.id))?;
                Ok(ControlFlow::Continue(format!("savepoint {name} is in progress; {}", wait::standing(&now))))
            }
            SavepointState::Failed => Err(none_came(&name, found.reason.as_deref().unwrap_or("it failed"))),
        }
    })
    .map_err(|failure| match failure.code.as_str() {
        "connection-lost" if wanted.stop => failure.hint(stops_later(&job, &name)),
        _ => failure,
    })?;
    Ok((job, savepoint))
}

/// The server went away before a job had stopped with its savepoint.
fn stops_later(job: &Job, name: &SavepointName) -> String {
    let Job { id, name: job, .. } = job;
    format!(
        "{id} stops with the savepoint {name} all the same when flowd is started again, or another coordinator leads: \
         `flowctl savepoint ls {job}` shows it then"
    )
}

fn none_came(name: &SavepointName, why: &str) -> Failure {
    Failure::new(Exit::Failed, "savepoint-failed", format!("no savepoint {name} came: {why}"))
}

/// Shows one in short.
pub fn show(savepoint: &Savepoint, output: &Output) -> Result<(), Failure> {
    let Savepoint { name, state, .. } = savepoint;
    output.print_named(savepoint, || vec![name.to_string()], || format!("{name} {}", state.as_str()))
}

fn listed(all: &[Savepoint], output: &Output) -> String {
    if all.is_empty() {
        return String::new();
    }
    table(&["NAME", "STATE", "CHECKPOINT", "TIME", ">SIZE", "NOTE"], all.iter().map(|savepoint| row(savepoint, output)))
}

fn row(savepoint: &Savepoint, output: &Output) -> Vec<String> {
    let style = match savepoint.state {
        SavepointState::Completed => "32",
        SavepointState::Failed => "31",
        SavepointState::InProgress => "33",
    };
    vec![
        savepoint.name.to_string(),
        output.styled(style, savepoint.state.as_str()),
        savepoint.checkpoint.map_or(String::new(), |id| id.to_string()),
        savepoint.time.map_or(String::new(), time::utc),
        savepoint.bytes.map_or(String::new(), size),
        one_line(savepoint.reason.as_deref().unwrap_or_default()),
    ]
}

fn text(detail: &SavepointDetail) -> String {
    let SavepointDetail { savepoint, incarnation, format, key_groups, nodes } = detail;
    let lines = [
        ("name", savepoint.name.to_string()),
        ("job", savepoint.job.to_string()),
        ("checkpoint", savepoint.checkpoint.map_or(String::new(), |id| id.to_string())),
        ("taken", savepoint.time.map_or(String::new(), time::utc)),
        ("size", savepoint.bytes.map_or(String::new(), size)),
        ("life", incarnation.to_string()),
        ("format", format.to_string()),
        ("key groups", key_groups.to_string()),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        // Writing into a string never fails.
        _ = writeln!(text, "{name:<10} {value}");
    }
    let titles = ["OPERATOR", ">SUBTASKS", "STATES", ">ENTRIES", ">SIZE", "NOTE"];
    _ = writeln!(text, "\n{}", table(&titles, nodes.iter().map(node)));
    let splits: Vec<Vec<String>> = nodes.iter().flat_map(positions).collect();
    if !splits.is_empty() {
        _ = writeln!(text, "\n{}", table(&["SOURCE", "SPLIT", ">NEXT", "NOTE"], splits));
    }
    text
}

fn node(node: &SavepointNode) -> Vec<String> {
    let state = |state: &SavedState| format!("{} ({})", state.name, state.kind);
    vec![
        node.name.to_string(),
        node.subtasks.to_string(),
        node.states.iter().map(state).collect::<Vec<_>>().join(", "),
        node.entries.map_or(String::new(), count),
        node.bytes.map_or(String::new(), size),
        if node.ended { "ended" } else { "" }.to_owned(),
    ]
}

/// Where a source goes on.
fn positions(node: &SavepointNode) -> impl Iterator<Item = Vec<String>> {
    node.splits.iter().map(|split| {
        let note = if split.ended { "ended" } else { "" }.to_owned();
        vec![node.name.to_string(), one_line(&split.split), split.next.to_string(), note]
    })
}
