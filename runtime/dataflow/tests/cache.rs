//! The write-back cache against the memory backend: random operations under tiny budgets give the same answers, and the
//! store gets what the cache's invariants promise. What must not be done wrong is done wrong on purpose, and noticed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use flow_dataflow::state::run::value;
use flow_dataflow::state::{Cached, Generation, MemoryBackend, Progress, StateBackend, Store, key};
use flow_dataflow::{Barrier, Error};
use flow_frame::BytesBuilder;
use flow_model::checkpoint::CheckpointId;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    Nothing,
    /// What leaves memory early is in no delta.
    LosesParts,
    /// What a generation says of a key that the store has is not written: as if it had come before the older one.
    OlderWins,
    /// A read believes the store before what was changed since.
    ReadsTheStoreFirst,
    /// So does a scan.
    ScansTheStoreFirst,
}

/// A store whose writer is slow: jobs wait until somebody insists, or until `lag` more have come.
struct Slow {
    plant: Plant,
    data: Arc<Mutex<MemoryBackend>>,
    /// What the sealed generations say together.
    sealed: Arc<Mutex<MemoryBackend>>,
    waiting: VecDeque<Job>,
    progress: Progress,
    last: u32,
    lag: usize,
}

enum Job {
    Save(u32),
    Store(Generation),
}

impl Slow {
    fn new(lag: usize) -> Slow {
        Slow {
            plant: Plant::Nothing,
            data: Arc::default(),
            sealed: Arc::default(),
            waiting: VecDeque::new(),
            progress: Progress::default(),
            last: 0,
            lag,
        }
    }

    fn work_down_to(&mut self, left: usize) -> Result<(), Error> {
        while self.waiting.len() > left {
            match self.waiting.pop_front().expect("length was checked") {
                Job::Save(number) => self.progress.saved = number,
                Job::Store(changes) => {
                    let mut data = self.data.lock().expect("no panic");
                    let before = data.clone();
                    apply(&changes, &mut data)?;
                    if self.plant == Plant::OlderWins {
                        let mut older = before;
                        let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
                        older.scan(&[], None, &mut |key, value| {
                            keys.push(Some(key));
                            values.push(Some(value));
                            true
                        })?;
                        data.put_many(&keys, &values)?;
                    }
                    self.progress.stored = changes.number;
                }
            }
        }
        Ok(())
    }
}

fn apply(changes: &Generation, to: &mut MemoryBackend) -> Result<(), Error> {
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    for (key, stored) in changes.sorted() {
        keys.push(Some(key));
        values.push(stored.map(|stored| value::decode(stored).expect("of this version")));
    }
    let all: Vec<_> = (0..keys.rows()).map(|row| keys.column().raw(row)).collect();
    assert!(all.is_sorted_by(|a, b| a < b), "each key once and in order");
    to.put_many(&keys, &values)
}

impl Store for Slow {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        self.data.lock().expect("no panic").get_many(keys, values, most)
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.data.lock().expect("no panic").scan(prefix, after, each)
    }

    fn seal(&mut self, changes: Generation, barrier: Option<Barrier>) -> Result<(), Error> {
        assert!(changes.number > self.last, "generations are sealed in order");
        self.last = changes.number;
        if self.plant == Plant::LosesParts && barrier.is_none() {
            self.waiting.push_back(Job::Save(changes.number));
            return Ok(());
        }
        apply(&changes, &mut self.sealed.lock().expect("no panic"))?;
        self.waiting.push_back(Job::Save(changes.number));
        Ok(())
    }

    fn store(&mut self, changes: Generation) -> Result<(), Error> {
        self.waiting.push_back(Job::Store(changes));
        Ok(())
    }

    fn progress(&mut self, wait: bool) -> Result<Progress, Error> {
        self.work_down_to(if wait { 0 } else { self.lag })?;
        Ok(self.progress)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Get(Vec<u8>),
    Put(Vec<(u8, Option<u8>)>),
    Scan { state: u8, after: Option<u8> },
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u8..40;
    prop_oneof![
        3 => proptest::collection::vec(key.clone(), 1..6).prop_map(Op::Get),
        3 => proptest::collection::vec((key.clone(), proptest::option::weighted(0.7, 0u8..60)), 1..6).prop_map(Op::Put),
        1 => (0u8..2, proptest::option::of(key)).prop_map(|(state, after)| Op::Scan { state, after }),
        1 => Just(Op::Snapshot),
    ]
}

/// Keys of two states: those below 20 belong to state 0, the others to state 1, which is scanned too.
fn full_key(n: u8) -> Vec<u8> {
    let mut out = Vec::new();
    key::encode(7, u16::from(n >= 20), b"k", &mut out);
    out.push(n);
    out
}

fn keys(numbers: impl IntoIterator<Item = u8>) -> BytesBuilder {
    let mut keys = BytesBuilder::default();
    numbers.into_iter().for_each(|n| keys.push(Some(&full_key(n))));
    keys
}

fn get(backend: &mut dyn StateBackend, numbers: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut values = BytesBuilder::default();
    backend.get_many(&keys(numbers.iter().copied()), &mut values, usize::MAX).expect("no faults here");
    assert_eq!(values.rows(), numbers.len());
    (0..values.rows()).map(|row| values.column().get(row).map(<[u8]>::to_vec)).collect()
}

