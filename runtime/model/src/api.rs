//! What the REST API of the coordinator and its clients say to each other, as JSON.
//!
//! Names are kebab-case, as in the pipeline file; times are milliseconds since the Unix epoch. Fields are added, never
//! renamed: readers ignore what they don't know. The paths:
//!
//! | request | answer |
//! |---|---|
//! | `POST /jobs/submit`, multipart: [`part`] | [`Job`] |
//! | `POST /jobs/check`, the same | [`Checked`] |
//! | `GET /jobs` | [`Jobs`], newest first |
//! | `GET /jobs/{id or name}` | [`Description`] |
//! | `GET /jobs/{id or name}/plan` | [`Plan`] |
//! | `GET /jobs/{id or name}/metrics` | [`Metrics`] |
//! | `GET /jobs/{id or name}/logs?tail=n` | [`LogLine`]s, one a line |
//! | `GET /jobs/{id or name}/logs?tail=n&follow=true` | the same as server-sent events, then one event `end` with the [`Job`] |
//! | `POST /jobs/{id or name}/cancel` | [`Job`] |
//! | `POST /jobs/{id or name}/scale`, [`Scale`] | [`Job`] |
//! | `GET /jobs/{id or name}/checkpoints` | [`Checkpoints`] |
//! | `POST /jobs/{id or name}/checkpoints` | [`CheckpointAsked`] |
//! | `POST /jobs/{id or name}/savepoints`, [`SavepointWanted`] | [`Savepoint`] |
//! | `GET /jobs/{id or name}/savepoints` | [`Savepoints`] |
//! | `GET /jobs/{id or name}/savepoints/{savepoint}` | [`SavepointDetail`] |
//! | `DELETE /jobs/{id or name}/savepoints/{savepoint}` | nothing, 204 |
//! | `GET /workers` | [`Workers`] |
//! | `POST /workers/{id or name}/drain` | [`WorkerStatus`] |
//! | `GET /healthz` | [`Health`] |
//! | `GET /metrics` | OpenMetrics text, for Prometheus |
//!
//! A server with a token wants the header `Authorization: Bearer TOKEN` with each of them but `/healthz`. Log lines as
//! events have ids, `JOB/LOG-NUMBER`: who sends the last one it got as `Last-Event-ID` goes on behind it, or, where `LOG` is another one by
//! now, begins at the first line.
//!
//! A name stands for the job of that name that was submitted last. Everything that is not done is answered with
//! [`Refusal`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
pub use crate::figures::{CALL_BOUNDS_US, CallFigures, Figures, PartitionFigures, StateFigures};
pub use crate::history::{Checkpoint, CheckpointAsked, CheckpointState, CheckpointSummary, Checkpoints};
use crate::ids::{JobId, OperatorName, PipelineName};
use crate::plan::Plan;
pub use crate::savepoint::{
    SavedSplit, SavedState, Savepoint, SavepointDetail, SavepointNode, SavepointState, SavepointWanted, Savepoints,
};
pub use crate::start::Start;
pub use crate::workers::{RunningPart, Slots, WorkerState, WorkerStatus, Workers};

/// The parts of a submission that have a fixed name. Every other part is a component, named by the operator that it is
/// for or by the path that the pipeline file gives for it.
pub mod part {
    /// The pipeline file, with its file name for messages.
    pub const PIPELINE: &str = "pipeline";
    /// Optional: another name for the job than `metadata.name`. No operator path looks like it.
    pub const NAME: &str = "$name";
    /// Optional: the directory that relative paths of file sources and sinks start from; the daemon's own if absent.
    pub const DIRECTORY: &str = "$directory";
    /// Optional: a [`Start`](super::Start) in JSON: what the job begins with. Without it nothing.
    pub const START: &str = "$start";
    /// Optional: how many subtasks sources, operators and sinks have instead of what the file says, in JSON: `{"NAME": 4}`.
    pub const PARALLELISM: &str = "$parallelism";
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Its tasks run.
    Running,
    /// Its sources ended and everything they gave has reached the sinks.
    Finished,
    /// It stopped by an error.
    Failed,
    /// It has failed, and goes on from its last checkpoint in a moment.
    Restarting,
    /// It was told to stop; its tasks still do.
    Canceling,
    /// It was told to stop and did.
    Canceled,
}

