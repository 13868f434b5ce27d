//! `delivery: exactly-once` of a sink of topics: its records go into segments, which travel in checkpoints, and lanes write them
//! in transactions once their checkpoint is confirmed. What a lane does next is decided in [`flow_dataflow::lane`]; here it is
//! done.
//!
//! - [`LaneSet`]: the lanes of one sink that run in this process; [`LaneEvent`]: what they tell
//! - [`sink`]: [`LaneSink`], the sink of one subtask: rows into parts, checked so that nothing unwritable is confirmed
//! - [`shelf`]: parts in memory, as long as there is room; [`PartStore`]: where all of them lie
//! - [`thread`]: the thread of a lane: init, read, transactions; [`standing`]: reading how far it came
//! - [`refused`]: what brokers never store of it, and the dead letters of that
//! - [`topic`]: the progress topic and what its settings have to be

mod refused;
mod shelf;
mod sink;
mod standing;
mod subtask;
mod thread;
mod topic;
mod transaction;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use flow_dataflow::Error as TaskError;
use flow_dataflow::call::Blame;
use flow_dataflow::exchange::Wake;
use flow_dataflow::lane::{Event, Identity, Lane, Settled};
use flow_model::checkpoint::snapshot::{Node, Output};
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation};
use flow_model::ids::{OperatorName, PipelineName};

use super::opening::{Troubles, Warn};
use super::raw::Producer;
use super::writer::Writing;
use super::{Connection, Error, Share};

pub use shelf::{Got, PartStore, Stored};
pub use sink::LaneSink;

use shelf::Shelf;
use subtask::Subtask;

/// A sink that writes exactly once, and what it goes on from.
#[derive(Clone)]
pub struct Laying {
    /// To the cluster of the sink.
    pub connection: Connection,
    /// What to write to; its share does not count here.
    pub writing: Writing,
    /// The pipeline, which names the progress topic.
    pub pipeline: PipelineName,
    /// The sink.
    pub sink: OperatorName,
    /// The life of the job.
    pub incarnation: Incarnation,
    /// What the progress topic says of that life does not count: its lanes write by the name of [`Incarnation::anew`].
    pub anew: bool,
    /// This deployment of it.
    pub attempt: Attempt,
    /// The checkpoint that it goes on from; [`CheckpointId::NONE`] for a new job.
    pub restored: CheckpointId,
    /// What that checkpoint's manifest says of the sink.
    pub node: Node,
    /// The lanes that this process owns: those of its subtasks, and those of the manifest that it is to settle.
    pub lanes: Vec<u32>,
    /// A topic of the same cluster that gets what brokers refuse of a confirmed checkpoint; without it the lane fails.
    pub dead_letter: Option<String>,
    /// Bytes of parts that may lie in memory; beyond it they are read back from the store. When so many are still on their way
    /// to it, the sink takes no input.
    pub memory: usize,
}

impl Laying {
    /// Where its lanes keep how far they came.
    pub fn progress_topic(&self) -> String {
        format!("flow-progress.{}.{}", self.pipeline, self.sink)
    }
}

/// What lanes and their sinks tell, from threads of their own.
#[derive(Clone, Debug)]
pub enum LaneEvent {
    /// A subtask's part of a checkpoint is durable: what its snapshot names.
    Acked {
        /// The subtask.
        subtask: u32,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What it holds.
        output: Output,
    },
    /// A lane has written all that checkpoints up to this one name. Its progress goes into the next manifest.
    Settled {
        /// The lane.
        lane: u32,
        /// How far.
        settled: Settled,
    },
    /// A higher attempt owns a lane: this one is over.
    Exited {
        /// The lane.
        lane: u32,
        /// Whose it is.
        higher: Attempt,
    },
    /// It can't go on.
    Failed(TaskError),
}

/// Is told what happens.
pub type Tell = Arc<dyn Fn(LaneEvent) + Send + Sync>;

