//! Lives of a job that writes to Kafka exactly once, one after the other and side by side: from a savepoint, from the last checkpoint,
//! at another width. Checkpoints go to a real S3 store. Readers of committed records find each number of each key once.

use std::collections::BTreeMap;
use std::time::Duration;

use flow_e2e::broker::Broker;
use flow_e2e::chaos::oracle::Oracle;
use flow_e2e::flowd::{Flowd, state};
use flow_e2e::minio::Minio;
use flow_e2e::topic::{self, Record, Topic};
use serde_json::{Value, json};

use crate::{PARTITIONS, to_topic};

const KEYS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic that numbers are written to, key by key.
pub struct Stream<'a> {
    broker: &'a Broker,
    pub topic: String,
    next: BTreeMap<u64, u64>,
    pub fed: u64,
}

impl<'a> Stream<'a> {
    pub fn new(broker: &'a Broker) -> Stream<'a> {
        Stream { broker, topic: broker.topic(PARTITIONS, &[]), next: BTreeMap::new(), fed: 0 }
    }

    /// So many more.
    pub fn feed(&mut self, n: u64) {
        let records: Vec<Record> = (self.fed..self.fed + n)
            .map(|n| {
                let next = self.next.entry(n % KEYS).or_default();
                let number = next.to_string();
                *next += 1;
                Record::new(Some(&format!("k{}", n % KEYS)), Some(&number))
            })
            .collect();
        topic::write(self.broker, &self.topic, &records);
        self.fed += n;
    }
}

/// Where a job writes: as it came, and counted.
struct Out<'a> {
    broker: &'a Broker,
    topics: [String; 2],
    ids: Oracle,
    counts: Oracle,
}

impl<'a> Out<'a> {
    fn new(broker: &'a Broker) -> Out<'a> {
        let topics = [broker.topic(PARTITIONS, &[]), broker.topic(PARTITIONS, &[])];
        let (ids, counts) = (Oracle::open(broker, &topics[0], 0), Oracle::open(broker, &topics[1], 1));
        Out { broker, topics, ids, counts }
    }

    fn pipeline(&self, from: &str, checkpoint: &str, parallelism: u32) -> String {
        let [ids, counts] = self.topics.each_ref().map(|topic| to_topic(self.broker, topic, "exactly-once"));
        format!(
            "parallelism: {parallelism}\n\
             checkpoint: {checkpoint}\n\
             sources:\n  in: {{kafka: {{brokers: '{}', topic: {from}}}}}\n\
             operators:\n  as-it-came: {{component: '{{plugins}}/identity.wasm', from: in}}\n  \
             counted: {{component: '{{plugins}}/counter.wasm', from: as-it-came, key: $key, config: {{format: number}}}}\n\
             sinks:\n  ids: {{{ids}, from: as-it-came}}\n  counts: {{{counts}, from: counted}}\n",
            self.broker.address
        )
    }

    /// Waits until all that was fed has left, each record and each count once.
    #[track_caller]
    fn exact(&mut self, flowd: &Flowd, fed: u64) {
        for (what, oracle) in [("ids", &mut self.ids), ("counts", &mut self.counts)] {
            assert!(oracle.until(fed, PATIENCE), "{what}: {} of {fed}\n{}", oracle.reached(), flowd.log());
            assert_eq!((oracle.missing, oracle.duplicated, oracle.wrong), (0, 0, 0), "{what}");
        }
    }

    /// The same, and nothing else comes.
    #[track_caller]
    fn exact_to_the_end(&mut self, flowd: &Flowd, fed: u64) {
        self.exact(flowd, fed);
        for oracle in [&mut self.ids, &mut self.counts] {
            oracle.rest();
            assert_eq!((oracle.reached(), oracle.duplicated), (fed, 0));
        }
    }
}

fn from(job: &str, name: &str) -> Value {
    json!({"from": {"savepoint": {"job": job, "name": name}}})
}

/// Waits for the end after it was told to stop.
#[track_caller]
fn canceled(flowd: &Flowd, job: &str) {
    flowd.ctl(&["cancel", job]);
    let ended = flowd.ended(job);
    assert_eq!(state(&ended), "canceled", "{ended:#}");
}

#[test]
fn each_record_leaves_once_over_the_lives_of_a_job() {
    let (broker, minio) = (Broker::shared(), Minio::shared());
    let flowd = Flowd::with_env(&Minio::environment());
    let (bucket, endpoint) = (minio.bucket(), minio.endpoint());
    let checkpoint =
        format!("{{interval: 200ms, to: 's3://{bucket}/flow', endpoint: '{endpoint}', region: us-east-1}}");
    let (mut stream, mut out) = (Stream::new(broker), Out::new(broker));
    let pipeline = |out: &Out<'_>, width, topic: &str| out.pipeline(topic, &checkpoint, width);
    stream.feed(1000);
    let job = flowd.deploy("lives", &pipeline(&out, 2, &stream.topic));
    out.exact(&flowd, stream.fed);

    // In the middle of a stream, to a wider one.
    stream.feed(3000);
    let taken = flowd.savepoint(&job, "wider", true);
    assert_eq!(taken["state"], "completed", "{taken:#}");
    assert_eq!(state(&flowd.ended(&job)), "canceled");
    let job = flowd.deploy_from("lives", &pipeline(&out, 3, &stream.topic), &from("lives", "wider")).expect("it fits");
    stream.feed(500);
    out.exact(&flowd, stream.fed);

    // While one goes on, another one of another name begins where it was.
    stream.feed(2000);
    let taken = flowd.savepoint(&job, "here", false);
    assert_eq!(taken["state"], "completed", "{taken:#}");
    let detail = flowd.ask("/jobs/lives/savepoints/here").expect("it is there");
    let source = detail["nodes"].as_array().expect("a list").iter().find(|node| node["name"] == "in").cloned();
    let splits = source.expect("it is one")["splits"].as_array().expect("a list").clone();
    let at: u64 = splits.iter().map(|split| split["next"].as_u64().expect("an offset")).sum();
    let other = Out::new(broker);
    let clone =
        flowd.deploy_from("clone", &pipeline(&other, 1, &stream.topic), &from("lives", "here")).expect("it fits");
    stream.feed(500);
    out.exact(&flowd, stream.fed);
    let mut counts = Topic::open(broker, &other.topics[1], PARTITIONS);
    let mut least: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for (_, record) in counts.exactly((stream.fed - at) as usize) {
        let count = record.text().parse().expect("a number");
        let next = least.entry(record.key.clone().expect("it has one")).or_insert(count);
        assert_eq!(*next, count, "they follow one another");
        *next += 1;
    }
    assert!(least.values().all(|next| *next == stream.fed / KEYS + 1), "{least:?}");
    canceled(&flowd, &clone);

    // Narrower, from the last checkpoint after a cancel in the middle; twice under the same name.
    for width in [1, 2] {
        stream.feed(2000);
        let newest = flowd.json(&["list"])["jobs"].as_array().expect("a list").clone();
        let job = newest.iter().find(|job| job["name"] == "lives").expect("it is known")["id"].clone();
        canceled(&flowd, job.as_str().expect("an id"));
        let latest = json!({"from": {"checkpoint": {}}});
        flowd.deploy_from("lives", &pipeline(&out, width, &stream.topic), &latest).expect("it fits");
        stream.feed(500);
        out.exact(&flowd, stream.fed);
    }
    out.exact_to_the_end(&flowd, stream.fed);
    assert_eq!(flowd.savepoints("lives"), ["previous", "here", "wider"]);
}
