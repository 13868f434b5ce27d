//! Keeps one job with checkpoints alive: a thread that takes what happens, asks the protocol ([`flow_protocol::Job`]) and does
//! what that says: in the store, in the worker, in the job's log. Must never decide anything itself.
//!
//! - [`Keeper`]: the handle that others hold
//! - `waiting`: the thread before the store answers; `driver`: from then on; `attempts`: what it does with workers; `runner`: which those
//!   are; `origin`: what a life begins with
//! - `documents`: HEAD and manifests in the store; `head`: the former until the store answers; `stored`: savepoints of a job that nobody runs
//! - `history`, `savepoints`: what became of its checkpoints and savepoints, for people

mod attempts;
pub(crate) mod documents;
mod driver;
mod head;
mod history;
mod origin;
mod runner;
mod savepoints;
pub(crate) mod stored;
mod waiting;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use flow_model::api::{Checkpoint, CheckpointSummary, JobState, LastFailure, Savepoint};
use flow_model::checkpoint::{CheckpointId, Incarnation};
use flow_model::ids::{PipelineName, SavepointName};
use flow_model::outline::Outline;
use flow_model::plan::Plan;
use flow_protocol::checkpoint::{Contribution, Contributions};
use flow_protocol::job::{Beginning, End, Event, InCluster, Life, State};
use flow_protocol::restart;
use flow_store::Store;
use flow_worker::TaskError;
use flow_worker::log::JobLog;

use crate::cluster;
pub use documents::Error;
use documents::PATIENCE;
use driver::{Driver, Message};
use history::History;
use runner::Running;
pub use runner::{Doing, Runner};
use savepoints::Savepoints;
pub(crate) use savepoints::completed;
use waiting::Waiting;
pub use waiting::{Awaited, Open, Opening};

/// What a former leader of a cluster has deployed is looked for so long, in milliseconds: workers have to find the new one first.
const FINDING: u64 = 5000;

/// What is known of a job that is kept.
#[derive(Debug, Clone)]
pub struct Status {
    /// What it is doing.
    pub state: JobState,
    /// Why it failed, or why its last attempt did.
    pub error: Option<TaskError>,
    /// When it was over, milliseconds since the Unix epoch.
    pub ended: Option<i64>,
}

/// What the driver tells others.
struct Shared {
    status: Mutex<Status>,
    over: Condvar,
    /// The attempt that runs.
    attempt: Mutex<Option<Running>>,
    history: Mutex<History>,
    savepoints: Mutex<Savepoints>,
    /// How the last attempt that failed did.
    failed: Mutex<Option<LastFailure>>,
    /// The process ends, or leads no more: the job goes on in another one.
    left: AtomicBool,
    log: Arc<JobLog>,
    /// The job's name.
    name: PipelineName,
    /// What runs, and who carries its attempts out.
    runner: Mutex<Runner>,
    /// The job's root in its store, once HEAD was read there.
    store: OnceLock<Store>,
    /// HEAD could not be read or written when that was last tried, and people were told.
    head_trouble: AtomicBool,
}

impl Shared {
    /// From now on it runs by this; workers of a cluster are to know of it.
    fn runs_by(&self, runner: Runner, dead_letter: Option<String>, messages: &Sender<Message>) {
        if let Runner::Spread { cluster, deployment, place, .. } = &runner {
            let to = messages.clone();
            cluster.know(cluster::Job {
                deployment: deployment.clone(),
                store: place.clone(),
                dead_letter,
                log: self.log.clone(),
                tell: Arc::new(move |event| _ = to.send(Message::Event(event))),
            });
        }
        *self.runner.lock().unwrap_or_else(PoisonError::into_inner) = runner;
    }

    /// HEAD can't be read or written for now: people are told once, until it can be.
    fn head_trouble(&self, what: &str) {
        if !self.head_trouble.swap(true, SeqCst) {
            tracing::warn!(job = %self.name, "{what}; trying again");
            self.log.add(flow_worker::log::Level::Warn, None, format!("{what}; trying again"));
        }
    }

    /// HEAD was read or written.
    fn head_well(&self) {
        self.head_trouble.store(false, SeqCst);
    }

