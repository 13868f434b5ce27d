//! Much at once, and nothing at all: jobs without slots, many jobs, long pipelines, idle nodes.

use std::thread;
use std::time::{Duration, Instant};

use flow_e2e::cluster::Cluster;
use flow_e2e::flowd::state;
use flow_e2e::minio::Minio;
use serde_json::{Value, json};

use crate::{completed, until};

/// A job without an end that takes checkpoints and writes nothing.
pub fn idle(name: &str, parallelism: u32) -> String {
    format!(
        "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\nparallelism: {parallelism}\ncheckpoint: {{interval: 1s}}\n\
         sources:\n  in: {{generator: {{rate: 10}}}}\nsinks:\n  out: {{blackhole: {{}}, from: in}}\n"
    )
}

#[test]
fn a_job_without_slots_waits_and_says_for_what() {
    let mut cluster = Cluster::new(Minio::shared(), 1, &[1]);
    let job = cluster.coordinators[0].submit_text("wide", &idle("wide", 3)).expect("it is accepted");
    until(&cluster, || cluster.coordinators[0].ctl(&["logs", &job]).stdout.contains("waits: it needs 3 slots"));
    assert_eq!(completed(&cluster.coordinators[0], &job), 0);
    let asked = cluster.coordinators[0].ctl(&["checkpoint", "now", &job]);
    assert!(asked.code == 4 && asked.stderr.contains("it needs 3 slots"), "{} {}", asked.code, asked.stderr);
    cluster.add_worker("more", 2);
    until(&cluster, || completed(&cluster.coordinators[0], &job) > 0);
    assert_eq!(cluster.coordinators[0].ctl(&["cancel", &job]).code, 0);
    assert_eq!(state(&cluster.coordinators[0].ended(&job)), "canceled");
}

#[test]
fn two_hundred_jobs_at_once() {
    const JOBS: usize = 200;
    let cluster = Cluster::new(Minio::shared(), 1, &[4]);
    let coordinator = &cluster.coordinators[0];
    let begun = Instant::now();
    let submit = |thread: usize| {
        let numbers = (thread..JOBS).step_by(8).map(|number| format!("job-{number}"));
        numbers
            .map(|name| coordinator.submit_text(&name, &idle(&name, 1)).expect("it is accepted"))
            .collect::<Vec<String>>()
    };
    let jobs: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || submit(number))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("all were accepted")).collect()
    });
    println!("{JOBS} jobs were accepted in {:?}", begun.elapsed());
    assert_eq!(jobs.len(), JOBS);
    // Those that have slots run, and whoever of them goes makes room for another one.
    let running = || jobs.iter().filter(|job| completed(coordinator, job) > 0).cloned().collect::<Vec<String>>();
    until(&cluster, || running().len() >= 4);
    let first = running();
    first.iter().for_each(|job| assert_eq!(coordinator.ctl(&["cancel", job]).code, 0));
    until(&cluster, || running().iter().filter(|job| !first.contains(job)).count() >= 4);
    let listed = coordinator.ask("/jobs").expect("a list");
    assert!(listed["jobs"].as_array().is_some_and(|jobs| jobs.len() == JOBS), "{listed}");
}

#[test]
fn five_hundred_operators() {
    let cluster = Cluster::new(Minio::shared(), 1, &[2]);
    let operator = |n: usize| {
        let from = if n == 0 { "in".to_owned() } else { format!("o{}", n - 1) };
        format!("  o{n}: {{component: '{{plugins}}/identity.wasm', from: {from}}}\n")
    };
    let operators: String = (0..500).map(operator).collect();
    let pipeline = format!(
        "checkpoint: {{interval: 1s}}\nsources:\n  in: {{generator: {{count: 100}}}}\noperators:\n{operators}\
         sinks:\n  out: {{blackhole: {{}}, from: o499}}\n"
    );
    let job = cluster.coordinators[0].deploy("long", &pipeline);
    let ended = cluster.coordinators[0].finished(&job);
    assert_eq!(flow_e2e::flowd::counter(&ended, "out", "records-in"), 100);
}

