//! What one subtask of a source, an operator or a sink contributes to a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{CheckpointId, Chunk, ObjectName};

/// Where reading a split of a source goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Split {
    /// Its name, the same for ever: `orders[3]` of Kafka, the path of a file, `0` of a generator.
    pub split: String,
    /// The position of the next record: an offset, the number of a line, a sequence number.
    pub next: i64,
    /// Where the source finds it, if not by its position: the byte at which the line begins, or the milliseconds since the Unix
    /// epoch at which a generator made its first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The position at which reading stops, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// What tells whether a split of that name is still the same: the id of a topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Nothing is left of it to read: its source stops there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// What kind of source a split is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitKind {
    /// A file.
    Files,
    /// What one subtask makes up.
    Generator,
    /// A partition of a topic.
    Kafka,
}

impl SplitKind {
    /// Of a split of that name. No two kinds have a name in common: a generator's is a number, a topic's has no slash, and the path
    /// of a file begins with one.
    pub fn of(split: &str) -> SplitKind {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let partition = split.strip_suffix(']').and_then(|split| split.rsplit_once('['));
        match partition {
            Some((topic, partition)) if !topic.contains('/') && is_number(partition) => SplitKind::Kafka,
            None if is_number(split) => SplitKind::Generator,
            _ => SplitKind::Files,
        }
    }
}

/// A sorted run of entries of keyed state: a base, a delta, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// Where its bytes lie.
    #[serde(flatten)]
    pub chunk: Chunk,
    /// How many entries it has, tombstones included.
    pub entries: u64,
    /// The key groups of it that count, first and last; all that the chain has where it says nothing. After a change of
    /// parallelism the runs of several subtasks stand in one chain, and one run may stand in it twice, for other groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<RangeInclusive<u16>>,
}

/// The keyed state of one subtask: runs, of which a later one hides what an earlier one says of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chain {
    /// The key groups that count, first and last.
    pub groups: RangeInclusive<u16>,
    /// Oldest first, those of the same groups.
    pub runs: Vec<Run>,
    /// Objects that are being uploaded and are to replace some of the runs in a later checkpoint. Nothing is restored from
    /// them; they stand here so that they are not taken for garbage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<ObjectName>,
}

/// A state of an operator, as its component declared it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateName {
    /// Its name.
    pub name: String,
    /// `value`, `map` or `list`; [`DROPPED`] for one that was given up, whose number stays taken as long as runs may have
    /// entries of it.
    pub kind: String,
    /// Its number in the keys of the runs.
    pub number: u16,
}

/// The kind of a state that was given up.
pub const DROPPED: &str = "dropped";

/// Numbers beyond these are the engine's own.
const NUMBERS: u16 = 0xff00;

impl StateName {
    /// The states of a component, given by name and kind, with their numbers: those that were there before keep theirs, whatever their
    /// place is now, and no number is used twice. They come first, in the component's order, then what it has no more, as dropped;
    /// a component without any state has none of those either. None where there are more than numbers.
    pub fn number(states: &[(String, String)], before: &[StateName]) -> Option<Vec<StateName>> {
        if states.is_empty() {
            return Some(Vec::new());
        }
        let known = |name: &str| before.iter().find(|state| state.name == name && state.kind != DROPPED);
        let taken: BTreeSet<u16> = before.iter().map(|state| state.number).collect();
        let mut free = (0..NUMBERS).filter(|number| !taken.contains(number));
        let mut numbered = Vec::new();
        for (name, kind) in states {
            let number = match known(name) {
                Some(state) => state.number,
                None => free.next()?,
            };
            numbered.push(StateName { name: name.clone(), kind: kind.clone(), number });
        }
        let gone = before.iter().filter(|state| numbered.iter().all(|other| other.number != state.number));
        let gone: Vec<StateName> = gone.map(|state| StateName { kind: DROPPED.to_owned(), ..state.clone() }).collect();
        numbered.extend(gone);
        Some(numbered)
    }
}

/// Output that a sink subtask has sealed and that its lane has not yet seen as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Segment {
    /// The checkpoint whose barrier sealed it.
    pub checkpoint: CheckpointId,
    /// Its parts, in order; at least one, none of them empty.
    pub parts: Vec<Part>,
}

/// A part of a segment, written in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Part {
    /// Where its bytes lie.
    #[serde(flatten)]
    pub chunk: Chunk,
    /// How many records it has, at least 1.
    pub records: u64,
}

