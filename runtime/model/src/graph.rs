//! The logical graph of a pipeline: what reads what. It knows names and edges, never how things run.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use crate::diagnostic::{Code, Diagnostic, Located, Position};
use crate::ids::{NodeId, OperatorName, is_name};
use crate::nearest::{listed, nearest, quoted};
use crate::spec::DEAD_LETTER;
use crate::spec::report::Report;

/// The nodes of a pipeline with their edges: acyclic, every input exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
}

/// A source, operator or sink in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: OperatorName,
    /// What it is, with its index in the pipeline's list of them.
    pub role: Role,
    /// What it reads, in the order of its `from:`; empty for sources, and for sinks that take dead letters only.
    pub inputs: Vec<NodeId>,
    /// What reads it, in topological order; empty for sinks, and for what nobody reads.
    pub outputs: Vec<NodeId>,
    /// For a sink, the nodes whose dead letters it takes, in topological order.
    pub dead_letters_of: Vec<NodeId>,
}

/// What a node is, with its index in the list of [`crate::spec::Pipeline`] that describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An index into `sources`.
    Source(usize),
    /// An index into `operators`.
    Operator(usize),
    /// An index into `sinks`.
    Sink(usize),
}

impl fmt::Display for Role {
    /// As messages put it: `a source`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source(_) => "a source",
            Self::Operator(_) => "an operator",
            Self::Sink(_) => "a sink",
        })
    }
}

impl Graph {
    /// The nodes in topological order (ties in the order of the file): each stands after all its inputs. A
    /// [`NodeId`] is an index into this.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All nodes with their ids, in topological order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// The node of that id.
    ///
    /// # Panics
    /// If `id` comes from another graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }
}

/// A node as the file declares it, its inputs not yet checked. Names are unique.
pub(crate) struct Declared<'a> {
    pub name: &'a str,
    pub position: Position,
    pub role: Role,
    pub from: Vec<Located<&'a str>>,
    /// Where it says that records may become dead letters.
    pub dead_letters: Option<Position>,
}

/// Resolves inputs and orders the nodes; `None` only after an error was reported. `declared` is in the order sources,
/// operators, sinks, and at most [`crate::spec::OPERATORS_MAX`] long.
pub(crate) fn connect(report: &mut Report, declared: &[Declared]) -> Option<Graph> {
    let Inputs { outputs: inputs, dead_letters } = resolve(report, declared);
    let outputs = consumers(&inputs);
    warn_unread(report, declared, &outputs);
    check_untaken(report, declared, &dead_letters);
    let order = order(report, declared, &inputs, &dead_letters);
    let mut ids = vec![NodeId(0); declared.len()];
    for (place, index) in order.iter().enumerate() {
        ids[*index] = NodeId(place as u32);
    }
    let nodes = order.iter().map(|&index| {
        let sorted = |indices: &[usize]| {
            let mut sorted: Vec<NodeId> = indices.iter().map(|&index| ids[index]).collect();
            sorted.sort();
            sorted
        };
        Some(Node {
            name: OperatorName::new(declared[index].name).ok()?,
            role: declared[index].role,
            inputs: inputs[index].iter().map(|&input| ids[input]).collect(),
            outputs: sorted(&outputs[index]),
            dead_letters_of: sorted(&dead_letters[index]),
        })
    });
    Some(Graph { nodes: nodes.collect::<Option<_>>()? })
}

/// For each node the indices of what it reads, each once.
struct Inputs {
    outputs: Vec<Vec<usize>>,
    /// The nodes whose dead letters it takes.
    dead_letters: Vec<Vec<usize>>,
}

