//! One attempt of a job on many workers, as the job's keeper has it: orders to all of its parts, and what they have done together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use flow_model::api::OperatorMetrics;
use flow_model::channel::AttemptId;
use flow_model::checkpoint::{Attempt, CheckpointId};
use flow_model::ids::{JobId, WorkerId};
use flow_protocol::cluster::{Event, Request};
use flow_rpc::control::{
    Confirm, Nothing, Order, Part, Trigger, answer::Answer as Reply, ask::Ask as Asked, order::Order as Command,
    to_worker::Message as Told,
};
use flow_rpc::json;

use super::{Cluster, Question, State};

/// An attempt that is spread over workers.
#[derive(Clone)]
pub struct Spread {
    cluster: Arc<Cluster>,
    job: JobId,
    id: AttemptId,
    /// What its nodes had done when somebody asked last.
    done: Arc<Mutex<Vec<OperatorMetrics>>>,
}

impl Spread {
    fn of(cluster: &Arc<Cluster>, job: JobId, id: AttemptId) -> Spread {
        Spread { cluster: cluster.clone(), job, id, done: Arc::default() }
    }

    /// Has it deployed, now or as soon as there is room.
    pub fn deploy(cluster: &Arc<Cluster>, job: JobId, request: Request) -> Spread {
        let id = AttemptId { incarnation: request.incarnation.clone(), attempt: request.attempt };
        let spread = Spread::of(cluster, job, id);
        spread.handle(Event::Wanted(spread.job.clone(), Box::new(request)));
        spread
    }

    /// Looks for one that a former leader has deployed.
    pub fn find(cluster: &Arc<Cluster>, job: JobId, id: AttemptId) -> Spread {
        let spread = Spread::of(cluster, job, id);
        let AttemptId { incarnation, attempt } = spread.id.clone();
        spread.handle(Event::Find(spread.job.clone(), incarnation, attempt));
        spread
    }

    /// Stops an attempt of a job, wherever it is.
    pub fn cancel(cluster: &Arc<Cluster>, job: JobId, attempt: Attempt) {
        cluster.handle(&mut cluster.lock(), Event::Cancel(job, attempt));
    }

    fn handle(&self, event: Event) {
        self.cluster.handle(&mut self.cluster.lock(), event);
    }

    fn part(&self) -> Part {
        Part { job: self.job.to_string(), incarnation: self.id.incarnation.to_string(), attempt: self.id.attempt.0 }
    }

    fn workers(&self, state: &State) -> Vec<WorkerId> {
        state.machine.workers_of(&self.job, self.id.attempt).into_iter().map(|(worker, _)| worker).collect()
    }

    fn order(&self, command: Command) {
        let state = self.cluster.lock();
        for worker in self.workers(&state) {
            let order = Order { part: Some(self.part()), order: Some(command.clone()) };
            self.cluster.say(&state, &worker, Told::Order(order));
        }
    }

    /// Lets sources read.
    pub fn release(&self) {
        self.order(Command::Release(Nothing {}));
    }

    /// Lets sources give nothing but barriers.
    pub fn hold(&self) {
        self.order(Command::Hold(Nothing {}));
    }

    /// Lets all sources send the barrier of a checkpoint.
    pub fn trigger(&self, checkpoint: CheckpointId, confirmed: CheckpointId) {
        self.order(Command::Trigger(Trigger { checkpoint: checkpoint.0, confirmed: confirmed.0 }));
    }

    /// A checkpoint counts.
    pub fn confirm(&self, checkpoint: CheckpointId) {
        self.order(Command::Confirm(Confirm { checkpoint: checkpoint.0 }));
    }

    /// Lets it end where nothing is left to do.
    pub fn finish(&self) {
        self.order(Command::Finish(Nothing {}));
    }

    /// Asks what its nodes have done.
    pub fn ask(&self) -> Doing {
        let mut state = self.cluster.lock();
        let of = self.workers(&state).into_iter().collect();
        let question = Question::ask(&self.cluster, &mut state, of, &Asked::Metrics(self.part()));
        drop(state);
        Doing { spread: self.clone(), question }
    }
}

/// What an attempt has done, which its workers were asked.
pub struct Doing {
    spread: Spread,
    question: Question,
}

impl Doing {
    /// All parts together. Of a worker that does not answer until then it is what it said last.
    pub fn until(self, due: Instant) -> Vec<OperatorMetrics> {
        let Doing { spread: Spread { cluster, job, done, .. }, question } = &self;
        while let Some((worker, reply)) = question.next(due) {
            if let Reply::Found(found) = reply
                && let Ok(metrics) = json::read::<Vec<OperatorMetrics>>(&found)
            {
                cluster.done(&worker, job, metrics);
            }
        }
        let state = cluster.lock();
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        // A job that is over is known here no more, and people ask for a while what it has done.
        if let Some(known) = state.jobs.get(job) {
            *done = together(known.done.values());
        }
        done.clone()
    }
}

impl Cluster {
    /// What a worker's part of a job has done.
    pub(super) fn done(&self, worker: &WorkerId, job: &JobId, metrics: Vec<OperatorMetrics>) {
        if let (Some(known), false) = (self.lock().jobs.get_mut(job), metrics.is_empty()) {
            known.done.insert(worker.clone(), metrics);
        }
    }
}

/// What all parts have done: each tells of all subtasks, and has figures of those that it runs.
fn together<'a>(parts: impl Iterator<Item = &'a Vec<OperatorMetrics>>) -> Vec<OperatorMetrics> {
    let mut all: Vec<OperatorMetrics> = Vec::new();
    for metrics in parts.flatten() {
        match all.iter_mut().find(|known| known.operator == metrics.operator) {
            None => all.push(metrics.clone()),
            Some(known) => {
                for (known, more) in known.subtasks.iter_mut().zip(&metrics.subtasks) {
                    *known += *more;
                }
                let mut partitions: BTreeMap<(String, i32), _> = BTreeMap::new();
                for figures in known.partitions.drain(..).chain(metrics.partitions.iter().cloned()) {
                    partitions.insert((figures.topic.clone(), figures.partition), figures);
                }
                known.partitions = partitions.into_values().collect();
            }
        }
    }
    all
}
