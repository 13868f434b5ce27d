//! `on-error`: what happens with a record that an operator, a source or a sink does not take, and with a call that may pass when it
//! is made again.

use std::time::Duration;

use super::fields::Fields;
use super::report::Report;
use super::trace::Shape;
use super::yaml::{Node, Value};
use crate::diagnostic::{Code, Position};

/// What a pipeline calls dead letters: the value of `on-error`, and the name that a sink reads them by.
pub const DEAD_LETTER: &str = "dead-letter";

/// The most retries of one call.
pub const RETRIES_MAX: u32 = 1000;
/// A pause that has doubled to this stays there.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);

const THEN: [(&str, Then); 3] = [("fail", Then::Fail), ("skip", Then::Skip), (DEAD_LETTER, Then::DeadLetter)];

/// What happens when an operator fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnError {
    /// `retry`: calls whose failure the operator calls retryable are made again first.
    pub retry: Option<Retry>,
    /// What happens with a record that the operator does not take.
    pub then: Then,
}

/// How a call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often, at least once.
    pub times: u32,
    /// The pause before the first time; it doubles each time, up to a minute, or to itself if it is longer.
    pub backoff: Duration,
}

/// What happens with a record that an operator, a source or a sink does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// `fail`: the job fails and names who does not take it, the record's source position and the reason.
    #[default]
    Fail,
    /// `skip`: the record is dropped, counted and logged.
    Skip,
    /// `dead-letter`: the record goes to the sinks that read dead letters, with what is known of its failure.
    DeadLetter,
}

impl From<Then> for OnError {
    fn from(then: Then) -> Self {
        Self { retry: None, then }
    }
}

impl Retry {
    /// The pause before a retry, from 1.
    pub fn pause(&self, retry: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(PAUSE_MAX.max(self.backoff))
    }
}

/// `on-error:` of a source or sink: what it does not take can't be tried again. `none` says why nothing is ever refused there.
pub(super) fn read_of_end(report: &mut Report, fields: &Fields, none: Option<&str>) -> Option<Then> {
    let then = fields.choice(report, "on-error", &THEN)?;
    if let (Some(none), Some(node)) = (none, fields.get("on-error")) {
        let message = format!("{} has an \"on-error\", and {none}", fields.what());
        report.error_with(Code::InvalidValue, node.position, message, "remove it");
    }
    Some(then)
}

/// `on-error:` of an operator.
pub(super) fn read(report: &mut Report, fields: &Fields) -> Option<OnError> {
    let words = || Shape::Words(THEN.iter().map(|(word, _)| (*word).to_owned()).collect());
    report.saw(fields.position(), "on-error", words);
    let node = fields.get("on-error")?;
    if let Value::Text(text) = &node.value
        && text == "retry"
    {
        let message = format!("\"retry\" is no \"on-error\" of {}", fields.what());
        let hint = "say how often and what comes then: `on-error: {retry: 3, then: fail}`";
        report.error_with(Code::InvalidValue, node.position, message, hint);
        return None;
    }
    if !matches!(node.value, Value::Map(_)) {
        return fields.choice(report, "on-error", &THEN).map(OnError::from);
    }
    let what = format!("on-error of {}", fields.what());
    let fields = Fields::read(report, node, &what, &["retry", "backoff", "then"])?;
    fields.require(report, "retry", "retry: 3");
    let times = fields.number(report, "retry", 1..=RETRIES_MAX.into());
    let backoff = fields.duration(report, "backoff").unwrap_or(DEFAULT_BACKOFF);
    let then = fields.choice(report, "then", &THEN).unwrap_or_default();
    let times = u32::try_from(times?).unwrap_or(RETRIES_MAX);
    Some(OnError { retry: Some(Retry { times, backoff }), then })
}

/// Where an operator, a source or a sink says that its records may become dead letters, as far as that can be read.
pub(super) fn dead_letters(of: &Node) -> Option<Position> {
    let on_error = field(of, "on-error")?;
    let then = field(on_error, "then").unwrap_or(on_error);
    matches!(&then.value, Value::Text(text) if text == DEAD_LETTER).then_some(then.position)
}

fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let check = |backoff: Duration, expect: &[u64]| {
            let retry = Retry { times: 1, backoff };
            let pauses: Vec<u64> = (1..).take(expect.len()).map(|n| retry.pause(n).as_millis() as u64).collect();
            assert_eq!(pauses, expect);
        };
        check(Duration::from_millis(300), &[300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 60_000, 60_000]);
        check(Duration::from_secs(90), &[90_000, 90_000]);
        assert_eq!(Retry { times: 1, backoff: Duration::from_secs(1) }.pause(u32::MAX), PAUSE_MAX);
    }
}
