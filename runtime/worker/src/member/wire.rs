//! What happens to a part, as messages, and what the leader says of one, as nouns.

use flow_model::channel::AttemptId;
use flow_model::checkpoint::snapshot::Piece;
use flow_model::checkpoint::{Attempt, Incarnation};
use flow_model::ids::JobId;
use flow_protocol::restart;
use flow_rpc::control::{
    self, Acknowledged, Declined, Failed, Kind, Nothing, Passed, Progressed, acknowledged::Piece as WirePiece,
    event::Event,
};
use flow_rpc::json;

use crate::TaskError;
use crate::attempt::Told;

/// Which part of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) job: JobId,
    pub(super) id: AttemptId,
}

impl Part {
    /// None if it names nothing.
    pub(super) fn of(part: Option<control::Part>) -> Option<Part> {
        let part = part?;
        let (job, incarnation) = (JobId::new(part.job).ok()?, Incarnation::try_from(part.incarnation).ok()?);
        Some(Part { job, id: AttemptId { incarnation, attempt: Attempt(part.attempt) } })
    }

    pub(super) fn message(&self) -> control::Part {
        control::Part {
            job: self.job.to_string(),
            incarnation: self.id.incarnation.to_string(),
            attempt: self.id.attempt.0,
        }
    }
}

/// What happened, as a message.
pub(super) fn event(told: &Told) -> Event {
    match told {
        Told::Acknowledged { checkpoint, node, subtask, piece } => {
            let piece = match piece {
                Piece::Passed { ended, splits } => {
                    WirePiece::Passed(Passed { ended: *ended, splits: json::write(splits) })
                }
                Piece::State(chain) => WirePiece::State(json::write(chain)),
                Piece::Output(output) => WirePiece::Output(json::write(output)),
            };
            let (node, piece) = (node.to_string(), Some(piece));
            Event::Acknowledged(Acknowledged { checkpoint: checkpoint.0, node, subtask: *subtask, piece })
        }
        Told::Declined { checkpoint, reason } => {
            Event::Declined(Declined { checkpoint: checkpoint.0, reason: reason.clone() })
        }
        Told::Progressed { sink, lane, progress } => Event::Progressed(Progressed {
            sink: sink.to_string(),
            lane: *lane,
            checkpoint: progress.checkpoint.0,
            part: progress.part,
        }),
        Told::Drained => Event::Drained(Nothing {}),
        Told::Failed(error) => failed(error),
        Told::Fenced(reason) => Event::Failed(Failed { kind: Kind::Fenced.into(), reason: reason.clone() }),
    }
}

/// A failure, as a message.
pub(super) fn failed(error: &TaskError) -> Event {
    Event::Failed(Failed { kind: sent(crate::kind(error)).into(), reason: error.to_string() })
}

/// Why a part could not begin, as a message.
pub(super) fn not_begun(error: &crate::Error) -> Event {
    Event::Failed(Failed { kind: sent(error.kind()).into(), reason: error.to_string() })
}

/// A kind of failure, as it is sent.
fn sent(kind: restart::Kind) -> Kind {
    match kind {
        restart::Kind::Plugin => Kind::Plugin,
        restart::Kind::Retryable => Kind::Retryable,
        restart::Kind::Fatal => Kind::Fatal,
        restart::Kind::Closed => Kind::Closed,
        restart::Kind::Fenced => Kind::Fenced,
    }
}
