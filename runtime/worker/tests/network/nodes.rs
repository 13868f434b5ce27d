//! Workers in one process: a network each, and threads that step tasks as slots do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use flow_dataflow::call::{Blame, OnError};
use flow_dataflow::exchange::{Reader, Wake, Writer, channel as queue};
use flow_dataflow::key_by::KeyBy;
use flow_dataflow::output_gate::{Edge, Partitioner};
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::source::Locator;
use flow_dataflow::task::{Step, Task};
use flow_dataflow::{Barrier, Batch, BatchBuilder, Error, Polled, Row, Sink, Source};
use flow_frame::id;
use flow_model::channel::{AttemptId, ChannelId};
use flow_model::checkpoint::snapshot::Split;
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation};
use flow_model::ids::{ExchangeId, SubtaskIndex};
use flow_model::key_group::KeyGroups;
use flow_model::key_selector::KeySelector;
use flow_worker::network::{Failure, Network, Options, Peer};

/// How long anything may take that is to come to an end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A worker with its network.
pub struct Node {
    pub network: Network,
    failures: Mutex<Receiver<(AttemptId, Failure)>>,
}

pub fn node(name: &str, change: impl FnOnce(&mut Options)) -> Node {
    let (tell, failures) = channel();
    let tell = Mutex::new(tell);
    let mut options = Options { threads: 1, ..Options::new(name) };
    change(&mut options);
    let on_failure = Arc::new(move |attempt: &AttemptId, failure: &Failure| {
        // A test that is over hears nothing.
        _ = tell.lock().unwrap().send((attempt.clone(), failure.clone()));
    });
    let network = Network::listen("127.0.0.1:0".parse().unwrap(), options, on_failure).unwrap();
    Node { network, failures: Mutex::new(failures) }
}

impl Node {
    pub fn peer(&self, name: &str) -> Peer {
        Peer { name: name.into(), address: self.network.address().to_string() }
    }

    /// Whether it has heard of none that was not asked for.
    pub fn is_well(&self) -> bool {
        self.failures.lock().unwrap().try_recv().is_err()
    }

    /// The next failure that it hears of.
    pub fn failure(&self) -> (AttemptId, Failure) {
        self.failures.lock().unwrap().recv_timeout(PATIENCE).expect("a failure")
    }
}

pub fn attempt(number: u32) -> AttemptId {
    AttemptId { incarnation: Incarnation::of(7), attempt: Attempt(number) }
}

pub fn id(attempt: &AttemptId, exchange: u32, from: u32, to: u32) -> ChannelId {
    let (from, to) = (SubtaskIndex(from), SubtaskIndex(to));
    ChannelId { attempt: attempt.clone(), exchange: ExchangeId(exchange), from, to }
}

pub fn quiet() -> Wake {
    Arc::new(|| ())
}

/// Wakes one slot.
#[derive(Default)]
pub struct Alarm {
    rung: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Alarm {
    pub fn wake(self: &Arc<Alarm>) -> Wake {
        let alarm = self.clone();
        Arc::new(move || {
            alarm.rung.store(true, SeqCst);
            if let Some(thread) = alarm.thread.get() {
                thread.unpark();
            }
        })
    }

    fn sleep(&self, nap: Duration) {
        if !self.rung.swap(false, SeqCst) {
            std::thread::park_timeout(nap);
            self.rung.store(false, SeqCst);
        }
    }
}

/// All-to-all between subtasks that run on these nodes, `to` and `from` naming the node of each: `[from][to]` and `[to][from]`.
pub fn exchange(
    nodes: &[Node],
    names: &[&str],
    (attempt, number): (&AttemptId, u32),
    (from, to): (&[usize], &[usize]),
    alarms: (&[Arc<Alarm>], &[Arc<Alarm>]),
    capacity: usize,
) -> (Vec<Vec<Writer>>, Vec<Vec<Reader>>) {
    let mut readers: Vec<Vec<Reader>> = to.iter().map(|_| Vec::new()).collect();
    let mut writers = Vec::new();
    for (f, &at) in from.iter().enumerate() {
        let mut row = Vec::new();
        for (t, &there) in to.iter().enumerate() {
            let (wake_reader, wake_writer) = (alarms.1[t].wake(), alarms.0[f].wake());
            let (writer, reader) = if at == there {
                queue(capacity, wake_reader, wake_writer)
            } else {
                let id = id(attempt, number, f as u32, t as u32);
                let writer = nodes[at].network.open_sender(&id, &nodes[there].peer(names[there]), wake_writer);
                let reader = nodes[there].network.open_receiver(&id, names[at], wake_reader);
                (writer.unwrap(), reader.unwrap())
            };
            row.push(writer);
            readers[t].push(reader);
        }
        writers.push(row);
    }
    (writers, readers)
}

pub fn by(selector: KeySelector, writers: Vec<Writer>) -> Edge {
    let key_by = KeyBy::new(selector, Blame { on_error: OnError::Fail, report: Arc::new(Silent) });
    Edge::new(Partitioner::Hash(key_by, KeyGroups::default()), writers)
}

struct Silent;

impl Report for Silent {
    fn log(&self, _: Level, _: &str) {}

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("test[{split}]@{position}").into()
    }