/// What can't be read is reported and left out.
fn resolve(report: &mut Report, declared: &[Declared]) -> Inputs {
    let indices: HashMap<&str, usize> = declared.iter().enumerate().map(|(index, d)| (d.name, index)).collect();
    let mut inputs = Inputs { outputs: Vec::new(), dead_letters: Vec::new() };
    for reader in declared {
        let (mut outputs, mut dead_letters) = (Vec::new(), Vec::new());
        for from in &reader.from {
            let (found, new) = match from.value.strip_suffix(DEAD_LETTER) {
                Some(of) if of.is_empty() || of.ends_with('.') => {
                    let of = (!of.is_empty()).then(|| &of[..of.len() - 1]);
                    (&mut dead_letters, senders(report, declared, &indices, reader, from.position, of))
                }
                _ => (&mut outputs, readable(report, declared, &indices, reader, from).into_iter().collect()),
            };
            if new.iter().any(|index| found.contains(index)) {
                let what = format!("{} {}", noun(reader.role), quoted(reader.name));
                report.error(Code::Duplicate, from.position, format!("{what} reads {} twice", quoted(from.value)));
            }
            found.extend(new.into_iter().filter(|index| !found.contains(index)).collect::<Vec<_>>());
        }
        inputs.outputs.push(outputs);
        inputs.dead_letters.push(dead_letters);
    }
    inputs
}

/// The node of a name whose output can be read.
fn readable(
    report: &mut Report,
    declared: &[Declared],
    indices: &HashMap<&str, usize>,
    reader: &Declared,
    from: &Located<&str>,
) -> Option<usize> {
    let Located { value: name, position } = *from;
    let what = format!("{} {}", noun(reader.role), quoted(reader.name));
    match indices.get(name) {
        None if report.is_full() => report.error(Code::UnknownInput, position, "unknown input"),
        None => {
            let readable = declared.iter().filter(|d| !matches!(d.role, Role::Sink(_)) && d.name != reader.name);
            let names: Vec<&str> = readable.map(|d| d.name).filter(|name| is_name(name)).collect();
            let known = format!("known: {}", listed(names.iter().copied()));
            let hint = match nearest(name, names) {
                Some(meant) => format!("did you mean {}? {known}", quoted(meant)),
                None => known,
            };
            let message = format!("{what} reads {}, which does not exist", quoted(name));
            report.error_with(Code::UnknownInput, position, message, hint);
        }
        Some(&index) if matches!(declared[index].role, Role::Sink(_)) => {
            let message = format!("{what} reads {}, a sink, which has no output", quoted(name));
            let hint = format!("read what {} reads", quoted(name));
            report.error_with(Code::UnknownInput, position, message, hint);
        }
        Some(&index) => return Some(index),
    }
    None
}

/// All that send dead letters, or the one of that name.
fn senders(
    report: &mut Report,
    declared: &[Declared],
    indices: &HashMap<&str, usize>,
    reader: &Declared,
    at: Position,
    of: Option<&str>,
) -> Vec<usize> {
    let what = format!("{} {}", noun(reader.role), quoted(reader.name));
    let mut refuse = |message: String, hint: &str| {
        report.error_with(Code::DeadLetter, at, message, hint);
        Vec::new()
    };
    if !matches!(reader.role, Role::Sink(_)) {
        let message = format!("{what} reads dead letters, which only sinks can");
        return refuse(message, "write them to a topic or to files, and read those in another pipeline");
    }
    let Some(name) = of else {
        let senders: Vec<usize> = (0..declared.len()).filter(|&index| declared[index].dead_letters.is_some()).collect();
        return match senders.is_empty() {
            true => refuse(
                format!("{what} takes dead letters, and no operator sends any"),
                "write `on-error: dead-letter` in an operator, or remove the sink",
            ),
            false => senders,
        };
    };
    match indices.get(name).map(|&index| (index, &declared[index])) {
        None => {
            refuse(format!("{what} takes dead letters of {}, which does not exist", quoted(name)), "name an operator")
        }
        Some((index, Declared { dead_letters: Some(_), .. })) => vec![index],
        Some((_, Declared { role, .. })) => {
            let role = noun(*role);
            let message = format!("{what} takes dead letters of {role} {}, which sends none", quoted(name));
            refuse(message, &format!("write `on-error: dead-letter` in the {role}"))
        }
    }
}

/// A node whose dead letters no sink takes.
fn check_untaken(report: &mut Report, declared: &[Declared], dead_letters: &[Vec<usize>]) {
    for (index, node) in declared.iter().enumerate() {
        if let Some(position) = node.dead_letters
            && !dead_letters.iter().any(|senders| senders.contains(&index))
        {
            let message =
                format!("{} {} sends dead letters, and no sink takes them", noun(node.role), quoted(node.name));
            let hint = "add a sink, for example `dead: {files: {path: ./dead}, from: dead-letter}`";
            report.error_with(Code::DeadLetter, position, message, hint);
        }
    }
}

