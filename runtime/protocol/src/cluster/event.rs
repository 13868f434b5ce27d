//! What happens to a cluster, and what is to be done about it.

use std::sync::Arc;

use flow_model::checkpoint::{Attempt, Incarnation, Manifest};
use flow_model::cluster::{Assignment, Part, Session, Worker};
use flow_model::ids::{JobId, WorkerId};
use flow_model::plan::Plan;

use crate::Time;
use crate::checkpoint::Contributions;
use crate::job;
use crate::scheduler::Shortage;

/// What an attempt is made for.
#[derive(Debug, Clone)]
pub enum Work {
    /// It runs this plan.
    Run(Arc<Plan>),
    /// It writes what its checkpoint carries, and nothing else.
    Settle {
        /// What Kafka says of its lanes does not count: it is another one.
        anew: bool,
    },
}

/// An attempt that is to be deployed: what [`job::Action::Deploy`] or [`job::Action::Settle`] wants.
#[derive(Debug, Clone)]
pub struct Request {
    /// The life of the job.
    pub incarnation: Incarnation,
    /// The attempt.
    pub attempt: Attempt,
    /// What it is made for.
    pub work: Work,
    /// What its nodes contribute to a checkpoint.
    pub contributions: Contributions,
    /// The checkpoint that it goes on from.
    pub from: Option<Box<Manifest>>,
}

/// What happens. What a worker says carries the session that it had when it said it.
#[derive(Debug, Clone)]
pub enum Event {
    /// A worker wants to take part. Answered by [`Action::Welcome`] or [`Action::Refuse`].
    Registered {
        /// The worker.
        worker: Worker,
        /// What it runs.
        parts: Vec<Part>,
        /// It was told to drain, by this leader or one before.
        draining: bool,
    },
    /// A worker lives.
    Heartbeat(WorkerId, Session),
    /// Something happened to a worker's part of an attempt. What is said of the attempt as a whole ([`job::Event::Started`],
    /// [`job::Event::Drained`], [`job::Event::Stopped`]) it says of its part.
    Told {
        /// Who says so.
        worker: WorkerId,
        /// In which session.
        session: Session,
        /// Of which job.
        job: JobId,
        /// What.
        event: job::Event,
    },
    /// A worker has ended, or the way to it is broken.
    Left(WorkerId, Session, String),
    /// A worker is to run nothing any more. Answered by [`Action::Answer`] with that number.
    Drain(u64, WorkerId),
    /// There is a job, which was submitted at that time.
    Known(JobId, Time),
    /// There is no such job any more: nothing of it is to run.
    Forgotten(JobId),
    /// An attempt is to be deployed.
    Wanted(JobId, Box<Request>),
    /// What [`job::Action::Find`] wants.
    Find(JobId, Incarnation, Attempt),
    /// What [`job::Action::Cancel`] wants.
    Cancel(JobId, Attempt),
    /// The deadline has come.
    Tick,
}

/// Why a worker may not take part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another version of Flow.
    #[error(
        "worker {worker} runs version {theirs} and the coordinator {ours}: all nodes of a cluster run the same; install {ours} there, or \
         upgrade the coordinators first"
    )]
    Version {
        /// Who.
        worker: Worker,
        /// Its version.
        theirs: String,
        /// The leader's.
        ours: String,
    },
    /// A name that another worker has.
    #[error("there is a worker {other} already: give {worker} another name with --name")]
    Name {
        /// Who.
        worker: Worker,
        /// Who has it.
        other: Worker,
    },
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Action {
    /// A worker takes part from now on.
    Welcome(WorkerId, Session),
    /// A worker does not: why.
    Refuse(WorkerId, Refusal),
    /// What a worker said belongs to a session that is over: it has to register again.
    Ended(WorkerId, Session),
    /// Deploy an attempt on all its workers.
    Deploy(JobId, Box<Request>, Arc<Assignment>),
    /// Stop what a worker runs of an attempt, if it runs any of it. It says [`job::Event::Stopped`] when it has.
    Cancel(WorkerId, JobId, Attempt),
    /// Tell a job.
    Tell(JobId, Box<job::Event>),
    /// A job waits: for what.
    Waits(JobId, Shortage),
    /// A job runs on a worker that is to be free: have it go on elsewhere ([`job::Event::Redeploy`]).
    Move(JobId),
    /// Tell a worker that it drains, so that it can tell a leader that comes after.
    Draining(WorkerId),
    /// A worker runs nothing any more, as it was to, and may leave.
    Drained(WorkerId),
    /// A worker does not take part any more: why. Nothing is said to it.
    Lost(Worker, String),
    /// A worker that was drained has gone, as it might.
    Gone(Worker),
    /// What was asked for under this number is done, or under way; or it is not done: why.
    Answer(u64, Result<(), String>),
}
