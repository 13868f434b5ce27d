//! From a checked pipeline to tasks: exchanges become queues, operators get their function and state, and subtask `i` of every
//! task goes into one slot. Of a job that is spread over workers only the subtasks are made that run here; queues to and from the
//! others come from the network.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use flow_dataflow::call::{Blame, FunctionOperator, OnError, Setup};
use flow_dataflow::counters::Counters;
use flow_dataflow::dead_letter::{DeadLetters, Exit, Outbox, Sender};
use flow_dataflow::exchange::{Reader, Wake, Writer, channel};
use flow_dataflow::function::{Description, StateKind};
use flow_dataflow::input_gate::InputGate;
use flow_dataflow::key_by::KeyBy;
use flow_dataflow::output_gate::{Edge, OutputGate, Partitioner};
use flow_dataflow::report::{Level, Report};
use flow_dataflow::state::{Cached, KeyedState};
use flow_dataflow::task::{BATCH_ROWS, Head, Link, Tail, Task};
use flow_model::checkpoint::snapshot::StateName;
use flow_model::ids::{ExchangeId, OperatorName, SubtaskIndex};
use flow_model::key_selector::KeySelector;
use flow_model::plan::{ChainElement, Head as PlannedHead, Partitioning, Plan, Tail as PlannedTail, Task as Planned};
use flow_model::spec::{Operator, Pipeline, Then};

use crate::Error;
use crate::attempt::Attempt;
use crate::check::{Checked, declared};
use crate::connect::{At, SharedSink, SharedSource};
use crate::job::{OnConfirm, Parts};
use crate::log::{JobLog, unix_ms};
use crate::metrics::{Node, State};
use crate::named::Named;
use crate::objects::{Objects, StateOf};
use crate::part::Part;
use crate::report::{Places, SOURCE_SHIFT, ToLog};
use crate::rocks::SharedRocks;
use crate::rocks::runs::{Checkpoints, Restored};
use crate::slot::{Outside, Placed};

/// Bytes that a queue between two subtasks holds before its writer has to wait: of few, and of however many.
const QUEUE_BYTES: RangeInclusive<usize> = 32 << 10..=256 << 10;
/// Bytes that the queues of one exchange into a subtask hold together, while each has at least the least.
const QUEUES_BYTES: usize = 4 << 20;

/// The two ends of one exchange: `[sender][receiver]`.
struct Queues {
    writers: Vec<Vec<Option<Writer>>>,
    readers: Vec<Vec<Option<Reader>>>,
}

struct Deployment<'a> {
    checked: &'a Checked,
    rocks: &'a SharedRocks,
    state_dir: &'a Path,
    log: Arc<JobLog>,
    places: Arc<Places>,
    nodes: Vec<Node>,
    /// By number of the subtasks that run here.
    outside: BTreeMap<u32, Outside>,
    attempt: Option<Attempt>,
    /// Called with each checkpoint that counts.
    on_confirm: Vec<OnConfirm>,
    /// Set when the job is to stop.
    stop: Arc<AtomicBool>,
    queues: Vec<Queues>,
    /// Sources by their number in the pipeline.
    sources: BTreeMap<usize, SharedSource<'a>>,
    /// Sinks, likewise.
    sinks: BTreeMap<usize, SharedSink>,
    /// Where the dead letters of the task at hand wait, by operator.
    outboxes: BTreeMap<OperatorName, Outbox>,
    /// Bytes of cache of each keyed subtask.
    cache: usize,
}

