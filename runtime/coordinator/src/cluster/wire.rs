//! What workers say, as events. A message may come from anywhere, so what it says is checked.

use flow_model::channel::AttemptId;
use flow_model::checkpoint::snapshot::{Piece, Progress};
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation};
use flow_model::ids::{JobId, OperatorName};
use flow_protocol::job::{Event, Failure};
use flow_protocol::restart::Kind;
use flow_rpc::control::{self, acknowledged::Piece as WirePiece, event::Event as Wire};
use flow_rpc::json;
use flow_worker::log::Level;

/// Which attempt of which job a part is of; none if it names nothing.
pub(super) fn part(part: Option<control::Part>) -> Option<(JobId, AttemptId)> {
    let part = part?;
    let incarnation = Incarnation::try_from(part.incarnation).ok()?;
    Some((JobId::new(part.job).ok()?, AttemptId { incarnation, attempt: Attempt(part.attempt) }))
}

/// What happened to a part of an attempt; none if the message says nothing that can be understood.
pub(super) fn event(attempt: Attempt, event: Wire) -> Option<Event> {
    Some(match event {
        Wire::Started(_) => Event::Started { attempt },
        Wire::Drained(_) => Event::Drained { attempt },
        Wire::Stopped(_) => Event::Stopped { attempt },
        Wire::Acknowledged(acked) => {
            let piece = match acked.piece? {
                WirePiece::Passed(passed) => {
                    Piece::Passed { ended: passed.ended, splits: json::read(&passed.splits).ok()? }
                }
                WirePiece::State(chain) => Piece::State(json::read(&chain).ok()?),
                WirePiece::Output(output) => Piece::Output(json::read(&output).ok()?),
            };
            let (checkpoint, node) = (CheckpointId(acked.checkpoint), OperatorName::new(acked.node).ok()?);
            Event::Acknowledged { attempt, checkpoint, node, subtask: acked.subtask, piece }
        }
        Wire::Declined(declined) => {
            Event::Declined { attempt, checkpoint: CheckpointId(declined.checkpoint), reason: declined.reason }
        }
        Wire::Progressed(progressed) => {
            let lane = (OperatorName::new(progressed.sink).ok()?, progressed.lane);
            let progress = Progress { checkpoint: CheckpointId(progressed.checkpoint), part: progressed.part };
            Event::Progressed { attempt, lane, progress }
        }
        Wire::Failed(failed) => {
            let kind = match failed.kind() {
                control::Kind::Plugin => Kind::Plugin,
                control::Kind::Retryable => Kind::Retryable,
                control::Kind::Closed => Kind::Closed,
                control::Kind::Fenced => Kind::Fenced,
                control::Kind::Fatal | control::Kind::Unspecified => Kind::Fatal,
            };
            Event::Failed { attempt, failure: Failure { kind, reason: failed.reason } }
        }
    })
}

/// How serious a line is.
pub(super) fn level(level: u32) -> Level {
    match level {
        0 => Level::Trace,
        1 => Level::Debug,
        2 => Level::Info,
        3 => Level::Warn,
        _ => Level::Error,
    }
}
