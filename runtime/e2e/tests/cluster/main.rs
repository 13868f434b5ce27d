//! Jobs on a cluster of real processes: spread over workers, whatever of it is killed, each record counts once, and each update of a
//! count leaves once.

mod clocks;
mod failures;
mod load;
mod outages;
mod secure;
mod standby;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::broker::Broker;
use flow_e2e::cluster::Cluster;
use flow_e2e::counting::{PARTITIONS, counting, counts, records, to_topic, wanted};
use flow_e2e::flowd::{Flowd, counter, state};
use flow_e2e::minio::Minio;
use flow_e2e::topic;
use serde_json::{Value, json};

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
        Counting::start_with(broker, coordinator, 4)
    }

    fn start_with<'a>(broker: &'a Broker, coordinator: &Flowd, parallelism: u32) -> Counting<'a> {
        let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[]));
        let pipeline = counting(broker, &from, "{interval: 200ms}", &to_topic(broker, &to, "exactly-once"));
        let pipeline =
            pipeline.replace("parallelism: 2", &format!("parallelism: {parallelism}")).replace(", stop: latest", "");
        let counting = Counting { broker, from, to, job: coordinator.deploy("counted", &pipeline) };
        counting.feed(0);
        counting
    }

    /// Writes the first or the second half of the records.
    fn feed(&self, half: usize) {
        let all = records();
        topic::write(self.broker, &self.from, all.chunks(all.len() / 2).nth(half).expect("there are two"));
    }

    /// The counts that have left of each key. Where a key changes its subtask between two exchanges its counts pass each other.
    fn left(&self) -> BTreeMap<String, Vec<u64>> {
        let mut counts = counts(self.broker, &self.to);
        counts.values_mut().for_each(|counts| counts.sort_unstable());
        counts
    }

    /// Waits until all counts have left, and holds that each has done so once.
    #[track_caller]
    fn until_all(&self, cluster: &Cluster) {
        let (begun, wanted) = (Instant::now(), wanted());
        while self.left() != wanted {
            if begun.elapsed() > PATIENCE {
                let told = cluster.coordinators.iter().map(|node| node.ctl(&["logs", &self.job]).stdout);
                let found = self.left();
                let differs = wanted.iter().find(|(key, counts)| found.get(*key) != Some(*counts));
                let differs = differs.map(|(key, counts)| (key, counts.len(), found.get(key)));
                let told: String = told.collect();
                panic!("counts are missing, or stand there twice: {differs:?}\n{told}\n{}", cluster.logs());
            }
        }
    }
}

/// How many subtasks each worker runs that takes part.
fn subtasks(cluster: &Cluster) -> Vec<u64> {
    let of = |worker: &Value| worker["running"][0]["slots"].as_u64().unwrap_or(0);
    taking_part(cluster).iter().map(of).collect()
}

/// The workers that take part, by name. One of a busy machine may be silent for so long that it is given up, and comes back; and former
/// lives of those that were killed are told of too.
fn taking_part(cluster: &Cluster) -> Vec<Value> {
    let mut workers = cluster.workers().unwrap_or_default();
    workers.retain(|worker| worker["state"] != "lost");
    workers
}

/// Whether each worker takes part and runs something.
fn all_are_busy(cluster: &Cluster) -> bool {
    let subtasks = subtasks(cluster);
    subtasks.len() == cluster.workers.len() && subtasks.iter().all(|subtasks| *subtasks > 0)
}

/// Waits until all workers take part and one of them runs a part of a job: which one.
#[track_caller]
fn busy(cluster: &Cluster) -> usize {
    let is_whole = || taking_part(cluster).len() == cluster.workers.len();
    let begun = Instant::now();
    loop {
        if let Some(busy) = cluster.busy().filter(|_| is_whole()) {
            return busy;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody runs it\n{}", cluster.logs());
        sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn until(cluster: &Cluster, what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < PATIENCE, "{}", cluster.logs());
        sleep(Duration::from_millis(20));
    }
}

/// Waits until the workers that take part, by name, are in these states, with so many slots in use.
#[track_caller]
fn until_workers(cluster: &Cluster, wanted: &[(&str, &str, u64)]) {
    let is_so = || {
        let workers = taking_part(cluster);
        let is = |(worker, (name, state, used)): (&Value, &(&str, &str, u64))| {
            worker["name"] == *name && worker["state"] == *state && worker["slots"]["used"] == *used
        };
        workers.len() == wanted.len() && workers.iter().zip(wanted).all(is)
    };
    until(cluster, is_so);
}

/// Checkpoints of a job that are complete.
fn completed(coordinator: &Flowd, job: &str) -> u64 {
    let description = coordinator.ask(&format!("/jobs/{job}")).unwrap_or_default();
    description["checkpoints"]["completed"].as_u64().unwrap_or(0)
}

#[test]
fn a_job_is_spread_over_workers() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let cluster = Cluster::new(minio, 1, &[2, 1, 1]);
    let coordinator = &cluster.coordinators[0];
    let counting = Counting::start(broker, coordinator);
    until(&cluster, || all_are_busy(&cluster));
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
    let busy = busy(&cluster);
    cluster.workers[busy].kill();
    counting.feed(1);
    counting.until_all(&cluster);
}

