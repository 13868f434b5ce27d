//! A checkpoint held against the pipeline that is to begin with it: state goes by the name of its operator and its own, positions by
//! the name of their source. What does not go together is refused as a whole, each difference with what to do about it; nothing
//! is given up that nobody named. What goes together is adopted: the manifest of the new life, and the objects to copy for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::head::Origin;
use super::snapshot::{DROPPED, Node, Split, SplitKind};
use super::{CheckpointId, Incarnation, Manifest, ObjectName};
use crate::ids::{OperatorName, PipelineName};
use crate::key_group::KeyGroups;
use crate::nearest::{listed, nearest, quoted};

/// A source, operator or sink of the pipeline that is to begin.
pub struct Wanted<'a> {
    /// Its name.
    pub name: OperatorName,
    /// Of a source, which has to know where to go on.
    pub reads: Option<Reads<'a>>,
    /// The states of its component, by name and kind.
    pub states: Vec<(String, String)>,
}

/// What a source of the pipeline reads.
pub struct Reads<'a> {
    /// What kind of source it is.
    pub kind: SplitKind,
    /// For people: `files of /in/*.jsonl`.
    pub what: String,
    /// Whether a split of its kind is one that it reads, whether it is there now or not. True where that can't be told.
    pub has: Has<'a>,
}

/// Whether a split of that name is one.
pub type Has<'a> = Box<dyn Fn(&str) -> bool + 'a>;

/// Something that a checkpoint holds and a pipeline goes on with: a state of an operator, or the positions of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// The operator or source.
    pub node: OperatorName,
    /// The state of the operator; none of a source.
    pub state: Option<String>,
}

/// As it is named to give it up: `operator/state`, `source`.
impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => write!(f, "{}/{state}", self.node),
            None => write!(f, "{}", self.node),
        }
    }
}

/// What keeps a pipeline from beginning with a checkpoint: at least one difference. Its text has one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What only the checkpoint has comes first.
    pub differences: Vec<Difference>,
}

/// One thing that a checkpoint and a pipeline differ in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The checkpoint has it, and the pipeline has nobody who takes it.
    #[error(
        "the checkpoint has {what}, which the pipeline does not have: give up what it holds with --drop-state {0}, or go back to the old name",
        what = what(.0)
    )]
    Surplus(Thing),
    /// The pipeline wants it, and the checkpoint does not have it.
    #[error("the checkpoint does not have {what}: let it begin {afresh} with --new-state {0}", what = what(.0), afresh = afresh(.0))]
    Missing(Thing),
    /// A state of another kind than that of the same name in the checkpoint: that one, and the one that is wanted.
    #[error(
        "{what} is a {1} in the checkpoint and a {2} in the pipeline: give up what it holds and let it begin empty with --drop-state {0}, or give the new one another name",
        what = what(.0)
    )]
    Kind(Thing, String, String),
    /// A source that reads nothing of what its positions in the checkpoint are of: what that is, and what it reads instead.
    #[error(
        "the source {0} has positions in {1} in the checkpoint and reads {2} in the pipeline, none of which they are of: give them up and let it begin anew with --drop-state {0}, or let it read what it did"
    )]
    Source(Thing, String, String),
    /// State is divided into another number of key groups: that of the checkpoint, and the one that is wanted.
    #[error(
        "the state in the checkpoint is divided into {0} key groups, and the pipeline wants {1}: say `key-groups: {0}` in its file"
    )]
    KeyGroups(u16, u16),
    /// What is to be given up is not in the checkpoint.
    #[error("--drop-state {}: the checkpoint has nothing of that name{}", quoted(.0), did_you_mean(.1))]
    NothingToDrop(String, Like),
    /// What is to begin empty is not in the pipeline.
    #[error("--new-state {}: the pipeline has nothing of that name{}", quoted(.0), did_you_mean(.1))]
    NothingNew(String, Like),
    /// What is to begin empty is in the checkpoint.
    #[error(
        "--new-state {0}: the checkpoint has it; leave this out to go on with it, or give it up with --drop-state {0}"
    )]
    NotNew(String),
}

/// What may have been meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Like {
    /// This.
    One(String),
    /// One of these, or nothing if there are none.
    Any(Vec<String>),
}

