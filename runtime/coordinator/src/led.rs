//! For tests: a leader whose store lies in a directory, the workers that a test plays, and a job that they may run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_model::api::JobState;
use flow_model::checkpoint::{Head, Incarnation, head};
use flow_model::cluster::Deployment;
use flow_model::cluster::deployment::Identity;
use flow_model::outline::Findings;
use flow_model::plan::plan;
use flow_store::{Location, Place, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cluster::{self, Cluster};
use crate::jobs::Jobs;

/// The term in which it leads.
pub const TERM: u64 = 7;
/// Where it is, for people.
pub const ME: &str = "here:8091";
/// How long something may take that takes no time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The leader.
pub struct Leader {
    pub cluster: Arc<Cluster>,
    pub runtime: Runtime,
    /// The root of the job "orders".
    root: Store,
    _directory: TempDir,
}

impl Leader {
    /// Without workers.
    pub fn new() -> Leader {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = Runtime::new().expect("a runtime");
        let place = Place::at(&Location::Directory(directory.path().to_owned()));
        let store = runtime.block_on(place.open()).expect("a store");
        let below = |store: &Store, folder| store.below(folder).expect("a name");
        let root = below(&below(&store, "checkpoints"), "orders");
        let context = runtime.enter();
        let cluster = Cluster::begin(TERM, ME.to_owned(), below(&store, cluster::ROOT), place);
        drop(context);
        Leader { cluster, runtime, root, _directory: directory }
    }

    /// Lets it lead the jobs that are there.
    pub fn leads(&self) -> Jobs {
        let _context = self.runtime.enter();
        Jobs::of_cluster(self.cluster.clone(), ME.to_owned()).expect("its store answers")
    }

    /// A former leader has deployed this.
    pub fn deploy(&self, deployment: &Deployment) {
        let name = deployment.document();
        self.runtime.block_on(self.cluster.store().put(&name, deployment.to_bytes())).expect("written");
    }

    /// Somebody writes the HEAD of "orders".
    pub fn write_head(&self, head: &Head) {
        self.runtime.block_on(self.root.put(head::NAME, head.to_bytes())).expect("written");
    }

    /// The HEAD of "orders", once it is as it should be; the job must not fail before.
    #[track_caller]
    pub fn head_when(&self, jobs: &Jobs, is_right: impl Fn(&Head) -> bool) -> Head {
        let begun = Instant::now();
        loop {
            let (bytes, _) = self.runtime.block_on(self.root.read(head::NAME)).expect("read").expect("there");
            let head = Head::from_bytes(&bytes).expect("a HEAD");
            if is_right(&head) {
                return head;
            }
            let job = &jobs.list().jobs[0];
            let is_in_time = begun.elapsed() < PATIENCE;
            assert!(is_in_time && job.state != JobState::Failed, "{job:?} with {head:?}");
            sleep(Duration::from_millis(20));
        }
    }
}

/// The first revision of a job, and one in which it is twice as wide.
pub fn revisions(name: &str) -> [Deployment; 2] {
    let text = "{apiVersion: flow/v1, kind: Pipeline, metadata: {name: orders}, checkpoint: {interval: 10s}, restart: {pause: 10ms}, \
                sources: {in: {generator: {rate: 1}}}, sinks: {out: {blackhole: {}, from: in}}}";
    let identity = Identity {
        job: format!("{name}-3f9a2c").parse().expect("a name"),
        name: name.parse().expect("a name"),
        submitted: 1,
        root: String::new(),
    };
    let mut first = Deployment::new(identity, ("orders.yaml".to_owned(), text.to_owned()));
    first.begun.incarnation = Some(Incarnation::of(1));
    let names = ["in", "out"].map(|name| name.parse().expect("a name"));
    let mut second = first.scaled(names.map(|name| (name, 2)), 2);
    for deployment in [&mut first, &mut second] {
        let plan = plan(&deployment.pipeline().expect("a pipeline"), &BTreeMap::new()).expect("a plan");
        deployment.findings = Some(Findings { plan, states: BTreeMap::new() });
    }
    [first, second]
}

/// HEAD of such a job, as a leader of that term has written it.
pub fn head(term: u64, revision: u64) -> Head {
    let nonce = format!("{:032x}", fastrand::u128(..));
    let mut head = Head::new(term, "there:8091".to_owned(), Incarnation::of(1), nonce);
    head.revision = revision;
    head
}
