//! Waiting for what a server does, by asking again and again. A person who looks on sees what is waited for, and since when.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use flow_model::api::{Description, Job, JobState};
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;

use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::server::Server;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
/// What takes less shows nothing.
const QUIET: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

/// Looks again and again until there is something; meanwhile `look` says what it waits for. There is no time limit.
pub fn until<T>(
    output: &Output,
    mut look: impl FnMut() -> Result<ControlFlow<T, String>, Failure>,
) -> Result<T, Failure> {
    let (begun, mut pause, mut spinner) = (Instant::now(), FIRST, None);
    let found = loop {
        match look() {
            Ok(ControlFlow::Break(found)) => break Ok(found),
            Err(failure) => break Err(failure),
            Ok(ControlFlow::Continue(what)) => {
                if output.shows_progress() && begun.elapsed() >= QUIET {
                    spinner.get_or_insert_with(spin).set_message(what);
                }
            }
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST);
    };
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    found
}

fn spin() -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_style(style()).with_elapsed(QUIET);
    spinner.enable_steady_tick(TICK);
    spinner
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is well formed")
}

/// The job as it is when nothing of it runs any more. A job may run for ever.
pub fn until_ended(server: &Server, mut job: Job, output: &Output) -> Result<Job, Failure> {
    until(output, || {
        if job.state.is_terminal() {
            return Ok(ControlFlow::Break(job.clone()));
        }
        let what = format!("{} is {}", job.id, job.state);
        job = ask::<Description>(server, &job, &format!("/jobs/{}", job.id))?.job;
        Ok(ControlFlow::Continue(what))
    })
}

/// Asks for `path`, which is of a job that the server knew a moment ago.
pub fn ask<T: DeserializeOwned>(server: &Server, job: &Job, path: &str) -> Result<T, Failure> {
    server.get(path).map_err(|failure| lost(server.url(), job, failure))
}

/// The server knew the job a moment ago, and now tells of it only what its store says.
pub fn forgotten(server: &Server, job: &Job) -> Failure {
    let refused = Failure::new(Exit::Refused, "not-found", format!("only its store knows of {}", job.name));
    lost(server.url(), job, refused)
}

/// The server knew the job a moment ago and tells no more of it.
fn lost(url: &str, job: &Job, failure: Failure) -> Failure {
    let what = match failure.exit {
        Exit::Unreachable if failure.code == "no-answer" => "does not answer any more",
        Exit::Unreachable => "has stopped",
        Exit::Refused => "was started again and does not know the job any more",
        _ => return failure,
    };
    let Job { id, state, .. } = job;
    let hint = "started again, flowd lets jobs with checkpoints go on; `flowctl deploy` starts the others";
    let message = format!("the server at {url} {what}; {id} was {state} when it last answered ({})", failure.message);
    Failure::new(Exit::Unreachable, "connection-lost", message).hint(hint)
}

/// How the process ends for a job that has ended.
pub fn outcome(job: &Job) -> Result<Exit, Failure> {
    match (job.state, &job.error) {
        (JobState::Finished, _) => Ok(Exit::Ok),
        (JobState::Failed, Some(error)) => {
            let failure = Failure::new(Exit::Failed, "job-failed", format!("{} failed: {error}", job.id));
            Err(failure.hint(format!("see its last lines with `flowctl logs {} --tail 20`", job.id)))
        }
        (JobState::Canceled, Some(why)) => {
            Err(Failure::new(Exit::Failed, "job-not-finished", format!("{} is canceled: {why}", job.id)))
        }
        (state, _) => Err(Failure::new(Exit::Failed, "job-not-finished", format!("{} is {state}", job.id))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spinner_can_be_drawn() {
        ProgressBar::hidden().with_style(style()).tick();
    }
}
