//! One attempt on its worker: real tasks joined by real exchanges, with the keyed state, the sinks and the lanes of the simulation.
//! Two subtasks read, three count and write, two lanes carry their output.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_dataflow::call::{Blame, FunctionOperator, OnError, Setup};
use flow_dataflow::exchange::{Wake, channel};
use flow_dataflow::input_gate::InputGate;
use flow_dataflow::key_by::KeyBy;
use flow_dataflow::lane::Lane;
use flow_dataflow::output_gate::{Edge, OutputGate, Partitioner};
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::state::{Cached, KeyedState};
use flow_dataflow::task::{Head, Link, Tail, Task};
use flow_dataflow::{Barrier, Error};
use flow_model::checkpoint::snapshot::{Node, Piece, Run};
use flow_model::checkpoint::{self, CheckpointId, Incarnation, Manifest};
use flow_model::ids::{OperatorName, SubtaskIndex};
use flow_model::key_group::KeyGroups;
use flow_model::key_selector::KeySelector;
use flow_protocol::checkpoint::{Contribution, Contributions};
use flow_protocol::job::Event;

use crate::clock::Clock;
use crate::counter::MakeFunction;
use crate::dice::Dice;
use crate::input::{Input, Reader};
use crate::lane::{Client, identity};
use crate::outbox::{Names, Outbox, Wish};
use crate::plant::Plant;
use crate::sink::{self, LaneSink};
use crate::state::{self, RunStore};
use crate::store::{Body, Store};

/// Subtasks of the source.
pub const READERS: usize = 2;
/// Subtasks of the operator, and of the sink behind it.
pub const COUNTERS: usize = 3;
/// Lanes of the sink.
pub const LANES: u32 = 2;

/// The names of the nodes.
pub fn name(text: &str) -> OperatorName {
    text.parse().expect("a name of an operator")
}

/// What the nodes contribute to a checkpoint.
pub fn contributions() -> Contributions {
    let states = vec![("count".into(), "value".into())];
    let node = |parallelism: usize| Contribution { parallelism: parallelism as u32, states: vec![], output: false };
    Contributions::from([
        (name("in"), node(READERS)),
        (name("counts"), Contribution { states, ..node(COUNTERS) }),
        (name("out"), Contribution { output: true, ..node(COUNTERS) }),
    ])
}

/// What all attempts of a run have in common.
pub struct Job {
    /// Its input.
    pub input: Arc<Input>,
    /// The time.
    pub clock: Clock,
    /// Unique names.
    pub names: Names,
    /// Makes the user code.
    pub function: Box<MakeFunction>,
    /// What is done wrong.
    pub plant: Plant,
    /// Bytes of the cache of a subtask.
    pub cache: usize,
    /// Records of a part.
    pub part: usize,
}

/// A task, and where it stands.
struct Placed {
    task: Task,
    nodes: Vec<OperatorName>,
    subtask: u32,
}

/// One attempt.
pub struct Attempt {
    /// Its number in the job.
    pub number: checkpoint::Attempt,
    /// The life of the job.
    pub incarnation: Incarnation,
    /// The coordinator that deployed it.
    pub leader: u32,
    /// The checkpoint that it goes on from.
    pub from: Option<Box<Manifest>>,
    tasks: Vec<Placed>,
    states: Vec<RunStore>,
    sinks: Vec<LaneSink>,
    /// Its lanes, by number.
    pub lanes: Vec<Client>,
    outbox: Outbox,
    dice: Dice,
    /// Nothing of it goes on until then.
    pub asleep: u64,
    /// When the last message to it arrives: later ones come after that.
    pub told_until: u64,
    /// The same of the last one from it.
    pub tells_until: u64,
    /// None of its lanes goes on until then.
    pub lanes_asleep: Vec<u64>,
    /// When all rest they may go.
    pub finishing: bool,
    drained: bool,
}

struct Quiet;

impl Report for Quiet {
    fn log(&self, _: Level, _: &str) {}

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("in[{split}]@{position}").into()
    }

    fn rejected(&self, _: &Rejected) {}
}

fn blame() -> Blame {
    Blame { on_error: OnError::Fail, report: Arc::new(Quiet) }
}

/// What a manifest says of a node.
fn node(from: Option<&Manifest>, name: &OperatorName) -> Node {
    from.and_then(|from| from.nodes.get(name)).cloned().unwrap_or_default()
}

