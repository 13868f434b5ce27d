//! The sink of one subtask: rows into topics, at least once. A row goes to the sink's own topic, and to the partition of its
//! key, unless its operator said otherwise. Rows of one key keep their order. Rows that Kafka does not take for their own sake are
//! treated as `on-error` says; nobody else's are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flow_dataflow::build::Row;
use flow_dataflow::call::Blame;
use flow_dataflow::element::Barrier;
use flow_dataflow::exchange::Wake;
use flow_dataflow::sink;
use flow_dataflow::{Batch, BatchBuilder, Error as TaskError, Sink};

use super::front::{Answer, Asked, Front, ask, names};
use super::opening::{Awaited, Opening, Troubles, Warn, watch};
use super::raw::{Producer, TooLarge, Unfit, describe, is_too_large, is_unknown_topic};
use super::reader::c_topic;
use super::refusal::{Limit, Refusal};
use super::rows::{Rows, Run};
use super::{Error, Settings, Share, Topics};

/// How long records may wait to be stored, without one of them being, before people are told.
const STALLED: Duration = Duration::from_secs(10);

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
}

impl Writing {
    /// All rows to one topic, by one subtask.
    pub fn whole(topic: String, settings: Settings) -> Writing {
        Writing { topic, others: None, partitions: None, settings, share: Share { subtask: 0, parallelism: 1 } }
    }
}

struct Open {
    producer: Producer,
    /// What was told of further topics, until all that is in flight is stored.
    asked: Asked,
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
    front: Front,
    settings: Settings,
    /// The rows of one batch that librdkafka did not take yet, and the batch.
    pending: VecDeque<Run>,
    batch: Batch,
    /// When the batch came.
    came: Instant,
    /// The batch is not yet cut into runs: one of its topics is asked for.
    uncut: bool,
    /// Nothing is taken until everything is stored.
    flushing: bool,
}

impl KafkaWriter {
    /// Starts to open the topics and returns at once. Until a broker answers no batch is taken, and `warn` is told why. `wake`
    /// is called from another thread when it has. `blame` says what happens with rows that Kafka does not take.
    pub fn open(writing: Writing, blame: Blame, wake: Wake, warn: Warn) -> Result<KafkaWriter, Error> {
        let (names, settings) = (names(&writing)?, &writing.settings);
        // Made here, so that a bad setting is the caller's error.
        let producer = Producer::new(settings)?;
        let troubles = Troubles::new(warn);
        let work = {
            let (troubles, settings) = (troubles.clone(), settings.clone());
            move |awaited: &Awaited<'_>| {
                let asked = ask(producer.client(), &names, true, awaited, &troubles)?;
                let producer = match smaller_batches(&settings, &asked) {
                    Some(settings) => Producer::new(&settings)?,
                    None => producer,
                };
                Ok((producer, asked))
            }
        };
        Ok(KafkaWriter {
            state: State::Opening(Opening::start(wake.clone(), work)?),
            settings: settings.clone(),
            front: Front::new(&writing, blame, wake, troubles),
            pending: VecDeque::new(),
            batch: Batch::default(),
            came: Instant::now(),
            uncut: false,
            flushing: false,
        })
    }

    /// Rows that were taken by [`Sink::write`] and are not yet stored.
    pub fn in_flight(&self) -> usize {
        let pending: usize = match self.uncut {
            true => self.batch.rows(),
            false => self.pending.iter().map(Run::left).sum(),
        };
        match &self.state {
            // In this order: one that is refused is in flight until it is counted there.
            State::Open(open) => pending + open.producer.in_flight() + open.producer.client().told().too_large(),
            State::Opening(_) | State::Over => pending,
        }
    }

    /// Takes what opening came to, if it has. True when it is open.
    fn finish_opening(&mut self) -> Result<bool, Error> {
        let State::Opening(opening) = &self.state else { return Ok(matches!(self.state, State::Open(_))) };
        let Some(opened) = opening.take() else { return Ok(false) };
        self.state = State::Over;
        let (mut producer, asked) = opened?;
        self.settings = smaller_batches(&self.settings, &asked).unwrap_or_else(|| self.settings.clone());
        self.front.open(asked, |name| producer.add(name))?;
        self.state = State::Open(Box::new(Open { producer, asked: Vec::new(), progress: Progress::new() }));
        Ok(true)
    }

    /// Takes what was asked for, if it has come. False while it has not.
    fn finish_asking(&mut self) -> Result<bool, Error> {
        let State::Open(open) = &mut self.state else { return Ok(false) };
        match self.front.answer(self.came)? {
            Answer::Waiting => return Ok(false),
            Answer::Come(asked) => open.asked = asked,
            Answer::None => {}
        }
        if let Some(settings) = smaller_batches(&self.settings, &open.asked) {
            // Another producer, and the order of each key kept: the old one is done first, and all that it told is taken.
            let told = open.producer.client().told();
            if open.producer.in_flight() > 0 || told.too_large() > 0 || told.undelivered().is_some() {
                return Ok(false);
            }
            let mut producer = Producer::new(&settings)?;
            for name in self.front.targets.names() {
                producer.add(&c_topic(name)?)?;
            }
            (open.producer, self.settings) = (producer, settings);
        }
        for (topic, limits) in std::mem::take(&mut open.asked) {
            self.front.learn(&topic, limits, |name| open.producer.add(name))?;
        }
        Ok(true)
    }

    /// Cuts the batch into runs. False while a topic of it is asked for.
    fn cut(&mut self) -> Result<bool, TaskError> {
        if !self.finish_asking()? {
            return Ok(false);
        }
        let State::Open(open) = &self.state else { return Ok(false) };
        let Some(runs) = self.front.cut(open.producer.client(), &self.batch, self.came)? else { return Ok(false) };
        (self.pending, self.uncut) = (runs, false);
        Ok(true)
    }

    /// Gives pending rows to librdkafka. True when none is left.
    fn drive(&mut self) -> Result<bool, TaskError> {
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
            let mut unfit = Vec::new();
            let record = |n: usize| rows.record(left[n] as usize);
            let done = open.producer.produce(to, left.len(), record, |n, why| unfit.push((left[n] as usize, why)))?;
            for (row, why) in unfit {
                let topic = open.producer.name(run.target).to_owned();
                let bytes = rows.record(row).bytes();
                let refusal = match why {
                    Unfit::Size => Refusal::TooLarge { topic, bytes, limit: Limit::Client },
                    Unfit::Headers => Refusal::Headers { topic },
                };
                self.front.refusing.refuse(&self.batch, row, self.batch.origin(row), &refusal)?;
            }
            open.progress.take(done);
            if !run.take(done) {
                return Ok(false);
            }
            self.pending.pop_front();
        }
        self.batch = Batch::default();
        Ok(true)
    }

    fn advance(&mut self) -> Result<bool, TaskError> {
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

    /// What the broker has refused, the failure to deliver that came first, and trouble with the connection.
    fn check(&mut self) -> Result<(), TaskError> {
        let State::Open(open) = &self.state else { return Ok(()) };
        let told = open.producer.client().told();
        for record in told.take_too_large() {
            let limit = Limit::Topic(self.front.targets.get(&record.topic).and_then(|target| target.limits.bytes));
            let (batch, origin) = (batch_of(&record), record.origin);
            let bytes = Rows::of(&batch).record(0).bytes();
            let refusal = Refusal::TooLarge { topic: record.topic, bytes, limit };
            self.front.refusing.refuse(&batch, 0, origin, &refusal)?;
        }
        if let Some((failed, first)) = told.undelivered() {
            let locate = |(split, position)| self.front.refusing.blame.report.locate(split, position).text;
            let place = first.origin.map_or_else(|| "a place that is not known".to_owned(), locate);
            let (topic, partition, cause) = (first.topic, first.partition, cause(first.code));
            return Err(Error::Delivery { topic, partition, place, cause, failed }.into());
        }
        Ok(watch(open.producer.client(), self.front.topic(), &self.front.troubles)?)
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
            _ = self.front.troubles.tell("stalled", &text);
        }
    }
}

