//! Output that is confirmed and can't be written: its topic takes less than it did, it is gone, the Kafka cluster is another one. The
//! job fails by name; a person says what becomes of it, and then all goes on, each record once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use flow_e2e::broker::{Broker, TEN, wait};
use flow_e2e::flowd::{Flowd, state};
use flow_e2e::topic::{Record, Topic, write};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::settle::head;
use crate::{PARTITIONS, to_topic};

/// One of the records is as long.
const LONG: usize = 100_000;
const RECORDS: usize = 100;

/// From a topic to a topic as it is; a checkpoint when somebody asks, and the first.
fn pipeline(broker: &Broker, from: &str, to: &str) -> String {
    format!(
        "checkpoint: {{interval: 1h}}\n\
         restart: {{pause: 20ms, attempts: 3}}\n\
         sources:\n  in: {{kafka: {{brokers: '{}', topic: {from}}}}}\n\
         sinks:\n  out: {{{}, from: in}}\n",
        broker.address,
        to_topic(broker, to, "exactly-once")
    )
}

fn records(from: usize, long: Option<usize>) -> Vec<Record> {
    // What is long must not become short by being compressed.
    let mut random = fastrand::Rng::with_seed(1);
    let mut noise = || (0..LONG).map(|_| random.alphanumeric()).collect::<String>();
    let mut value = |n: usize| if Some(n) == long { format!("{n} {}", noise()) } else { n.to_string() };
    (from..from + RECORDS).map(|n| Record::new(Some(&n.to_string()), Some(&value(n)))).collect()
}

