//! A cluster of real processes on this machine: coordinators, workers, and a store that they share.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::free_port;
use crate::flowd::{Flowd, Role};
use crate::minio::Minio;

/// How long a cluster may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its nodes.
pub struct Cluster {
    /// Those that lead, or stand by.
    pub coordinators: Vec<Flowd>,
    /// Those that run jobs.
    pub workers: Vec<Flowd>,
}

impl Cluster {
    /// So many coordinators and workers with slots, over a bucket of its own.
    pub fn new(minio: &Minio, coordinators: usize, workers: &[u32]) -> Cluster {
        let store = format!("s3://{}/flow", minio.bucket());
        let endpoint = minio.endpoint();
        let [key, secret] = Minio::environment();
        let environment = [key, secret, ("AWS_ENDPOINT_URL", &endpoint), ("AWS_REGION", "us-east-1")];
        let controls: Vec<String> = (0..coordinators).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let coordinator = |control: &String| {
            let listen = format!("127.0.0.1:{}", free_port());
            let options = ["--store", &store, "--listen", &listen, "--control", control].map(str::to_owned);
            Flowd::node(Role::Coordinator, &options, &environment)
        };
        let worker = |(number, slots): (usize, &u32)| {
            let mut options = vec!["--name".to_owned(), format!("w{number}"), "--slots".to_owned(), slots.to_string()];
            options.extend(controls.iter().flat_map(|control| ["--coordinator".to_owned(), control.clone()]));
            Flowd::node(Role::Worker, &options, &environment)
        };
        let coordinators = controls.iter().map(coordinator).collect();
        let cluster = Cluster { coordinators, workers: workers.iter().enumerate().map(worker).collect() };
        cluster.until_there(workers.len());
        cluster
    }

    /// Waits until so many workers are led.
    #[track_caller]
    pub fn until_there(&self, count: usize) {
        let begun = Instant::now();
        loop {
            let found = self.workers();
            if found.as_ref().is_some_and(|workers| workers.len() == count) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{found:?}\n{}", self.logs());
            sleep(Duration::from_millis(100));
        }
    }

    /// The workers that the leader knows; none if nobody leads.
    pub fn workers(&self) -> Option<Vec<Value>> {
        let answer = self.coordinators.iter().find_map(|coordinator| coordinator.try_get("/workers"))?;
        serde_json::from_str::<Value>(&answer).ok()?["workers"].as_array().cloned()
    }

    /// What all nodes logged.
    pub fn logs(&self) -> String {
        let nodes = self.coordinators.iter().zip(0..).map(|(node, n)| format!("coordinator {n}:\n{}", node.log()));
        let workers = self.workers.iter().zip(0..).map(|(node, n)| format!("worker {n}:\n{}", node.log()));
        nodes.chain(workers).collect()
    }
}