    fn rejected(&self, _: &Rejected) {}
}

pub fn records(all: &[(&str, &str)]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (key, value) in all {
        builder.push(Row { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Row::default() });
    }
    builder.finish()
}

pub fn values(batch: &Batch) -> Vec<String> {
    let Some(values) = batch.bytes(id::VALUE) else { return Vec::new() };
    (0..batch.rows()).map(|row| String::from_utf8_lossy(values.raw(row)).into_owned()).collect()
}

/// Gives these batches, then ends.
pub struct Given(pub VecDeque<Batch>);

impl Source for Given {
    fn poll(&mut self, _: usize, _: usize) -> Result<Polled, Error> {
        Ok(self.0.pop_front().map_or(Polled::End, Polled::Batch))
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        Vec::new()
    }

    fn splits(&self) -> Vec<Split> {
        Vec::new()
    }

    fn locator(&self) -> Locator {
        Arc::new(|split, position| format!("test[{split}]@{position}").into())
    }
}

/// Collects values, and takes its time for each batch.
#[derive(Clone, Default)]
pub struct Collected {
    pub values: Arc<Mutex<Vec<String>>>,
    pub pause: Duration,
    /// The last checkpoint of each sink of the job.
    pub checkpoints: Arc<Mutex<Vec<u32>>>,
    pub number: usize,
}

impl Sink for Collected {
    fn ready(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    fn write(&mut self, batch: Batch) -> Result<(), Error> {
        std::thread::sleep(self.pause);
        self.values.lock().unwrap().extend(values(&batch));
        Ok(())
    }

    fn snapshot(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.checkpoints.lock().unwrap()[self.number] = barrier.checkpoint.counter();
        Ok(())
    }

    fn unwritten(&self) -> usize {
        0
    }

    fn finish(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}

/// When sources send barriers: one after the other, each source at a time of its own, the next when all sinks have the last.
pub struct Barriers {
    pub count: u32,
    pub checkpoints: Arc<Mutex<Vec<u32>>>,
    pub seed: u64,
}

impl Barriers {
    fn confirmed(&self) -> u32 {
        self.checkpoints.lock().unwrap().iter().copied().min().unwrap_or(0)
    }
}

/// Steps the tasks of each slot in a thread of its own until all are done; an error if that does not come to pass.
pub fn run(slots: Vec<(Arc<Alarm>, Vec<Task>)>, barriers: Option<&Barriers>, nap: Duration) -> Result<(), String> {
    let begun = Instant::now();
    let busy = AtomicU64::new(slots.len() as u64);
    let busy = &busy;
    std::thread::scope(|scope| {
        let threads: Vec<_> = slots
            .into_iter()
            .enumerate()
            .map(|(number, (alarm, tasks))| {
                scope.spawn(move || slot(number, &alarm, tasks, (barriers, nap, begun, busy)))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })
}

fn slot(
    number: usize,
    alarm: &Arc<Alarm>,
    mut tasks: Vec<Task>,
    (barriers, nap, begun, busy): (Option<&Barriers>, Duration, Instant, &AtomicU64),
) -> Result<(), String> {
    _ = alarm.thread.set(std::thread::current());
    let mut dice = fastrand::Rng::with_seed(barriers.map_or(0, |barriers| barriers.seed) + number as u64);
    let (mut triggered, mut rests) = (0, false);
    loop {
        if let Some(barriers) = barriers
            && triggered < barriers.count
            && barriers.confirmed() == triggered
            && dice.u8(..8) == 0
        {
            triggered += 1;
            let barrier = Barrier::first(CheckpointId::new(Attempt(1), triggered));
            tasks.iter_mut().for_each(|task| task.trigger(barrier));
        }
        let mut progress = false;
        for task in tasks.iter_mut().rev() {
            for _ in 0..dice.usize(1..20) {
                if task.step(0).map_err(|error| error.to_string())? != Step::Progress {
                    break;
                }
                progress = true;
            }
        }
        let done = tasks.iter().all(|task| task.is_finished() || task.is_resting());
        if done && !rests && barriers.is_none_or(|barriers| barriers.confirmed() == barriers.count) {
            rests = true;
            busy.fetch_sub(1, SeqCst);
        }
        if rests && busy.load(SeqCst) == 0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            let steps: Vec<String> = tasks.iter_mut().map(|task| format!("{:?}", task.step(0))).collect();
            return Err(format!("slot {number} goes nowhere: {steps:?}, barrier {triggered}"));
        }
        if !progress {
            // Between barriers nobody wakes a slot.
            alarm.sleep(if barriers.is_some() || rests { Duration::from_millis(1) } else { nap });
        }
    }
}