/// The number that a record begins with.
fn number(record: &Record) -> usize {
    record.text().split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// The numbers in a topic, which are exactly so many.
#[track_caller]
fn numbers(broker: &Broker, topic: &str, partitions: i32, n: usize) -> Vec<usize> {
    let all = Topic::open(broker, topic, partitions).exactly(n);
    let mut all: Vec<usize> = all.iter().map(|(_, record)| number(record)).collect();
    all.sort_unstable();
    all
}

/// Waits until the source has given so many records in this attempt, and takes a checkpoint; the daemon may die of it.
fn checkpoint(flowd: &Flowd, job: &str, given: u64) {
    flowd.until(job, |description| {
        let all = description["operators"].as_array().expect("a list");
        all.iter().any(|one| one["operator"] == "in" && one["records-out"].as_u64() >= Some(given))
    });
    _ = flowd.post(&format!("/jobs/{job}/checkpoints"), &Value::Null);
}

/// A job whose daemon dies when the output of its third checkpoint is confirmed and not written; the second one's is. Back again.
fn with_output_owed(broker: &Broker, name: &str, long: Option<usize>, meanwhile: impl FnOnce(&str)) -> Owing {
    let flowd = Flowd::with_env(&[("FLOW_FAILPOINT", "confirmed=kill:3")]);
    let (from, to) = (broker.topic(PARTITIONS, &[]), broker.topic(1, &[]));
    let pipeline = pipeline(broker, &from, &to);
    write(broker, &from, &records(0, None));
    let job = flowd.deploy(name, &pipeline);
    checkpoint(&flowd, &job, RECORDS as u64);
    assert_eq!(numbers(broker, &to, 1, RECORDS), (0..RECORDS).collect::<Vec<_>>());
    write(broker, &from, &records(RECORDS, long));
    checkpoint(&flowd, &job, 2 * RECORDS as u64);
    let mut owing = Owing { flowd, name: name.to_owned(), pipeline, from, to, job };
    owing.dies();
    meanwhile(&owing.to);
    owing.flowd.set_env("FLOW_FAILPOINT", "");
    owing.flowd.start_again();
    owing
}

struct Owing {
    flowd: Flowd,
    name: String,
    pipeline: String,
    from: String,
    to: String,
    job: String,
}

impl Owing {
    /// Waits until the daemon has died.
    #[track_caller]
    fn dies(&mut self) {
        let begun = Instant::now();
        while !self.flowd.is_dead() {
            assert!(begun.elapsed() < 3 * TEN, "it dies\n{}", self.flowd.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a job has failed, for a reason with all of these.
    #[track_caller]
    fn fails(&self, job: &str, parts: &[&str]) {
        let ended = self.flowd.ended(job);
        assert_eq!(state(&ended), "failed", "{ended:#}");
        let failure = ended["error"].as_str().expect("text");
        for part in parts {
            assert!(failure.contains(part), "{part} in: {failure}");
        }
    }

    #[track_caller]
    fn begin(&self, start: Value) -> String {
        self.flowd.deploy_from(&self.name, &self.pipeline, &start).expect("it may be tried")
    }

    fn log(&self, job: &str) -> String {
        self.flowd.ctl(&["logs", job]).stdout
    }
}

fn lower_limit(broker: &Broker, topic: &str) {
    let lowered = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", "20000");
    let lowered = wait(broker.admin().alter_configs(&[lowered], &AdminOptions::new())).expect("the broker answers");
    assert!(lowered.iter().all(Result::is_ok), "{lowered:?}");
}

#[test]
fn what_its_topic_refuses_is_settled_as_a_dead_letter() {
    let broker = Broker::shared();
    let long = RECORDS + 42;
    let owing = with_output_owed(broker, "refused", Some(long), |to| lower_limit(broker, to));
    owing.fails(
        &owing.job,
        &[
            &owing.to,
            "raise `max.message.bytes`",
            "flowctl sink settle FILE --dead-letter TOPIC, with the file of refused",
        ],
    );
    // Neither a new life nor the last one's rest gets past it.
    let former = ["output of the former life of the job is confirmed and can't be written", "--abandon-output"];
    owing.fails(&owing.begin(json!({"from": {"checkpoint": {}}})), &[former[0], former[1], &owing.to]);
    owing.fails(&owing.begin(json!({"settle": {}})), &[former[0], &owing.to]);
    owing.fails(
        &owing.begin(json!({"settle": {"dead-letter": "nowhere"}})),
        &["\"nowhere\" for dead letters does not exist"],
    );
    let dead = broker.topic(1, &[("max.message.bytes", "1000000")]);
    let settled = owing.begin(json!({"settle": {"dead-letter": dead}}));
    owing.flowd.finished(&settled);
    assert!(owing.log(&settled).contains("what is refused goes to"), "{}", owing.log(&settled));
    let (_, letter) = Topic::open(broker, &dead, 1).exactly(1).remove(0);
    assert_eq!((number(&letter), letter.text().len() > LONG), (long, true));
    let reason = letter.headers.iter().find(|(name, _)| name.ends_with("reason")).expect("it says why");
    let reason = String::from_utf8_lossy(reason.1.as_deref().unwrap_or_default()).into_owned();
    assert!(reason.contains(&owing.to), "{reason}");
    let all: Vec<usize> = (0..2 * RECORDS).filter(|n| *n != long).collect();
    assert_eq!(numbers(broker, &owing.to, 1, all.len()), all);
    // Settled once for all.
    let refused =
        owing.flowd.deploy_from(&owing.name, &owing.pipeline, &json!({"settle": {}})).expect_err("nothing is owed");
    assert!(refused.status == 409 && refused.message.contains("all of its output is written"), "{refused:?}");
    // And the next life goes on behind it.
    let job = owing.begin(json!({"from": {"checkpoint": {}}}));
    write(broker, &owing.from, &records(2 * RECORDS, None));
    checkpoint(&owing.flowd, &job, RECORDS as u64);
    let all: Vec<usize> = (0..3 * RECORDS).filter(|n| *n != long).collect();
    assert_eq!(numbers(broker, &owing.to, 1, all.len()), all);

    // A topic that is gone: all that was for it.
    let owing = with_output_owed(broker, "gone", None, |to| broker.delete(to));
    owing.fails(&owing.job, &[&owing.to, "create it, or correct `topic`"]);
    let dead = broker.topic(1, &[]);
    owing.flowd.finished(&owing.begin(json!({"settle": {"dead-letter": dead}})));
    assert_eq!(numbers(broker, &dead, 1, RECORDS), (RECORDS..2 * RECORDS).collect::<Vec<_>>());
}

/// Has the progress topic say that the lane of a job has written all that its last checkpoint carries.
fn says_that_all_is_written(broker: &Broker, owing: &Owing) {
    let head = head(&owing.flowd, &owing.name);
    let (incarnation, checkpoint) = (head["incarnation"].as_str().expect("text"), &head["latest"]);
    let key = format!("progress/{incarnation}/out/0");
    let value = json!({"format": 1, "checkpoint": checkpoint, "part": u32::MAX}).to_string();
    let producer: BaseProducer = broker.client().create().expect("a producer");
    let topic = format!("flow-progress.{}.out", owing.name);
    producer.send(BaseRecord::to(&topic).partition(0).key(&key).payload(&value)).expect("room");
    producer.flush(TEN).expect("it is stored");
}

#[test]
fn another_kafka_has_to_be_meant() {
    let broker = Broker::shared();
    let owing = with_output_owed(broker, "moved", None, |_| broker.delete("flow-progress.moved.out"));
    owing
        .fails(&owing.job, &["out", "the progress topic says that nothing is written", "deploy with --reset-progress"]);
    owing
        .fails(&owing.begin(json!({"from": {"checkpoint": {}}})), &["the progress topic says that nothing is written"]);
    assert_eq!(numbers(broker, &owing.to, 1, RECORDS).len(), RECORDS, "nothing was written by chance");
    let job = owing.begin(json!({"from": {"checkpoint": {}}, "reset-progress": true}));
    owing.flowd.until(&job, |d| state(d) == "running" && d["checkpoints"]["restored"].is_string());
    assert_eq!(numbers(broker, &owing.to, 1, 2 * RECORDS), (0..2 * RECORDS).collect::<Vec<_>>());
    let log = owing.log(&job);
    assert!(log.contains("--reset-progress") && log.contains("may be written twice"), "it is loud: {log}");
    write(broker, &owing.from, &records(2 * RECORDS, None));
    checkpoint(&owing.flowd, &job, RECORDS as u64);
    assert_eq!(numbers(broker, &owing.to, 1, 3 * RECORDS), (0..3 * RECORDS).collect::<Vec<_>>());
    owing.flowd.ctl(&["cancel", &job]);
    owing.flowd.ended(&job);

    // The copy of a progress topic comes with it, which is ahead of the copy of the output.
    let owing = with_output_owed(broker, "mirrored", None, |_| broker.delete("flow-progress.mirrored.out"));
    owing.fails(&owing.job, &["the progress topic says that nothing is written"]);
    says_that_all_is_written(broker, &owing);
    let job = owing.begin(json!({"from": {"checkpoint": {}}, "reset-progress": true}));
    owing.flowd.until(&job, |d| state(d) == "running" && d["checkpoints"]["restored"].is_string());
    assert_eq!(numbers(broker, &owing.to, 1, 2 * RECORDS), (0..2 * RECORDS).collect::<Vec<_>>());
    owing.flowd.ctl(&["cancel", &job]);
    owing.flowd.ended(&job);

    // Given up: what was owed never leaves.
    let owing = with_output_owed(broker, "given-up", None, |_| broker.delete("flow-progress.given-up.out"));
    owing.fails(&owing.job, &["the progress topic says that nothing is written"]);
    let job = owing.begin(json!({"from": {"checkpoint": {}}, "abandon-output": true}));
    write(broker, &owing.from, &records(2 * RECORDS, None));
    checkpoint(&owing.flowd, &job, RECORDS as u64);
    let all: Vec<usize> = (0..RECORDS).chain(2 * RECORDS..3 * RECORDS).collect();
    assert_eq!(numbers(broker, &owing.to, 1, all.len()), all);
    let log = owing.log(&job);
    assert!(log.contains("is given up"), "it is loud: {log}");
}

/// Waits until all of it has been written once, and the next life runs.
#[track_caller]
fn goes_on_with_each_once(broker: &Broker, owing: &Owing) {
    let restored = |d: &Value| state(d) == "running" && d["checkpoints"]["restored"].is_string();
    owing.flowd.until(&owing.name, restored);
    assert_eq!(numbers(broker, &owing.to, 1, 2 * RECORDS), (0..2 * RECORDS).collect::<Vec<_>>());
}

#[test]
fn what_is_written_to_another_kafka_counts_there() {
    let broker = Broker::shared();
    let start = json!({"from": {"checkpoint": {}}, "reset-progress": true});
    let lost = |name: &str, failpoint: &str| {
        let topic = format!("flow-progress.{name}.out");
        let mut owing = with_output_owed(broker, name, None, |_| broker.delete(&topic));
        owing.fails(&owing.job, &["the progress topic says that nothing is written"]);
        owing.flowd.kill();
        owing.flowd.set_env("FLOW_FAILPOINT", failpoint);
        owing.flowd.start_again();
        owing
    };
    // The daemon dies when it is written, before HEAD says that the next life begins.
    let mut owing = lost("died", "committed=kill");
    // It may die before it answers.
    _ = owing.flowd.deploy_from(&owing.name, &owing.pipeline, &start);
    owing.dies();
    owing.flowd.set_env("FLOW_FAILPOINT", "");
    owing.flowd.start_again();
    goes_on_with_each_once(broker, &owing);

    // The lane has not told that it is written when its job is canceled, and deployed again like that.
    let owing = lost("twice", "committed=delay:20000");
    let job = owing.begin(start.clone());
    assert_eq!(numbers(broker, &owing.to, 1, 2 * RECORDS).len(), 2 * RECORDS);
    owing.flowd.ctl(&["cancel", &job]);
    assert_eq!(state(&owing.flowd.ended(&job)), "canceled");
    owing.begin(start);
    goes_on_with_each_once(broker, &owing);
}