fn noun(role: Role) -> &'static str {
    match role {
        Role::Source(_) => "source",
        Role::Operator(_) => "operator",
        Role::Sink(_) => "sink",
    }
}

fn consumers(inputs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut outputs = vec![Vec::new(); inputs.len()];
    for (reader, inputs) in inputs.iter().enumerate() {
        for &input in inputs {
            outputs[input].push(reader);
        }
    }
    outputs
}

fn warn_unread(report: &mut Report, declared: &[Declared], outputs: &[Vec<usize>]) {
    let file = report.file();
    for (node, readers) in declared.iter().zip(outputs) {
        if readers.is_empty() && !matches!(node.role, Role::Sink(_)) {
            let message = format!("nobody reads {} {}; its records are dropped", noun(node.role), quoted(node.name));
            let hint = format!("add a sink with `from: {}`", shown(node.name));
            report.push(Diagnostic::warning(Code::Unread, file, node.position, message).hint(hint));
        }
    }
}

/// A topological order (Kahn's algorithm, the earliest declared node first). Each cycle is reported once and then
/// taken as if it were ordered, so that further ones are found.
fn order(report: &mut Report, declared: &[Declared], inputs: &[Vec<usize>], dead_letters: &[Vec<usize>]) -> Vec<usize> {
    let inputs: Vec<Vec<usize>> = inputs.iter().zip(dead_letters).map(|(a, b)| [&a[..], b].concat()).collect();
    let (inputs, outputs) = (inputs.as_slice(), consumers(&inputs));
    let mut missing: Vec<usize> = inputs.iter().map(Vec::len).collect();
    let mut waiting: BTreeSet<usize> = (0..declared.len()).collect();
    let mut ready: BTreeSet<usize> = waiting.iter().copied().filter(|&node| missing[node] == 0).collect();
    let mut order = Vec::with_capacity(declared.len());
    while let Some(&first) = waiting.first() {
        let Some(node) = ready.pop_first() else {
            let cycle = cycle(first, inputs, &waiting);
            report_cycle(report, declared, &cycle);
            ready.extend(cycle);
            continue;
        };
        waiting.remove(&node);
        order.push(node);
        for &reader in &outputs[node] {
            missing[reader] = missing[reader].saturating_sub(1);
            if missing[reader] == 0 && waiting.contains(&reader) {
                ready.insert(reader);
            }
        }
    }
    order
}

/// A cycle among the nodes that wait, in the direction of the records, beginning with the node declared first. Each of
/// them waits for another one of them, so walking from input to input comes round.
fn cycle(start: usize, inputs: &[Vec<usize>], waiting: &BTreeSet<usize>) -> Vec<usize> {
    let mut path = vec![start];
    loop {
        let last = path[path.len() - 1];
        let input = inputs[last].iter().copied().find(|input| waiting.contains(input));
        let Some(input) = input else { return path };
        if let Some(begin) = path.iter().position(|&node| node == input) {
            path.drain(..begin);
            break;
        }
        path.push(input);
    }
    path.reverse();
    let first = path.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(place, _)| place);
    path.rotate_left(first);
    path
}

fn report_cycle(report: &mut Report, declared: &[Declared], cycle: &[usize]) {
    let (Some(&first), Some(&last)) = (cycle.first(), cycle.last()) else { return };
    let from = declared[first].from.iter().find(|from| from.value == declared[last].name);
    let at = from.map_or(declared[first].position, |from| from.position);
    let round = cycle.iter().chain([&first]).map(|&node| shown(declared[node].name));
    let message = format!("records would go round in a circle: {}", shortened(round.collect()).join(" → "));
    report.error_with(Code::Cycle, at, message, format!("let {} read something else", quoted(declared[first].name)));
}

/// A good name as it is, what only stands where a name should in quotes.
fn shown(name: &str) -> String {
    if is_name(name) { name.into() } else { quoted(name) }
}

/// At most a dozen names: the middle of a longer list is only counted.
fn shortened(mut names: Vec<String>) -> Vec<String> {
    if names.len() > 12 {
        let middle = 8..names.len() - 3;
        let count = format!("… {} more …", middle.len());
        names.splice(middle, [count]);
    }
    names
}
