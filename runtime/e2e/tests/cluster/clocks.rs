//! Nodes whose clocks are an hour off, each another way: time of day decides nothing.

use std::time::Duration;

use flow_e2e::broker::Broker;
use flow_e2e::cluster::{Cluster, Options};
use flow_e2e::flowd::Flowd;
use flow_e2e::minio::Minio;
use flow_e2e::shifted::HOUR;

use crate::failures::Line;
use crate::{busy, until};

/// An hour ahead, or behind.
fn off(name: &str) -> i64 {
    match name {
        "w0" | "c1" => HOUR,
        "w1" => -HOUR,
        _ => 0,
    }
}

/// What a node has said of its clock.
fn warnings(node: &Flowd) -> usize {
    node.log().matches("the clock of this machine is 1 h 0 min").count()
}

#[test]
fn clocks_that_are_an_hour_off_cost_nothing() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    // Certificates are of this hour.
    let mut cluster = Cluster::with(minio, 2, &[2, 2], Options { tls: true, clocks: Some(off), ..Options::default() });
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        let at = busy(&cluster);
        cluster.workers[at].kill();
        cluster.workers[at].start_again();
        cluster.until_there(2);
        line.probe(&cluster);
        // Each of them has led when it is over.
        for _ in 0..2 {
            let leader = cluster.leader().expect("somebody leads");
            cluster.coordinators[leader].kill();
            line.probe(&cluster);
            told(&cluster.coordinators[1 - leader], &cluster);
            cluster.coordinators[leader].start_again();
            cluster.until_there(2);
        }
    });
    line.until_all(&cluster);
    assert_eq!(warnings(&cluster.coordinators[0]), 0, "{}", cluster.logs());
    for node in [&cluster.coordinators[1], &cluster.workers[0], &cluster.workers[1]] {
        // One for each life of its process.
        assert!((1..=2).contains(&warnings(node)), "{}", node.log());
    }
}

/// What a leader tells of workers and jobs can be read, whoever wrote the times that it is about.
fn told(leader: &Flowd, cluster: &Cluster) {
    until(cluster, || leader.ctl(&["workers"]).code == 0);
    for arguments in
        [&["workers"][..], &["list"], &["describe", "line"], &["checkpoint", "list", "line"], &["logs", "line"]]
    {
        let called = leader.ctl(arguments);
        assert_eq!(called.code, 0, "{arguments:?}: {}", called.stderr);
    }
    let age = |line: &str| line.strip_prefix("flow_checkpoint_age_seconds{")?.split_once("} ")?.1.parse::<f64>().ok();
    let metrics = leader.get("/metrics");
    let ages: Vec<f64> = metrics.lines().filter_map(age).collect();
    let longest = Duration::from_secs(2 * HOUR.unsigned_abs()).as_secs_f64();
    assert!(ages.iter().all(|age| (0.0..longest).contains(age)), "{ages:?}");
}