#[test]
fn a_standby_takes_over_from_a_killed_leader() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 2, &[2, 2]);
    let leader = cluster.leader().expect("one of them leads");
    let other = 1 - leader;
    // Whoever stands by answers for the leader.
    let counting = Counting::start(broker, &cluster.coordinators[other]);
    until(&cluster, || completed(&cluster.coordinators[other], &counting.job) > 1);
    cluster.coordinators[leader].kill();
    counting.feed(1);
    counting.until_all(&cluster);
}

#[test]
fn a_worker_is_drained_and_kept() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 1, &[2, 2, 2]);
    let coordinator = &cluster.coordinators[0];
    let counting = Counting::start(broker, coordinator);
    until(&cluster, || completed(coordinator, &counting.job) > 1);
    let running = format!("  {} (", counting.job);
    until(&cluster, || {
        let table = coordinator.ctl(&["workers"]).stdout;
        table.starts_with("NAME  STATE   SLOTS  RUNNING") && table.contains(&running)
    });
    until(&cluster, || {
        let called = coordinator.ctl(&["drain", "w0", "--wait"]);
        // One that is given up meanwhile comes back, and is drained again.
        let may_be = called.stderr.contains("was not heard of any more") || called.stderr.contains("\"w0\" is lost");
        assert!(called.code == 0 || may_be, "{}\n{}", called.stderr, cluster.logs());
        called.stdout == "w0 drained\n"
    });
    counting.feed(1);
    counting.until_all(&cluster);
    until_workers(&cluster, &[("w0", "drained", 0), ("w1", "active", 2), ("w2", "active", 2)]);
    // Again it says what is so.
    assert_eq!(coordinator.ctl(&["drain", "w0"]).stdout, "w0 drained\n");
    // By its name in another life too, whatever the former one was called.
    cluster.workers[1].kill();
    until(&cluster, || taking_part(&cluster).len() == 2);
    let lost = coordinator.ctl(&["drain", "w1"]);
    assert!(lost.code == 4 && lost.stderr.contains("is lost"), "{} {}", lost.code, lost.stderr);
    cluster.workers[1].start_again();
    until_workers(&cluster, &[("w0", "drained", 0), ("w1", "active", 2), ("w2", "active", 2)]);
    assert_eq!(coordinator.ctl(&["drain", "w1"]).code, 0);
    let unknown = coordinator.ctl(&["drain", "nobody"]);
    assert!(unknown.code == 4 && unknown.stderr.contains("`flowctl workers` shows"), "{}", unknown.stderr);
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

#[test]
fn a_job_is_scaled_up_and_down_while_it_runs() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let mut cluster = Cluster::new(minio, 1, &[3]);
    let counting = Counting::start_with(broker, &cluster.coordinators[0], 3);
    let scale = |cluster: &Cluster, wanted: Value| {
        cluster.coordinators[0].post(&format!("/jobs/{}/scale", counting.job), &wanted)
    };
    // Not while it begins again.
    let until_scaled = |cluster: &Cluster, wanted: Value| until(cluster, || scale(cluster, wanted.clone()).is_ok());
    until(&cluster, || completed(&cluster.coordinators[0], &counting.job) > 1);
    let refused = scale(&cluster, json!({"parallelism": {"count": 4}})).expect_err("there is no such operator");
    assert!(refused.message.contains("no \"count\""), "{refused:?}");
    until_scaled(&cluster, json!({"parallelism": {"counts": 1}}));
    let parallelism = |cluster: &Cluster| {
        let plan = cluster.coordinators[0].ask(&format!("/jobs/{}/plan", counting.job)).expect("a plan");
        let of = |task: &Value| task["name"].as_str().is_some_and(|name| name.contains("counts"));
        plan["tasks"].as_array().and_then(|tasks| tasks.iter().find(|task| of(task))).expect("it counts")["parallelism"]
            .clone()
    };
    assert_eq!(parallelism(&cluster), 1);
    counting.feed(1);
    // It waits for slots, and gets those of a worker that is added.
    until_scaled(&cluster, json!({"all": 5}));
    assert_eq!(parallelism(&cluster), 5);
    cluster.add_worker("late", 2);
    counting.until_all(&cluster);
    until(&cluster, || subtasks(&cluster) == [3, 2] || subtasks(&cluster) == [2, 3]);
}