    /// Nothing comes after this.
    fn over(&self, status: Status) {
        let mut current = self.status();
        let text = match self.left.load(SeqCst) {
            true => "left to the process that runs it next".to_owned(),
            false => format!("job is {}", status.state),
        };
        self.log.add(flow_worker::log::Level::Info, None, text);
        *current = status;
        // Whoever reads its end asks for its state.
        self.log.close();
        drop(current);
        self.over.notify_all();
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, Option<LastFailure>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn savepoints(&self) -> MutexGuard<'_, Savepoints> {
        self.savepoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runner(&self) -> Runner {
        self.runner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn attempt(&self) -> MutexGuard<'_, Option<Running>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept.
pub struct Kept {
    /// The name of the job's directory in the worker.
    pub id: String,
    /// What runs, and who carries its attempts out. Of a job that goes on HEAD may name another revision, which runs then.
    pub runner: Runner,
    /// A first deployment, or one that goes on.
    pub beginning: Beginning,
    /// Where this process is, for people.
    pub leader: String,
    /// What it is to end with, asked for before its process ended.
    pub stop: Option<Stop>,
    /// The topic for records of output that is owed which their own topic refuses.
    pub dead_letter: Option<String>,
}

impl Kept {
    /// The life that it is; none if it only writes what a former one owes.
    fn life(&self) -> Option<&Incarnation> {
        match &self.beginning {
            Beginning::Deployed(life) | Beginning::Resumed(life) | Beginning::Continued(life) => {
                Some(&life.incarnation)
            }
            Beginning::Settled(_) => None,
        }
    }
}

/// A job is to end with a savepoint.
pub struct Stop {
    /// The name of that.
    pub savepoint: SavepointName,
    /// Called if it can't be, and the job goes on.
    pub refused: Box<dyn Fn() + Send>,
}

/// A job that is kept alive.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
    messages: Sender<Message>,
}

impl Keeper {
    /// Reads HEAD and starts the thread. `on_end` is called once when the job is over, and not when it is only left.
    ///
    /// # Errors
    /// HEAD can't be read, or is another process's; there is no room for a thread.
    pub fn start(kept: Kept, root: Store, on_end: impl FnOnce(&Status) + Send + 'static) -> Result<Keeper, Error> {
        let store = root.below(kept.runner.outline().pipeline().name.as_str())?;
        let head = store.block_on(documents::read_head(&store))?;
        let (keeper, inbox) = Keeper::new(&kept, JobState::Running);
        if let Beginning::Deployed(Life { origin: None, follows: Some(former), .. }) = &kept.beginning
            && let Some(latest) = former.latest.filter(|latest| *latest != CheckpointId::NONE)
        {
            let text = format!(
                "begins with nothing; its former life ended at checkpoint {latest}, which is the savepoint \"previous\" until the next \
                 deployment"
            );
            keeper.log().add(flow_worker::log::Level::Warn, None, text);
        }
        _ = keeper.shared.store.set(store.clone());
        let (shared, messages) = (keeper.shared.clone(), keeper.messages.clone());
        let driver = Driver::new(kept, (root, store), head, shared, messages, Box::new(on_end));
        if let State::Over(End::Refused(why)) = driver.state() {
            return Err(Error::Refused(why));
        }
        thread(move || driver.run(&inbox))?;
        Ok(keeper)
    }

    /// The same of a job that an earlier process ran: it waits as long as its store does not answer. `on_end` is not called either if
    /// it can't go on as things are.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub fn resume(
        kept: Kept,
        awaited: Awaited,
        on_end: impl FnOnce(&Status) + Send + 'static,
    ) -> Result<Keeper, Error> {
        let (keeper, inbox) = Keeper::new(&kept, JobState::Restarting);
        let (shared, messages) = (keeper.shared.clone(), keeper.messages.clone());
        let Awaited { open, place, runtime, canceled } = awaited;
        let waiting = Waiting {
            kept,
            place,
            canceled,
            asked: Vec::new(),
            away: None,
            shared,
            messages,
            on_end: Box::new(on_end),
        };
        thread(move || waiting.run(&inbox, (runtime, open)))?;
        Ok(keeper)
    }

    fn new(kept: &Kept, state: JobState) -> (Keeper, Receiver<Message>) {
        let (messages, inbox) = channel();
        let shared = Arc::new(Shared {
            status: Mutex::new(Status { state, error: None, ended: None }),
            over: Condvar::new(),
            attempt: Mutex::default(),
            history: Mutex::default(),
            savepoints: Mutex::default(),
            failed: Mutex::default(),
            left: AtomicBool::new(false),
            log: Arc::default(),
            name: kept.runner.outline().pipeline().name.clone(),
            runner: Mutex::new(kept.runner.clone()),
            store: OnceLock::new(),
            head_trouble: AtomicBool::new(false),
        });
        shared.runs_by(kept.runner.clone(), kept.dead_letter.clone(), &messages);
        (Keeper { shared, messages }, inbox)
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        let status = self.shared.status().clone();
        match self.waits_for() {
            Some(why) if !status.state.is_terminal() => {
                let error = Some(TaskError::Retryable(format!("waits: it {why}")));
                let state = if status.state == JobState::Running { JobState::Restarting } else { status.state };
                Status { state, error, ..status }
            }
            _ => status,
        }
    }

    /// What it waits for before an attempt can run, said of it: "needs …".
    pub fn waits_for(&self) -> Option<String> {
        self.shared.runner().waits_for()
    }

    /// How its last attempt that failed did, as far as this process has seen one fail.
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.shared.failed().clone()
    }

