//! A cluster whose nodes reach each other, and the store, only by ways that can be cut. Kafka is reached directly: a worker that is cut
//! off from all others goes on to read and write there, which is the harder case.

use crate::broker::free_port;
use crate::cluster::Cluster;
use crate::flowd::Flowd;
use crate::minio::Minio;
use crate::node::Node;
use crate::toxic::{Toxic, Toxin, Whom};

/// What nobody says but to name a worker.
const KIND: &str = "the-worker-";

/// All ways of a cluster.
pub struct Ways {
    /// To each coordinator, for workers.
    controls: Vec<Toxic>,
    /// To each worker, for other workers.
    exchanges: Vec<Toxic>,
    /// To the store, of each coordinator.
    coordinators: Vec<Toxic>,
    /// The same of each worker.
    workers: Vec<Toxic>,
}

impl Ways {
    /// A cluster with so many coordinators, and workers with slots.
    pub fn cluster(minio: &Minio, coordinators: usize, workers: &[u32]) -> (Cluster, Ways) {
        let store = format!("s3://{}/flow", minio.bucket());
        let free = || format!("127.0.0.1:{}", free_port());
        let to_store = |count: usize| (0..count).map(|_| Toxic::before(&minio.address)).collect::<Vec<_>>();
        let (listened, listening): (Vec<String>, Vec<String>) =
            ((0..coordinators).map(|_| free()).collect(), workers.iter().map(|_| free()).collect());
        let ways = Ways {
            controls: listened.iter().map(|address| Toxic::before(address)).collect(),
            exchanges: listening.iter().map(|address| Toxic::before(address)).collect(),
            coordinators: to_store(coordinators),
            workers: to_store(workers.len()),
        };
        let controls: Vec<String> = ways.controls.iter().map(|way| way.address.clone()).collect();
        let endpoint = |way: &Toxic| format!("http://{}", way.address);
        let coordinator = |n: usize| {
            let node = Node::coordinator(&store, &free(), &listened[n], &endpoint(&ways.coordinators[n]));
            node.with(&["--advertise", &controls[n]]).start()
        };
        let worker = |(n, slots): (usize, &u32)| {
            let node = Node::worker(&name(n), *slots, &controls, &endpoint(&ways.workers[n]));
            node.with(&["--exchange", &listening[n], "--advertise", &ways.exchanges[n].address]).start()
        };
        let coordinators: Vec<Flowd> = (0..coordinators).map(coordinator).collect();
        (Cluster::of(coordinators, workers.iter().enumerate().map(worker).collect()), ways)
    }

    /// What a worker is called.
    pub fn name(&self, worker: usize) -> String {
        name(worker)
    }

    /// Cuts a worker off from all other nodes, and from the store if that is said.
    pub fn cut_off(&self, worker: usize, store: bool) {
        // Whoever connects says its name first; the coordinators' address is one for all workers.
        let own = name(worker).pop().expect("it ends with its number");
        let named = Some(Whom::Named { kind: KIND, own });
        self.controls.iter().chain(&self.exchanges).for_each(|way| way.cut_off(named));
        self.exchanges[worker].cut_off(Some(Whom::All));
        self.workers[worker].cut_off(store.then_some(Whom::All));
    }

    /// Nobody is cut off any more.
    pub fn mend(&self) {
        let all = self.controls.iter().chain(&self.exchanges).chain(&self.workers);
        all.for_each(|way| way.cut_off(None));
    }

    /// What is bad about all ways to the store.
    pub fn to_store(&self, toxin: Toxin) {
        self.coordinators.iter().chain(&self.workers).for_each(|way| way.set(toxin));
    }
}

/// What a worker is called, of which there are fewer than ten.
fn name(worker: usize) -> String {
    format!("{KIND}{worker}")
}
