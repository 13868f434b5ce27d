//! Asks the daemon how far a job is, over its REST API.

use std::time::Duration;

use anyhow::Context;
use flow_model::api::{Counters, Description, JobState};

/// How far the job is, for the table.
#[derive(Debug)]
pub struct Progress {
    /// What the job does.
    pub state: JobState,
    /// Lines that the source has read.
    pub lines: u64,
    /// Records that the counting operator takes a second, by the last two looks.
    pub rate: Option<u64>,
}

/// One job of a daemon.
pub struct Job {
    url: String,
    agent: ureq::Agent,
    /// The server's clock in milliseconds and the records counted by then.
    last: Option<(u64, u64)>,
}

impl Job {
    /// `api` as `http://127.0.0.1:8081`.
    pub fn new(api: &str, id: &str) -> Job {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build()
            .into();
        Job { url: format!("{api}/jobs/{id}"), agent, last: None }
    }

    /// Looks once. A job that failed or was canceled is an error, with the daemon's reason.
    pub fn progress(&mut self) -> anyhow::Result<Progress> {
        let mut response = self.agent.get(&self.url).call().with_context(|| format!("no answer from {}", self.url))?;
        let body = response.body_mut().read_to_string()?;
        let answer: Description = serde_json::from_str(&body)
            .with_context(|| format!("{} answered {}: {body}", self.url, response.status()))?;
        let state = answer.job.state;
        if state.is_terminal() && state != JobState::Finished {
            anyhow::bail!("the job has {state}: {}", answer.job.error.unwrap_or_default());
        }
        let of = |name: &str, count: fn(&Counters) -> u64| {
            answer.operators.iter().find(|one| one.operator.as_str() == name).map_or(0, count)
        };
        let (lines, counted) =
            (of("text", |text| text.figures.records_out), of("count", |count| count.figures.records_in));
        Ok(Progress { state, lines, rate: self.rate(answer.now, counted) })
    }

    fn rate(&mut self, now: u64, counted: u64) -> Option<u64> {
        let (then, before) = self.last.replace((now, counted))?;
        (counted.saturating_sub(before) * 1000).checked_div(now.saturating_sub(then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_looks_at_different_times() {
        let mut job = Job::new("http://127.0.0.1:1", "words");
        assert_eq!(job.rate(1_000, 10), None);
        assert_eq!(job.rate(1_500, 60), Some(100));
        assert_eq!(job.rate(1_500, 70), None);
    }
}