/// Makes everything that a job needs. Nothing runs yet; what was made is gone when this fails.
pub(crate) fn deploy(
    checked: &Checked,
    rocks: &SharedRocks,
    state_dir: &Path,
    attempt: Option<Attempt>,
) -> Result<(Parts, BTreeMap<u32, Vec<Placed>>), Error> {
    let plan = checked.plan();
    let part = attempt.as_ref().map_or(Part::Whole, |attempt| attempt.part.clone());
    let subtasks = plan.tasks.iter().map(|t| t.parallelism).max().unwrap_or(1);
    let here: Vec<u32> = (0..subtasks).filter(|subtask| part.runs(*subtask)).collect();
    let outside: BTreeMap<u32, Outside> = here.iter().map(|subtask| (*subtask, Outside::default())).collect();
    let queues = plan.exchanges.iter().map(|e| queues(plan, e.id, &outside, &part)).collect::<Result<_, _>>()?;
    let of_task = |t: &Planned| here.iter().filter(|subtask| **subtask < t.parallelism).count();
    let keyed = |t: &Planned| t.chain.iter().filter(|e| e.kind.is_keyed()).count() * of_task(t);
    let keyed_subtasks: usize = plan.tasks.iter().map(keyed).sum();
    let nodes =
        plan.tasks.iter().flat_map(|t| t.operators().map(|name| Node::new(name.as_str(), t.parallelism))).collect();
    let mut deployment = Deployment {
        checked,
        rocks,
        state_dir,
        log: attempt.as_ref().map_or_else(Arc::default, |attempt| attempt.log.clone()),
        places: Arc::default(),
        nodes,
        outside,
        attempt,
        on_confirm: Vec::new(),
        stop: Arc::default(),
        queues,
        sources: BTreeMap::new(),
        sinks: BTreeMap::new(),
        outboxes: BTreeMap::new(),
        cache: checked.pipeline.cache.as_usize() / keyed_subtasks.max(1),
    };
    let mut by_slot: BTreeMap<u32, Vec<Placed>> = BTreeMap::new();
    for planned in &plan.tasks {
        for subtask in here.iter().copied().filter(|subtask| *subtask < planned.parallelism) {
            let task = deployment.task(planned, subtask)?;
            by_slot.entry(subtask).or_default().push(deployment.place(planned, subtask, task));
        }
    }
    deployment.open_lanes()?;
    let Deployment { log, nodes, outside, attempt, on_confirm, stop, .. } = deployment;
    let (plan, state_dir) = (plan.clone(), state_dir.into());
    Ok((Parts { plan, log, nodes, outside, attempt, on_confirm, stop, state_dir }, by_slot))
}

fn queues(plan: &Plan, id: ExchangeId, outside: &BTreeMap<u32, Outside>, part: &Part) -> Result<Queues, Error> {
    let exchange = plan.exchange(id);
    let (senders, receivers) = (plan.task(exchange.from).parallelism, plan.task(exchange.to).parallelism);
    let mut queues = Queues { writers: Vec::new(), readers: (0..receivers).map(|_| Vec::new()).collect() };
    let capacity = (QUEUES_BYTES / senders.max(1) as usize).clamp(*QUEUE_BYTES.start(), *QUEUE_BYTES.end());
    for from in 0..senders {
        let mut writers = Vec::new();
        for (to, readers) in (0..).zip(&mut queues.readers) {
            if exchange.partitioning == Partitioning::Forward && from != to {
                writers.push(None);
                continue;
            }
            let way = (id, from, to);
            let (writer, reader) = match (outside.get(&from), outside.get(&to)) {
                (Some(from), Some(to)) => {
                    let (writer, reader) = channel(capacity, to.alarm.wake(), from.alarm.wake());
                    (Some(writer), Some(reader))
                }
                (Some(from), None) => (part.writer(way, from.alarm.wake())?, None),
                (None, Some(to)) => (None, part.reader(way, to.alarm.wake())?),
                (None, None) => (None, None),
            };
            writers.push(writer);
            readers.push(reader);
        }
        queues.writers.push(writers);
    }
    Ok(queues)
}

