//! The worker: everything around the data plane that touches the outside.
//!
//! Must never decide anything about checkpoints or placement: it runs what it is told and says what happened.
//!
//! - [`check`]: a pipeline and its components, whole, before anything starts; [`deploy`]: tasks, queues and state from it
//! - [`room`]: whether one more job fits into the process
//! - [`part`]: how much of a job runs here; [`network`]: the exchange with other workers
//! - [`member`]: a worker of a cluster
//! - [`attempt`]: what an attempt of a job with checkpoints is told and tells
//! - [`job`]: a running job; [`slot`]: the threads that step its tasks; [`cpu`]: who used their CPU time
//! - [`log`], [`metrics`], [`report`]: what a job tells
//! - [`connect`]: sources and sinks by name: [`kafka`], [`files`], [`generator`], [`stdout`], [`blackhole`]
//! - [`failpoint`]: where tests have the process die
//! - [`settling`]: what a job that does not run owes is written
//! - [`secrets`]: what a pipeline file refers to
//! - [`paths`]: which spellings of a path are one
//! - [`reads`]: what sources read, for who holds a checkpoint against it; [`outputs`]: where sinks of files write
//! - [`objects`]: what checkpoints are made of, on its way to the store and back
//! - [`rocks`]: keyed state on disk
#![deny(missing_docs)]

pub mod attempt;
mod blackhole;
mod check;
mod connect;
mod cpu;
mod deploy;
mod disk;
pub mod failpoint;
mod files;
mod generator;
pub mod job;
pub mod kafka;
pub mod log;
pub mod member;
pub mod metrics;
mod named;
pub mod network;
mod objects;
pub mod once;
mod outputs;
pub mod part;
mod paths;
mod reads;
mod record_text;
mod report;
pub mod rocks;
mod room;
mod secrets;
mod settling;
mod slot;
mod stdout;
mod text_sink;

use std::path::PathBuf;

use flow_model::ids::OperatorName;
use flow_protocol::restart::Kind;

pub use check::{Checked, Components, digest};
pub use flow_dataflow::Error as TaskError;
pub use job::{JobHandle, JobState, JobStatus};
pub use outputs::check_outputs;
pub use reads::reads;
pub use settling::Settling;

use attempt::Attempt;
use part::Part;
use rocks::SharedRocks;
use room::Room;

/// Why a pipeline can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with the pipeline or its components.
    #[error(transparent)]
    Pipeline(#[from] flow_model::diagnostic::Error),
    /// An operator refused to start.
    #[error("operator \"{0}\": {1}")]
    Operator(OperatorName, flow_plugin::Error),
    /// A source, sink or state can't be opened.
    #[error("\"{0}\": {1}")]
    Connector(OperatorName, flow_dataflow::Error),
    /// What a sink is to write to holds the output of a former run.
    #[error("\"{0}\": {1}")]
    Output(OperatorName, flow_dataflow::Error),
    /// The plan does not fit the pipeline: a fault of this program.
    #[error("inconsistent plan: {0}")]
    Plan(String),
    /// The worker can't start.
    #[error("{0}")]
    Start(String),
}

impl Error {
    /// What kind of failure it is for a job that could not begin.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Connector(_, error) | Error::Output(_, error) => kind(error),
            Error::Pipeline(_) | Error::Operator(..) | Error::Plan(_) => Kind::Fatal,
            Error::Start(_) => Kind::Retryable,
        }
    }
}

/// What kind of failure an error of a task is.
pub fn kind(error: &TaskError) -> Kind {
    match error {
        TaskError::Plugin(_) => Kind::Plugin,
        TaskError::Retryable(_) => Kind::Retryable,
        TaskError::Fatal(_) => Kind::Fatal,
        TaskError::Closed(_) => Kind::Closed,
    }
}

/// How a worker runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where jobs keep local state.
    pub data_dir: PathBuf,
    /// Where compiled components are kept from one start to the next.
    pub component_cache_dir: Option<PathBuf>,
}

/// Runs jobs in this process.
pub struct Worker {
    engine: flow_plugin::Engine,
    rocks: SharedRocks,
    room: Room,
    data_dir: PathBuf,
}

impl Worker {
    /// A worker without jobs.
    pub fn new(options: Options) -> Result<Worker, Error> {
        let engine = flow_plugin::Engine::new(flow_plugin::Options {
            cache_dir: options.component_cache_dir,
            ..Default::default()
        })
        .map_err(|e| Error::Start(e.to_string()))?;
        let rocks = SharedRocks::new();
        Ok(Worker { engine, rocks, room: Room::default(), data_dir: options.data_dir })
    }

    /// Starts a checked pipeline under an id that no other job of this worker has. `on_end` is called once when it is over,
    /// before anybody can see that it is, and must not ask the job for anything.
    pub fn start(
        &self,
        id: &str,
        checked: &Checked,
        on_end: impl FnOnce(&JobStatus) + Send + 'static,
    ) -> Result<JobHandle, Error> {
        let _promise = self.room.promise(checked, &Part::Whole)?;
        let state_dir = self.data_dir.join("jobs").join(id).join("state");
        let (parts, slots) = deploy::deploy(checked, &self.rocks, &state_dir, None)?;
        Ok(JobHandle::start(parts, slots, Box::new(on_end)))
    }

    /// The same for one attempt of a job with checkpoints, or the part of it that runs here. Its sources give nothing before
    /// [`JobHandle::release`]. Two attempts of a job never run at once.
    pub fn start_attempt(
        &self,
        id: &str,
        checked: &Checked,
        attempt: Attempt,
        on_end: impl FnOnce(&JobStatus) + Send + 'static,
    ) -> Result<JobHandle, Error> {
        let _promise = self.room.promise(checked, &attempt.part)?;
        let state_dir = self.data_dir.join("jobs").join(id).join("state");
        let (parts, slots) = deploy::deploy(checked, &self.rocks, &state_dir, Some(attempt))?;
        Ok(JobHandle::start(parts, slots, Box::new(on_end)))
    }

    /// Only writes what the checkpoint of an attempt carries. It may have to wait for other systems. Two attempts of a job never
    /// run at once.
    ///
    /// # Errors
    /// A sink can't be opened.
    pub fn settle(&self, checked: &Checked, attempt: &Attempt) -> Result<Settling, Error> {
        Settling::open(checked, attempt)
    }

    /// Removes what a process before left of all jobs. None runs yet.
    pub fn forget_all(&self) {
        job::remove_state(&self.data_dir.join("jobs"));
    }

    /// Removes what the attempts of a job left on the local disk. None of them runs any more, and none will.
    pub fn forget(&self, id: &str) {
        job::remove_state(&self.data_dir.join("jobs").join(id).join("state"));
    }
}
