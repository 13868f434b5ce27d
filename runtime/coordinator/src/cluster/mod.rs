//! The workers of a cluster, as its leader has them: carries what [`flow_protocol::cluster`] wants to the connections of workers and to
//! the keepers of jobs, and what those say to it. Must never decide anything itself, nor wait for a worker while it holds its lock.
//!
//! - [`Cluster`]: the handle that others hold; `server`: the connections of workers
//! - [`spread`]: one attempt, as its keeper has it
//! - `wire`: what workers say, as events; `questions`: what they answer
//! - `components`: what jobs are made of, in the store; [`deployments`]: what they were deployed with
//! - [`leader`]: who leads

mod components;
pub mod deployments;
mod leader;
mod questions;
mod server;
mod spread;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flow_model::api::OperatorMetrics;
use flow_model::cluster::{self, Assignment, Deployment, Session};
use flow_model::diagnostic::Error as Diagnostics;
use flow_model::ids::{Digest, JobId, WorkerId};
use flow_model::outline::{Findings, Outline};
use flow_model::workers::{WorkerState, WorkerStatus, Workers};
use flow_protocol::cluster::{Action, Event, Refusal, Request, Settings, Work};
use flow_protocol::job;
use flow_rpc::control::{
    Deploy, Elsewhere, Nothing, Order, Part, ToWorker, Welcome, answer::Answer as Reply, ask::Ask as Asked,
    order::Order as Command, to_worker::Message as Told,
};
use flow_rpc::json;
use flow_store::{Place, Store};
use flow_worker::log::{JobLog, Level};
use flow_worker::once::Once;
use tokio::sync::mpsc::UnboundedSender;

pub use components::Held;
pub use leader::{Campaign, Outcome, Role};
use questions::{Question, Questions};
pub use server::serve;
pub use spread::{Doing, Spread};

/// The part of the store in which the cluster has what it knows.
pub const ROOT: &str = "cluster";
/// A worker that is silent for so long gets nothing new, in milliseconds.
const SUSPECTED: u64 = 1500;
/// After so long what it runs is given up.
const LOST: u64 = 3000;
/// The number under which a job makes room for a worker that is to go: nobody waits for it, and it is no question's.
pub const MOVED: u64 = 0;
/// How often the machine looks at the clock.
const TICK: Duration = Duration::from_millis(200);
/// How long a worker may take to load and try the components of a pipeline.
const CHECK: Duration = Duration::from_secs(300);

/// Why something can't be done with workers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline or its components can't run.
    #[error(transparent)]
    Pipeline(#[from] Diagnostics),
    /// Nobody is there who could.
    #[error("there is no worker; start one: flowd worker --coordinator {0}")]
    NoWorker(String),
    /// So many are there, and none takes anything more.
    #[error(
        "none of {0} workers takes anything more: they are drained, or about to be; start another one, or one of them again"
    )]
    Drained(usize),
    /// A worker could not say.
    #[error("worker {worker}: {cause}")]
    Worker {
        /// Its name.
        worker: String,
        /// Why.
        cause: String,
    },
    /// What is in the store is not what it should be.
    #[error(
        "{place}: {cause}; put it back as it was; or delete it and deploy the job again with --take-over: it goes on where its HEAD stands"
    )]
    Document {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        cause: String,
    },
    /// No worker has that name or id.
    #[error("no worker \"{0}\"")]
    Unknown(String),
    /// The worker of that name or id is gone.
    #[error("worker \"{0}\" is lost: it takes part no more")]
    Lost(String),
    /// It is not done: why.
    #[error("{0}")]
    NotNow(String),
    /// The store does not do what is asked of it.
    #[error(transparent)]
    Store(#[from] flow_store::Error),
}

/// Where messages to a worker go.
type Say = UnboundedSender<Result<ToWorker, tonic::Status>>;

/// Hears what happens to a job.
pub type Tell = Arc<dyn Fn(job::Event) + Send + Sync>;

/// A job, as the cluster carries it.
pub struct Job {
    /// What it was deployed with.
    pub deployment: Arc<Deployment>,
    /// Where the roots of jobs lie that go where it goes.
    pub store: Place,
    /// The topic for records of owed output that their own topic refuses.
    pub dead_letter: Option<String>,
    /// Where people read.
    pub log: Arc<JobLog>,
    /// Hears what happens.
    pub tell: Tell,
}

struct Known {
    job: Job,
    /// What its nodes have done, as each worker said last.
    done: BTreeMap<WorkerId, Vec<OperatorMetrics>>,
}

