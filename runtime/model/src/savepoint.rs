//! Savepoints as the REST API tells them. Times are milliseconds since the Unix epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::snapshot::{DROPPED, Split};
use crate::checkpoint::{CheckpointId, Incarnation, Manifest};
use crate::ids::{OperatorName, PipelineName, SavepointName};

/// How far a savepoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavepointState {
    /// Its checkpoint does not count yet, or not all output that it carries is written.
    InProgress,
    /// A job can begin with it.
    Completed,
    /// It came to nothing.
    Failed,
}

impl SavepointState {
    /// As in JSON: `in-progress`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// One savepoint in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Savepoint {
    /// Its name, unique in the job.
    pub name: SavepointName,
    /// The job's name.
    pub job: PipelineName,
    /// How far it is.
    pub state: SavepointState,
    /// The checkpoint that it is; absent until one is begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointId>,
    /// When it was asked for, or since when it is one once it is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// Bytes that beginning with it reads, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a request for a savepoint may say, in JSON; it may also be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SavepointWanted {
    /// What it is to be named; a name that tells the time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SavepointName>,
    /// The job stops with it: what comes after its barrier is not processed.
    #[serde(default)]
    pub stop: bool,
}

/// The savepoints of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Savepoints {
    /// The server's clock.
    pub now: u64,
    /// Newest first.
    pub savepoints: Vec<Savepoint>,
}

/// What a savepoint holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SavepointDetail {
    /// The savepoint in short, its fields beside the others.
    #[serde(flatten)]
    pub savepoint: Savepoint,
    /// The life of the job that took it.
    pub incarnation: Incarnation,
    /// The format of its manifest.
    pub format: u64,
    /// How many key groups its state is divided into.
    pub key_groups: u16,
    /// Sources, operators and sinks, by name.
    pub nodes: Vec<SavepointNode>,
}

/// What a savepoint holds of a source, an operator or a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SavepointNode {
    /// Its name.
    pub name: OperatorName,
    /// How many subtasks it had.
    pub subtasks: u32,
    /// All its input was processed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// Its states.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<SavedState>,
    /// How many entries its states have together, or a little more: what was replaced or deleted lately may be counted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// How many bytes they take in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of a source: where it goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<SavedSplit>,
}

/// One state of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SavedState {
    /// Its name.
    pub name: String,
    /// `value`, `map` or `list`.
    pub kind: String,
}

/// Where reading a part of a source goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SavedSplit {
    /// Its name: `orders[3]` of Kafka, the path of a file, `0` of a generator.
    pub split: String,
    /// The position of the next record: an offset, the number of a line, a sequence number.
    pub next: i64,
    /// Nothing is left of it to read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

impl SavepointDetail {
    /// Of a savepoint whose checkpoint's manifest this is.
    pub fn of(savepoint: Savepoint, manifest: &Manifest) -> SavepointDetail {
        let nodes = manifest.nodes.iter().map(|(name, node)| {
            let chains = node.subtasks.iter().filter_map(|subtask| subtask.state.as_ref());
            // After a change of parallelism several subtasks go on with parts of one run.
            let runs: BTreeMap<_, _> =
                chains.flat_map(|chain| &chain.runs).map(|run| ((&run.chunk.object, run.chunk.offset), run)).collect();
            let has_state = node.subtasks.iter().any(|subtask| subtask.state.is_some());
            let live = node.states.iter().filter(|state| state.kind != DROPPED);
            let mut splits: Vec<&Split> = node.subtasks.iter().flat_map(|subtask| &subtask.splits).collect();
            // `orders[10]` after `orders[9]`.
            splits.sort_by_key(|split| (split.split.len(), split.split.clone()));
            let saved = |split: &Split| SavedSplit { split: split.split.clone(), next: split.next, ended: split.ended };
            SavepointNode {
                name: name.clone(),
                subtasks: node.subtasks.len() as u32,
                ended: !node.subtasks.is_empty() && node.subtasks.iter().all(|subtask| subtask.ended),
                states: live.map(|s| SavedState { name: s.name.clone(), kind: s.kind.clone() }).collect(),
                entries: has_state.then(|| runs.values().map(|run| run.entries).sum()),
                bytes: has_state.then(|| runs.values().map(|run| run.chunk.length).sum()),
                splits: splits.into_iter().map(saved).collect(),
            }
        });
        SavepointDetail {
            incarnation: manifest.incarnation.clone(),
            format: manifest.format(),
            key_groups: manifest.key_groups.get(),
            nodes: nodes.collect(),
            savepoint,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::snapshot::{Chain, Node, Run, Snapshot, StateName};
    use crate::checkpoint::{Attempt, Chunk, ObjectName};
    use crate::key_group::KeyGroups;

    use super::*;

    #[test]
    fn what_subtasks_share_is_counted_once() {
        let (life, checkpoint) = (Incarnation::of(1), CheckpointId::new(Attempt(1), 9));
        let run = |unique, offset| {
            let chunk = Chunk { object: ObjectName::new(&life, checkpoint, unique), offset, length: 10, crc: 7 };
            Run { chunk, entries: 3, groups: None }
        };
        let chain =
            |groups, runs| Snapshot { state: Some(Chain { groups, runs, pending: vec![] }), ..Snapshot::default() };
        let node = Node {
            subtasks: vec![chain(0..=63, vec![run(1, 0), run(2, 0)]), chain(64..=127, vec![run(1, 0), run(2, 10)])],
            states: vec![
                StateName { name: "sum".into(), kind: "value".into(), number: 0 },
                StateName { name: "gone".into(), kind: DROPPED.into(), number: 1 },
            ],
            ..Node::default()
        };
        let nodes = [("totals".parse().expect("a name"), node)].into();
        let job: PipelineName = "p".parse().expect("a name");
        let manifest = Manifest::new(job.clone(), (life.clone(), checkpoint), 77, KeyGroups::default(), nodes);
        let savepoint = Savepoint {
            name: "a".parse().expect("a name"),
            job,
            state: SavepointState::Completed,
            checkpoint: Some(checkpoint),
            time: None,
            bytes: None,
            reason: None,
        };
        let detail = SavepointDetail::of(savepoint, &manifest);
        let totals = &detail.nodes[0];
        assert_eq!((totals.subtasks, totals.entries, totals.bytes), (2, Some(9), Some(30)));
        let states: Vec<&str> = totals.states.iter().map(|state| state.name.as_str()).collect();
        assert_eq!(states, ["sum"], "what was given up is none");
    }
}
