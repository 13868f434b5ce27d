//! A complete checkpoint: an immutable JSON document that names everything that restoring it takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::snapshot::Node;
use super::{Attempt, CheckpointId, Error, Incarnation, ObjectName};
use crate::ids::{OperatorName, PipelineName};
use crate::key_group::KeyGroups;

/// The format that is written and read.
const FORMAT: u64 = 1;

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    format: u64,
    /// The pipeline's name.
    pub pipeline: PipelineName,
    /// The life of the job that it belongs to.
    pub incarnation: Incarnation,
    /// Its id.
    pub checkpoint: CheckpointId,
    /// When it was complete, milliseconds since the Unix epoch.
    pub time: u64,
    /// How many key groups the job has.
    pub key_groups: KeyGroups,
    /// By source, operator and sink.
    pub nodes: BTreeMap<OperatorName, Node>,
}

/// What tells how to read the rest.
#[derive(Deserialize)]
struct Any {
    format: u64,
}

impl Manifest {
    /// The manifest of a checkpoint of an incarnation, complete at `time`, milliseconds since the Unix epoch.
    pub fn new(
        pipeline: PipelineName,
        (incarnation, checkpoint): (Incarnation, CheckpointId),
        time: u64,
        key_groups: KeyGroups,
        nodes: BTreeMap<OperatorName, Node>,
    ) -> Manifest {
        Manifest { format: FORMAT, pipeline, incarnation, checkpoint, time, key_groups, nodes }
    }

    /// The format that it has.
    pub fn format(&self) -> u64 {
        self.format
    }

    /// The attempt that took it.
    pub fn attempt(&self) -> Attempt {
        self.checkpoint.attempt()
    }

    /// Its own name in the store.
    pub fn name(&self) -> ObjectName {
        ObjectName::manifest(&self.incarnation, self.checkpoint)
    }

    /// Whether nothing was read between the two, which are of one life of a job: what was processed until the one is what was until
    /// the other.
    pub fn has_read_as_much_as(&self, other: &Manifest) -> bool {
        let read = |manifest: &Manifest| {
            let mut read = BTreeMap::new();
            for (name, node) in &manifest.nodes {
                for split in node.subtasks.iter().flat_map(|subtask| &subtask.splits) {
                    read.insert((name.clone(), split.split.clone()), (split.next, split.ended));
                }
            }
            let ended = |node: &Node| node.subtasks.iter().map(|subtask| subtask.ended).collect::<Vec<_>>();
            let ended: Vec<Vec<bool>> = manifest.nodes.values().map(ended).collect();
            (read, ended)
        };
        self.incarnation == other.incarnation && read(self) == read(other)
    }

    /// How many bytes of keyed state it names.
    pub fn state_bytes(&self) -> u64 {
        let subtasks = self.nodes.values().flat_map(|node| &node.subtasks);
        let chains = subtasks.filter_map(|subtask| subtask.state.as_ref());
        chains.flat_map(|chain| &chain.runs).map(|run| run.chunk.length).sum()
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("all keys are texts")
    }

    /// From what is stored.
    ///
    /// # Errors
    /// [`Error::Format`] for one of a future version, [`Error::Document`] for what is no manifest.
    pub fn from_bytes(bytes: &[u8]) -> Result<Manifest, Error> {
        read(bytes, "the manifest", FORMAT)
    }

    /// The objects that it names, without its own; some of them more than once.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectName> {
        self.nodes.values().flat_map(|node| node.subtasks.iter().flat_map(|snapshot| snapshot.objects()))
    }
}

/// A document that says its format first of all.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8], what: &'static str, known: u64) -> Result<T, Error> {
    let wrong = |error: serde_json::Error| Error::Document { what, cause: error.to_string() };
    let found = serde_json::from_slice::<Any>(bytes).map_err(wrong)?.format;
    if found != known {
        return Err(Error::Format { what, found, known });
    }
    serde_json::from_slice(bytes).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{Snapshot, Split};
    use super::*;

    #[test]
    fn what_was_read_tells_whether_anything_was_done() {
        let manifest = |counter: u32, next, ended| {
            let split =
                Split { split: "t[0]".into(), next, at: Some(counter.into()), until: None, id: None, ended: false };
            let subtasks = vec![Snapshot { splits: vec![split], ended, ..Snapshot::default() }];
            let nodes = [("in".parse().expect("a name"), Node { subtasks, ..Node::default() })].into();
            let id = (Incarnation::of(1), CheckpointId::new(Attempt(1), counter));
            Manifest::new("p".parse().expect("a name"), id, 77, KeyGroups::default(), nodes)
        };
        let first = manifest(1, 5, false);
        assert!(manifest(2, 5, false).has_read_as_much_as(&first));
        assert!(!manifest(2, 6, false).has_read_as_much_as(&first));
        assert!(!manifest(2, 5, true).has_read_as_much_as(&first), "the end of the input may bring output");
        let another = Manifest { incarnation: Incarnation::of(2), ..manifest(2, 5, false) };
        assert!(!another.has_read_as_much_as(&first));
    }
}
