//! The worker's words for a job → those of the REST API.

use flow_model::api::{self, Counters, Figures, JobState, LogLevel, LogLine, PartitionFigures};
use flow_worker::log::Level;

use flow_worker::metrics::OperatorMetrics;

use crate::keeper::Status;

/// A time of the worker; before 1970 counts as 1970.
pub fn time(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

/// A job's status in the words of all jobs.
pub fn status(status: flow_worker::JobStatus) -> Status {
    Status { state: state(status.state), error: status.error, ended: status.ended }
}

fn state(state: flow_worker::JobState) -> JobState {
    match state {
        flow_worker::JobState::Running => JobState::Running,
        flow_worker::JobState::Canceling => JobState::Canceling,
        flow_worker::JobState::Finished => JobState::Finished,
        flow_worker::JobState::Failed => JobState::Failed,
        flow_worker::JobState::Canceled => JobState::Canceled,
    }
}

/// Nothing, if the name is none: the worker takes its names from the pipeline, so that does not happen.
pub fn counters(metrics: OperatorMetrics) -> Option<Counters> {
    let api::OperatorMetrics { operator, subtasks, partitions } = by_subtask(metrics)?;
    let mut figures = Figures::default();
    let count = subtasks.len() as u32;
    subtasks.into_iter().for_each(|subtask| figures += subtask);
    Some(Counters { operator, subtasks: count, lag: PartitionFigures::lag_of(&partitions), partitions, figures })
}

/// The same, not added up.
pub fn by_subtask(metrics: OperatorMetrics) -> Option<api::OperatorMetrics> {
    let OperatorMetrics { operator, subtasks, partitions } = metrics;
    Some(api::OperatorMetrics { operator: operator.parse().ok()?, subtasks, partitions })
}

pub fn line(line: flow_worker::log::LogLine) -> LogLine {
    LogLine {
        number: line.number,
        time: time(line.at),
        level: level(line.level),
        operator: line.operator.and_then(|name| name.parse().ok()),
        subtask: line.subtask,
        message: line.message,
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    }
}
