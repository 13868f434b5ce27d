//! The sink of one subtask: rows into topics, at least once. A row goes to the sink's own topic, and to the partition of its
//! key, unless its operator said otherwise. Rows of one key keep their order.

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flow_dataflow::element::CheckpointId;
use flow_dataflow::exchange::Wake;
use flow_dataflow::{Batch, Error as TaskError, Sink};

use super::error::Limit;
use super::opening::{Awaited, Opening, Patience, QUESTION, Refused, Troubles, Warn, watch};
use super::raw::{Client, Described, Producer, describe, is_too_large, is_unknown_topic};
use super::reader::c_topic;
use super::rows::{Keyless, Rows, Run, Target, Targets, Unknown};
use super::{Error, Settings, Share, Topics};

/// How long records may wait to be stored, without one of them being, before people are told.
const STALLED: Duration = Duration::from_secs(10);

/// Names the place of a record: split and position.
pub type Locate = Arc<dyn Fn(u32, i64) -> String + Send + Sync>;

/// What to write to.
#[derive(Clone)]
pub struct Writing {
    /// The topic of rows that name none.
    pub topic: String,
    /// Other topics that rows may name.
    pub others: Option<Topics>,
    /// How many partitions `topic` must have at least.
    pub partitions: Option<u32>,
    /// For the producer.
    pub settings: Settings,
    /// Who writes: subtasks begin with different partitions for rows without a key.
    pub share: Share,
    /// For errors about a row.
    pub locate: Locate,
}

impl Writing {
    /// All rows to one topic, by one subtask. Places have numbers instead of names.
    pub fn whole(topic: String, settings: Settings) -> Writing {
        Writing {
            topic,
            others: None,
            partitions: None,
            settings,
            share: Share { subtask: 0, parallelism: 1 },
            locate: Arc::new(|split, position| format!("place {split}:{position}")),
        }
    }
}

/// Topics with their partitions and limits, as a broker told.
type Asked = Vec<(Described, Option<i64>)>;

struct Open {
    producer: Producer,
    targets: Targets,
    /// Asked because of rows that wait for the answer.
    asking: Option<Opening<Asked>>,
    progress: Progress,
}

/// Whether brokers store what they get. librdkafka is silent about one that has too few replicas, or none that leads.
struct Progress {
    /// Records that librdkafka took.
    taken: u64,
    /// Those of them that were stored, or failed.
    over: u64,
    /// When the latter grew, or there was none to store.
    at: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress { taken: 0, over: 0, at: Instant::now() }
    }

    /// librdkafka took so many more.
    fn take(&mut self, records: usize) {
        if self.taken == self.over {
            self.at = Instant::now();
        }
        self.taken += records as u64;
    }

    /// Whether nothing happens to those in flight.
    fn is_stalled(&mut self, in_flight: usize) -> bool {
        let over = self.taken.saturating_sub(in_flight as u64);
        if in_flight == 0 || over != self.over {
            (self.over, self.at) = (over, Instant::now());
        }
        self.at.elapsed() > STALLED
    }
}

enum State {
    Opening(Opening<(Producer, Asked)>),
    Open(Box<Open>),
    /// Failed.
    Over,
}

/// Writes the rows of one subtask to topics.
pub struct KafkaWriter {
    state: State,
    topic: String,
    others: Option<Topics>,
    wanted: Option<u32>,
    locate: Locate,
    wake: Wake,
    troubles: Arc<Troubles>,
    /// The rows of one batch that librdkafka did not take yet, and the batch.
    pending: VecDeque<Run>,
    batch: Batch,
    /// The batch is not yet cut into runs: one of its topics is asked for.
    uncut: bool,
    /// Nothing is taken until everything is stored.
    flushing: bool,
    keyless: Keyless,
}

