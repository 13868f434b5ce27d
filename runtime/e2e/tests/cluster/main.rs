//! Jobs on a cluster of real processes: spread over workers, whatever of it is killed, each record counts once, and each update of a
//! count leaves once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::broker::Broker;
use flow_e2e::cluster::Cluster;
use flow_e2e::counting::{PARTITIONS, counting, counts, records, to_topic, wanted};
use flow_e2e::flowd::{Flowd, counter, state};
use flow_e2e::minio::Minio;
use flow_e2e::topic;
use serde_json::Value;

/// How long a job may take to do something.
const PATIENCE: Duration = Duration::from_secs(90);

/// A job that counts the records of a topic into another one, exactly once, with checkpoints where the cluster has them. It has no end.
struct Counting<'a> {
    broker: &'a Broker,
    from: String,
    to: String,
    job: String,
}

impl Counting<'_> {
    fn start<'a>(broker: &'a Broker, coordinator: &Flowd) -> Counting<'a> {
        let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
        let pipeline = counting(broker, &from, "{interval: 200ms}", &to_topic(broker, &to, "exactly-once"));
        let pipeline = pipeline.replace("parallelism: 2", "parallelism: 4").replace(", stop: latest", "");
        let counting = Counting { broker, from, to, job: coordinator.deploy("counted", &pipeline) };
        counting.feed(0);
        counting
    }

    /// Writes the first or the second half of the records.
    fn feed(&self, half: usize) {
        let all = records();
        topic::write(self.broker, &self.from, all.chunks(all.len() / 2).nth(half).expect("there are two"));
    }

    /// Waits until all counts have left, and holds that each has done so once.
    #[track_caller]
    fn until_all(&self, cluster: &Cluster) {
        let (begun, wanted) = (Instant::now(), wanted());
        while counts(self.broker, &self.to) != wanted {
            if begun.elapsed() > PATIENCE {
                let told = cluster.coordinators.iter().map(|node| node.ctl(&["logs", &self.job]).stdout);
                panic!("counts are missing, or stand there twice\n{}\n{}", told.collect::<String>(), cluster.logs());
            }
        }
    }
}

/// How many subtasks each worker runs.
fn subtasks(cluster: &Cluster) -> Vec<u64> {
    let of = |worker: &Value| worker["running"][0]["subtasks"].as_u64().unwrap_or(0);
    cluster.workers().unwrap_or_default().iter().map(of).collect()
}

#[track_caller]
fn until(cluster: &Cluster, what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < PATIENCE, "{}", cluster.logs());
        sleep(Duration::from_millis(20));
    }
}

/// Checkpoints of a job that are complete.
fn completed(coordinator: &Flowd, job: &str) -> u64 {
    let description = coordinator.try_get(&format!("/jobs/{job}")).unwrap_or_default();
    let description: Value = serde_json::from_str(&description).unwrap_or_default();
    description["checkpoints"]["completed"].as_u64().unwrap_or(0)
}

#[test]
fn a_job_is_spread_over_workers() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let cluster = Cluster::new(minio, 1, &[2, 1, 1]);
    let coordinator = &cluster.coordinators[0];
    let counting = Counting::start(broker, coordinator);
    until(&cluster, || subtasks(&cluster).iter().all(|subtasks| *subtasks > 0));
    counting.feed(1);
    counting.until_all(&cluster);
    let description = coordinator.describe(&counting.job);
    assert_eq!(counter(&description, "counts", "records-in"), records().len() as u64, "of all workers together");
    let logged = coordinator.ctl(&["logs", &counting.job]).stdout;
    assert!(logged.contains("is placed on w"), "{logged}");
    assert_eq!(coordinator.ctl(&["cancel", &counting.job]).code, 0);
    assert_eq!(state(&coordinator.ended(&counting.job)), "canceled");
}

#[test]
fn a_killed_worker_is_replaced() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 1, &[2, 2, 2]);
    let counting = Counting::start(broker, &cluster.coordinators[0]);
    until(&cluster, || completed(&cluster.coordinators[0], &counting.job) > 1);
    let busy = subtasks(&cluster).iter().position(|subtasks| *subtasks > 0).expect("somebody runs it");
    cluster.workers[busy].kill();
    counting.feed(1);
    counting.until_all(&cluster);
}

#[test]
fn a_standby_takes_over_from_a_killed_leader() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 2, &[2, 2]);
    let leads = |node: &Flowd| node.log().contains("leads in term 1");
    let leader = cluster.coordinators.iter().position(leads).expect("one of them leads");
    let other = 1 - leader;
    // Whoever stands by answers for the leader.
    let counting = Counting::start(broker, &cluster.coordinators[other]);
    until(&cluster, || completed(&cluster.coordinators[other], &counting.job) > 1);
    cluster.coordinators[leader].kill();
    counting.feed(1);
    counting.until_all(&cluster);
}

#[test]
fn a_drained_worker_ends_and_others_go_on() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 1, &[2, 2, 2]);
    let counting = Counting::start(broker, &cluster.coordinators[0]);
    until(&cluster, || completed(&cluster.coordinators[0], &counting.job) > 1);
    cluster.workers[0].signal("TERM");
    let begun = Instant::now();
    while !cluster.workers[0].is_dead() {
        assert!(begun.elapsed() < PATIENCE, "{}", cluster.logs());
        sleep(Duration::from_millis(20));
    }
    cluster.until_there(2);
    counting.feed(1);
    counting.until_all(&cluster);
}
