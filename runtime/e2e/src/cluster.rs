//! A cluster of real processes on this machine: coordinators, workers, and a store that they share.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::broker::free_port;
use crate::flowd::{Flowd, Role, called};
use crate::minio::Minio;
use crate::shifted;

/// How long a cluster may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its nodes.
pub struct Cluster {
    /// Those that lead, or stand by.
    pub coordinators: Vec<Flowd>,
    /// Those that run jobs.
    pub workers: Vec<Flowd>,
    /// Where coordinators take workers.
    pub controls: Vec<String>,
    /// Its certificates, if it has some: those of `flowctl certs`, for nodes called `c0`, `c1`, … and as its workers.
    pub certificates: Option<Certificates>,
    environment: Vec<(String, String)>,
    options: Options,
}

/// What not all clusters have.
#[derive(Clone, Default)]
pub struct Options {
    /// Nodes know each other by certificates.
    pub tls: bool,
    /// What coordinators are started with besides.
    pub coordinators: Vec<String>,
    /// How many seconds the clock of a node is ahead, by its name, or behind.
    pub clocks: Option<fn(&str) -> i64>,
}

impl Options {
    /// What a node of that name has in its environment for its clock.
    fn clock(&self, name: &str) -> Vec<(&'static str, String)> {
        let off = self.clocks.map_or(0, |clocks| clocks(name));
        if off == 0 { Vec::new() } else { shifted::environment(off).to_vec() }
    }
}

/// Certificates of one authority.
pub struct Certificates(TempDir);

impl Certificates {
    fn new() -> Certificates {
        Certificates(tempfile::tempdir().expect("a directory"))
    }

    /// Where they lie.
    pub fn set(&self) -> PathBuf {
        self.0.path().join("set")
    }

    /// Has flowctl make some for a node, and says what flowd takes of them.
    fn of(&self, name: &str) -> [String; 6] {
        let made = called(self.0.path(), "flowctl", &["certs", "set", "--node", name]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        tls(&self.set(), name)
    }
}

/// What flowd takes of a set.
pub fn tls(set: &Path, name: &str) -> [String; 6] {
    let [authority, certificate, key] = [("ca", ""), (name, ""), (name, "-key")]
        .map(|(name, of)| set.join(format!("{name}{of}.pem")).display().to_string());
    ["--tls-ca".into(), authority, "--tls-cert".into(), certificate, "--tls-key".into(), key]
}

impl Cluster {
    /// So many coordinators and workers with slots, over a bucket of its own.
    pub fn new(minio: &Minio, coordinators: usize, workers: &[u32]) -> Cluster {
        Cluster::with(minio, coordinators, workers, Options::default())
    }

    /// The same with more.
    pub fn with(minio: &Minio, coordinators: usize, workers: &[u32], options: Options) -> Cluster {
        let certificates = options.tls.then(Certificates::new);
        let store = format!("s3://{}/flow", minio.bucket());
        let endpoint = minio.endpoint();
        let [key, secret] = Minio::environment();
        let environment = [key, secret, ("AWS_ENDPOINT_URL", &endpoint), ("AWS_REGION", "us-east-1")];
        let controls: Vec<String> = (0..coordinators).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let coordinator = |(number, control): (usize, &String)| {
            let listen = format!("127.0.0.1:{}", free_port());
            let own = ["--store", &store, "--listen", &listen, "--control", control].map(str::to_owned);
            let mut given = [&own[..], &options.coordinators].concat();
            let name = format!("c{number}");
            given.extend(certificates.iter().flat_map(|all| all.of(&name)));
            let clock = options.clock(&name);
            let clock = clock.iter().map(|(name, value)| (*name, value.as_str()));
            let environment: Vec<(&str, &str)> = environment.into_iter().chain(clock).collect();
            Flowd::node(Role::Coordinator, &given, &environment)
        };
        let coordinators = controls.iter().enumerate().map(coordinator).collect();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut cluster = Cluster { coordinators, workers: Vec::new(), controls, certificates, environment, options };
        for (number, slots) in workers.iter().enumerate() {
            cluster.start_worker(&format!("w{number}"), *slots, &[]);
        }
        cluster.until_there(workers.len());
        cluster
    }

    /// These nodes.
    pub fn of(coordinators: Vec<Flowd>, workers: Vec<Flowd>) -> Cluster {
        let (controls, environment, options) = (Vec::new(), Vec::new(), Options::default());
        let cluster = Cluster { coordinators, workers, controls, certificates: None, environment, options };
        cluster.until_there(cluster.workers.len());
        cluster
    }

    /// The coordinator that leads, as it says: that of the highest term.
    pub fn leader(&self) -> Option<usize> {
        let terms = self.coordinators.iter().map(term).enumerate();
        terms.filter_map(|(at, term)| term.map(|term| (term, at))).max().map(|(_, at)| at)
    }

    /// Starts one more worker, and waits until it is led.
    #[track_caller]
    pub fn add_worker(&mut self, name: &str, slots: u32) {
        self.add_worker_with(name, slots, &[]);
    }

    /// The same with more options.
    #[track_caller]
    pub fn add_worker_with(&mut self, name: &str, slots: u32, more: &[&str]) {
        self.start_worker(name, slots, more);
        self.until_there(self.workers.len());
    }

    fn start_worker(&mut self, name: &str, slots: u32, more: &[&str]) {
        let mut options = vec!["--name".to_owned(), name.to_owned(), "--slots".to_owned(), slots.to_string()];
        options.extend(self.controls.iter().flat_map(|control| ["--coordinator".to_owned(), control.clone()]));
        options.extend(self.certificates.iter().flat_map(|all| all.of(name)));
        options.extend(more.iter().map(|option| (*option).to_owned()));
        let clock = self.options.clock(name);
        let clock = clock.iter().map(|(name, value)| (*name, value.as_str()));
        let own = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let environment: Vec<(&str, &str)> = own.chain(clock).collect();
        self.workers.push(Flowd::node(Role::Worker, &options, &environment));
    }

    /// Waits until so many workers are led, and not lost.
    #[track_caller]
    pub fn until_there(&self, count: usize) {
        let begun = Instant::now();
        loop {
            let found = self.workers();
            let is_there = |worker: &&Value| worker["state"] != "lost";
            if found.as_ref().is_some_and(|workers| workers.iter().filter(is_there).count() == count) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{found:?}\n{}", self.logs());
            sleep(Duration::from_millis(100));
        }
    }

    /// The workers that the leader knows; none if nobody leads.
    pub fn workers(&self) -> Option<Vec<Value>> {
        let answer = self.coordinators.iter().find_map(|coordinator| coordinator.ask("/workers").ok())?;
        answer["workers"].as_array().cloned()
    }

    /// A worker that runs a part of a job; all have to be there.
    pub fn busy(&self) -> Option<usize> {
        let mut workers = self.workers()?;
        // Former lives of those that were killed are told of too.
        workers.retain(|worker| worker["state"] != "lost");
        workers.iter().position(|worker| worker["running"][0].is_object())
    }

    /// What all nodes logged.
    pub fn logs(&self) -> String {
        let nodes = self.coordinators.iter().zip(0..).map(|(node, n)| format!("coordinator {n}:\n{}", node.log()));
        let workers = self.workers.iter().zip(0..).map(|(node, n)| format!("worker {n}:\n{}", node.log()));
        nodes.chain(workers).collect()
    }
}

/// The last term in which a coordinator has led. Of others it says their address before that.
fn term(coordinator: &Flowd) -> Option<u64> {
    let log = coordinator.log();
    log.lines().rev().find_map(|line| line.split_once(": leads in term ")?.1.trim().parse().ok())
}