impl<'a> Deployment<'a> {
    fn pipeline(&self) -> &'a Pipeline {
        &self.checked.pipeline
    }

    fn node(&self, name: &OperatorName) -> Result<&Node, Error> {
        self.nodes.iter().find(|n| n.name == name.as_str()).ok_or_else(|| missing(name))
    }

    fn counters(&self, name: &OperatorName, subtask: u32) -> Result<Arc<Counters>, Error> {
        Ok(self.node(name)?.subtasks[subtask as usize].counters.clone())
    }

    fn report(&self, name: &OperatorName, subtask: u32) -> Result<Arc<dyn Report>, Error> {
        let subtasks = &self.node(name)?.subtasks;
        // Keys are taken upstream, where there may be more subtasks.
        let counters = subtasks[subtask as usize % subtasks.len()].counters.clone();
        Ok(Arc::new(ToLog::new(name.as_str(), subtask, self.log.clone(), self.places.clone(), counters)))
    }

    fn at(&self, name: &OperatorName, then: Then, planned: &Planned, subtask: u32) -> Result<At, Error> {
        Ok(At {
            subtask,
            parallelism: planned.parallelism,
            restored: self.attempt.as_ref().and_then(|attempt| attempt.splits(name)),
            wake: self.wake(subtask)?,
            blame: self.blame(name, then, subtask)?,
        })
    }

    fn wake(&self, subtask: u32) -> Result<Wake, Error> {
        let outside = self.outside.get(&subtask);
        Ok(outside.ok_or_else(|| Error::Plan(format!("subtask {subtask} does not run here")))?.alarm.wake())
    }

    /// Lanes of sinks without a subtask here, which have to write what the checkpoint carries.
    fn open_lanes(&mut self) -> Result<(), Error> {
        let Some(attempt) = &self.attempt else { return Ok(()) };
        for (number, spec) in self.checked.pipeline.sinks.iter().enumerate() {
            let owed = self.checked.is_exactly_once(&spec.name)
                && !attempt.part.lanes(&spec.name, &attempt.node(&spec.name)).is_empty();
            if let (true, Entry::Vacant(new)) = (owed, self.sinks.entry(number)) {
                let warn = attempt.warn(&spec.name);
                let shared = SharedSink::open(spec, &self.checked.pipeline, Some(attempt), warn)?;
                self.on_confirm.extend(shared.on_confirm());
                new.insert(shared);
            }
        }
        Ok(())
    }

    fn task(&mut self, planned: &Planned, subtask: u32) -> Result<Task, Error> {
        let (exits, exit_of_sink) = self.exits(planned, subtask)?;
        let head = self.head(planned, subtask)?;
        let mut chain = Vec::new();
        for element in &planned.chain {
            self.link(element, planned, subtask, &mut chain)?;
        }
        let tail = self.tail(planned, subtask)?;
        let task = Task::new(head, chain, tail, crate::slot::stopwatch);
        Ok(task.with_exits(exits).with_exit_of_sink(exit_of_sink))
    }

    /// As part of a job with checkpoints, if it is one.
    fn place(&self, planned: &Planned, subtask: u32, task: Task) -> Placed {
        let Some(attempt) = self.attempt.clone() else { return Placed { task, on_passed: None } };
        let nodes: Vec<OperatorName> = planned.operators().cloned().collect();
        let was_ended = nodes.iter().all(|node| attempt.was_ended(node));
        let on_passed = move |passed| attempt.passed(&nodes, subtask, passed);
        Placed { task: task.with_checkpoints(was_ended), on_passed: Some(Box::new(on_passed)) }
    }

    /// The ways out for dead letters that come about in a task, that of its sink apart, and the outboxes from which they leave.
    fn exits(&mut self, planned: &Planned, subtask: u32) -> Result<(Vec<Exit>, Option<Exit>), Error> {
        let mut edges: BTreeMap<&OperatorName, Vec<Edge>> = BTreeMap::new();
        let plan = self.checked.plan();
        for (operator, exchange) in plan.dead_letters(planned.id) {
            let edge = self.edge(exchange.id, subtask)?;
            edges.entry(operator).or_default().push(edge);
        }
        self.outboxes.clear();
        let mut exit = |name: &OperatorName, edges: Vec<Edge>| {
            let outbox = Outbox::default();
            self.outboxes.insert(name.clone(), outbox.clone());
            Exit { outbox, gate: OutputGate::new(edges) }
        };
        let of_sink = match &planned.tail {
            PlannedTail::Sink(sink) => edges.remove(&sink.name).map(|edges| exit(&sink.name, edges)),
            PlannedTail::Exchanges(_) => None,
        };
        Ok((edges.into_iter().map(|(name, edges)| exit(name, edges)).collect(), of_sink))
    }

    /// What happens with a record that an operator, a source or a sink does not take in the task at hand.
    fn blame(&self, name: &OperatorName, then: Then, subtask: u32) -> Result<Blame, Error> {
        let on_error = match then {
            Then::Fail => OnError::Fail,
            Then::Skip => OnError::Skip,
            Then::DeadLetter => {
                let outbox = self.outboxes.get(name);
                let outbox =
                    outbox.ok_or_else(|| Error::Plan(format!("no way out for the dead letters of \"{name}\"")))?;
                let component = self.checked.components.get(name);
                let sender = Sender {
                    pipeline: self.pipeline().name.to_string(),
                    operator: name.to_string(),
                    component: component.map(|component| format!("sha256:{}", component.digest())),
                    subtask,
                    clock: unix_ms,
                };
                OnError::DeadLetter(DeadLetters::new(sender, outbox.clone()))
            }
        };
        Ok(Blame { on_error, report: self.report(name, subtask)? })
    }

    fn head(&mut self, planned: &Planned, subtask: u32) -> Result<Head, Error> {
        match &planned.head {
            PlannedHead::Exchanges(exchanges) => {
                let mut readers = Vec::new();
                for id in exchanges {
                    readers
                        .extend(self.queues[id.index()].readers[subtask as usize].iter_mut().filter_map(Option::take));
                }
                Ok(Head::Gate(InputGate::new(readers)))
            }
            PlannedHead::Source(endpoint) => {
                let pipeline = self.pipeline();
                let number = pipeline.sources.iter().position(|s| s.name == endpoint.name);
                let number = number.ok_or_else(|| missing(&endpoint.name))?;
                let at = self.at(&endpoint.name, pipeline.sources[number].on_error, planned, subtask)?;
                let failed = |e| Error::Connector(endpoint.name.clone(), e);
                let shared = match self.sources.entry(number) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let spec = &pipeline.sources[number];
                        new.insert(SharedSource::open(spec, pipeline)?)
                    }
                };
                let source = shared.subtask(at, (number as u32) << SOURCE_SHIFT).map_err(failed)?;
                if let Some(splits) = shared.splits() {
                    self.node(&endpoint.name)?.read(splits);
                }
                self.places.add(number, endpoint.name.as_str(), source.locator());
                let source = Named { name: endpoint.name.to_string(), inner: source };
                Ok(Head::Source(Box::new(source), self.counters(&endpoint.name, subtask)?))
            }
        }
    }

    fn tail(&mut self, planned: &Planned, subtask: u32) -> Result<Tail, Error> {
        match &planned.tail {
            PlannedTail::Exchanges(exchanges) => {
                let edges: Result<Vec<Edge>, Error> = exchanges.iter().map(|id| self.edge(*id, subtask)).collect();
                Ok(Tail::Gate(OutputGate::new(edges?)))
            }
            PlannedTail::Sink(endpoint) => {
                let pipeline = self.pipeline();
                let number = pipeline.sinks.iter().position(|s| s.name == endpoint.name);
                let number = number.ok_or_else(|| missing(&endpoint.name))?;
                let at = self.at(&endpoint.name, pipeline.sinks[number].on_error, planned, subtask)?;
                let failed = |e| Error::Connector(endpoint.name.clone(), e);
                let shared = match self.sinks.entry(number) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let report = at.blame.report.clone();
                        let warn = Arc::new(move |text: &str| report.log(Level::Warn, text));
                        let shared = SharedSink::open(&pipeline.sinks[number], pipeline, self.attempt.as_ref(), warn)?;
                        self.on_confirm.extend(shared.on_confirm());
                        new.insert(shared)
                    }
                };
                let sink = shared.subtask(at).map_err(failed)?;
                let sink = Named { name: endpoint.name.to_string(), inner: sink };
                Ok(Tail::Sink(Box::new(sink), self.counters(&endpoint.name, subtask)?))
            }
        }
    }

    fn edge(&mut self, id: ExchangeId, subtask: u32) -> Result<Edge, Error> {
        let plan = self.checked.plan();
        let exchange = plan.exchange(id);
        let partitioner = match &exchange.partitioning {
            Partitioning::Forward => Partitioner::Forward,
            Partitioning::Rebalance => Partitioner::Rebalance,
            Partitioning::Hash(selector) => {
                let first = plan.task(exchange.to).chain.first();
                let name = first.map(|element| &element.operator).ok_or_else(|| {
                    Error::Plan(format!("the hash exchange {} leads to no keyed operator", id.index()))
                })?;
                Partitioner::Hash(self.key_by(name, selector, subtask)?, plan.key_groups)
            }
        };
        let writers = &mut self.queues[id.index()].writers[subtask as usize];
        Ok(Edge::new(partitioner, writers.iter_mut().filter_map(Option::take).collect()))
    }

    fn key_by(&self, operator: &OperatorName, selector: &KeySelector, subtask: u32) -> Result<KeyBy, Error> {
        let spec = self.operator(operator)?;
        Ok(KeyBy::new(selector.clone(), self.blame(&spec.name, spec.on_error.then, subtask)?))
    }

    fn operator(&self, name: &OperatorName) -> Result<&Operator, Error> {
        self.pipeline().operator(name).ok_or_else(|| missing(name))
    }

    fn link(
        &self,
        element: &ChainElement,
        planned: &Planned,
        subtask: u32,
        chain: &mut Vec<Link>,
    ) -> Result<(), Error> {
        let name = &element.operator;
        let spec = self.operator(name)?;
        if let (Some(selector), true) = (&element.key, element.takes_key) {
            let operator = Box::new(self.key_by(name, selector, subtask)?);
            chain.push(Link { name: name.to_string(), operator, counters: None });
        }
        let component = self.checked.components.get(name).ok_or_else(|| missing(name))?;
        let function = self
            .checked
            .instantiate(
                spec,
                component,
                (subtask, planned.parallelism),
                self.report(name, subtask)?,
                self.stop.clone(),
            )
            .map_err(|error| Error::Operator(name.clone(), error))?;
        let state = self.state(name, component.description(), subtask)?;
        let state = match spec.limits.value.state_per_key {
            Some(limit) => state.with_limit_per_key(limit.as_usize()),
            None => state,
        };
        let (blame, retry) = (self.blame(name, spec.on_error.then, subtask)?, spec.on_error.retry);
        let (stopwatch, stop) = (crate::slot::stopwatch, self.stop.clone());
        let limits_at = format!("{}:{}", self.pipeline().file, spec.limits.position.line);
        let setup = Setup { blame, retry, limits_at, stopwatch, max_rows: BATCH_ROWS, stop };
        let operator = Box::new(FunctionOperator::new(function, state, setup));
        // A subtask makes its operator once.
        _ = self.node(name)?.subtasks[subtask as usize].durations.set(operator.durations().clone());
        chain.push(Link { name: name.to_string(), operator, counters: Some(self.counters(name, subtask)?) });
        Ok(())
    }

    /// How the state of a subtask takes part in checkpoints; numbers in `dropped` belong to states that it has no more.
    fn checkpoints(
        &self,
        attempt: &Attempt,
        name: &OperatorName,
        subtask: u32,
        dropped: Vec<u16>,
    ) -> Result<Checkpoints, Error> {
        let parallelism = self.node(name)?.subtasks.len() as u32;
        let groups = self.checked.plan().key_groups.range(SubtaskIndex(subtask), parallelism);
        let last = groups.end.checked_sub(1).filter(|last| groups.start <= *last).ok_or_else(|| unkeyed(name))?;
        let objects = Arc::new(Objects(attempt.store.clone()));
        let restored = attempt.chains(name).map(|chains| Restored { chains, fetch: objects.clone() });
        let acks = StateOf { attempt: attempt.clone(), operator: name.clone(), subtask };
        Ok(Checkpoints {
            incarnation: attempt.incarnation.clone(),
            groups: groups.start..=last,
            confirmed: attempt.confirmed(),
            restored,
            dropped,
            uploads: objects,
            acks: Arc::new(acks),
        })
    }

    fn state(&self, name: &OperatorName, description: &Description, subtask: u32) -> Result<KeyedState, Error> {
        if description.states.is_empty() {
            return Ok(KeyedState::default());
        }
        let dir = self.state_dir.join(name.as_str()).join(subtask.to_string());
        let before = self.attempt.as_ref().map_or_else(Vec::new, |attempt| attempt.node(name).states);
        let numbered = StateName::number(&declared(&description.states), &before).ok_or_else(|| too_many(name))?;
        let (numbered, gone) = numbered.split_at(description.states.len());
        let store = match &self.attempt {
            None => self.rocks.open(&dir),
            Some(attempt) => {
                let dropped = gone.iter().map(|state| state.number).collect();
                self.rocks.open_with(&dir, &self.checkpoints(attempt, name, subtask, dropped)?)
            }
        };
        let store = store.map_err(|e| Error::Connector(name.clone(), e))?;
        let numbers: Vec<u16> = numbered.iter().map(|state| state.number).collect();
        let states = description.states.iter().zip(&numbers);
        let scanned: Vec<u16> = states.filter(|(s, _)| s.kind != StateKind::Value).map(|(_, number)| *number).collect();
        let size = store.size();
        let backend = Box::new(Cached::new(store, self.cache, &scanned));
        let seen = State { cache: backend.stats().clone(), store: size };
        // A subtask opens its state once.
        _ = self.node(name)?.subtasks[subtask as usize].state.set(seen);
        Ok(KeyedState::new(backend, &description.states, self.checked.plan().key_groups).with_numbers(numbers))
    }
}

fn unkeyed(name: &OperatorName) -> Error {
    Error::Plan(format!("\"{name}\" has keyed state and no key groups"))
}

fn too_many(name: &OperatorName) -> Error {
    let why = "it and the components before it have declared more states than there are numbers";
    Error::Connector(name.clone(), flow_dataflow::Error::Fatal(why.to_owned()))
}

fn missing(name: &OperatorName) -> Error {
    Error::Plan(format!("the plan names \"{name}\", which the pipeline does not have"))
}
