//! The graph of a pipeline as something to look at: text, Graphviz, Mermaid. Only words; it asks nobody.

use std::collections::BTreeSet;
use std::fmt::Write;

use flow_model::graph::{Graph, Role};
use flow_model::ids::NodeId;
use flow_model::plan::{Head, Partitioning, Plan, Tail};
use flow_model::spec::Pipeline;
use serde::Serialize;

/// A graph to draw.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct Drawing {
    /// The pipeline's name.
    pub pipeline: String,
    /// In topological order.
    pub nodes: Vec<Node>,
    /// Pairs of nodes by their places.
    pub edges: Vec<Edge>,
}

/// A source, an operator or a sink.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `source`, `operator` or `sink`.
    pub role: &'static str,
    /// Its connector, its kind, or its component where the kind is not known.
    pub what: String,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// Where a keyed operator's key comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Records go from one node to another.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub struct Edge {
    /// The place of the sender among the nodes.
    pub from: usize,
    /// The place of the receiver.
    pub to: usize,
    /// How records are shared out among subtasks; nothing within a chain, for dead letters, or where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharing: Option<String>,
    /// The records are the sender's dead letters.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dead_letters: bool,
}

impl Edge {
    fn label(&self) -> Option<&str> {
        if self.dead_letters { Some("dead letters") } else { self.sharing.as_deref() }
    }
}

impl Drawing {
    /// Of a pipeline file.
    pub fn of_pipeline(pipeline: &Pipeline) -> Self {
        let graph: &Graph = pipeline.graph();
        let nodes = graph.nodes().iter().map(|node| {
            let (role, what, parallelism, key) = match node.role {
                Role::Source(index) => {
                    let source = &pipeline.sources[index];
                    ("source", source.connector.as_str().to_owned(), source.parallelism, None)
                }
                Role::Operator(index) => {
                    let operator = &pipeline.operators[index];
                    let key = operator.key.as_ref().map(|key| key.value.to_string());
                    ("operator", operator.component.value.display().to_string(), operator.parallelism, key)
                }
                Role::Sink(index) => {
                    let sink = &pipeline.sinks[index];
                    ("sink", sink.connector.as_str().to_owned(), sink.parallelism, None)
                }
            };
            Node { name: node.name.to_string(), role, what, parallelism, key }
        });
        let edges = graph.iter().flat_map(|(id, node)| {
            let edge = |from: NodeId, to: NodeId, dead_letters| Edge {
                from: from.index(),
                to: to.index(),
                sharing: None,
                dead_letters,
            };
            let outputs = node.outputs.iter().map(move |output| edge(id, *output, false));
            outputs.chain(node.dead_letters_of.iter().map(move |sender| edge(*sender, id, true)))
        });
        let mut edges: Vec<Edge> = edges.collect();
        edges.sort();
        Self { pipeline: pipeline.name.to_string(), nodes: nodes.collect(), edges }
    }

    /// Of a plan, which knows more.
    pub fn of_plan(plan: &Plan) -> Self {
        let (mut nodes, mut edges, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for task in &plan.tasks {
            let first = nodes.len();
            let mut add = |name: &dyn ToString, role, what: &dyn ToString, key: Option<String>| {
                let (name, what) = (name.to_string(), what.to_string());
                nodes.push(Node { name, role, what, parallelism: task.parallelism, key });
            };
            if let Head::Source(source) = &task.head {
                add(&source.name, "source", &source.connector, None);
            }
            for element in &task.chain {
                add(&element.operator, "operator", &element.kind, element.key.as_ref().map(ToString::to_string));
            }
            if let Tail::Sink(sink) = &task.tail {
                add(&sink.name, "sink", &sink.connector, None);
            }
            let chained = |to| Edge { from: to - 1, to, sharing: None, dead_letters: false };
            edges.extend((first + 1..nodes.len()).map(chained));
            ends.push((first, nodes.len().saturating_sub(1)));
        }
        for exchange in &plan.exchanges {
            let to = ends[exchange.to.index()].0;
            edges.push(match (&exchange.dead_letters_of, &exchange.partitioning) {
                (Some(of), _) => {
                    let sender = nodes.iter().position(|node| node.name == of.as_str());
                    let from = sender.unwrap_or(ends[exchange.from.index()].1);
                    Edge { from, to, sharing: None, dead_letters: true }
                }
                (None, partitioning) => {
                    let sharing = (*partitioning != Partitioning::Forward).then(|| partitioning.to_string());
                    Edge { from: ends[exchange.from.index()].1, to, sharing, dead_letters: false }
                }
            });
        }
        edges.sort();
        // An operator's dead letters may come from several tasks: its own, and those that take its key.
        edges.dedup();
        Self { pipeline: plan.pipeline.to_string(), nodes, edges }
    }

    fn below(&self, node: usize) -> Vec<&Edge> {
        self.edges.iter().filter(|edge| edge.from == node).collect()
    }

    /// A tree from each source; what several read together is shown where it is met first.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.pipeline);
        let mut seen = BTreeSet::new();
        for node in 0..self.nodes.len() {
            if self.edges.iter().all(|edge| edge.to != node) {
                text.push('\n');
                text += &self.nodes[node].line(None);
                seen.insert(node);
                self.branch(node, "", &mut seen, &mut text);
            }
        }
        text
    }

