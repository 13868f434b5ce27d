//! The graph of a pipeline as something to look at: text, Graphviz, Mermaid. Only words; it asks nobody.

use std::collections::BTreeSet;
use std::fmt::Write;

use flow_model::graph::{Graph, Role};
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
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct Edge {
    /// The place of the sender among the nodes.
    pub from: usize,
    /// The place of the receiver.
    pub to: usize,
    /// How records are shared out among subtasks; nothing within a chain, or where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharing: Option<String>,
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
            node.outputs.iter().map(move |output| Edge { from: id.index(), to: output.index(), sharing: None })
        });
        Self { pipeline: pipeline.name.to_string(), nodes: nodes.collect(), edges: edges.collect() }
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
            edges.extend((first + 1..nodes.len()).map(|to| Edge { from: to - 1, to, sharing: None }));
            ends.push((first, nodes.len().saturating_sub(1)));
        }
        for exchange in &plan.exchanges {
            let sharing = match &exchange.partitioning {
                Partitioning::Forward => None,
                other => Some(other.to_string()),
            };
            edges.push(Edge { from: ends[exchange.from.index()].1, to: ends[exchange.to.index()].0, sharing });
        }
        edges.sort_by_key(|edge| (edge.from, edge.to));
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
                *text += &format!("{} (above)\n", self.nodes[edge.to].name);
                continue;
            }
            *text += &self.nodes[edge.to].line(edge.sharing.as_deref());
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
        for Edge { from, to, sharing } in &self.edges {
            let label = sharing.as_ref().map_or(String::new(), |sharing| format!(" [label={}]", quoted(sharing)));
            _ = writeln!(text, "  {} -> {}{label};", quoted(&self.nodes[*from].name), quoted(&self.nodes[*to].name));
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
        for Edge { from, to, sharing } in &self.edges {
            let label = sharing.as_ref().map_or(String::new(), |text| format!("|\"{}\"|", text.replace('"', "#quot;")));
            _ = writeln!(text, "  n{from} -->{label} n{to}");
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

    fn line(&self, sharing: Option<&str>) -> String {
        let sharing = sharing.map_or(String::new(), |sharing| format!("  [{sharing}]"));
        format!("{} ({}){sharing}\n", self.name, self.detail())
    }
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
    fn what_ends_a_label_is_escaped() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}