fn put(backend: &mut dyn StateBackend, writes: &[(u8, Option<u8>)]) {
    let mut values = BytesBuilder::default();
    writes.iter().for_each(|(_, v)| values.push(v.map(|v| vec![v; v as usize]).as_deref()));
    backend.put_many(&keys(writes.iter().map(|w| w.0)), &values).expect("no faults here");
}

fn scan(backend: &mut dyn StateBackend, state: u8, after: Option<u8>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut prefix = Vec::new();
    key::encode(7, state.into(), b"k", &mut prefix);
    let after = after.map(full_key).filter(|a| a.starts_with(&prefix));
    let mut found = Vec::new();
    let mut each = |k: &[u8], v: &[u8]| {
        found.push((k.to_vec(), v.to_vec()));
        found.len() < limit
    };
    backend.scan(&prefix, after.as_deref(), &mut each).expect("no faults here");
    found
}

fn check(plant: Plant, ops: &[Op], budget: usize, lag: usize, limit: usize) -> Result<(), TestCaseError> {
    let slow = Slow { plant, ..Slow::new(lag) };
    let (sealed, data) = (slow.sealed.clone(), slow.data.clone());
    let mut cached = Cached::new(slow, budget, &[0, 1]);
    let mut memory = MemoryBackend::default();
    for op in ops {
        match op {
            Op::Get(numbers) => {
                let mut found = get(&mut cached, numbers);
                if plant == Plant::ReadsTheStoreFirst {
                    let stored = get(&mut *data.lock().expect("no panic"), numbers);
                    found = stored.into_iter().zip(found).map(|(stored, found)| stored.or(found)).collect();
                }
                prop_assert_eq!(found, get(&mut memory, numbers));
            }
            Op::Put(writes) => {
                put(&mut cached, writes);
                put(&mut memory, writes);
            }
            Op::Scan { state, after } => {
                let mut found = scan(&mut cached, *state, *after, limit);
                if plant == Plant::ScansTheStoreFirst {
                    let stored = scan(&mut *data.lock().expect("no panic"), *state, *after, limit);
                    found = if stored.is_empty() { found } else { stored };
                }
                prop_assert_eq!(found, scan(&mut memory, *state, *after, limit));
            }
            Op::Snapshot => {
                cached.snapshot(Barrier::first(CheckpointId(1))).expect("no faults here");
                let all: Vec<u8> = (0..40).collect();
                prop_assert_eq!(get(&mut *sealed.lock().expect("no panic"), &all), get(&mut memory, &all));
            }
        }
        prop_assert!(cached.used() <= budget, "{} bytes used of {budget}", cached.used());
    }
    Ok(())
}

/// Operations, the budget, how far the writer lags behind, where scans stop.
type Case = (Vec<Op>, usize, usize, usize);

fn run(plant: Plant) -> Result<(), TestError<Case>> {
    let config = Config { cases: 2000, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let budget = prop_oneof![Just(0usize), 100usize..4000];
    let cases = (proptest::collection::vec(op(), 1..200), budget, 0usize..6, 1usize..10);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&cases, |(ops, budget, lag, limit)| check(plant, &ops, budget, lag, limit))
}

#[test]
fn answers_as_the_memory_backend() {
    if let Err(error) = run(Plant::Nothing) {
        panic!("{error}");
    }
}

#[test]
fn planted_faults_are_found() {
    for plant in [Plant::LosesParts, Plant::OlderWins, Plant::ReadsTheStoreFirst, Plant::ScansTheStoreFirst] {
        assert!(run(plant).is_err(), "{plant:?} is not found");
    }
}

#[test]
fn what_fits_is_read_once_and_written_only_when_asked() {
    let mut cached = Cached::new(Slow::new(0), 1 << 20, &[]);
    let all: Vec<u8> = (0..20).collect();
    for round in 0..10u8 {
        get(&mut cached, &all);
        put(&mut cached, &all.iter().map(|n| (*n, Some(round))).collect::<Vec<_>>());
    }
    let stats = cached.stats().clone();
    let read = |of: &AtomicU64| of.load(Relaxed);
    assert_eq!((read(&stats.misses), read(&stats.hits), read(&stats.written)), (20, 180, 0));
    assert_eq!((read(&stats.entries), read(&stats.bytes)), (20, cached.used() as u64));
    cached.snapshot(Barrier::first(CheckpointId(1))).unwrap();
    assert_eq!(read(&stats.written), 20, "a key changed ten times goes to the store once");
}

#[test]
fn used_entries_survive_a_sweep() {
    let mut cached = Cached::new(Slow::new(0), 1200, &[]);
    let mut misses: BTreeMap<bool, u64> = BTreeMap::new();
    for round in 0..400u32 {
        // Two hot keys at each turn, and one of eighteen cold ones.
        for (n, hot) in [(0, true), (1, true), (2 + (round * 7 % 18) as u8, false)] {
            let before = cached.stats().misses.load(Relaxed);
            get(&mut cached, &[n]);
            *misses.entry(hot).or_default() += cached.stats().misses.load(Relaxed) - before;
        }
    }
    assert!(
        cached.stats().evicted.load(Relaxed) > 100,
        "the budget is too large to test anything: {:?}",
        cached.stats()
    );
    assert!(misses[&true] * 10 < misses[&false], "{misses:?}");
}