impl KafkaWriter {
    /// Starts to open the topics and returns at once. Until a broker answers no batch is taken, and `warn` is told why. `wake`
    /// is called from another thread when it has.
    pub fn open(writing: Writing, wake: Wake, warn: Warn) -> Result<KafkaWriter, Error> {
        let Writing { topic, others, partitions: wanted, settings, share, locate } = writing;
        let mut names = vec![c_topic(&topic)?];
        if let Some(Topics::Named(others)) = &others {
            for other in others.iter().filter(|other| **other != topic) {
                names.push(c_topic(other)?);
            }
        }
        // References may have led to one name twice, and a broker refuses to be asked so.
        names.sort_unstable();
        names.dedup();
        // Made here, so that a bad setting is the caller's error.
        let producer = Producer::new(&settings)?;
        let troubles = Troubles::new(warn);
        let work = {
            let troubles = troubles.clone();
            move |awaited: &Awaited<'_>| {
                let asked = ask(producer.client(), &names, true, awaited, &troubles)?;
                Ok((producer, asked))
            }
        };
        Ok(KafkaWriter {
            state: State::Opening(Opening::start(wake.clone(), work)?),
            topic,
            others,
            wanted,
            locate,
            wake,
            troubles,
            pending: VecDeque::new(),
            batch: Batch::default(),
            uncut: false,
            flushing: false,
            keyless: Keyless::new(share.subtask),
        })
    }

    /// Rows that were taken by [`Sink::write`] and are not yet stored.
    pub fn in_flight(&self) -> usize {
        let pending: usize = match self.uncut {
            true => self.batch.rows(),
            false => self.pending.iter().map(Run::left).sum(),
        };
        match &self.state {
            State::Open(open) => pending + open.producer.in_flight(),
            State::Opening(_) | State::Over => pending,
        }
    }

    /// Takes what opening came to, if it has. True when it is open.
    fn finish_opening(&mut self) -> Result<bool, Error> {
        let State::Opening(opening) = &self.state else { return Ok(matches!(self.state, State::Open(_))) };
        let Some(opened) = opening.take() else { return Ok(false) };
        self.state = State::Over;
        let (mut producer, asked) = opened?;
        let mut targets = Targets::default();
        // The answer may be in any order; the sink's own topic is the first target.
        let (own, others): (Asked, Asked) = asked.into_iter().partition(|(topic, _)| topic.name == self.topic);
        for (topic, limit) in own.into_iter().chain(others) {
            if topic.name == self.topic
                && let Some(wanted) = self.wanted.filter(|wanted| topic.partitions() < *wanted)
            {
                let (topic, partitions) = (topic.name.clone(), topic.partitions());
                return Err(Error::TooFewPartitions { topic, partitions, wanted });
            }
            add(&mut producer, &mut targets, &topic, limit)?;
        }
        self.state = State::Open(Box::new(Open { producer, targets, asking: None, progress: Progress::new() }));
        Ok(true)
    }

    /// Cuts the batch into runs. False while a topic of it is asked for.
    fn cut(&mut self) -> Result<bool, Error> {
        let State::Open(open) = &mut self.state else { return Ok(false) };
        if let Some(asking) = &open.asking {
            let Some(asked) = asking.take() else { return Ok(false) };
            open.asking = None;
            for (topic, limit) in asked? {
                add(&mut open.producer, &mut open.targets, &topic, limit)?;
            }
        }
        let row = match Rows::of(&self.batch).runs(&open.targets, &mut self.keyless) {
            Ok(runs) => {
                (self.pending, self.uncut) = (runs, false);
                return Ok(true);
            }
            Err(row) => row,
        };
        let (topic, origin) = match row {
            Unknown::Topic { topic, origin } => (topic, origin),
            // It may have been added since.
            Unknown::Partition { topic, partition, origin } => {
                let target = open.targets.get(&topic).filter(|target| target.asked_again);
                if let Some(Target { partitions, .. }) = target {
                    return Err(Error::NoPartition {
                        topic,
                        partition,
                        partitions: *partitions,
                        origin: origin.into(),
                    });
                }
                (topic, origin)
            }
        };
        let allowed = topic == self.topic
            || match &self.others {
                Some(Topics::Named(names)) => names.contains(&topic),
                Some(Topics::Pattern(pattern)) => pattern.is_match(&topic),
                None => false,
            };
        let name = c_topic(&topic).ok().filter(|_| allowed && flow_model::spec::kafka::wrong_topic(&topic).is_none());
        let Some(name) = name else { return Err(Error::OtherTopic { topic, origin: origin.into() }) };
        let (client, troubles) = (open.producer.client().clone(), self.troubles.clone());
        let work = move |awaited: &Awaited<'_>| ask(&client, &[name], false, awaited, &troubles);
        open.asking = Some(Opening::start(self.wake.clone(), work)?);
        Ok(false)
    }

    /// Gives pending rows to librdkafka. True when none is left.
    fn drive(&mut self) -> Result<bool, Error> {
        if self.uncut && !self.cut()? {
            return Ok(false);
        }
        let State::Open(open) = &mut self.state else { return Ok(false) };
        if self.pending.is_empty() {
            return Ok(true);
        }
        let rows = Rows::of(&self.batch);
        while let Some(run) = self.pending.front_mut() {
            let left = run.rest();
            let to = (run.target, run.partition as i32);
            let taken = open.producer.produce(to, left.len(), |n| rows.record(left[n] as usize))?;
            open.progress.take(taken);
            if !run.take(taken) {
                return Ok(false);
            }
            self.pending.pop_front();
        }
        self.batch = Batch::default();
        Ok(true)
    }

    fn advance(&mut self) -> Result<bool, Error> {
        if !self.finish_opening()? {
            return Ok(false);
        }
        self.check()?;
        self.tell_of_stalling();
        if !self.drive()? {
            return Ok(false);
        }
        if self.flushing {
            let State::Open(open) = &self.state else { return Ok(false) };
            if open.producer.in_flight() > 0 {
                return Ok(false);
            }
            // A record is in flight until its failure is counted.
            self.check()?;
            self.flushing = false;
        }
        Ok(true)
    }

    /// The failure to deliver that came first, and trouble with the connection.
    fn check(&self) -> Result<(), Error> {
        let State::Open(open) = &self.state else { return Ok(()) };
        let client = open.producer.client();
        if let Some((failed, first)) = client.told().undelivered() {
            let (topic, origin) = (first.topic, first.origin.into());
            if is_too_large(first.code) {
                let limit = Limit::Topic(open.targets.get(&topic).and_then(|target| target.limit));
                return Err(Error::TooLarge { topic, bytes: first.bytes, origin, limit });
            }
            let partition = first.partition;
            let cause = match is_unknown_topic(first.code) {
                true => "the topic was deleted, or made anew with fewer partitions; make it, and deploy the job again"
                    .into(),
                false => describe(first.code),
            };
            return Err(Error::Delivery { topic, partition, origin, cause, failed });
        }
        watch(client, &self.topic, &self.troubles)
    }

    fn tell_of_stalling(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        let in_flight = open.producer.in_flight();
        if open.progress.is_stalled(in_flight) {
            let (brokers, seconds) = (open.producer.client().brokers(), STALLED.as_secs());
            let text = format!(
                "Kafka at {brokers} has stored none of {in_flight} records for {seconds} s; see kafka-topics --describe with \
                 --under-min-isr-partitions and with --unavailable-partitions; trying again until it does"
            );
            self.troubles.tell("stalled", &text);
        }
    }

    fn named<T>(&self, result: Result<T, Error>) -> Result<T, TaskError> {
        result.map_err(|error| error.placed(&*self.locate).into())
    }
}