impl Attempt {
    /// Makes the tasks of an attempt, from what the store has.
    ///
    /// # Errors
    /// What is missing or damaged.
    pub fn deploy(
        job: &Job,
        store: &Store,
        (leader, incarnation, number): (u32, &Incarnation, checkpoint::Attempt),
        from: Option<Box<Manifest>>,
        mut dice: Dice,
    ) -> Result<Attempt, Error> {
        let outbox = Outbox::default();
        let manifest = from.as_deref();
        let confirmed = manifest.map_or(CheckpointId::NONE, |from| from.checkpoint);
        let (mut tasks, mut states, mut sinks) = (Vec::new(), Vec::new(), Vec::new());
        let quiet: Wake = Arc::new(|| ());
        let room = dice.between(40, 4000) as usize;
        let channels = || channel(room, quiet.clone(), quiet.clone());
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..READERS {
            let (ins, outs): (Vec<_>, Vec<_>) = (0..COUNTERS).map(|_| channels()).unzip();
            writers.push(ins);
            readers.push(outs);
        }
        let of_source = node(manifest, &name("in"));
        let splits = of_source.subtasks.iter().flat_map(|snapshot| &snapshot.splits);
        let positions: BTreeMap<String, i64> = splits.map(|split| (split.split.clone(), split.next)).collect();
        let was_ended = |node: &Node| !node.subtasks.is_empty() && node.subtasks.iter().all(|snapshot| snapshot.ended);
        for (subtask, writers) in writers.into_iter().enumerate() {
            let at = (subtask, READERS);
            let reader = Reader::new(job.input.clone(), job.clock.clone(), dice.fork(), at, &positions);
            let reader = if job.plant == Plant::ReadsBehind { reader.behind() } else { reader };
            let by_key = Partitioner::Hash(KeyBy::new(KeySelector::Record, blame()), KeyGroups::default());
            let gate = OutputGate::new(vec![Edge::new(by_key, writers)]);
            let head = Head::Source(Box::new(reader), Arc::default());
            let task = Task::new(head, Vec::new(), Tail::Gate(gate), || 0).with_checkpoints(was_ended(&of_source));
            tasks.push(Placed { task, nodes: vec![name("in")], subtask: subtask as u32 });
        }
        let of_counts = node(manifest, &name("counts"));
        for subtask in 0..COUNTERS {
            let groups = KeyGroups::default().range(SubtaskIndex(subtask as u32), COUNTERS as u32);
            let groups = groups.start..=groups.end - 1;
            let runs = of_counts.subtasks.get(subtask).and_then(|snapshot| snapshot.state.as_ref());
            let runs: Vec<Run> = runs.map(|chain| chain.runs.clone()).unwrap_or_default();
            let bytes = fetch(store, &runs)?;
            let owner = state::Owner { attempt: number, node: name("counts"), subtask };
            let notes = (job.names.clone(), outbox.clone());
            let run_store =
                RunStore::new(owner, incarnation.clone(), groups, confirmed, (&runs, &bytes), notes.clone())?;
            states.push(run_store.clone());
            let function = (job.function)();
            let described = function.description().states.clone();
            let cached = Cached::new(run_store, job.cache, &[]);
            let keyed = KeyedState::new(Box::new(cached), &described, KeyGroups::default());
            let setup = Setup {
                blame: blame(),
                retry: None,
                limits_at: "sim".into(),
                stopwatch: || 0,
                max_rows: dice.between(4, 64) as usize,
                stop: Arc::default(),
            };
            let operator = Box::new(FunctionOperator::new(function, keyed, setup));
            let link = Link { name: "counts".into(), operator, counters: Some(Arc::default()) };
            let lane = subtask as u32 % LANES;
            let owner =
                sink::Owner { incarnation: incarnation.clone(), attempt: number, node: name("out"), subtask, lane };
            let sink = LaneSink::new(owner, job.part, notes, job.plant);
            sinks.push(sink.clone());
            let gate = InputGate::new(readers.iter_mut().map(|of_reader| of_reader.remove(0)).collect());
            let tail = Tail::Sink(Box::new(sink), Arc::default());
            let task = Task::new(Head::Gate(gate), vec![link], tail, || 0).with_checkpoints(was_ended(&of_counts));
            tasks.push(Placed { task, nodes: vec![name("counts"), name("out")], subtask: subtask as u32 });
        }
        let lanes = lanes(job, incarnation, number, manifest);
        Ok(Attempt {
            number,
            incarnation: incarnation.clone(),
            leader,
            from,
            tasks,
            states,
            sinks,
            lanes,
            outbox,
            dice,
            asleep: 0,
            told_until: 0,
            tells_until: 0,
            lanes_asleep: vec![0; LANES as usize],
            finishing: false,
            drained: false,
        })
    }

