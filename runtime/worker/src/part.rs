//! How much of a job this process runs: all of it, or the part that an assignment gives to it. Must never decide who runs what: that
//! is the scheduler's.

use std::collections::BTreeSet;
use std::sync::Arc;

use flow_dataflow::exchange::{Reader, Wake, Writer};
use flow_model::channel::{AttemptId, ChannelId};
use flow_model::checkpoint::snapshot::Node;
use flow_model::cluster::{Assignment, Participant};
use flow_model::ids::{ExchangeId, OperatorName, SubtaskIndex};

use crate::Error;
use crate::network::{Network, Peer};

/// The lane by which all subtasks of a sink write where all of them run in one process: one is enough for its output.
const LANE: u32 = 0;

/// How much of an attempt a process runs.
#[derive(Clone)]
pub enum Part {
    /// All of it.
    Whole,
    /// What an assignment gives to one of its participants.
    Of {
        /// The whole assignment.
        assignment: Arc<Assignment>,
        /// The place of this worker among the participants.
        me: u32,
        /// Which attempt it is.
        id: AttemptId,
        /// What connects it with the others.
        network: Network,
    },
}

impl Part {
    /// Whether a subtask runs here, whatever its task.
    pub(crate) fn runs(&self, subtask: u32) -> bool {
        match self {
            Part::Whole => true,
            Part::Of { assignment, me, .. } => {
                assignment.place(SubtaskIndex(subtask)).is_some_and(|place| place.participant == *me)
            }
        }
    }

    /// The lanes of a sink that this process owns, where the checkpoint says that of the sink.
    pub(crate) fn lanes(&self, sink: &OperatorName, restored: &Node) -> BTreeSet<u32> {
        match self {
            Part::Whole => restored.owed_lanes().into_iter().chain([LANE]).collect(),
            Part::Of { assignment, me, .. } => assignment.lanes(sink, *me).collect(),
        }
    }

    /// The lane by which the subtasks of a sink write that run here; none if none do.
    pub(crate) fn lane(&self, sink: &OperatorName) -> Option<u32> {
        match self {
            Part::Whole => Some(LANE),
            Part::Of { assignment, me, .. } => assignment.lane(sink, *me),
        }
    }

    /// The end that a subtask here writes to, for one elsewhere. `wake` calls its slot when there is room again. What breaks between
    /// them the network tells.
    pub(crate) fn writer(&self, way: (ExchangeId, u32, u32), wake: Wake) -> Result<Option<Writer>, Error> {
        let (Part::Of { network, .. }, Some((channel, _, to))) = (self, self.channel(way)) else { return Ok(None) };
        let peer = Peer { name: to.name.clone(), address: to.address.clone() };
        network.open_sender(&channel, &peer, wake).map(Some).map_err(|error| Error::Start(error.to_string()))
    }

    /// The end that a subtask here reads from, of one elsewhere. `wake` calls its slot when something has come.
    pub(crate) fn reader(&self, way: (ExchangeId, u32, u32), wake: Wake) -> Result<Option<Reader>, Error> {
        let (Part::Of { network, .. }, Some((channel, from, _))) = (self, self.channel(way)) else { return Ok(None) };
        network.open_receiver(&channel, &from.name, wake).map(Some).map_err(|error| Error::Start(error.to_string()))
    }

    /// A way, and who is at its ends.
    fn channel(&self, (exchange, from, to): (ExchangeId, u32, u32)) -> Option<(ChannelId, &Participant, &Participant)> {
        let Part::Of { assignment, id, .. } = self else { return None };
        let (from, to) = (SubtaskIndex(from), SubtaskIndex(to));
        let channel = ChannelId { attempt: id.clone(), exchange, from, to };
        Some((channel, assignment.worker_of(from)?, assignment.worker_of(to)?))
    }
}
