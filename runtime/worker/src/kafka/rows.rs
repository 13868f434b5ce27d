//! The rows of a batch as records for librdkafka, and where each goes: run by run of one partition, since what a broker's
//! thread then walks lies together in memory (ADR 0004).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use flow_dataflow::Batch;
use flow_frame::BytesColumn;
use flow_frame::layout::{PRESENT, id};

use super::murmur2;
use super::raw::{Record, TopicLimits};

/// Rows without a key go to one partition until it has got so many bytes: batches of one partition are cheaper.
const STICK: usize = 64 * 1024;

/// How long an answer counts that a topic or partition does not exist.
const AGAIN: Duration = Duration::from_secs(10);

/// With so many names of topics that do not exist the old ones are forgotten.
const MISSING: usize = 1000;

/// A topic that is written.
pub(super) struct Target {
    pub(super) partitions: u32,
    /// What the broker takes, as far as it tells us.
    pub(super) limits: TopicLimits,
    /// When its partitions were last asked for again, and there were no more of them.
    asked_again: Option<Instant>,
    /// Its number in the producer.
    number: usize,
}

impl Target {
    /// Whether its partitions were asked for again shortly before rows came, or later.
    pub(super) fn is_known_well(&self, since: Instant) -> bool {
        self.asked_again.is_some_and(|at| counts(at, since))
    }
}

/// Whether an answer of then counts for rows that came at `since`: what is asked for them counts, however long all of it takes.
fn counts(answered: Instant, since: Instant) -> bool {
    since.saturating_duration_since(answered) < AGAIN
}

/// The topics that are written; the sink's own is the first.
#[derive(Default)]
pub(super) struct Targets {
    all: Vec<Target>,
    by_name: HashMap<String, usize>,
    /// Topics that operators have named and that do not exist, and since when that is known.
    missing: HashMap<String, Instant>,
}

impl Targets {
    pub(super) fn get(&self, topic: &str) -> Option<&Target> {
        self.by_name.get(topic).map(|index| &self.all[*index])
    }

    /// The names of all, by their numbers in the producer.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<(usize, &str)> =
            self.by_name.iter().map(|(name, index)| (self.all[*index].number, name.as_str())).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// A topic that an operator has named does not exist; `since` is when the rows came that it was asked for.
    pub(super) fn is_not_there(&mut self, topic: String, since: Instant) {
        if self.missing.len() >= MISSING {
            self.missing.retain(|_, at| counts(*at, since));
        }
        self.missing.insert(topic, Instant::now());
    }

    /// Whether a topic did not exist shortly before rows came, or later.
    pub(super) fn is_missing(&self, topic: &str, since: Instant) -> bool {
        self.missing.get(topic).is_some_and(|at| counts(*at, since))
    }

    /// Adds a topic, or what is new of it. `number` gives that of a new one.
    pub(super) fn add<E>(
        &mut self,
        topic: &str,
        partitions: u32,
        limits: TopicLimits,
        number: impl FnOnce() -> Result<usize, E>,
    ) -> Result<(), E> {
        match self.by_name.get(topic) {
            Some(index) => {
                let known = &mut self.all[*index];
                // One that grows may grow on.
                known.asked_again = (partitions <= known.partitions).then(Instant::now);
                known.partitions = partitions.max(known.partitions);
                known.limits = if limits == TopicLimits::default() { known.limits } else { limits };
            }
            None => {
                let number = number()?;
                self.by_name.insert(topic.to_owned(), self.all.len());
                self.all.push(Target { partitions, limits, asked_again: None, number });
            }
        }
        Ok(())
    }
}

/// Where a row wants to go that nobody knows of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Topic(String),
    Partition { topic: String, partition: u32 },
}

/// Rows of one partition that librdkafka did not take yet.
pub(super) struct Run {
    /// The number of the topic in the producer.
    pub(super) target: usize,
    pub(super) partition: u32,
    /// Their numbers in the batch.
    rows: Vec<u32>,
    /// So many of them were taken.
    taken: usize,
}

impl Run {
    pub(super) fn left(&self) -> usize {
        self.rows.len() - self.taken
    }

    /// Those that are left.
    pub(super) fn rest(&self) -> &[u32] {
        &self.rows[self.taken..]
    }

