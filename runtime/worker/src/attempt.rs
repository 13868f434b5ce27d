//! One attempt of a job with checkpoints: what it is told and what it tells. Must never decide what counts: that is the
//! coordinator's.

use std::sync::{Arc, Mutex, PoisonError};

use flow_dataflow::task::Passed;
use flow_dataflow::{Barrier, Error};
use flow_model::checkpoint::snapshot::{Chain, Node, Piece, Progress, Split};
use flow_model::checkpoint::{self, CheckpointId, Incarnation, Manifest};
use flow_model::ids::OperatorName;
use flow_store::Store;

use crate::kafka::Warn;
use crate::kafka::lane::{self, LaneEvent};
use crate::log::{JobLog, Level};
use crate::part::Part;

/// What happens to an attempt before its end.
#[derive(Debug)]
pub enum Told {
    /// A piece of a snapshot is durable.
    Acknowledged {
        /// Of which checkpoint.
        checkpoint: CheckpointId,
        /// By which node.
        node: OperatorName,
        /// By which of its subtasks.
        subtask: u32,
        /// The piece.
        piece: Piece,
    },
    /// A checkpoint can't be completed.
    Declined {
        /// Which.
        checkpoint: CheckpointId,
        /// Why.
        reason: String,
    },
    /// A lane of a sink has written so far.
    Progressed {
        /// The sink.
        sink: OperatorName,
        /// Its lane.
        lane: u32,
        /// How far.
        progress: Progress,
    },
    /// All input was read, and all of it has passed all tasks.
    Drained,
    /// It can't go on.
    Failed(Error),
    /// A later attempt is at work: this one has nothing to do any more. Says how that shows.
    Fenced(String),
}

/// Hears what happens to an attempt, from any thread. Must not ask the attempt for anything.
pub type Listener = Arc<dyn Fn(Told) + Send + Sync>;

/// What makes a deployment an attempt of a job with checkpoints.
#[derive(Clone)]
pub struct Attempt {
    /// The life of the job.
    pub incarnation: Incarnation,
    /// Its number.
    pub attempt: checkpoint::Attempt,
    /// The checkpoint that it goes on from.
    pub from: Option<Arc<Manifest>>,
    /// The job's root in the store of its checkpoints.
    pub store: Store,
    /// The log of all attempts.
    pub log: Arc<JobLog>,
    /// The topic for records that their own topic refuses; none if such a record is the end of the attempt.
    pub dead_letter: Option<String>,
    /// What Kafka says of its lanes does not count: it is another one, where they write by the name of [`Incarnation::anew`].
    pub anew: bool,
    /// How much of it runs here.
    pub part: Part,
    /// Hears what happens.
    pub listener: Listener,
}

impl Attempt {
    /// Where the splits of a source go on.
    pub(crate) fn splits(&self, source: &OperatorName) -> Option<Arc<Vec<Split>>> {
        let node = self.from.as_ref()?.nodes.get(source)?;
        Some(Arc::new(node.subtasks.iter().flat_map(|snapshot| snapshot.splits.iter().cloned()).collect()))
    }

    /// What the subtasks of an operator have put into the checkpoint; none if it goes on from none.
    pub(crate) fn chains(&self, operator: &OperatorName) -> Option<Vec<Chain>> {
        let node = self.from.as_ref()?.nodes.get(operator)?;
        Some(node.subtasks.iter().filter_map(|snapshot| snapshot.state.clone()).collect())
    }

    /// What the checkpoint says of a node; nothing if it goes on from none.
    pub(crate) fn node(&self, node: &OperatorName) -> Node {
        self.from.as_ref().and_then(|from| from.nodes.get(node)).cloned().unwrap_or_default()
    }

    /// Tells people what a node warns of.
    pub(crate) fn warn(&self, node: &OperatorName) -> Warn {
        let (log, node) = (self.log.clone(), node.to_string());
        Arc::new(move |text: &str| log.add(Level::Warn, Some((&node, 0)), text.to_owned()))
    }

    /// Hears of the lanes of a sink.
    pub(crate) fn lane_listener(&self, sink: &OperatorName) -> lane::Tell {
        let (listener, sink) = (self.listener.clone(), sink.clone());
        Arc::new(move |event| {
            let node = sink.clone();
            listener(match event {
                LaneEvent::Acked { subtask, checkpoint, output } => {
                    Told::Acknowledged { checkpoint, node, subtask, piece: Piece::Output(output) }
                }
                LaneEvent::Settled { lane, settled } => match settled.progress {
                    Some(progress) => Told::Progressed { sink: node, lane, progress },
                    // It has never written, so nothing was owed.
                    None => return,
                },
                LaneEvent::Exited { lane, higher } => {
                    Told::Fenced(format!("attempt {higher} writes by lane {lane} of \"{node}\""))
                }
                LaneEvent::Failed(error) => Told::Failed(error.at(node.as_str())),
            });
        })
    }

    /// The checkpoint that it goes on from.
    pub(crate) fn confirmed(&self) -> CheckpointId {
        self.from.as_ref().map_or(CheckpointId::NONE, |from| from.checkpoint)
    }

    /// Whether the end of input had passed a node.
    pub(crate) fn was_ended(&self, node: &OperatorName) -> bool {
        let node = self.from.as_ref().and_then(|from| from.nodes.get(node));
        node.is_some_and(|node| !node.subtasks.is_empty() && node.subtasks.iter().all(|snapshot| snapshot.ended))
    }

    /// Tells that a barrier has passed a subtask of a task: for each of its nodes, the source first.
    pub(crate) fn passed(&self, nodes: &[OperatorName], subtask: u32, passed: Passed) {
        let Passed { checkpoint, ended, mut splits } = passed;
        for node in nodes {
            let piece = Piece::Passed { ended, splits: std::mem::take(&mut splits) };
            (self.listener)(Told::Acknowledged { checkpoint, node: node.clone(), subtask, piece });
        }
    }
}

/// What a slot is told while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {
    /// Its sources send this barrier.
    Trigger(Barrier),
    /// Its sources give rows from now on.
    Release,
    /// They give none any more.
    Hold,
    /// When all its tasks rest, they may go.
    Finish,
}

/// What a slot was told and has not looked at.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Vec<Control>>);

impl Mailbox {
    pub(crate) fn put(&self, control: Control) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(control);
    }

    pub(crate) fn take(&self) -> Vec<Control> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