    fn branch(&self, node: usize, lead: &str, seen: &mut BTreeSet<usize>, text: &mut String) {
        let edges = self.below(node);
        for (number, edge) in edges.iter().enumerate() {
            let is_last = number + 1 == edges.len();
            *text += lead;
            *text += if is_last { "└─▶ " } else { "├─▶ " };
            if !seen.insert(edge.to) {
                *text += &format!("{} (above){}\n", self.nodes[edge.to].name, bracketed(edge.label()));
                continue;
            }
            *text += &self.nodes[edge.to].line(edge.label());
            self.branch(edge.to, &format!("{lead}{}", if is_last { "    " } else { "│   " }), seen, text);
        }
    }

    /// For Graphviz.
    pub fn dot(&self) -> String {
        let mut text = format!("digraph {} {{\n  rankdir=LR;\n", quoted(&self.pipeline));
        for node in &self.nodes {
            let shape = if node.role == "operator" { "box" } else { "cds" };
            let label = format!("{}\n{}", node.name, node.detail());
            _ = writeln!(text, "  {} [shape={shape}, label={}];", quoted(&node.name), quoted(&label));
        }
        for edge in &self.edges {
            let style = if edge.dead_letters { ", style=dashed" } else { "" };
            let label = edge.label().map_or(String::new(), |label| format!(" [label={}{style}]", quoted(label)));
            let [from, to] = [edge.from, edge.to].map(|node| quoted(&self.nodes[node].name));
            _ = writeln!(text, "  {from} -> {to}{label};");
        }
        text + "}\n"
    }

    /// For Markdown that is shown with Mermaid.
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (number, node) in self.nodes.iter().enumerate() {
            // Quotes end a label there, whatever stands before them.
            let label = format!("{}<br/>{}", node.name, node.detail()).replace('"', "#quot;");
            let (open, close) = if node.role == "operator" { ("[", "]") } else { ("([", "])") };
            _ = writeln!(text, "  n{number}{open}\"{label}\"{close}");
        }
        for edge in &self.edges {
            let arrow = if edge.dead_letters { "-.->" } else { "-->" };
            let label = edge.label().map_or(String::new(), |text| format!("|\"{}\"|", text.replace('"', "#quot;")));
            _ = writeln!(text, "  n{} {arrow}{label} n{}", edge.from, edge.to);
        }
        text
    }
}

impl Node {
    fn detail(&self) -> String {
        let key = self.key.as_ref().map_or(String::new(), |key| format!(", key {key}"));
        let times = if self.parallelism > 1 { format!(" ×{}", self.parallelism) } else { String::new() };
        format!("{}{key}{times}", self.what)
    }

    fn line(&self, label: Option<&str>) -> String {
        format!("{} ({}){}\n", self.name, self.detail(), bracketed(label))
    }
}

fn bracketed(label: Option<&str>) -> String {
    label.map_or(String::new(), |label| format!("  [{label}]"))
}

/// As Graphviz reads it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use flow_model::kind::OperatorKind;

    const FILE: &str = "
apiVersion: flow/v1
kind: Pipeline
metadata: {name: orders}
sources:
  in: {generator: {}, parallelism: 2}
  more: {files: {path: ./m}}
operators:
  split: {component: ./split.wasm, from: [in, more]}
  sum: {component: ./sum.wasm, from: split, key: customer, parallelism: 2}