/// What all lanes and subtasks of a sink share.
struct Shared {
    laying: Laying,
    progress_topic: String,
    shelf: Shelf,
    tell: Tell,
    troubles: Arc<Troubles>,
    /// Asks questions; writes nothing.
    asker: Mutex<Producer>,
    subtasks: Mutex<Vec<Arc<Subtask>>>,
    stopped: AtomicBool,
}

impl Shared {
    /// The subtasks that write by a lane.
    fn subtasks(&self, lane: u32) -> Vec<Arc<Subtask>> {
        let all = self.subtasks.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|subtask| subtask.lane == lane).cloned().collect()
    }
}

/// What a lane's thread is told.
enum Message {
    Event(Event),
    Stop,
}

/// The lanes of one sink that run in this process. Dropped, they stop where they stand: another attempt goes on from there.
pub struct LaneSet {
    shared: Arc<Shared>,
    lanes: Vec<(u32, Sender<Message>)>,
}

impl LaneSet {
    /// Starts the lanes and returns at once: they claim themselves for the attempt, and write what the checkpoint that the job
    /// goes on from names and what is not yet written of it. `tell` hears when each has done so, and all that follows.
    ///
    /// # Errors
    /// A setting that can't be used, no thread.
    pub fn open(laying: Laying, store: Arc<dyn PartStore>, tell: Tell, warn: Warn) -> Result<LaneSet, Error> {
        let shared = Arc::new(Shared {
            progress_topic: laying.progress_topic(),
            shelf: Shelf::new(store, laying.memory),
            tell,
            troubles: Troubles::new(warn),
            asker: Mutex::new(Producer::new(&laying.writing.settings)?),
            subtasks: Mutex::default(),
            stopped: AtomicBool::new(false),
            laying,
        });
        let mut set = LaneSet { shared: shared.clone(), lanes: Vec::new() };
        let laying = &shared.laying;
        for index in laying.lanes.iter().copied() {
            let (sink, incarnation) = (laying.sink.clone(), laying.incarnation.clone());
            let identity = Identity { incarnation, sink, index };
            let outputs = laying.node.subtasks.iter().zip(0..);
            let outputs = outputs.filter_map(|(snapshot, subtask)| Some((subtask, snapshot.output.as_ref()?)));
            let mine = outputs.filter(|(_, output)| output.lane == index);
            let segments = mine
                .flat_map(|(subtask, output)| output.segments.iter().map(move |segment| (subtask, segment.clone())));
            let progress = laying.node.lanes.get(&index).copied();
            let lane = Lane::open(laying.attempt, laying.restored, progress, segments);
            let (messages, inbox) = channel();
            thread::start(shared.clone(), identity, lane, inbox)?;
            set.lanes.push((index, messages));
        }
        Ok(set)
    }

    /// The sink of a subtask, which writes by one of the lanes.
    ///
    /// # Errors
    /// A lane that is none of this set, no thread.
    pub fn sink(&self, share: Share, lane: u32, blame: Blame, wake: Wake, warn: Warn) -> Result<LaneSink, Error> {
        let Some((_, messages)) = self.lanes.iter().find(|(index, _)| *index == lane) else {
            let what = format!("write by lane {lane}");
            return Err(Error::Call { what, cause: "this process does not own it".to_owned(), retryable: false });
        };
        let subtask = Arc::new(Subtask::new(share.subtask, lane, wake.clone()));
        self.shared.subtasks.lock().unwrap_or_else(PoisonError::into_inner).push(subtask.clone());
        LaneSink::open(self.shared.clone(), subtask, messages.clone(), share, blame, wake, warn)
    }

    /// A checkpoint is past its commit point, and was acked by all subtasks of the sink before: its lanes write it.
    pub fn confirm(&self, checkpoint: CheckpointId) {
        for (_, messages) in &self.lanes {
            // A lane that was left writes nothing any more, which was told.
            _ = messages.send(Message::Event(Event::Confirmed(checkpoint)));
        }
    }
}

impl Drop for LaneSet {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        for (_, messages) in &self.lanes {
            _ = messages.send(Message::Stop);
        }
    }
}