impl JobState {
    /// Nothing of the job runs any more, and nothing ever will.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Canceled)
    }

    /// As in JSON: `running`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Restarting => "restarting",
            Self::Canceling => "canceling",
            Self::Canceled => "canceled",
        }
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One job in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Job {
    /// Its id, never used twice.
    pub id: JobId,
    /// The pipeline's name; one running job at most has it.
    pub name: PipelineName,
    /// How far it is.
    pub state: JobState,
    /// When it was accepted.
    pub submitted: u64,
    /// When it came to its end, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Why it failed, or who stopped it other than by a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All jobs that the coordinator knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Jobs {
    /// The server's clock.
    #[serde(default)]
    pub now: u64,
    /// Newest first.
    pub jobs: Vec<Job>,
}

/// One job in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Description {
    /// The job in short, its fields beside the others.
    #[serde(flatten)]
    pub job: Job,
    /// The server's clock when it read the counters: two descriptions make a rate.
    pub now: u64,
    /// Sources, operators and sinks in topological order, with what they have done so far.
    pub operators: Vec<Counters>,
    /// Its checkpoints in short; absent if it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointSummary>,
    /// What it waits for before it can run, said of it: `needs 6 slots and 5 are free`. Absent if it waits for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// How the last of its attempts that failed did, if it goes on from failures and the process that runs it has seen one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// How it runs.
    pub plan: Plan,
    /// What looks wrong in its pipeline.
    pub warnings: Vec<Diagnostic>,
}

/// An attempt of a job failed, and the job went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastFailure {
    /// When.
    pub time: u64,
    /// Which of its attempts, from 1.
    pub attempt: u32,
    /// Why.
    pub reason: String,
}

/// What one source, operator or sink has done so far, all its subtasks together. A source takes what it reads, a sink
/// gives what it has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// Its name.
    pub operator: OperatorName,
    /// How many subtasks it has.
    pub subtasks: u32,
    /// How many records a Kafka source is behind the ends of its partitions, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// How far each partition of a Kafka source was read, by topic and partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionFigures>,
    /// The figures, as fields beside the others.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What a job has done so far, subtask by subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Metrics {
    /// The job in short, its fields beside the others.
    #[serde(flatten)]
    pub job: Job,
    /// The server's clock when it read the figures: two answers make a rate.
    pub now: u64,
    /// Sources, operators and sinks in topological order.
    pub operators: Vec<OperatorMetrics>,
}

/// One source, operator or sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OperatorMetrics {
    /// Its name.
    pub operator: OperatorName,
    /// The figures of each of its subtasks, from the first. Subtask `i` of every operator is stepped by slot `i`.
    pub subtasks: Vec<Figures>,
    /// How far each partition of a Kafka source was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionFigures>,
}

/// With how many subtasks a job is to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scale {
    /// How many each of these sources, operators and sinks is to have, at least 1. What is not named keeps what it has.
    #[serde(default)]
    pub parallelism: BTreeMap<OperatorName, u32>,
    /// How many each that is not named is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<u32>,
}

/// What a check finds: the pipeline can run, and so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// How it would run.
    pub plan: Plan,
    /// What looks wrong and does not keep it from running.
    pub warnings: Vec<Diagnostic>,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// The finest detail.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// What goes on.
    Info,
    /// Something is odd; the job goes on.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// As in JSON: `info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line of a job's log: the engine's own, and what its operators log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogLine {
    /// Its number in the job's log, from 0. Where one is missing between two, that line had to make room for newer ones
    /// before a slow reader got it.
    #[serde(default)]
    pub number: u64,
    /// When.
    pub time: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// The source, operator or sink that it comes from; absent for the job as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorName>,
    /// Which of its subtasks, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtask: Option<u32>,
    /// The text, as it came: it may have line ends and control characters in it, see [`one_line`].
    pub message: String,
}

/// Is the server well?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The version of flowd.
    pub version: String,
    /// Whether it is a coordinator of a cluster, which has workers to ask for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster: bool,
}