    /// So many more were taken. True when none is left.
    pub(super) fn take(&mut self, taken: usize) -> bool {
        self.taken += taken;
        self.left() == 0
    }
}

/// The columns of a batch that are written, or say where to.
pub(super) struct Rows<'a> {
    batch: &'a Batch,
    key: Option<BytesColumn<'a>>,
    value: Option<BytesColumn<'a>>,
    headers: Option<BytesColumn<'a>>,
    topic: Option<BytesColumn<'a>>,
    partitions: Option<&'a [[u8; 4]]>,
    has_partition: Option<&'a [u8]>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(batch: &'a Batch) -> Rows<'a> {
        let bytes = |id| batch.bytes(id);
        Rows {
            batch,
            key: bytes(id::KEY),
            value: bytes(id::VALUE),
            headers: bytes(id::HEADERS),
            topic: bytes(id::TO_TOPIC),
            partitions: batch.u32s(id::TO_PARTITION),
            has_partition: batch.column(id::TO_PARTITION).and_then(|column| column.nulls.as_deref()),
        }
    }

    pub(super) fn record(&self, row: usize) -> Record<'a> {
        Record {
            key: self.key.as_ref().and_then(|c| c.get(row)),
            value: self.value.as_ref().and_then(|c| c.get(row)),
            timestamp: self.batch.i64(id::TIMESTAMP, row),
            headers: self.headers.as_ref().and_then(|c| c.get(row)).unwrap_or_default(),
            origin: self.batch.origin(row),
        }
    }

    /// The partition that the row's operator chose.
    fn partition(&self, row: usize) -> Option<u32> {
        let present = self.has_partition.is_none_or(|nulls| nulls.get(row) == Some(&PRESENT));
        self.partitions?.get(row).filter(|_| present).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// The rows by topic and partition, those of each partition in their order; and the rows that go where nobody knows.
    pub(super) fn runs(&self, targets: &Targets, keyless: &mut Keyless) -> (VecDeque<Run>, Vec<(usize, Unknown)>) {
        let (mut runs, mut unknown) = (Vec::<Run>::new(), Vec::new());
        // Where the run of each partition of each topic is; most batches are far larger than a topic has partitions.
        let mut run_of: Vec<Vec<usize>> = targets.all.iter().map(|_| Vec::new()).collect();
        for row in 0..self.batch.rows() {
            let (index, target) = match self.target(row, targets) {
                Ok(target) => target,
                Err(topic) => {
                    unknown.push((row, Unknown::Topic(topic)));
                    continue;
                }
            };
            let partition = match (self.partition(row), self.key.as_ref().and_then(|c| c.get(row))) {
                (Some(partition), _) if partition < target.partitions => partition,
                (Some(partition), _) => {
                    let name = targets.by_name.iter().find(|(_, at)| **at == index).map(|(name, _)| name.clone());
                    unknown.push((row, Unknown::Partition { topic: name.unwrap_or_default(), partition }));
                    continue;
                }
                (None, Some(key)) => murmur2::partition(key, target.partitions),
                (None, None) => {
                    let bytes = self.value.as_ref().and_then(|c| c.get(row)).map_or(0, <[u8]>::len) + 1;
                    keyless.next(bytes, target.partitions)
                }
            };
            let run_of = &mut run_of[index];
            if run_of.is_empty() {
                *run_of = vec![usize::MAX; target.partitions as usize];
            }
            let at = &mut run_of[partition as usize];
            if *at == usize::MAX {
                *at = runs.len();
                runs.push(Run { target: target.number, partition, rows: Vec::new(), taken: 0 });
            }
            runs[*at].rows.push(row as u32);
        }
        (runs.into(), unknown)
    }

    /// The topic that a row goes to, or the name that no topic has.
    fn target<'t>(&self, row: usize, targets: &'t Targets) -> Result<(usize, &'t Target), String> {
        let named = self.topic.as_ref().and_then(|column| column.get(row)).filter(|name| !name.is_empty());
        let index = match named {
            None => Some(0),
            Some(name) => std::str::from_utf8(name).ok().and_then(|name| targets.by_name.get(name).copied()),
        };
        let name = || String::from_utf8_lossy(named.unwrap_or_default()).into_owned();
        index.and_then(|index| Some((index, targets.all.get(index)?))).ok_or_else(name)
    }
}