/// A file that a barrier has sealed, and that gets its name when its checkpoint counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SealedFile {
    /// The checkpoint whose barrier sealed it.
    pub checkpoint: CheckpointId,
    /// The name that it is to get, in the directory of its sink.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
}

/// What a sink subtask holds that is not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Output {
    /// The lane by which it leaves.
    pub lane: u32,
    /// Segments in the order in which they were sealed, those of aborted checkpoints included.
    pub segments: Vec<Segment>,
    /// Of a files sink: files in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SealedFile>,
}

/// How far a lane is known to have written: all segments of checkpoints before `checkpoint`, and of that one the parts up
/// to `part`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// The checkpoint whose segments were written last.
    pub checkpoint: CheckpointId,
    /// The number of parts of them, over all subtasks of the lane, that are written.
    pub part: u32,
}

/// All that one subtask of one node contributes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    /// The end of input has passed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// Of a source: the splits that it reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<Split>,
    /// Of an operator with keyed state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Chain>,
    /// Of a sink that writes exactly once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
}

impl Snapshot {
    /// The objects that it names, those that are pending included.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectName> {
        let runs = self.state.iter().flat_map(|chain| chain.runs.iter().map(|run| &run.chunk.object));
        let pending = self.state.iter().flat_map(|chain| &chain.pending);
        let segments = self.output.iter().flat_map(|output| &output.segments);
        let parts = segments.flat_map(|segment| segment.parts.iter().map(|part| &part.chunk.object));
        runs.chain(pending).chain(parts)
    }
}

/// A piece of what a subtask of a node contributes. Each comes once a checkpoint, when it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The barrier has passed it.
    Passed {
        /// After the end of input.
        ended: bool,
        /// Of a source: where it goes on.
        splits: Vec<Split>,
    },
    /// Its keyed state is in the store.
    State(Chain),
    /// Its output is in the store.
    Output(Output),
}

/// All subtasks of one source, operator or sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Node {
    /// By subtask.
    pub subtasks: Vec<Snapshot>,
    /// Of an operator: its states.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<StateName>,
    /// Of a sink that writes exactly once: what each of its lanes was known to have written, by lane.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<u32, Progress>,
}

impl Node {
    /// The lanes that it names, of a sink that writes exactly once: each needs an owner in whatever goes on from it.
    pub fn owed_lanes(&self) -> BTreeSet<u32> {
        let outputs = self.subtasks.iter().filter_map(|snapshot| snapshot.output.as_ref());
        outputs.map(|output| output.lane).chain(self.lanes.keys().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_split_tells_its_source() {
        let check = |split: &str, expect| assert_eq!(SplitKind::of(split), expect, "{split}");
        check("0", SplitKind::Generator);
        check("17", SplitKind::Generator);
        check("orders[3]", SplitKind::Kafka);
        check("0[12]", SplitKind::Kafka);
        for file in ["/in/a.jsonl", "/in/0", "/in/x[1]", "/in[2]/a[3]", "/x[a]", "/x]"] {
            check(file, SplitKind::Files);
        }
    }

    #[test]
    fn states_keep_their_numbers() {
        let check = |states: &[(&str, &str)], before: &[StateName], expect: &[(&str, &str, u16)]| {
            let states: Vec<(String, String)> =
                states.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
            let numbered = StateName::number(&states, before).expect("there are numbers");
            let found: Vec<_> = numbered.iter().map(|s| (s.name.as_str(), s.kind.as_str(), s.number)).collect();
            assert_eq!(found, expect);
            numbered
        };
        let first = check(&[("sum", "value"), ("seen", "map")], &[], &[("sum", "value", 0), ("seen", "map", 1)]);
        // In another order, with one between them.
        let states = [("seen", "map"), ("last", "value"), ("sum", "value")];
        check(&states, &first, &[("seen", "map", 1), ("last", "value", 2), ("sum", "value", 0)]);
        let less = check(&[("seen", "map")], &first, &[("seen", "map", 1), ("sum", DROPPED, 0)]);
        // One that was given up does not come back under its name.
        let states = [("seen", "map"), ("sum", "value")];
        let again = check(&states, &less, &[("seen", "map", 1), ("sum", "value", 2), ("sum", DROPPED, 0)]);
        check(&states, &again, &[("seen", "map", 1), ("sum", "value", 2), ("sum", DROPPED, 0)]);
        // Without any state nothing of them is kept.
        check(&[], &again, &[]);
    }
}