struct State {
    machine: flow_protocol::cluster::Cluster,
    /// The connection of each worker.
    says: BTreeMap<WorkerId, (Session, Say)>,
    /// That of the worker that registers now.
    arriving: Option<Say>,
    jobs: BTreeMap<JobId, Known>,
    /// Who waits for what workers answer.
    questions: Questions,
    /// Who waits for what comes of a wish.
    wished: HashMap<u64, Sender<Result<(), String>>>,
    /// Who was told that it may not take part, and why.
    refused: Once,
    numbers: u64,
}

/// The workers of the leader's cluster.
pub struct Cluster {
    term: u64,
    /// Where workers reach this coordinator.
    address: String,
    /// Its root in the store.
    store: Store,
    /// The store.
    place: Place,
    /// Since when its clock goes.
    started: (Instant, u64),
    state: Mutex<State>,
    /// Components that somebody is about to deploy, as often as somebody is.
    held: Mutex<Vec<Digest>>,
    /// It leads, and knows all jobs that there are.
    knows_all: AtomicBool,
}

impl Cluster {
    /// Led by this process in a term, without workers yet. `store` is [`ROOT`] of what is at `place`. It looks at the clock as long as
    /// somebody holds it, on the caller's runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn begin(term: u64, address: String, store: Store, place: Place) -> Arc<Cluster> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let settings = Settings { version: env!("CARGO_PKG_VERSION").to_owned(), suspected: SUSPECTED, lost: LOST };
        let state = Mutex::new(State {
            machine: flow_protocol::cluster::Cluster::new(settings, term, now),
            says: BTreeMap::new(),
            arriving: None,
            jobs: BTreeMap::new(),
            questions: Questions::default(),
            wished: HashMap::new(),
            refused: Once::default(),
            numbers: 0,
        });
        let cluster = Arc::new(Cluster {
            term,
            address,
            store,
            place,
            started: (Instant::now(), now),
            state,
            held: Mutex::default(),
            knows_all: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&cluster);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(cluster) = weak.upgrade() else { return };
                cluster.handle(&mut cluster.lock(), Event::Tick);
            }
        });
        cluster
    }

    /// The term in which this process leads it.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// All jobs that there are are known, or are not any more: another process may lead.
    pub fn knows_all(&self, all: bool) {
        self.knows_all.store(all, SeqCst);
    }

    /// Whether its leader is the one that stands in the store; not where the store does not answer.
    pub fn is_last(&self) -> bool {
        self.store.block_on(leader::is_last(&self.store, self.term))
    }

    /// Whether no later leader stands in the store. It asks until it is answered.
    pub async fn leads(&self) -> bool {
        leader::term(&self.store).await <= self.term
    }

    /// Where workers reach this coordinator.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its root in the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where jobs keep their checkpoints that name no place.
    pub fn checkpoints(&self) -> Place {
        self.below("checkpoints")
    }

    /// Where components lie, as workers find it.
    fn root(&self) -> Place {
        self.below(ROOT)
    }

    fn below(&self, folder: &str) -> Place {
        Place { to: format!("{}/{folder}", self.place.to.trim_end_matches('/')), ..self.place.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the Unix epoch by a clock that never goes back.
    fn now(&self) -> u64 {
        self.started.1 + self.started.0.elapsed().as_millis() as u64
    }

    fn message(&self, told: Told) -> Result<ToWorker, tonic::Status> {
        Ok(ToWorker { term: self.term, message: Some(told) })
    }

    fn say(&self, state: &State, worker: &WorkerId, told: Told) {
        if let Some((_, say)) = state.says.get(worker) {
            // A connection that is gone is told as such.
            _ = say.send(self.message(told));
        }
    }

    fn handle(&self, state: &mut State, event: Event) {
        for action in state.machine.handle(self.now(), event) {
            tracing::debug!("{action:?}");
            self.act(state, action);
        }
    }

    fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Welcome(worker, session) => {
                let Some(say) = state.arriving.take() else { return };
                let store = json::write(&self.root());
                _ = say.send(self.message(Told::Welcome(Welcome { store, number: session.number })));
                state.says.insert(worker, (session, say));
            }
            Action::Refuse(_, refusal) => {
                let Some(say) = state.arriving.take() else { return };
                let for_ever = matches!(refusal, Refusal::Version { .. });
                let about = match &refusal {
                    // Who was given no name has another one with each start.
                    Refusal::Version { worker, .. } => worker.address.rsplit_once(':').map_or("", |(host, _)| host),
                    Refusal::Name { worker, .. } => &worker.name,
                };
                if state.refused.is_new(about, &format!("{for_ever}")) {
                    tracing::warn!("{refusal}");
                }
                let elsewhere = Elsewhere { why: refusal.to_string(), for_ever };
                _ = say.send(self.message(Told::Elsewhere(elsewhere)));
            }
            // Its connection ends with the way to it.
            Action::Ended(worker, session) => state.says.retain(|id, (known, _)| *id != worker || *known != session),
            Action::Lost(worker, reason) => {
                tracing::warn!(worker = %worker.name, "is lost: {reason}");
                state.left(&worker.id);
            }
            Action::Gone(worker) => {
                tracing::info!(worker = %worker.name, "has gone; it was drained");
                state.left(&worker.id);
            }
            Action::Deploy(job, request, assignment) => self.deploy(state, &job, &request, &assignment),
            Action::Cancel(worker, job, attempt) => {
                // Which life it is the worker knows: of a job it runs one attempt.
                let part = Part { job: job.to_string(), incarnation: String::new(), attempt: attempt.0 };
                let order = Order { part: Some(part), order: Some(Command::Cancel(Nothing {})) };
                self.say(state, &worker, Told::Order(order));
            }
            Action::Tell(job, event) => {
                if let Some(known) = state.jobs.get(&job) {
                    (known.job.tell)(*event);
                }
            }
            Action::Waits(job, shortage) => {
                if let Some(known) = state.jobs.get(&job) {
                    known.job.log.add(Level::Warn, None, format!("waits: it {shortage}"));
                }
            }
            Action::Move(job) => {
                if let Some(known) = state.jobs.get(&job) {
                    known.job.log.add(Level::Info, None, "goes on elsewhere: a worker that it runs on drains".into());
                    (known.job.tell)(job::Event::Redeploy { number: MOVED, spec: None });
                }
            }
            Action::Draining(worker) => self.say(state, &worker, Told::Draining(Nothing {})),
            Action::Drained(worker) => self.say(state, &worker, Told::Released(Nothing {})),
            Action::Answer(number, answer) => {
                if let Some(wished) = state.wished.remove(&number) {
                    _ = wished.send(answer);
                }
            }
        }
    }

    fn deploy(&self, state: &mut State, job: &JobId, request: &Request, assignment: &Assignment) {
        let Some(Known { job: known, done }) = state.jobs.get_mut(job) else { return };
        done.clear();
        let names: Vec<&str> = assignment.participants.iter().map(|participant| participant.name.as_str()).collect();
        let text = format!("attempt {} is placed on {}", request.attempt, names.join(", "));
        known.log.add(Level::Info, None, text);
        let deploy = Deploy {
            deployment: known.deployment.to_bytes().into(),
            assignment: json::write(assignment),
            manifest: request.from.as_ref().map_or_else(bytes::Bytes::new, |from| from.to_bytes().into()),
            store: json::write(&known.store),
            dead_letter: known.dead_letter.clone().unwrap_or_default(),
            anew: matches!(request.work, Work::Settle { anew: true }),
        };
        let command = match request.work {
            Work::Run(_) => Command::Deploy(deploy),
            Work::Settle { .. } => Command::Settle(deploy),
        };
        let incarnation = request.incarnation.to_string();
        let part = Part { job: job.to_string(), incarnation, attempt: request.attempt.0 };
        for participant in &assignment.participants {
            let order = Order { part: Some(part.clone()), order: Some(command.clone()) };
            self.say(state, &participant.worker, Told::Order(order));
        }
    }

    /// There is a job, submitted at that time.
    pub fn know(&self, job: Job) {
        let (id, submitted) = (job.deployment.job.clone(), job.deployment.submitted);
        let mut state = self.lock();
        state.jobs.insert(id.clone(), Known { job, done: BTreeMap::new() });
        self.handle(&mut state, Event::Known(id, submitted));
    }

    /// What a job waits for; none if it does not.
    pub fn waits_for(&self, job: &JobId) -> Option<String> {
        self.lock().machine.waits_for(job).map(|shortage| shortage.to_string())
    }

    /// A job is over: workers remove what it left there.
    pub fn forget(&self, job: &JobId) {
        let mut state = self.lock();
        self.handle(&mut state, Event::Forgotten(job.clone()));
        state.jobs.remove(job);
        let part = Part { job: job.to_string(), ..Part::default() };
        for (_, say) in state.says.values() {
            let forget = Order { part: Some(part.clone()), order: Some(Command::Forget(Nothing {})) };
            _ = say.send(self.message(Told::Order(forget)));
        }
    }

    /// Has a worker load the components of a deployment, which lie in the store, and try them: a coordinator runs no user's code.
    ///
    /// # Errors
    /// What is wrong with them; there is no worker, or it does not answer.
    pub fn check(self: &Arc<Cluster>, deployment: &Deployment) -> Result<Outline, Error> {
        self.check_within(CHECK, deployment)
    }

    fn check_within(self: &Arc<Cluster>, patience: Duration, deployment: &Deployment) -> Result<Outline, Error> {
        let pipeline = deployment.pipeline()?;
        let mut workers = self.workers().workers;
        workers.retain(|worker| worker.state != WorkerState::Lost);
        let known = workers.len();
        // One that is silent for a moment answers when it can; should it be given up, nobody waits for it.
        workers.retain(|worker| matches!(worker.state, WorkerState::Active | WorkerState::Suspected));
        workers.sort_by_key(|worker| worker.state == WorkerState::Suspected);
        let mut why = if known == 0 { Error::NoWorker(self.address.clone()) } else { Error::Drained(known) };
        // What one can't do for a reason of its own another one can. One that hangs leaves time for another one.
        let due = Instant::now() + patience;
        for (asked, worker) in workers.iter().enumerate() {
            if Instant::now() >= due {
                break;
            }
            let until = if asked + 1 == workers.len() { due } else { due.min(Instant::now() + patience / 2) };
            let question = {
                let check = Asked::Check(deployment.to_bytes().into());
                Question::ask(self, &mut self.lock(), BTreeSet::from([worker.id.clone()]), &check)
            };
            let failed = |cause: String| Error::Worker { worker: worker.name.clone(), cause };
            let unread = |error: json::Error| failed(error.to_string());
            match question.next(until).map(|(_, reply)| reply) {
                Some(Reply::Found(found)) => {
                    let findings: Findings = json::read(&found).map_err(unread)?;
                    return Ok(Outline { pipeline, findings });
                }
                Some(Reply::Wrong(wrong)) => return Err(json::read::<Diagnostics>(&wrong).map_err(unread)?.into()),
                Some(Reply::Failed(cause)) => why = failed(cause),
                None => why = failed("it did not answer; try again".to_owned()),
            }
            tracing::warn!("a pipeline could not be checked: {why}");
        }
        Err(why)
    }

    /// All workers, by name.
    pub fn workers(&self) -> Workers {
        Workers { now: self.now(), workers: self.lock().machine.workers() }
    }

    fn worker(&self, worker: &str) -> Result<WorkerStatus, Error> {
        let is_it = |known: &WorkerStatus| known.name == worker || known.id.as_str() == worker;
        let found = self.lock().machine.workers().into_iter().filter(is_it);
        // What was lost under a name may stand beside who has it now.
        found.min_by_key(|found| found.state == WorkerState::Lost).ok_or_else(|| Error::Unknown(worker.to_owned()))
    }

    /// A worker, by name or id, gets nothing new, and what it runs goes to others; then it may leave.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Lost`], [`Error::NotNow`].
    pub fn drain(&self, worker: &str) -> Result<WorkerStatus, Error> {
        let found = self.worker(worker)?;
        if found.state == WorkerState::Lost {
            return Err(Error::Lost(found.name));
        }
        tracing::info!(worker = %found.name, "drains, as asked");
        let id = found.id;
        let (answer, answered) = channel();
        let mut state = self.lock();
        let number = state.number();
        state.wished.insert(number, answer);
        self.handle(&mut state, Event::Drain(number, id.clone()));
        drop(state);
        // It is answered at once, or never.
        answered
            .try_recv()
            .unwrap_or_else(|_| Err("the cluster is led elsewhere".to_owned()))
            .map_err(Error::NotNow)?;
        self.worker(id.as_str())
    }

    /// A worker has come. None if it may not stay, which it was told.
    fn register(
        &self,
        worker: cluster::Worker,
        parts: Vec<cluster::Part>,
        draining: bool,
        say: Say,
    ) -> Option<Session> {
        let id = worker.id.clone();
        let mut state = self.lock();
        state.arriving = Some(say);
        let (name, address, slots) = (worker.name.clone(), worker.address.clone(), worker.slots);
        let before = state.says.get(&id).map(|(session, _)| *session);
        self.handle(&mut state, Event::Registered { worker, parts, draining });
        state.arriving = None;
        let session = state.says.get(&id).map(|(session, _)| *session).filter(|session| Some(*session) != before)?;
        _ = state.refused.is_well(&name);
        tracing::info!(worker = %name, "has come, from {address}, with {slots} slots");
        Some(session)
    }
}

impl State {
    /// A worker takes part no more: who waits for it alone waits for nothing.
    fn left(&mut self, worker: &WorkerId) {
        self.says.remove(worker);
        self.questions.lost(worker);
    }

    /// Whether a worker speaks in the session that it has.
    fn attends(&self, worker: &WorkerId, session: Session) -> bool {
        self.says.get(worker).is_some_and(|(known, _)| *known == session)
    }

    /// A number that no question has.
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}