    /// Steps its tasks, one after the other from any of them on, and its background work. Whether something was done.
    ///
    /// # Errors
    /// Why it can't go on.
    pub fn step(&mut self, now: u64) -> Result<bool, Error> {
        let (mut progress, count) = (false, self.tasks.len());
        let first = self.dice.roll(count as u64) as usize;
        for at in (0..count).map(|n| (first + n) % count) {
            let Placed { task, nodes, subtask } = &mut self.tasks[at];
            for _ in 0..self.dice.roll(4) {
                progress |= task.step(now as i64)? == flow_dataflow::task::Step::Progress;
            }
            while let Some(passed) = task.take_passed() {
                let mut splits = passed.splits;
                for node in &*nodes {
                    let piece = Piece::Passed { ended: passed.ended, splits: std::mem::take(&mut splits) };
                    let (attempt, checkpoint, node) = (self.number, passed.checkpoint, node.clone());
                    let event = Event::Acknowledged { attempt, checkpoint, node, subtask: *subtask, piece };
                    self.outbox.put(Wish::Tell(event));
                }
            }
        }
        for state in &self.states {
            if self.dice.one_in(3) {
                state.work(self.dice.one_in(4))?;
            }
        }
        if !self.drained && self.is_resting() {
            self.drained = true;
            self.outbox.put(Wish::Tell(Event::Drained { attempt: self.number }));
        }
        Ok(progress)
    }

    /// Whether nothing but barriers is left to do.
    pub fn is_resting(&self) -> bool {
        self.tasks.iter().all(|placed| placed.task.is_resting())
    }

    /// Its sources send a barrier; the one of this subtask never hears of it, if there is one.
    pub fn trigger(&mut self, barrier: Barrier, deaf: Option<usize>) {
        let heard = self.tasks.iter_mut().enumerate().filter(|(at, _)| Some(*at) != deaf);
        heard.for_each(|(_, placed)| placed.task.trigger(barrier));
    }

    /// Its sources read from now on.
    pub fn release(&mut self) {
        self.tasks.iter_mut().for_each(|placed| placed.task.release());
    }

    /// What it wants from the world.
    pub fn wishes(&self) -> Vec<Wish> {
        self.outbox.take()
    }

    /// The store of a subtask's state.
    pub fn state(&self, subtask: usize) -> &RunStore {
        &self.states[subtask]
    }

    /// The sink of a subtask.
    pub fn sink(&self, subtask: usize) -> &LaneSink {
        &self.sinks[subtask]
    }

    /// A lane has written all up to a checkpoint.
    pub fn written(&self, lane: u32, through: CheckpointId) {
        self.sinks.iter().for_each(|sink| sink.written(lane, through));
    }
}

fn fetch(store: &Store, runs: &[Run]) -> Result<Vec<Arc<[u8]>>, Error> {
    let fetched = runs.iter().map(|run| match store.get(&run.chunk.object) {
        Some(Body::Run(bytes)) => Ok(bytes.clone()),
        _ => Err(Error::Fatal(format!("the run {} is not in the store", run.chunk.object))),
    });
    fetched.collect()
}

fn lanes(job: &Job, incarnation: &Incarnation, number: checkpoint::Attempt, from: Option<&Manifest>) -> Vec<Client> {
    let of_sink = node(from, &name("out"));
    let confirmed = from.map_or(CheckpointId::NONE, |from| from.checkpoint);
    let mut lanes = Vec::new();
    for index in 0..LANES {
        let identity = identity(incarnation, index);
        let outputs = of_sink.subtasks.iter().zip(0..);
        let outputs = outputs.filter_map(|(snapshot, subtask)| Some((subtask, snapshot.output.as_ref()?)));
        let mine = outputs.filter(|(_, output)| output.lane == index);
        let segments =
            mine.flat_map(|(subtask, output)| output.segments.iter().map(move |segment| (subtask, segment.clone())));
        let progress = of_sink.lanes.get(&index).copied();
        let opened = Lane::open(number, confirmed, progress, segments);
        lanes.push(Client::new(identity, opened, progress, job.plant));
    }
    lanes
}
