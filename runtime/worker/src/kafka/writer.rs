//! The sink of one subtask: rows into a topic, at least once. Rows of one key keep their order. The rows of a batch are given
//! to librdkafka partition by partition: what a broker's thread then walks lies together in memory (ADR 0004).

use std::collections::VecDeque;

use flow_dataflow::element::CheckpointId;
use flow_dataflow::exchange::Wake;
use flow_dataflow::{Batch, Error as TaskError, Sink};
use flow_frame::BytesColumn;
use flow_frame::layout::id;

use super::opening::{Awaited, Opening, QUESTION, Warn, Watch, ask};
use super::raw::{Producer, Record};
use super::reader::c_topic;
use super::{Error, Settings, Share, murmur2};

/// Rows without a key go to one partition until it has got so many bytes: batches of one partition are cheaper.
const STICK: usize = 64 * 1024;

/// What to write to.
#[derive(Clone, Debug)]
pub struct Writing {
    /// The topic.
    pub topic: String,
    /// For the producer.
    pub settings: Settings,
    /// Who writes: subtasks begin with different partitions for rows without a key.
    pub share: Share,
}

struct Open {
    producer: Producer,
    partitions: u32,
    watch: Watch,
}

enum State {
    Opening(Opening<Open>),
    Open(Box<Open>),
}

/// Rows of one partition that librdkafka did not take yet.
struct Run {
    partition: u32,
    /// Their numbers in the batch.
    rows: Vec<u32>,
    /// So many of them were taken.
    taken: usize,
}

/// Writes the rows of one subtask to a topic.
pub struct KafkaWriter {
    state: State,
    topic: String,
    warn: Warn,
    /// The rows of one batch by partition, and the batch.
    pending: VecDeque<Run>,
    batch: Batch,
    /// Nothing is taken until everything is stored.
    flushing: bool,
    keyless: Keyless,
}

impl KafkaWriter {
    /// Starts to open the topic and returns at once. Until a broker answers no batch is taken, and `warn` is told why. `wake`
    /// is called from another thread when it has.
    pub fn open(writing: Writing, wake: Wake, warn: Warn) -> Result<KafkaWriter, Error> {
        let name = writing.topic;
        let topic = c_topic(&name)?;
        // Made here, so that a bad setting is the caller's error.
        let mut producer = Producer::new(&writing.settings, &topic)?;
        let work = {
            let (name, warn) = (name.clone(), warn.clone());
            move |awaited: &Awaited<'_>| {
                let question = |client: &super::raw::Client| client.partitions(&topic, QUESTION);
                let partitions = ask(&mut producer, |p| p.client(), &name, (awaited, &warn), question)?;
                Ok(Open { producer, partitions, watch: Watch::default() })
            }
        };
        let keyless = Keyless { partition: writing.share.subtask, bytes: 0 };
        let state = State::Opening(Opening::start(wake, work)?);
        Ok(KafkaWriter {
            state,
            topic: name,
            warn,
            pending: VecDeque::new(),
            batch: Batch::default(),
            flushing: false,
            keyless,
        })
    }

    /// Takes what opening came to, if it has.
    fn finish_opening(&mut self) -> Result<(), Error> {
        if let State::Opening(opening) = &self.state
            && let Some(opened) = opening.take()
        {
            self.state = State::Open(Box::new(opened?));
        }
        Ok(())
    }

    /// Rows that were taken by [`Sink::write`] and are not yet stored.
    pub fn in_flight(&self) -> usize {
        let pending: usize = self.pending.iter().map(|run| run.rows.len() - run.taken).sum();
        match &self.state {
            State::Open(open) => pending + open.producer.in_flight(),
            State::Opening(_) => pending,
        }
    }

    /// Gives pending rows to librdkafka. True when none is left.
    fn drive(&mut self) -> Result<bool, Error> {
        let State::Open(open) = &mut self.state else { return Ok(false) };
        if self.pending.is_empty() {
            return Ok(true);
        }
        let rows = Rows::of(&self.batch);
        while let Some(run) = self.pending.front_mut() {
            let left = &run.rows[run.taken..];
            let taken = open.producer.produce(run.partition as i32, left.len(), |n| rows.record(left[n] as usize))?;
            run.taken += taken;
            if run.taken < run.rows.len() {
                return Ok(false);
            }
            self.pending.pop_front();
        }
        self.batch = Batch::default();
        Ok(true)
    }

    fn advance(&mut self) -> Result<bool, Error> {
        self.finish_opening()?;
        let State::Open(open) = &mut self.state else { return Ok(false) };
        open.producer.check()?;
        open.watch.look(open.producer.client(), &self.topic, &self.warn)?;
        if !self.drive()? {
            return Ok(false);
        }
        if self.flushing {
            let State::Open(open) = &self.state else { return Ok(false) };
            if open.producer.in_flight() > 0 {
                return Ok(false);
            }
            // A record is in flight until its failure is counted.
            open.producer.check()?;
            self.flushing = false;
        }
        Ok(true)
    }
}

