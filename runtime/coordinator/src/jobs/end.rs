//! How a job ended, in the log of the process. A module of its own, so that a process with one job can leave it out.

use flow_model::api::JobState;
use flow_model::ids::JobId;

use crate::keeper::Status;

/// Says it, once for each job. `submitted` is milliseconds since the Unix epoch.
pub fn tell(job: &JobId, submitted: u64, status: &Status) {
    let ran = status.ended.map_or(0, |ended| ended.saturating_sub(submitted as i64).max(0));
    let seconds = ran as f64 / 1000.0;
    match (status.state, &status.error) {
        (JobState::Failed, Some(error)) => tracing::error!(job = %job, "failed after {seconds:.1} s: {error}"),
        (JobState::Finished, _) => tracing::info!(job = %job, "finished after {seconds:.1} s"),
        (JobState::Canceled, Some(why)) => tracing::info!(job = %job, "canceled after {seconds:.1} s: {why}"),
        (JobState::Canceled, None) => tracing::info!(job = %job, "canceled after {seconds:.1} s"),
        (state, _) => tracing::error!(job = %job, "ended after {seconds:.1} s as {state}"),
    }
}
