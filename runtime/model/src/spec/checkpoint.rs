//! `checkpoint:` and `restart:` of a pipeline file: how its job survives failures.

use std::time::Duration;

use super::fields::Fields;
use super::report::Report;
use super::yaml::Node;
use crate::diagnostic::{Code, Located};

const CHECKPOINT: [&str; 11] = [
    "interval",
    "to",
    "timeout",
    "min-pause",
    "concurrent",
    "tolerate",
    "retain",
    "region",
    "endpoint",
    "addressing",
    "encryption",
];
const RESTART: [&str; 3] = ["attempts", "pause", "longest"];

/// How checkpoints of a job are taken, and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpointing {
    /// From the beginning of one to that of the next.
    pub interval: Duration,
    /// `s3://bucket/prefix`, or a directory; the daemon's own if absent.
    pub to: Option<Located<String>>,
    /// After so long one is given up.
    pub timeout: Duration,
    /// From the end of one to the beginning of the next, at least.
    pub min_pause: Duration,
    /// So many may be under way at once.
    pub concurrent: u32,
    /// So many in a row may fail before the job starts again.
    pub tolerate: u32,
    /// So many of the last ones stay.
    pub retain: u32,
    /// How S3 is reached.
    pub s3: S3,
}

/// How S3 is reached where that does not follow from the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3 {
    /// The region of the bucket.
    pub region: Option<String>,
    /// The URL of a store that is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path of a URL instead of its host; with an endpoint it does unless this says no.
    pub path_style: Option<bool>,
    /// How objects are encrypted at rest.
    pub encryption: Option<Encryption>,
}

/// Encryption at rest by S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of S3's own.
    Aes256,
    /// With this key of its key service.
    Kms(String),
}

/// How a job is started again after a failure that may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// So many times in a row without a checkpoint in between.
    pub attempts: u32,
    /// Before the first; each further one waits twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Restart {
    fn default() -> Restart {
        Restart { attempts: 10, pause: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

/// Whether a place begins like an address, and is none of a store that there is: `s3:/bucket`, `gs://bucket`. As a path it would be a
/// directory that nobody meant.
fn is_of_another_kind(to: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let is_known = to.starts_with("s3://") || to.starts_with("file://");
    !is_known && to.split_once(':').is_some_and(|(kind, _)| !kind.is_empty() && kind.chars().all(is_letter))
}

/// `checkpoint:`.
pub(super) fn checkpointing(report: &mut Report, node: &Node) -> Option<Checkpointing> {
    let fields = Fields::read(report, node, "checkpoint", &CHECKPOINT)?;
    let at_least = |report: &mut Report, name: &str, duration: Option<Duration>, least: Duration| {
        if duration.is_some_and(|duration| duration < least) {
            let at = fields.get(name).map_or(fields.position(), |node| node.position);
            let message = format!("\"{name}\" of checkpoint: less than {} ms is too short", least.as_millis());
            report.error(Code::InvalidValue, at, message);
        }
        duration
    };
    let interval = fields.duration(report, "interval");
    let interval = at_least(report, "interval", interval, Duration::from_millis(10));
    let timeout = fields.duration(report, "timeout");
    let timeout = at_least(report, "timeout", timeout, Duration::from_millis(100));
    let min_pause = fields.duration(report, "min-pause");
    let to = fields.text(report, "to").map(|to| Located { value: to.value.to_owned(), position: to.position });
    let wrong = to.as_ref().filter(|to| is_of_another_kind(&to.value));
    if let Some(Located { value, position }) = wrong {
        let message = format!("\"to\" of checkpoint: \"{value}\" is no place for objects");
        let hint = "write s3://bucket/prefix, file:///path, or a path; a directory with such a name begins with ./";
        report.error_with(Code::InvalidValue, *position, message, hint);
        return None;
    }
    let concurrent = fields.number(report, "concurrent", 1..=16);
    let tolerate = fields.number(report, "tolerate", 0..=1000);
    let retain = fields.number(report, "retain", 1..=1000);
    let region = fields.text(report, "region").map(|text| text.value.to_owned());
    let endpoint = fields.text(report, "endpoint").map(|text| text.value.to_owned());
    let path_style = fields.choice(report, "addressing", &[("path", true), ("host", false)]);
    let encryption = fields.text(report, "encryption").and_then(|text| match text.value {
        "aes256" => Some(Encryption::Aes256),
        other => match other.strip_prefix("kms:") {
            Some(key) if !key.is_empty() => Some(Encryption::Kms(key.to_owned())),
            _ => {
                let message = "\"encryption\" of checkpoint must be `aes256` or `kms:KEY-ID`".to_owned();
                report.error(Code::InvalidValue, text.position, message);
                None
            }
        },
    });
    let of_s3 = ["region", "endpoint", "addressing", "encryption"].into_iter().find(|name| fields.get(name).is_some());
    if let Some(name) = of_s3
        && !to.as_ref().is_some_and(|to| to.value.starts_with("s3://"))
    {
        let at = fields.get(name).map_or(fields.position(), |node| node.position);
        let hint = "write `to: s3://bucket/prefix`, or leave it out";
        report.error_with(Code::InvalidValue, at, format!("\"{name}\" of checkpoint is for S3 only"), hint);
    }
    Some(Checkpointing {
        interval: interval.unwrap_or(Duration::from_secs(10)),
        to,
        timeout: timeout.unwrap_or(Duration::from_secs(600)),
        min_pause: min_pause.unwrap_or(Duration::ZERO),
        concurrent: concurrent.map_or(1, |n| n as u32),
        tolerate: tolerate.map_or(3, |n| n as u32),
        retain: retain.map_or(3, |n| n as u32),
        s3: S3 { region, endpoint, path_style, encryption },
    })
}

/// `restart:`.
pub(super) fn restart(report: &mut Report, node: &Node) -> Option<Restart> {
    let fields = Fields::read(report, node, "restart", &RESTART)?;
    let default = Restart::default();
    Some(Restart {
        attempts: fields.number(report, "attempts", 0..=1_000_000).map_or(default.attempts, |n| n as u32),
        pause: fields.duration(report, "pause").unwrap_or(default.pause),
        longest: fields.duration(report, "longest").unwrap_or(default.longest),
    })
}