/// Why a request was refused; stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The request itself is malformed. Status 400.
    BadRequest,
    /// The pipeline or a component of it can't run: see the diagnostics. Status 400.
    InvalidPipeline,
    /// The request does not carry the server's token. Status 401.
    Unauthorized,
    /// A web page of another origin asks. Status 403.
    Forbidden,
    /// No such path or job. Status 404.
    NotFound,
    /// The path takes another method. Status 405.
    MethodNotAllowed,
    /// A job of that name runs, or the job has ended or can't do this. Status 409.
    Conflict,
    /// More than the server takes. Status 413.
    TooLarge,
    /// The request's body comes too slowly. Status 408.
    TooSlow,
    /// The server could not do it; its log says more. Status 500.
    Internal,
    /// The server is stopping, or has too many connections. Status 503.
    Unavailable,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

impl RefusalCode {
    /// As in JSON: `not-found`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::InvalidPipeline => "invalid-pipeline",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::TooSlow => "too-slow",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }
}

/// The answer to a request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refusal {
    /// The sort of reason.
    pub code: RefusalCode,
    /// What is wrong, one line.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The problems of the pipeline, each with its place; empty for other reasons.
    #[serde(default)]
    pub diagnostics: Vec<Diagnostic>,
}

impl Refusal {
    /// A refusal without diagnostics.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, diagnostics: Vec::new() }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Text of a stranger as a line of a log: what would end the line or steer a terminal is written as its escape.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => line.push(c),
            // Separators of lines, and marks that turn the direction of writing, are no control characters in Unicode.
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                line.extend(c.escape_unicode());
            }
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// Text of a stranger (an operator, a server) for a terminal, which it must not steer: control characters other than the
/// end of a line and the tabulator are replaced, and so are marks that turn the direction of writing. Every line but the
/// first is indented, so that it does not pass for one of ours.
pub fn printable(text: &str) -> String {
    let replaced = |c: char| match c {
        '\n' | '\t' => c,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    let mut lines = text.split('\n').map(|line| line.chars().map(replaced).collect::<String>());
    let first = lines.next().unwrap_or_default();
    lines.fold(first, |text, line| {
        let is_set_off = line.is_empty() || line.starts_with("  ");
        text + if is_set_off { "\n" } else { "\n  " } + &line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_in_json() {
        let job = Job {
            id: JobId::new("wordcount-3f9a2c").expect("a name"),
            name: PipelineName::new("wordcount").expect("a name"),
            state: JobState::Failed,
            submitted: 1,
            ended: Some(2),
            error: Some("no disk".into()),
        };
        let json = r#"{"id":"wordcount-3f9a2c","name":"wordcount","state":"failed","submitted":1,"ended":2,"error":"no disk"}"#;
        assert_eq!(serde_json::to_string(&job).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<Job>(json).expect("a job"), job);
    }

    #[test]
    fn a_scale_in_json() {
        let counts = OperatorName::new("counts").expect("a name");
        let named = Scale { parallelism: BTreeMap::from([(counts, 4)]), all: None };
        assert_eq!(serde_json::to_string(&named).expect("JSON"), r#"{"parallelism":{"counts":4}}"#);
        let all = Scale { all: Some(2), ..Scale::default() };
        assert_eq!(serde_json::to_string(&all).expect("JSON"), r#"{"parallelism":{},"all":2}"#);
        assert_eq!(serde_json::from_str::<Scale>(r#"{"all":2}"#).expect("a scale"), all);
    }

    #[test]
    fn strangers_do_not_steer_the_terminal() {
        assert_eq!(printable("a\tb\nc \x1b[2J\u{9b}1m\r"), "a\tb\n  c \u{fffd}[2J\u{fffd}1m\u{fffd}");
        assert_eq!(printable("a\n    at f\nerror: \u{202e}none"), "a\n    at f\n  error: \u{fffd}none");
    }

    #[test]
    fn a_line_of_a_log_is_one_line() {
        assert_eq!(one_line("ä\tb\nc\r\x1b[2J\u{9b}1m\u{2028}\\n"), "ä\tb\\nc\\r\\u{1b}[2J\\u{9b}1m\\u{2028}\\n");
    }

    #[test]
    fn readers_ignore_what_is_new() {
        let refusal: Refusal =
            serde_json::from_str(r#"{"code":"quota","message":"no","more":1}"#).expect("a later server's refusal");
        assert_eq!((refusal.code, refusal.diagnostics.len()), (RefusalCode::Unknown, 0));
    }
}
