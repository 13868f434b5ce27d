//! Kafka or the store is away for two minutes: nothing is lost, nobody is asked, and the job goes on by itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::broker::{Broker, free_port};
use flow_e2e::cluster::Cluster;
use flow_e2e::minio::Minio;

use crate::failures::Line;

/// How long each is away.
const AWAY: Duration = Duration::from_secs(120);

#[test]
#[ignore = "stands still for two minutes"]
fn kafka_is_away_for_two_minutes() {
    let (broker, minio) = (Broker::start(free_port()), Minio::shared());
    let cluster = Cluster::new(minio, 2, &[2, 2]);
    let mut line = Line::start(&broker, &cluster.coordinators[0]);
    line.probe(&cluster);
    broker.kill();
    sleep(AWAY);
    broker.start_again();
    let back = Instant::now();
    let [exact, _] = line.probe(&cluster);
    println!("Kafka was away for {AWAY:?}: first new output {exact:.1?} after it was back ({:.1?})", back.elapsed());
    line.under_load(|line| line.probe(&cluster));
    line.until_all(&cluster);
}

#[test]
#[ignore = "stands still for two minutes"]
fn the_store_is_away_for_two_minutes() {
    let (broker, minio) = (Broker::shared(), Minio::start());
    let cluster = Cluster::new(&minio, 2, &[2, 2]);
    let mut line = Line::start(broker, &cluster.coordinators[0]);
    line.under_load(|line| {
        line.probe(&cluster);
        minio.kill();
        sleep(AWAY);
        minio.start_again();
        let [exact, fast] = line.probe(&cluster);
        println!(
            "the store was away for {AWAY:?}: first new output {exact:.1?} after it was back (at least once {fast:.1?})"
        );
    });
    line.until_all(&cluster);
}