/// Where rows without a key go.
pub(super) struct Keyless {
    partition: u32,
    bytes: usize,
}

impl Keyless {
    /// Begins with this partition.
    pub(super) fn new(partition: u32) -> Keyless {
        Keyless { partition, bytes: 0 }
    }

    fn next(&mut self, bytes: usize, partitions: u32) -> u32 {
        if self.bytes >= STICK {
            (self.partition, self.bytes) = (self.partition.wrapping_add(1), 0);
        }
        self.bytes += bytes;
        self.partition % partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_dataflow::build::{bytes_column, fixed_column};
    use flow_dataflow::{BatchBuilder, Row};
    use flow_frame::BytesBuilder;
    use flow_frame::layout::Type;

    fn batch(keys: &[Option<&str>]) -> Batch {
        let mut builder = BatchBuilder::default();
        for (position, key) in keys.iter().enumerate() {
            let key = key.map(str::as_bytes);
            builder.push(Row { key, value: Some(b"v"), position: position as i64, ..Default::default() });
        }
        builder.finish()
    }

    #[test]
    fn what_is_missing_stays_so_while_the_same_rows_wait_and_is_forgotten_later() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        for n in 0..3 * MISSING {
            targets.is_not_there(n.to_string(), now);
        }
        assert!((0..3 * MISSING).all(|n| targets.is_missing(&n.to_string(), now)));
        let later = Instant::now() + AGAIN;
        assert!(!targets.is_missing("0", later));
        targets.is_not_there("new".into(), later);
        assert_eq!(targets.missing.len(), 1);
    }

    fn targets(of: &[(&str, u32)]) -> Targets {
        let mut targets = Targets::default();
        for (number, (topic, partitions)) in of.iter().enumerate() {
            targets.add(topic, *partitions, TopicLimits::default(), || Ok::<_, ()>(number)).expect("it never fails");
        }
        targets
    }

    #[test]
    fn rows_of_a_key_keep_their_order_in_one_partition() {
        let keys: Vec<String> = (0..1000).map(|n| format!("key{}", n % 37)).collect();
        let keys: Vec<Option<&str>> = keys.iter().map(|k| Some(k.as_str())).collect();
        let batch = batch(&keys);
        let runs = Rows::of(&batch).runs(&targets(&[("t", 5)]), &mut Keyless::new(0)).0;
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
        let mut keyless = Keyless::new(1);
        let first: Vec<u32> = (0..10).map(|_| keyless.next(STICK / 5, 3)).collect();
        assert_eq!(first, [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    }

    #[test]
    fn rows_go_where_their_operator_says() {
        let mut batch = batch(&[Some("k"); 4]);
        let mut topics = BytesBuilder::default();
        [None, Some("b"), Some("b"), Some("")].iter().for_each(|topic| topics.push(topic.map(str::as_bytes)));
        batch.set(bytes_column(id::TO_TOPIC, topics));
        let partitions = [1u32, 2, 0, 7].iter().flat_map(|p| p.to_le_bytes()).collect();
        batch.set(fixed_column(id::TO_PARTITION, Type::U32, partitions, Some(vec![1, 1, 1, 0])));
        let runs = |of: &[(&str, u32)]| {
            let (runs, unknown) = Rows::of(&batch).runs(&targets(of), &mut Keyless::new(0));
            (runs.iter().map(|run| (run.target, run.partition, run.rows.clone())).collect::<Vec<_>>(), unknown)
        };
        let by_key = murmur2::partition(b"k", 8);
        assert_eq!(
            runs(&[("a", 8), ("b", 3)]),
            (vec![(0, 1, vec![0]), (1, 2, vec![1]), (1, 0, vec![2]), (0, by_key, vec![3])], vec![])
        );
        let none = [1, 2].map(|row| (row, Unknown::Topic("b".into())));
        assert_eq!(runs(&[("a", 8)]), (vec![(0, 1, vec![0]), (0, by_key, vec![3])], none.into()));
        let none = (1, Unknown::Partition { topic: "b".into(), partition: 2 });
        assert_eq!(
            runs(&[("a", 8), ("b", 2)]),
            (vec![(0, 1, vec![0]), (1, 0, vec![2]), (0, by_key, vec![3])], vec![none])
        );
    }
}