#[test]
fn a_thousand_subtasks_are_scheduled() {
    let cluster = Cluster::new(Minio::shared(), 1, &[250]);
    let coordinator = &cluster.coordinators[0];
    let job = coordinator.submit_text("broad", &broad()).expect("it is accepted");
    let begun = Instant::now();
    until(&cluster, || completed(coordinator, &job) > 0);
    println!("first checkpoint of 1,000 subtasks after {:?}", begun.elapsed());
    println!("{}", coordinator.ctl(&["logs", &job]).stdout);
    assert_eq!(coordinator.ctl(&["cancel", &job]).code, 0);
}

/// Four tasks of 250 subtasks each, one behind the other.
fn broad() -> String {
    "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: broad}\nparallelism: 250\ncheckpoint: {interval: 1s}\nsources:\n  \
     a: {generator: {rate: 1}}\n  b: {generator: {rate: 1}}\n  c: {generator: {rate: 1}}\n  d: {generator: {rate: 1}}\n\
     sinks:\n  wa: {blackhole: {}, from: a}\n  wb: {blackhole: {}, from: b}\n  wc: {blackhole: {}, from: c}\n  \
     wd: {blackhole: {}, from: d}\n"
        .to_owned()
}

#[test]
fn an_idle_worker_takes_little() {
    let cluster = Cluster::new(Minio::shared(), 1, &[4]);
    let worker = &cluster.workers[0];
    thread::sleep(Duration::from_secs(1));
    let (before, begun) = (worker.cpu(), Instant::now());
    thread::sleep(Duration::from_secs(5));
    let share = (worker.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let resident = worker.resident();
    println!("an idle worker: {} MB resident, {:.2} % of a core", resident / 1_000_000, share * 100.0);
    assert!(resident < 60_000_000, "{resident} bytes are resident");
    // The clock of the system counts in hundredths of a second.
    assert!(share < 0.02, "{share} of a core");
}

#[test]
fn each_node_tells_prometheus_of_itself() {
    let mut cluster = Cluster::new(Minio::shared(), 1, &[1]);
    let metrics = format!("127.0.0.1:{}", flow_e2e::broker::free_port());
    cluster.add_worker_with("told", 2, &["--metrics", &metrics]);
    let job = cluster.coordinators[0].submit_text("spread", &shuffled()).expect("it is accepted");
    until(&cluster, || completed(&cluster.coordinators[0], &job) > 0);
    for line in [
        "flow_coordinator_leads 1",
        r#"flow_worker_slots{worker="told",state="used"} 2"#,
        r#"flow_job_attempt{pipeline="shuffled"} "#,
    ] {
        until(&cluster, || cluster.coordinators[0].get("/metrics").lines().any(|found| found.starts_with(line)));
    }
    let of_worker = || flow_e2e::rest::text(&format!("http://{metrics}/metrics"));
    // One of them has the subtask that gives to the other's.
    let moved = |line: &str| {
        let line = line.strip_prefix("flow_exchange_sent_bytes").or(line.strip_prefix("flow_exchange_received_bytes"));
        let bytes = line.and_then(|line| line.strip_prefix(r#"_total{peer="w0"} "#)?.parse::<f64>().ok());
        bytes.is_some_and(|bytes| bytes > 0.0)
    };
    until(&cluster, || of_worker().lines().any(moved));
    let of_worker = of_worker();
    assert!(of_worker.contains(r#"flow_exchange_credit_bytes{peer="w0"}"#), "{of_worker}");
}

/// Each of three subtasks sends to each of three others.
fn shuffled() -> String {
    "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {name: shuffled}\nparallelism: 3\ncheckpoint: {interval: 200ms}\nsources:\n  \
     in: {generator: {rate: 1000}, parallelism: 2}\nsinks:\n  out: {blackhole: {}, from: in}\n"
        .to_owned()
}

#[test]
fn a_cluster_says_no_in_words() {
    let cluster = Cluster::new(Minio::shared(), 1, &[1]);
    let coordinator = &cluster.coordinators[0];
    let plain = idle("plain", 1).replace("checkpoint: {interval: 1s}\n", "");
    let refused = coordinator.submit_text("plain", &plain).expect_err("it takes no checkpoints");
    assert!(refused.message.contains("a cluster runs jobs with checkpoints only"), "{refused:?}");
    let refused = coordinator.post("/workers/nobody/drain", &Value::Null).expect_err("there is none");
    assert!(refused.message.contains("nobody"), "{refused:?}");
    let refused = coordinator.post("/jobs/nothing/scale", &json!({"all": 2})).expect_err("there is none");
    assert!(refused.message.contains("nothing"), "{refused:?}");
}
