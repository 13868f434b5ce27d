//! The job that has to survive: Kafka to Kafka exactly once, as it came and counted by key, with dead letters beside.

use std::time::Duration;

use fastrand::Rng;

use super::Tally;
use super::input::{Input, PARTITIONS};
use super::oracle::Oracle;
use crate::broker::Broker;
use crate::flowd::{Flowd, state};
use crate::topic::Topic;

/// So long a transaction of the job may take.
pub const TRANSACTION: Duration = Duration::from_secs(3);

/// Has another life of it begin where the last one ended.
pub const GO_ON: &[&str] = &["deploy", "chaos.yaml", "--from-checkpoint", "latest"];

/// One life of the job, and who judges its output.
pub struct Job {
    /// As flowd calls it.
    pub id: String,
    /// Each record as it came, by the number in it.
    pub ids: Oracle,
    /// Each update of a count.
    pub counts: Oracle,
    dead: String,
}

/// Where checkpoints go.
pub struct Place<'a> {
    /// A bucket.
    pub bucket: &'a str,
    /// Where the store answers.
    pub endpoint: &'a str,
}

/// How a job is set up, by the seed: what is rare in production is common here.
fn setting(random: &mut Rng) -> String {
    let pick = |random: &mut Rng, of: &[&'static str]| of[random.usize(0..of.len())];
    let (interval, cache) = (pick(random, &["50ms", "120ms", "300ms"]), pick(random, &["16Ki", "64Ki", "16Mi"]));
    let (parallelism, concurrent) = (random.u32(1..=3), random.u32(1..=3));
    let (retain, pause) = (random.u32(1..=3), pick(random, &["1ms", "20ms"]));
    format!(
        "parallelism: {parallelism}\nstate: {{cache: {cache}}}\nrestart: {{pause: 50ms, longest: 500ms, attempts: 1000}}\n\
         checkpoint: {{interval: {interval}, concurrent: {concurrent}, retain: {retain}, min-pause: {pause}, tolerate: 100"
    )
}

impl Job {
    /// Deploys it. Without a place it has its checkpoints where the cluster does.
    pub fn deploy(flowd: &Flowd, broker: &Broker, place: Option<Place<'_>>, input: &Input, random: &mut Rng) -> Job {
        let (ids, counts, dead) = (topic(broker), topic(broker), topic(broker));
        let (brokers, timeout) = (&broker.address, TRANSACTION.as_millis());
        let exactly =
            format!("brokers: '{brokers}', delivery: exactly-once, properties: {{transaction.timeout.ms: {timeout}}}");
        let to = place.map_or_else(String::new, |Place { bucket, endpoint }| {
            format!(", to: 's3://{bucket}/flow', endpoint: '{endpoint}', region: us-east-1")
        });
        let (setting, from) = (setting(random), &input.topic);
        let pipeline = format!(
            "{setting}{to}}}\n\
             sources:\n  in: {{kafka: {{brokers: '{brokers}', topic: {from}}}}}\n\
             operators:\n  as-it-came: {{component: '{{plugins}}/identity.wasm', from: in, on-error: dead-letter}}\n  \
             counted: {{component: '{{plugins}}/counter.wasm', from: as-it-came, key: $key, config: {{format: number}}, \
             on-error: dead-letter}}\n\
             sinks:\n  ids: {{kafka: {{topic: {ids}, {exactly}}}, from: as-it-came, on-error: dead-letter}}\n  \
             counts: {{kafka: {{topic: {counts}, {exactly}}}, from: counted, on-error: dead-letter}}\n  \
             dead: {{kafka: {{brokers: '{brokers}', topic: {dead}}}, from: dead-letter}}\n"
        );
        let id = flowd.deploy("chaos", &pipeline);
        Job { id, ids: Oracle::open(broker, &ids, 0), counts: Oracle::open(broker, &counts, 1), dead }
    }

    /// Waits until all that was fed has come out. Says how much did when for so long nothing came.
    pub fn settled(&mut self, fed: u64, patience: Duration) -> Result<(), String> {
        if self.ids.until(fed, patience) && self.counts.until(fed, patience) {
            return Ok(());
        }
        let (ids, counts) = (self.ids.reached(), self.counts.reached());
        Err(format!("of {fed} records only {ids} came out, and {counts} updates of counts"))
    }

    /// What was found so far, and what else was wrong.
    pub fn tally(&self, rounds: u32, fed: u64, wrong: Option<&String>) -> Tally {
        let Job { ids, counts, .. } = self;
        let strange = ids.wrong + counts.wrong;
        let strange = (strange > 0).then(|| format!("{strange} values are no numbers"));
        // What never came is missing too, if the job was to come to its end.
        let never = wrong.map_or(0, |_| fed.saturating_sub(ids.reached().min(counts.reached())));
        Tally {
            rounds,
            records: fed,
            missing: ids.missing + counts.missing + never,
            duplicated: ids.duplicated + counts.duplicated,
            wrong: wrong.cloned().or(strange),
        }
    }

    /// The life that [`GO_ON`] was to begin takes the place of this one, whose topics it has. It begins now if the daemon died before it
    /// had made a note of it.
    pub fn follow(&mut self, flowd: &Flowd) -> Result<(), String> {
        let newest = || flowd.describe("chaos")["id"].as_str().unwrap_or_default().to_owned();
        if newest() == self.id {
            let begun = flowd.ctl(GO_ON);
            if begun.code != 0 {
                return Err(format!("it can't go on: {}", begun.stderr));
            }
        }
        self.id = newest();
        Ok(())
    }

    /// Cancels it, and reads what it has left. Says what is wrong beside what the oracles count.
    pub fn end(&mut self, flowd: &Flowd, broker: &Broker) -> Result<(), String> {
        let canceled = flowd.ctl(&["cancel", &self.id]);
        if canceled.code != 0 {
            return Err(format!("it can't be canceled: {}", canceled.stderr));
        }
        let ended = flowd.ended(&self.id);
        if state(&ended) != "canceled" {
            return Err(format!("it did not end as it should: {ended:#}"));
        }
        self.ids.rest();
        self.counts.rest();
        let letter = Topic::open(broker, &self.dead, PARTITIONS).next(Duration::from_millis(500));
        letter.map_or(Ok(()), |letter| Err(format!("there are dead letters, such as {letter:?}")))
    }
}

fn topic(broker: &Broker) -> String {
    broker.topic(PARTITIONS, &[])
}