/// Asks for topics until a broker knows them all.
fn ask(
    client: &Client,
    names: &[CString],
    starting: bool,
    awaited: &Awaited<'_>,
    troubles: &Troubles,
) -> Result<Asked, Error> {
    let what: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    let (what, serve) = (what.join(", "), &mut || ());
    let question = |client: &Client| {
        let described = client.describe(names, QUESTION)?;
        match described.iter().find(|topic| topic.code != 0 || topic.leaders.is_empty()) {
            Some(bad) => Err(Refused { code: bad.code, topic: Some(bad.name.clone()) }),
            None => Ok(described),
        }
    };
    let described = Patience { awaited, troubles, what: &what, starting, serve }.ask(client, question)?;
    let limits = client.limits(names, QUESTION);
    Ok(described.into_iter().map(|topic| (topic.clone(), limits.get(&topic.name).copied())).collect())
}

fn add(producer: &mut Producer, targets: &mut Targets, topic: &Described, limit: Option<i64>) -> Result<(), Error> {
    targets.add(&topic.name, topic.partitions(), limit, || producer.add(&c_topic(&topic.name)?))
}

impl Sink for KafkaWriter {
    fn ready(&mut self) -> Result<bool, TaskError> {
        let ready = self.advance();
        self.named(ready)
    }

    fn write(&mut self, batch: Batch) -> Result<(), TaskError> {
        if !matches!(self.state, State::Open(_)) {
            return Err(TaskError::Fatal(format!("a batch for topic {:?} before it was open", self.topic)));
        }
        (self.batch, self.uncut) = (batch, true);
        let driven = self.drive();
        self.named(driven).map(drop)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<(), TaskError> {
        self.flushing = true;
        Ok(())
    }

    fn unwritten(&self) -> usize {
        self.in_flight()
    }

    fn finish(&mut self) -> Result<bool, TaskError> {
        self.flushing = true;
        let finished = self.advance();
        self.named(finished)
    }
}