/// The settings with batches that all topics take, if those that the settings make are too large for one.
fn smaller_batches(settings: &Settings, asked: &Asked) -> Option<Settings> {
    let least = asked.iter().filter_map(|(_, limits)| limits.bytes).min()?;
    let smaller = settings.clone().with_batches_within(least);
    (smaller.batch_size() < settings.batch_size()).then_some(smaller)
}

/// Why a broker did not store a batch, and what to do where it does not say that.
fn cause(code: i32) -> String {
    if is_unknown_topic(code) {
        return "the topic was deleted, or made anew with fewer partitions; make it, and deploy the job again".into();
    }
    let next = "; start the job again if `max.message.bytes` of the topic was lowered, else set `batch.size` below it in \
                `properties` of the sink";
    describe(code) + if is_too_large(code) { next } else { "" }
}

/// A row of a record that came back.
fn batch_of(record: &TooLarge) -> Batch {
    let (split, position) = record.origin.unwrap_or_default();
    let mut batch = BatchBuilder::default();
    batch.push(Row {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        timestamp: record.timestamp,
        headers: &record.headers,
        split,
        position,
    });
    batch.finish()
}

impl Sink for KafkaWriter {
    fn ready(&mut self) -> Result<bool, TaskError> {
        self.advance()
    }

    fn write(&mut self, batch: Batch) -> Result<(), TaskError> {
        if !matches!(self.state, State::Open(_)) {
            return Err(TaskError::Fatal(format!("a batch for topic {:?} before it was open", self.front.topic())));
        }
        (self.batch, self.came, self.uncut) = (batch, Instant::now(), true);
        self.drive().map(drop)
    }

    fn snapshot(&mut self, _: Barrier) -> Result<(), TaskError> {
        self.flushing = true;
        Ok(())
    }

    fn unwritten(&self) -> usize {
        self.in_flight()
    }

    fn refused(&self) -> sink::Refused {
        self.front.refusing.refused
    }

    fn finish(&mut self) -> Result<bool, TaskError> {
        self.flushing = true;
        self.advance()
    }
}