impl Sink for KafkaWriter {
    fn ready(&mut self) -> Result<bool, TaskError> {
        Ok(self.advance()?)
    }

    fn write(&mut self, batch: Batch) -> Result<(), TaskError> {
        let State::Open(open) = &self.state else {
            return Err(TaskError::Fatal(format!("a batch for topic {:?} before it was open", self.topic)));
        };
        self.pending = by_partition(&batch, open.partitions, &mut self.keyless);
        self.batch = batch;
        self.drive()?;
        Ok(())
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
        Ok(self.advance()?)
    }
}

/// The columns of a batch that are written.
struct Rows<'a> {
    batch: &'a Batch,
    key: Option<BytesColumn<'a>>,
    value: Option<BytesColumn<'a>>,
    headers: Option<BytesColumn<'a>>,
}

impl<'a> Rows<'a> {
    fn of(batch: &'a Batch) -> Rows<'a> {
        let bytes = |id| batch.bytes(id);
        Rows { batch, key: bytes(id::KEY), value: bytes(id::VALUE), headers: bytes(id::HEADERS) }
    }

    fn record(&self, row: usize) -> Record<'a> {
        Record {
            key: self.key.as_ref().and_then(|c| c.get(row)),
            value: self.value.as_ref().and_then(|c| c.get(row)),
            timestamp: self.batch.i64(id::TIMESTAMP, row),
            headers: self.headers.as_ref().and_then(|c| c.get(row)).unwrap_or_default(),
        }
    }
}

/// Where rows without a key go.
struct Keyless {
    partition: u32,
    bytes: usize,
}

impl Keyless {
    fn next(&mut self, bytes: usize, partitions: u32) -> u32 {
        if self.bytes >= STICK {
            (self.partition, self.bytes) = (self.partition.wrapping_add(1), 0);
        }
        self.bytes += bytes;
        self.partition % partitions
    }
}

/// The rows of a batch by partition, those of each partition in their order.
fn by_partition(batch: &Batch, partitions: u32, keyless: &mut Keyless) -> VecDeque<Run> {
    let rows = Rows::of(batch);
    let mut runs: Vec<Run> = Vec::new();
    // Where the run of a partition is; most batches are far larger than a topic has partitions.
    let mut run_of = vec![usize::MAX; partitions as usize];
    for row in 0..batch.rows() {
        let partition = match rows.key.as_ref().and_then(|c| c.get(row)) {
            Some(key) => murmur2::partition(key, partitions),
            None => keyless.next(rows.value.as_ref().and_then(|c| c.get(row)).map_or(0, <[u8]>::len) + 1, partitions),
        };
        let at = &mut run_of[partition as usize];
        if *at == usize::MAX {
            *at = runs.len();
            runs.push(Run { partition, rows: Vec::new(), taken: 0 });
        }
        runs[*at].rows.push(row as u32);
    }
    runs.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_dataflow::{BatchBuilder, Row};

    fn batch(keys: &[Option<&str>]) -> Batch {
        let mut builder = BatchBuilder::default();
        for key in keys {
            builder.push(Row { key: key.map(str::as_bytes), value: Some(b"v"), ..Default::default() });
        }
        builder.finish()
    }

    #[test]
    fn rows_of_a_key_keep_their_order_in_one_partition() {
        let keys: Vec<String> = (0..1000).map(|n| format!("key{}", n % 37)).collect();
        let keys: Vec<Option<&str>> = keys.iter().map(|k| Some(k.as_str())).collect();
        let runs = by_partition(&batch(&keys), 5, &mut Keyless { partition: 0, bytes: 0 });
        let mut seen: Vec<u32> = runs.iter().flat_map(|run| run.rows.iter().copied()).collect();
        for run in &runs {
            assert!(run.rows.is_sorted());
            for row in &run.rows {
                let key = keys[*row as usize].expect("every row has a key");
                assert_eq!(murmur2::partition(key.as_bytes(), 5), run.partition);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<u32>>());
    }

    #[test]
    fn rows_without_a_key_stick_to_a_partition_and_move_on() {
        let mut keyless = Keyless { partition: 1, bytes: 0 };
        let first: Vec<u32> = (0..10).map(|_| keyless.next(STICK / 5, 3)).collect();
        assert_eq!(first, [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    }
}