    /// Whether it was left, and goes on in another process.
    pub fn is_left(&self) -> bool {
        self.shared.left.load(SeqCst)
    }

    /// Asks what its nodes have done in the attempt that runs, or ran last.
    pub fn ask(&self) -> Doing {
        let attempt = self.shared.attempt().clone();
        attempt.as_ref().map_or(Doing::Nothing, Running::ask)
    }

    /// How it runs.
    pub fn plan(&self) -> Plan {
        self.shared.runner().outline().plan().clone()
    }

    /// What runs, and who carries its attempts out.
    pub(crate) fn runner(&self) -> Runner {
        self.shared.runner()
    }

    /// Lets it go on by another description, as another attempt, and waits so long until HEAD says so. Sources give nothing from the
    /// checkpoint on that is taken for it.
    ///
    /// # Errors
    /// It does not, or not yet: why.
    pub(crate) fn redeploy(&self, runner: Runner, patience: Duration) -> Result<(), String> {
        let (done, answered) = channel();
        self.tell(Message::Redeploy(runner, done));
        match answered.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => Err("the job is over".to_owned()),
            Err(RecvTimeoutError::Timeout) => Err(format!(
                "it is not scaled yet after {} s, since its HEAD in the store could not be changed, and is as soon as that can be; \
                 `flowctl logs JOB` tells what keeps it, and `flowctl describe JOB` whether it is done",
                patience.as_secs()
            )),
        }
    }

    /// The log of all its attempts.
    pub fn log(&self) -> &Arc<JobLog> {
        &self.shared.log
    }

    fn tell(&self, message: Message) {
        // Where the thread is gone the job is over.
        _ = self.messages.send(message);
    }

    /// Asks it to stop for good.
    pub fn cancel(&self) {
        self.tell(Message::Event(Event::Cancel));
    }

    /// Stops it as the process ends: HEAD goes on to say that it is to run.
    pub fn leave(&self) {
        self.tell(Message::Leave);
    }

    /// Waits until it is known whether the job does what it is asked for: some seconds at most.
    ///
    /// # Errors
    /// Why it does not.
    pub fn ready(&self) -> Result<(), String> {
        let (done, answered) = channel();
        self.tell(Message::Ready(done));
        // One that is over still tells what it has.
        answered.recv().unwrap_or(Ok(()))
    }

    /// Wants a checkpoint as soon as one may begin. It counts when this one does, or a later one.
    ///
    /// # Errors
    /// None is taken: why.
    pub fn checkpoint(&self) -> Result<CheckpointId, String> {
        if let Some(missing) = self.waits_for() {
            return Err(format!("the job waits, and takes none before it runs: it {missing}"));
        }
        let (answer, answered) = channel();
        self.tell(Message::Checkpoint(answer));
        match answered.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => Err("the job is over".to_owned()),
            Err(RecvTimeoutError::Timeout) => Err("the job is about to run; ask again when it does".to_owned()),
        }
    }

    /// Wants a savepoint, and the job to end with it if `stop`. What becomes of it [`Keeper::savepoints`] tells.
    ///
    /// # Errors
    /// None comes: why.
    pub fn savepoint(&self, name: SavepointName, stop: bool) -> Result<(), String> {
        let (done, answered) = channel();
        self.tell(Message::Savepoint(name, stop, done));
        answered.recv().unwrap_or_else(|_| Err("the job is over".to_owned()))
    }

    /// Gives a savepoint up, and what only it needs in the store.
    ///
    /// # Errors
    /// There is none, or it is needed: why.
    pub fn give_up(&self, name: SavepointName) -> Result<(), String> {
        let (done, answered) = channel();
        self.tell(Message::GiveUp(name, done));
        match answered.recv_timeout(2 * PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => Err("the job is over".to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                Err("its store does not answer; the savepoint is given up as soon as it does".to_owned())
            }
        }
    }

    /// The savepoints that are known, newest first.
    pub fn savepoints(&self, job: &PipelineName) -> Vec<Savepoint> {
        self.shared.savepoints().newest_first(job)
    }

    /// The job's root in the store, if HEAD was read there.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.shared.store.get()
    }

    /// Its checkpoints in short.
    pub fn summary(&self) -> CheckpointSummary {
        self.shared.history().summary()
    }

    /// The checkpoints that are known, newest first.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.shared.history().newest_first()
    }

    /// Waits until it is over, or left.
    pub fn wait(&self) -> Status {
        let running = |status: &mut Status| !status.state.is_terminal();
        let status = self.shared.over.wait_while(self.shared.status(), running);
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn thread(work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = std::thread::Builder::new().name("keeper".into()).spawn(work);
    thread.map(|_| ()).map_err(|error| Error::Thread(error.to_string()))
}

/// A new life of a job.
pub fn incarnation() -> Incarnation {
    Incarnation::of(fastrand::u128(..))
}

/// What the nodes of a pipeline contribute to a checkpoint.
fn contributions(outline: &Outline) -> Contributions {
    let mut all = Contributions::new();
    for task in &outline.plan().tasks {
        for name in task.operators() {
            let states = outline.states(name);
            let output = outline.is_exactly_once(name);
            all.insert(name.clone(), Contribution { parallelism: task.parallelism, states, output });
        }
    }
    all
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn settings(kept: &Kept, runner: &Runner, store: &Store) -> flow_protocol::job::Settings {
    let pipeline = runner.outline().pipeline();
    let checkpointing = pipeline.checkpoint.as_ref().expect("a job without checkpoints is not kept");
    flow_protocol::job::Settings {
        pipeline: pipeline.name.clone(),
        key_groups: pipeline.key_groups,
        contributions: contributions(runner.outline()),
        checkpoints: flow_protocol::checkpoint::Settings {
            interval: millis(checkpointing.interval),
            timeout: millis(checkpointing.timeout),
            min_pause: millis(checkpointing.min_pause),
            concurrent: checkpointing.concurrent as usize,
            tolerated: checkpointing.tolerate,
        },
        restart: restart::Settings {
            attempts: pipeline.restart.attempts,
            pause: millis(pipeline.restart.pause),
            longest: millis(pipeline.restart.longest),
        },
        retained: checkpointing.retain as usize,
        leader: kept.leader.clone(),
        head: documents::head_place(store),
        cluster: match runner {
            Runner::Here { .. } => None,
            Runner::Spread { cluster, .. } => Some(InCluster { term: cluster.term(), finding: FINDING }),
        },
    }
}

/// A state of the protocol in the words of the REST API.
fn shown(state: &State) -> JobState {
    match state {
        State::Starting | State::Running => JobState::Running,
        State::Restarting => JobState::Restarting,
        State::Stopping => JobState::Canceling,
        State::Over(End::Finished | End::Settled) => JobState::Finished,
        State::Over(End::Canceled) => JobState::Canceled,
        State::Over(End::Failed(_) | End::Refused(_) | End::Deposed(_)) => JobState::Failed,
    }
}
