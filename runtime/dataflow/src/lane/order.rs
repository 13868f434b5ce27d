//! The order in which a lane writes sealed output: by checkpoint, then by subtask, then by part. The parts of a checkpoint are
//! numbered from 1 over all subtasks of the lane in that order, so a manifest alone tells the numbers again.
//!
//! A subtask that has seen a checkpoint as written no longer names its segment, while another, which has not, still does. Then all
//! of that checkpoint is written, so its recorded number is no lower than any that is counted here: nothing of it is
//! written again.

use std::collections::BTreeMap;

use flow_model::checkpoint::snapshot::{Part, Progress, Segment};
use flow_model::checkpoint::{CheckpointId, ObjectName};

/// Sealed output of a lane that is not known to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    segments: BTreeMap<(CheckpointId, u32), Vec<Part>>,
}

impl Order {
    /// A subtask has sealed a segment.
    pub(super) fn add(&mut self, subtask: u32, segment: Segment) {
        if !segment.parts.is_empty() {
            self.segments.insert((segment.checkpoint, subtask), segment.parts);
        }
    }

    /// Parts after `progress` up to the checkpoint `through`, each with the progress that there is when it is written.
    pub(super) fn after(
        &self,
        progress: Option<Progress>,
        through: CheckpointId,
    ) -> impl Iterator<Item = (Progress, &Part)> {
        let mut last = Progress { checkpoint: CheckpointId::NONE, part: 0 };
        let all = self.segments.iter().take_while(move |((checkpoint, _), _)| *checkpoint <= through);
        let numbered = all.flat_map(|((checkpoint, _), parts)| parts.iter().map(move |part| (*checkpoint, part)));
        numbered
            .map(move |(checkpoint, part)| {
                let number = if last.checkpoint == checkpoint { last.part + 1 } else { 1 };
                last = Progress { checkpoint, part: number };
                (last, part)
            })
            .filter(move |(number, _)| progress.is_none_or(|progress| *number > progress))
    }

    /// Forgets all segments of checkpoints up to this one.
    pub(super) fn forget(&mut self, through: CheckpointId) {
        self.segments.retain(|(checkpoint, _), _| *checkpoint > through);
    }

    /// The objects that hold what is not forgotten.
    pub(super) fn objects(&self) -> impl Iterator<Item = &ObjectName> {
        self.segments.values().flatten().map(|part| &part.chunk.object)
    }
}