fn what(thing: &Thing) -> String {
    match thing.state {
        Some(_) => format!("the state {thing}"),
        None => format!("positions of the source {thing}"),
    }
}

fn afresh(thing: &Thing) -> &'static str {
    if thing.state.is_some() { "empty" } else { "where its `start` says" }
}

fn did_you_mean(like: &Like) -> String {
    match like {
        Like::One(name) => format!("; did you mean {name}?"),
        Like::Any(names) => format!("; it has: {}", listed(names.iter().map(String::as_str))),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, difference) in self.differences.iter().enumerate() {
            write!(f, "{}{difference}", if number > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Whether a pipeline of these nodes, with so many key groups, can begin with a checkpoint. `dropped` of it is given up, and what
/// the pipeline has of it begins empty; so does `new`, which it does not have. Each is `operator/state`, or an operator or
/// source as a whole.
///
/// # Errors
/// All differences.
pub fn check(
    manifest: &Manifest,
    (nodes, key_groups): (&[Wanted<'_>], KeyGroups),
    dropped: &[String],
    new: &[String],
) -> Result<(), Error> {
    let (found, wanted) = (held(manifest), taken(nodes));
    let (dropped, new) = (Names::of(dropped), Names::of(new));
    let mut differences = Vec::new();
    for (thing, kind) in found.iter().filter(|(thing, _)| !dropped.cover(thing)) {
        match wanted.get(thing) {
            None => differences.push(Difference::Surplus(thing.clone())),
            Some(wanted) if wanted != kind => {
                differences.push(Difference::Kind(thing.clone(), (*kind).to_owned(), (*wanted).to_owned()));
            }
            Some(_) => (),
        }
    }
    for Wanted { name, reads, .. } in nodes {
        let thing = Thing { node: name.clone(), state: None };
        if let (Some(reads), Some(node)) = (reads, manifest.nodes.get(name))
            && !dropped.cover(&thing)
        {
            differences.extend(another_source(thing, reads, node));
        }
    }
    // A source of which the checkpoint says only that it was there has found nothing to read until then.
    let was_there = |thing: &Thing| thing.state.is_none() && manifest.nodes.contains_key(&thing.node);
    let missing = wanted.keys().filter(|thing| !found.contains_key(thing) && !was_there(thing) && !new.cover(thing));
    differences.extend(missing.cloned().map(Difference::Missing));
    let keeps_state = found.keys().any(|thing| thing.state.is_some() && !dropped.cover(thing));
    if keeps_state && manifest.key_groups != key_groups {
        differences.push(Difference::KeyGroups(manifest.key_groups.get(), key_groups.get()));
    }
    for name in &dropped.0 {
        if !found.keys().any(|thing| covers(name, thing)) {
            differences.push(Difference::NothingToDrop((*name).to_owned(), like(name, found.keys())));
        }
    }
    for name in &new.0 {
        let mut named = wanted.keys().filter(|thing| covers(name, thing)).peekable();
        if named.peek().is_none() {
            differences.push(Difference::NothingNew((*name).to_owned(), like(name, wanted.keys())));
        } else if named.all(|thing| found.contains_key(thing) && !dropped.cover(thing)) {
            differences.push(Difference::NotNew((*name).to_owned()));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(Error { differences }) }
}

/// The checkpoint that the life `incarnation` of a job begins with, [`CheckpointId::ADOPTED`], and the objects to copy before it
/// counts, each once: from where, to where, below the roots of their jobs. It has what `origin` does not drop of the state and
/// the positions; no output, since what a savepoint carried is written. One that is claimed keeps its objects where they are.
pub fn adopt(
    manifest: &Manifest,
    pipeline: PipelineName,
    incarnation: &Incarnation,
    origin: &Origin,
) -> (Manifest, Vec<(ObjectName, ObjectName)>) {
    let dropped = Names::of(&origin.dropped);
    let mut copies = BTreeMap::new();
    let mut nodes = manifest.nodes.clone();
    nodes.retain(|name, _| !dropped.0.contains(name.as_str()));
    for (name, node) in &mut nodes {
        node.lanes.clear();
        for state in &mut node.states {
            if dropped.0.contains(format!("{name}/{}", state.name).as_str()) {
                state.kind = DROPPED.to_owned();
            }
        }
        let is_empty = node.states.iter().all(|state| state.kind == DROPPED);
        if is_empty {
            node.states.clear();
        }
        for subtask in &mut node.subtasks {
            subtask.output = None;
            subtask.state = subtask.state.take().filter(|_| !is_empty);
            let Some(chain) = &mut subtask.state else { continue };
            chain.pending.clear();
            for run in chain.runs.iter_mut().filter(|_| !origin.claim) {
                let own = run.chunk.object.adopted(incarnation);
                let from = std::mem::replace(&mut run.chunk.object, own.clone());
                copies.insert(from, own);
            }
        }
    }
    let id = (incarnation.clone(), CheckpointId::ADOPTED);
    let adopted = Manifest::new(pipeline, id, manifest.time, manifest.key_groups, nodes);
    (adopted, copies.into_iter().collect())
}

/// What keeps a source from going on by its positions in a checkpoint. Some of what they are of may be gone or left out, and more may
/// have come; but where all of it is something else, the source would read everything from its start, and nobody would see why.
fn another_source(thing: Thing, reads: &Reads<'_>, node: &Node) -> Option<Difference> {
    let splits: Vec<&Split> = node.subtasks.iter().flat_map(|subtask| &subtask.splits).collect();
    let first = splits.first()?;
    let kind = SplitKind::of(&first.split);
    let is_same = kind == reads.kind && (kind == SplitKind::Generator || splits.iter().any(|s| (reads.has)(&s.split)));
    (!is_same).then(|| Difference::Source(thing, shown(kind, &splits), reads.what.clone()))
}

/// Splits, for people.
fn shown(kind: SplitKind, splits: &[&Split]) -> String {
    let first = splits.first().map_or("", |split| split.split.as_str());
    let more = match splits.len() {
        0 | 1 => String::new(),
        many => format!(" and {} more", many - 1),
    };
    match kind {
        SplitKind::Files => format!("files ({first}{more})"),
        SplitKind::Generator => "a generator".to_owned(),
        SplitKind::Kafka => format!("Kafka topics ({first}{more})"),
    }
}

/// What a checkpoint holds that somebody may miss, with the kinds of states: none of those that were given up before.
fn held(manifest: &Manifest) -> BTreeMap<Thing, &str> {
    let mut held = BTreeMap::new();
    for (name, node) in &manifest.nodes {
        for state in node.states.iter().filter(|state| state.kind != DROPPED) {
            held.insert(Thing { node: name.clone(), state: Some(state.name.clone()) }, state.kind.as_str());
        }
        if node.subtasks.iter().any(|subtask| !subtask.splits.is_empty()) {
            held.insert(Thing { node: name.clone(), state: None }, "");
        }
    }
    held
}

/// What a pipeline goes on with, with the kinds of states.
fn taken<'a>(nodes: &'a [Wanted<'_>]) -> BTreeMap<Thing, &'a str> {
    let mut taken = BTreeMap::new();
    for Wanted { name, reads, states } in nodes {
        for (state, kind) in states {
            taken.insert(Thing { node: name.clone(), state: Some(state.clone()) }, kind.as_str());
        }
        if reads.is_some() {
            taken.insert(Thing { node: name.clone(), state: None }, "");
        }
    }
    taken
}

/// Whether a name stands for a thing: its own, or that of all its operator has.
fn covers(name: &str, thing: &Thing) -> bool {
    name == thing.node.as_str() || name == thing.to_string()
}

/// Which of these, or of the operators that they are of, may have been meant.
fn like<'a>(name: &str, things: impl Iterator<Item = &'a Thing>) -> Like {
    let known: BTreeSet<String> = things.flat_map(|thing| [thing.node.to_string(), thing.to_string()]).collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(one) => Like::One(one.to_owned()),
        None => Like::Any(known.into_iter().collect()),
    }
}

/// What somebody named.
struct Names<'a>(BTreeSet<&'a str>);

impl<'a> Names<'a> {
    fn of(names: &'a [String]) -> Names<'a> {
        Names(names.iter().map(String::as_str).collect())
    }

    fn cover(&self, thing: &Thing) -> bool {
        self.0.iter().any(|name| covers(name, thing))
    }
}

#[cfg(test)]
mod tests;
