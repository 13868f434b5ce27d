//! `flowctl drain`: takes all work from a worker, so that it may be stopped.

use std::fmt::Write;
use std::ops::ControlFlow;

use flow_model::api::{WorkerState, WorkerStatus, Workers, one_line};
use flow_model::ids::JobId;

use super::workers::running;
use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::server::Server;
use crate::wait;

/// Take all work from a worker, so that its machine can go
///
/// It gets nothing new, and each job of which it runs a part goes on from its last checkpoint on the workers that are left; one that finds too
/// few slots there waits for some. When the worker is `drained` its process may be stopped. It stays so until it is started again.
/// A worker that is stopped by SIGTERM is drained first, by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl drain w1
  flowctl drain w1 --wait                    until it runs nothing any more
  flowctl drain w1 --wait && ssh w1 systemctl stop flow-worker")]
pub struct Args {
    /// Name or id of the worker
    worker: String,

    /// Wait until it is drained
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    pub remote: Remote,
}

/// Asks for it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let server = args.remote.server(output)?;
    let mut worker: WorkerStatus = server.post(&format!("/workers/{}/drain", segment(&args.worker)?))?;
    let jobs: Vec<JobId> = worker.running.iter().map(|part| part.job.clone()).collect();
    if args.wait {
        worker = until_drained(&server, worker, output)?;
    }
    let name = one_line(&worker.name);
    output.print_named(&worker, || vec![name.clone()], || format!("{name} {}", worker.state))?;
    output.note(&next(&worker));
    // Those that have left it run, or wait. The others are not there yet.
    let has_left = worker.state == WorkerState::Drained;
    wait::remark(&server, &jobs, |now| has_left && wait::runs(now), output);
    Ok(Exit::Ok)
}

/// What happens now.
fn next(worker: &WorkerStatus) -> String {
    match worker.state {
        WorkerState::Drained => "it runs nothing any more: stop its process, or start it again to use it".to_owned(),
        _ if worker.running.is_empty() => "it gets nothing new; `flowctl workers` shows when it is drained".to_owned(),
        _ => format!(
            "these jobs go on from their last checkpoint on other workers: {}; `flowctl workers` shows when it is drained",
            running(&worker.running)
        ),
    }
}

/// The worker when it runs nothing any more. It may have to wait for others that have room.
fn until_drained(server: &Server, mut worker: WorkerStatus, output: &Output) -> Result<WorkerStatus, Failure> {
    wait::until(server, output, |waiting| {
        let what = match worker.state {
            WorkerState::Drained => return Ok(ControlFlow::Break(worker.clone())),
            WorkerState::Lost => return Err(lost(&worker)),
            state => format!("{} is {state}, and runs {}", worker.name, amount(&worker)),
        };
        let all: Workers = waiting.get("/workers")?;
        match all.workers.into_iter().find(|other| other.id == worker.id) {
            Some(now) => worker = now,
            // Who is drained may go, and is forgotten.
            None => worker = WorkerStatus { state: WorkerState::Drained, running: Vec::new(), ..worker.clone() },
        }
        Ok(ControlFlow::Continue(what))
    })
}

fn amount(worker: &WorkerStatus) -> String {
    if worker.running.is_empty() { "nothing".to_owned() } else { running(&worker.running) }
}

fn lost(worker: &WorkerStatus) -> Failure {
    let message = format!("{} was not heard of any more before it was drained", worker.name);
    Failure::new(Exit::Failed, "worker-lost", message)
        .hint("what it ran goes on from its last checkpoint elsewhere: `flowctl list`; see the log of the worker")
}

/// A worker's name or id as a segment of a path. What is none is told here.
fn segment(worker: &str) -> Result<String, Failure> {
    if ["", ".", ".."].contains(&worker) {
        return Err(Failure::invalid(format!("\"{worker}\" is no worker")).hint("`flowctl workers` shows them"));
    }
    let mut segment = String::new();
    for byte in worker.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            // Writing into a string never fails.
            _ = write!(segment, "%{byte:02X}");
        }
    }
    Ok(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths() {
        assert_eq!(segment("w-1.example").ok().as_deref(), Some("w-1.example"));
        assert_eq!(segment("a/b ü?").ok().as_deref(), Some("a%2Fb%20%C3%BC%3F"));
        assert!(segment("..").is_err() && segment("").is_err());
    }
}