sinks:
  out: {stdout: {}, from: sum}
  all: {blackhole: {}, from: split}
";

    fn pipeline() -> Pipeline {
        Pipeline::parse("p.yaml", FILE.as_bytes()).expect("a good file")
    }

    #[test]
    fn a_file_as_text() {
        let expect = "orders

in (generator ×2)
└─▶ split (./split.wasm)
    ├─▶ sum (./sum.wasm, key customer ×2)
    │   └─▶ out (stdout)
    └─▶ all (blackhole)

more (files)
└─▶ split (above)
";
        assert_eq!(Drawing::of_pipeline(&pipeline()).text(), expect);
    }

    #[test]
    fn a_plan_knows_kinds_and_sharing() {
        let kinds = [("split", OperatorKind::FlatMap), ("sum", OperatorKind::Process)];
        let kinds: BTreeMap<_, _> = kinds.map(|(name, kind)| (name.parse().expect("a name"), kind)).into();
        let plan = flow_model::plan::plan(&pipeline(), &kinds).expect("a plan");
        let drawing = Drawing::of_plan(&plan);
        let text = drawing.text();
        assert!(text.contains("in (generator ×2)\n└─▶ split (flat-map)  [rebalance]\n"), "{text}");
        assert!(text.contains("sum (process, key customer ×2)  [hash by customer]\n"), "{text}");
        let dot = drawing.dot();
        assert!(
            dot.starts_with("digraph \"orders\" {")
                && dot.contains("\"split\" -> \"sum\" [label=\"hash by customer\"];"),
            "{dot}"
        );
        let mermaid = drawing.mermaid();
        assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("-->|\"hash by customer\"|"), "{mermaid}");
    }

    #[test]
    fn dead_letters_have_edges_of_their_own() {
        let file = FILE
            .replace("from: split, key", "from: split, on-error: dead-letter, key")
            .replace("from: [in, more]", "from: [in, more], on-error: dead-letter")
            + "  dead: {files: {path: ./d}, from: dead-letter}\n  of-sum: {stdout: {}, from: sum.dead-letter}\n";
        let pipeline = Pipeline::parse("p.yaml", file.as_bytes()).expect("a good file");
        let from_file = Drawing::of_pipeline(&pipeline);
        let expect = "split (./split.wasm)
    ├─▶ sum (./sum.wasm, key customer ×2)
    │   ├─▶ out (stdout)
    │   ├─▶ dead (files)  [dead letters]
    │   └─▶ of-sum (stdout)  [dead letters]
    ├─▶ all (blackhole)
    └─▶ dead (above)  [dead letters]
";
        assert!(from_file.text().contains(expect), "{}", from_file.text());
        let kinds = [("split", OperatorKind::FlatMap), ("sum", OperatorKind::Process)];
        let kinds: BTreeMap<_, _> = kinds.map(|(name, kind)| (name.parse().expect("a name"), kind)).into();
        let plan = flow_model::plan::plan(&pipeline, &kinds).expect("a plan");
        // Those of `sum` come from two tasks.
        let of_sum =
            plan.exchanges.iter().filter(|e| e.dead_letters_of.as_ref().is_some_and(|of| of.as_str() == "sum"));
        assert_eq!(of_sum.count(), 4);
        let drawing = Drawing::of_plan(&plan);
        let pairs = |drawing: &Drawing| {
            let name = |node: usize| drawing.nodes[node].name.clone();
            let dead = drawing.edges.iter().filter(|edge| edge.dead_letters);
            let mut pairs: Vec<_> = dead.map(|edge| (name(edge.from), name(edge.to))).collect();
            pairs.sort();
            pairs
        };
        let expect = [("split", "dead"), ("sum", "dead"), ("sum", "of-sum")];
        let expect = expect.map(|(from, to)| (from.to_owned(), to.to_owned()));
        assert_eq!((pairs(&drawing), pairs(&from_file)), (expect.to_vec(), expect.to_vec()));
        let dot = drawing.dot();
        assert!(dot.contains("  \"sum\" -> \"dead\" [label=\"dead letters\", style=dashed];\n"), "{dot}");
        let mermaid = drawing.mermaid();
        assert!(mermaid.contains(" -.->|\"dead letters\"| n"), "{mermaid}");
    }

    #[test]
    fn what_ends_a_label_is_escaped() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}
