//! Asks the daemon how far a job is, over its REST API.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;

/// How far the job is, for the table.
#[derive(Debug, Default)]
pub struct Progress {
    /// The daemon's word for what the job does.
    pub state: String,
    /// Lines that the source has read.
    pub lines: u64,
    /// Records that the counting operator takes a second, by the last two looks.
    pub rate: Option<u64>,
}

#[derive(Deserialize)]
struct Answer {
    state: String,
    error: Option<String>,
    operators: Vec<Operator>,
}

#[derive(Deserialize)]
struct Operator {
    name: String,
    records_in: u64,
    records_out: u64,
}

/// One job of a daemon.
pub struct Job {
    url: String,
    agent: ureq::Agent,
    last: Option<(Instant, u64)>,
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

    /// Looks once. A job that failed is an error, with the daemon's reason.
    pub fn progress(&mut self) -> anyhow::Result<Progress> {
        let mut response = self.agent.get(&self.url).call().with_context(|| format!("no answer from {}", self.url))?;
        let body = response.body_mut().read_to_string()?;
        let answer: Answer = serde_json::from_str(&body)
            .with_context(|| format!("{} answered {}: {body}", self.url, response.status()))?;
        let of = |name: &str, count: fn(&Operator) -> u64| {
            answer.operators.iter().find(|operator| operator.name == name).map_or(0, count)
        };
        let (lines, counted) = (of("text", |text| text.records_out), of("count", |count| count.records_in));
        if answer.state.eq_ignore_ascii_case("failed") {
            anyhow::bail!("the job failed: {}", answer.error.unwrap_or_default());
        }
        Ok(Progress { state: answer.state.to_uppercase(), lines, rate: self.rate(counted) })
    }

    fn rate(&mut self, counted: u64) -> Option<u64> {
        let now = Instant::now();
        let (then, before) = self.last.replace((now, counted))?;
        let seconds = now.duration_since(then).as_secs_f64();
        // Rounded down: a display, not a measurement.
        (seconds > 0.0).then(|| (counted.saturating_sub(before) as f64 / seconds) as u64)
    }
}
