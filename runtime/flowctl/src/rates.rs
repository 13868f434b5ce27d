//! What goes on in a job, from two of its descriptions: records a second, how busy its operators are. Only arithmetic.

use flow_model::api::{CallFigures, Counters, Description};
use serde::Serialize;

/// A job between two moments.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JobRates {
    /// Its id.
    pub id: String,
    /// Its state at the second moment.
    pub state: &'static str,
    /// Milliseconds between the two moments.
    pub interval: u64,
    /// Sources, operators and sinks in topological order.
    pub operators: Vec<OperatorRates>,
}

/// One source, operator or sink. Shares are of the time of all its subtasks, from 0 to 1.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct OperatorRates {
    pub operator: String,
    pub subtasks: u32,
    pub records_in_per_second: f64,
    pub records_out_per_second: f64,
    pub bytes_in_per_second: f64,
    pub bytes_out_per_second: f64,
    /// The slots worked in it.
    pub busy: f64,
    /// Its task could not pass on its output.
    pub backpressured: f64,
    /// Its task had no input.
    pub idle: f64,
    /// Cores that it used.
    pub cpu: f64,
    /// Bytes of keyed state, if it has any: those in the store, and those in the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<u64>,
    /// Records that left the stream since the job began, skipped or as dead letters.
    pub rejected: u64,
    /// Those of them that became dead letters.
    pub dead_letters: u64,
    /// How many records a Kafka source is behind, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// The calls of its component between the two moments, if it is an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<CallRates>,
}

/// The calls of a component, a batch each. Times are estimated, and absent without calls.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct CallRates {
    pub per_second: f64,
    /// Microseconds that half of them took at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// Microseconds that 99 of 100 took at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
}

/// The rates from `before` to `now`, two descriptions of one job.
pub fn between(before: &Description, now: &Description) -> JobRates {
    let ms = now.now.saturating_sub(before.now);
    let operators = now.operators.iter().map(|counters| {
        let earlier = before.operators.iter().find(|earlier| earlier.operator == counters.operator);
        operator(earlier, counters, ms)
    });
    JobRates { id: now.job.id.to_string(), state: now.job.state.as_str(), interval: ms, operators: operators.collect() }
}

fn operator(before: Option<&Counters>, now: &Counters, ms: u64) -> OperatorRates {
    let (then, figures) = (before.map(|before| before.figures).unwrap_or_default(), now.figures);
    let rounded = |value: f64, factor: f64| if value.is_finite() { (value * factor).round() / factor } else { 0.0 };
    let per_second = |then: u64, now: u64| rounded(now.saturating_sub(then) as f64 * 1000.0 / ms as f64, 10.0);
    let all = ms as f64 * 1000.0 * f64::from(now.subtasks.max(1));
    let share = |then: u64, now: u64| rounded(now.saturating_sub(then) as f64 / all, 1000.0);
    OperatorRates {
        operator: now.operator.to_string(),
        subtasks: now.subtasks,
        records_in_per_second: per_second(then.records_in, figures.records_in),
        records_out_per_second: per_second(then.records_out, figures.records_out),
        bytes_in_per_second: per_second(then.bytes_in, figures.bytes_in),
        bytes_out_per_second: per_second(then.bytes_out, figures.bytes_out),
        busy: share(then.busy_us, figures.busy_us),
        backpressured: share(then.backpressured_us, figures.backpressured_us),
        idle: share(then.idle_us, figures.idle_us),
        cpu: rounded(figures.cpu_us.saturating_sub(then.cpu_us) as f64 / (ms as f64 * 1000.0), 1000.0),
        state_bytes: figures.state.map(|state| state.store_bytes + state.cache_bytes),
        rejected: figures.rejected,
        dead_letters: figures.dead_letters,
        lag: now.lag,
        calls: figures.calls.map(|calls| {
            let since: CallFigures = calls.since(&then.calls.unwrap_or_default());
            let us = |share| since.quantile(share).map(|us| rounded(us, 10.0));
            CallRates { per_second: per_second(0, since.count()), p50_us: us(0.5), p99_us: us(0.99) }
        }),
    }
}
