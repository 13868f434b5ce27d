//! Waiting for a job's end, by asking again and again.

use std::thread;
use std::time::Duration;

use flow_model::api::{Description, Job, JobState};

use crate::exit::{Exit, Failure};
use crate::server::Server;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);

/// The job as it is when nothing of it runs any more. There is no time limit: a job may run for ever.
pub fn until_ended(server: &Server, mut job: Job) -> Result<Job, Failure> {
    let mut pause = FIRST;
    while !job.state.is_terminal() {
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST);
        job = match server.get::<Description>(&format!("/jobs/{}", job.id)) {
            Ok(description) => description.job,
            Err(failure) => return Err(lost(server.url(), &job, failure)),
        };
    }
    Ok(job)
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
    let hint = "a flowd that is stopped cancels its jobs first; `flowctl deploy` starts them again when it is up";
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
