//! Graph and kinds → plan. One pass over the graph in topological order.
//!
//! An edge stays inside a task when it is the only output of the one side and the only input of the other, the
//! parallelism is the same and no record has to change its subtask for its key. Every other edge is an exchange: by
//! hash in front of a keyed operator, forward between equal parallelisms, else rebalance.

use std::collections::BTreeMap;

use super::{ChainElement, Endpoint, Exchange, Head, Partitioning, Plan, Tail, Task};
use crate::diagnostic::{Code, Diagnostic, Error};
use crate::graph::{Graph, Node, Role};
use crate::ids::{ExchangeId, NodeId, OperatorName, TaskId};
use crate::key_selector::KeySelector;
use crate::kind::OperatorKind;
use crate::nearest::quoted;
use crate::spec::{Operator, Pipeline};

/// The most queues between subtasks that a plan may ask for. Each costs about a KiB and 20 µs before a job has started, and
/// their number grows with the square of the parallelism.
const CHANNELS_MAX: u64 = 1 << 18;

/// Plans `pipeline`, whose operators turned out to be of `kinds`.
///
/// # Errors
/// Each operator whose kind is unknown or does not fit its place: a process without a key, a key on another kind. The first
/// node whose inputs make more queues than one process should have.
pub fn plan(pipeline: &Pipeline, kinds: &BTreeMap<OperatorName, OperatorKind>) -> Result<Plan, Error> {
    let mut diagnostics = Vec::new();
    let mut elements = Vec::new();
    for operator in &pipeline.operators {
        match element(pipeline, operator, kinds.get(&operator.name).copied()) {
            Ok(element) => elements.push(element),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    if !diagnostics.is_empty() {
        return Err(Error { diagnostics });
    }
    let plan = Builder { pipeline, elements, tasks: Vec::new(), exchanges: Vec::new(), places: Vec::new() }.build();
    check_channels(pipeline, &plan)?;
    Ok(plan)
}

fn check_channels(pipeline: &Pipeline, plan: &Plan) -> Result<(), Error> {
    let mut channels = 0;
    for exchange in &plan.exchanges {
        let (from, to) = (plan.task(exchange.from), plan.task(exchange.to));
        channels += match exchange.partitioning {
            Partitioning::Forward => u64::from(to.parallelism),
            Partitioning::Hash(_) | Partitioning::Rebalance => u64::from(from.parallelism) * u64::from(to.parallelism),
        };
        if channels > CHANNELS_MAX {
            let name = to.operators().next();
            let operator = name.and_then(|name| pipeline.operators.iter().find(|o| o.name == *name));
            let sink = name.and_then(|name| pipeline.sinks.iter().find(|s| s.name == *name));
            let position = operator.map(|o| o.position).or(sink.map(|s| s.position));
            let message = format!(
                "down to {}, {channels} queues between subtasks are needed; one process can have {CHANNELS_MAX}",
                name.map_or_else(|| "here".into(), |name| quoted(name.as_str()))
            );
            let diagnostic = Diagnostic::error(Code::InvalidValue, &pipeline.file, position, message)
                .hint("lower `parallelism`, or give neighbours the same");
            return Err(Error { diagnostics: vec![diagnostic] });
        }
    }
    Ok(())
}

fn element(
    pipeline: &Pipeline,
    operator: &Operator,
    kind: Option<OperatorKind>,
) -> Result<ChainElement, Box<Diagnostic>> {
    let name = quoted(operator.name.as_str());
    let error = |position, message: String, hint: &str| {
        Err(Box::new(Diagnostic::error(Code::KindMismatch, &pipeline.file, position, message).hint(hint)))
    };
    let key = operator.key.as_ref();
    match (kind, key) {
        (None, _) => {
            let message = format!("the kind of operator {name} is not known");
            error(operator.position, message, "read its component first")
        }
        (Some(OperatorKind::Process), None) => {
            let message = format!("operator {name} is a process and has no key");
            error(operator.position, message, "add `key: $key` (or $value, or a field such as customer.id)")
        }
        (Some(kind), Some(key)) if !kind.is_keyed() => {
            let message = format!("operator {name} is a {kind}, which has no key");
            error(key.position, message, "remove `key`, or use a process component")
        }
        (Some(kind), key) => Ok(ChainElement {
            operator: operator.name.clone(),
            kind,
            key: key.map(|key| key.value.clone()),
            takes_key: false,
        }),
    }
}

struct Builder<'a> {
    pipeline: &'a Pipeline,
    /// One for each operator of the pipeline, in its order.
    elements: Vec<ChainElement>,
    tasks: Vec<Task>,
    exchanges: Vec<Exchange>,
    /// The task of each node placed so far; nodes are placed in topological order.
    places: Vec<TaskId>,
}

impl Builder<'_> {
    fn build(mut self) -> Plan {
        let pipeline = self.pipeline;
        let graph = pipeline.graph();
        for node in graph.nodes() {
            let task = match self.chained_to(graph, node) {
                Some(task) => task,
                None => self.new_task(graph, node),
            };
            self.places.push(task);
            self.append(task, node);
        }
        for exchange in self.exchanges.iter().filter(|exchange| exchange.dead_letters_of.is_none()) {
            if let Tail::Exchanges(outputs) = &mut self.tasks[exchange.from.index()].tail {
                outputs.push(exchange.id);
            }
        }
        for task in &mut self.tasks {
            task.name = task.operators().map(OperatorName::as_str).collect::<Vec<_>>().join(" → ");
        }
        Plan {
            pipeline: pipeline.name.clone(),
            key_groups: pipeline.key_groups,
            tasks: self.tasks,
            exchanges: self.exchanges,
        }
    }

    fn parallelism(&self, node: &Node) -> u32 {
        match node.role {
            Role::Source(index) => self.pipeline.sources[index].parallelism,
            Role::Operator(index) => self.pipeline.operators[index].parallelism,
            Role::Sink(index) => self.pipeline.sinks[index].parallelism,
        }
    }

    fn key(&self, node: &Node) -> Option<&KeySelector> {
        match node.role {
            Role::Operator(index) => self.elements[index].key.as_ref(),
            Role::Source(_) | Role::Sink(_) => None,
        }
    }

    /// The task of the only input, if the edge needs no exchange.
    fn chained_to(&self, graph: &Graph, node: &Node) -> Option<TaskId> {
        let (&[input], []) = (node.inputs.as_slice(), node.dead_letters_of.as_slice()) else { return None };
        let parallelism = self.parallelism(node);
        let sender = graph.node(input);
        let alone = sender.outputs.len() == 1 && self.parallelism(sender) == parallelism;
        let stays = self.key(node).is_none() || parallelism == 1;
        (alone && stays).then(|| self.places[input.index()])
    }

    fn new_task(&mut self, graph: &Graph, node: &Node) -> TaskId {
        let id = TaskId(self.tasks.len() as u32);
        let parallelism = self.parallelism(node);
        let head = match node.role {
            Role::Source(index) => {
                let source = &self.pipeline.sources[index];
                let connector = source.connector.as_str().to_owned();
                Head::Source(Endpoint { name: source.name.clone(), connector })
            }
            Role::Operator(_) | Role::Sink(_) => {
                let mut exchanges: Vec<ExchangeId> =
                    node.inputs.iter().map(|&input| self.exchange(input, id, node)).collect();
                for &sender in &node.dead_letters_of {
                    exchanges.extend(self.dead_letters(graph.node(sender), sender, id, node));
                }
                Head::Exchanges(exchanges)
            }
        };
        let tail = Tail::Exchanges(Vec::new());
        self.tasks.push(Task { id, name: String::new(), parallelism, head, chain: Vec::new(), tail });
        id
    }

    fn exchange(&mut self, input: NodeId, to: TaskId, node: &Node) -> ExchangeId {
        let from = self.places[input.index()];
        let partitioning = match self.key(node) {
            Some(key) => Partitioning::Hash(key.clone()),
            None => self.unkeyed(from, node),
        };
        self.add_exchange(from, to, partitioning, None)
    }

    fn unkeyed(&self, from: TaskId, node: &Node) -> Partitioning {
        match self.tasks[from.index()].parallelism == self.parallelism(node) {
            true => Partitioning::Forward,
            false => Partitioning::Rebalance,
        }
    }

    fn add_exchange(
        &mut self,
        from: TaskId,
        to: TaskId,
        partitioning: Partitioning,
        dead_letters_of: Option<OperatorName>,
    ) -> ExchangeId {
        let id = ExchangeId(self.exchanges.len() as u32);
        self.exchanges.push(Exchange { id, from, to, partitioning, dead_letters_of });
        id
    }

    /// The exchanges of one node's dead letters to a sink: from its own task, and for an operator from those that select its key
    /// in front of a hash exchange.
    fn dead_letters(&mut self, sender: &Node, id: NodeId, to: TaskId, sink: &Node) -> Vec<ExchangeId> {
        let own = self.places[id.index()];
        let is_first = self.tasks[own.index()].chain.first().is_some_and(|element| element.operator == sender.name);
        let hashed = self.exchanges.iter().filter(|exchange| {
            is_first && exchange.to == own && matches!(exchange.partitioning, Partitioning::Hash(_))
        });
        let tasks: Vec<TaskId> = [own].into_iter().chain(hashed.map(|exchange| exchange.from)).collect();
        let of = |from: TaskId| {
            let partitioning = self.unkeyed(from, sink);
            self.add_exchange(from, to, partitioning, Some(sender.name.clone()))
        };
        tasks.into_iter().map(of).collect()
    }

    fn append(&mut self, task: TaskId, node: &Node) {
        let task = &mut self.tasks[task.index()];
        match node.role {
            Role::Source(_) => {}
            Role::Operator(index) => {
                let mut element = self.elements[index].clone();
                let behind_exchange = task.chain.is_empty() && matches!(task.head, Head::Exchanges(_));
                element.takes_key = element.key.is_some() && !behind_exchange;
                task.chain.push(element);
            }
            Role::Sink(index) => {
                let sink = &self.pipeline.sinks[index];
                let connector = sink.connector.as_str().to_owned();
                task.tail = Tail::Sink(Endpoint { name: sink.name.clone(), connector });
            }
        }
    }
}
