//! What is known to be written of the output that checkpoints carry. A lane is settled at a checkpoint when its progress has
//! reached the last part that the checkpoint's manifest names for it, or it names none.

use std::collections::{BTreeMap, VecDeque};

use flow_model::checkpoint::snapshot::{Node, Progress};
use flow_model::checkpoint::{CheckpointId, Manifest};
use flow_model::ids::OperatorName;

/// A lane of a job: its sink and its number.
pub type LaneId = (OperatorName, u32);

/// The lanes of a job, and what they have still to write.
#[derive(Debug, Default)]
pub struct Lanes {
    progress: BTreeMap<LaneId, Progress>,
    /// Confirmed checkpoints that are not settled, oldest first, with what each lane has to reach.
    owed: VecDeque<(CheckpointId, BTreeMap<LaneId, Progress>)>,
}

/// What each lane has to have written to be settled at a checkpoint of these nodes; lanes that it names no output of are absent.
pub fn required(nodes: &BTreeMap<OperatorName, Node>) -> BTreeMap<LaneId, Progress> {
    let mut required: BTreeMap<LaneId, Progress> = BTreeMap::new();
    for (name, node) in nodes {
        for output in node.subtasks.iter().filter_map(|snapshot| snapshot.output.as_ref()) {
            for file in &output.files {
                let lane = (name.clone(), output.lane);
                let last = required.entry(lane).or_insert(Progress { checkpoint: file.checkpoint, part: 0 });
                last.checkpoint = last.checkpoint.max(file.checkpoint);
            }
            for segment in &output.segments {
                let parts = segment.parts.len() as u32;
                let lane = (name.clone(), output.lane);
                let last = required.entry(lane).or_insert(Progress { checkpoint: segment.checkpoint, part: 0 });
                match last.checkpoint.cmp(&segment.checkpoint) {
                    std::cmp::Ordering::Less => *last = Progress { checkpoint: segment.checkpoint, part: parts },
                    std::cmp::Ordering::Equal => last.part += parts,
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
    }
    required
}

impl Lanes {
    /// Of a job that goes on from a checkpoint, or from none: all that this one names is owed.
    pub fn restored(manifest: Option<&Manifest>) -> Lanes {
        let mut lanes = Lanes::default();
        if let Some(manifest) = manifest {
            for (name, node) in &manifest.nodes {
                let known = node.lanes.iter().map(|(lane, progress)| ((name.clone(), *lane), *progress));
                lanes.progress.extend(known);
            }
            lanes.confirmed(manifest.checkpoint, &manifest.nodes);
        }
        lanes
    }

    /// A checkpoint counts: its output is to be written.
    pub fn confirmed(&mut self, checkpoint: CheckpointId, nodes: &BTreeMap<OperatorName, Node>) {
        self.owed.push_back((checkpoint, required(nodes)));
        self.drop_settled();
    }

    /// A lane has written so far.
    pub fn progressed(&mut self, lane: LaneId, progress: Progress) {
        let known = self.progress.entry(lane).or_insert(progress);
        *known = progress.max(*known);
        self.drop_settled();
    }

    fn drop_settled(&mut self) {
        let reached = |(lane, needed): (&LaneId, &Progress)| self.progress.get(lane).is_some_and(|p| p >= needed);
        while self.owed.front().is_some_and(|(_, required)| required.iter().all(reached)) {
            self.owed.pop_front();
        }
    }

    /// How many confirmed checkpoints have output that is not known to be written.
    pub fn behind(&self) -> usize {
        self.owed.len()
    }

    /// Whether all output of a checkpoint and of those before it is written.
    pub fn is_settled_at(&self, checkpoint: CheckpointId) -> bool {
        self.owed.front().is_none_or(|(oldest, _)| *oldest > checkpoint)
    }

    /// What a manifest says of the lanes of a sink.
    pub fn of(&self, sink: &OperatorName) -> BTreeMap<u32, Progress> {
        let mine = self.progress.iter().filter(|((name, _), _)| name == sink);
        mine.map(|((_, lane), progress)| (*lane, *progress)).collect()
    }
}
