//! The write-back cache against the memory backend: random operations under tiny budgets give the same answers, and the
//! store gets what the cache's invariants promise.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use flow_dataflow::state::run::value;
use flow_dataflow::state::{Cached, Generation, MemoryBackend, Progress, StateBackend, Store, key};
use flow_dataflow::{Barrier, Error};
use flow_frame::BytesBuilder;
use flow_model::checkpoint::CheckpointId;
use proptest::prelude::*;

/// A store whose writer is slow: jobs wait until somebody insists, or until `lag` more have come.
struct Slow {
    data: MemoryBackend,
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
            data: MemoryBackend::default(),
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
                    apply(&changes, &mut self.data)?;
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
        self.data.get_many(keys, values, most)
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.data.scan(prefix, after, each)
    }

    fn seal(&mut self, changes: Generation, _: Option<Barrier>) -> Result<(), Error> {
        assert!(changes.number > self.last, "generations are sealed in order");
        self.last = changes.number;
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
        3 => proptest::collection::vec(key.clone(), 1..12).prop_map(Op::Get),
        3 => proptest::collection::vec((key.clone(), proptest::option::weighted(0.7, 0u8..60)), 1..12).prop_map(Op::Put),
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn answers_as_the_memory_backend(
        ops in proptest::collection::vec(op(), 1..60),
        budget in prop_oneof![Just(0usize), 100usize..4000],
        lag in 0usize..3,
        limit in 1usize..10,
    ) {
        let slow = Slow::new(lag);
        let sealed = slow.sealed.clone();
        let mut cached = Cached::new(slow, budget, &[0, 1]);
        let mut memory = MemoryBackend::default();
        for op in &ops {
            match op {
                Op::Get(numbers) => prop_assert_eq!(get(&mut cached, numbers), get(&mut memory, numbers)),
                Op::Put(writes) => {
                    put(&mut cached, writes);
                    put(&mut memory, writes);
                }
                Op::Scan { state, after } => {
                    let expect = scan(&mut memory, *state, *after, limit);
                    prop_assert_eq!(scan(&mut cached, *state, *after, limit), expect);
                }
                Op::Snapshot => {
                    cached.snapshot(Barrier::first(CheckpointId(1))).expect("no faults here");
                    let all: Vec<u8> = (0..40).collect();
                    prop_assert_eq!(get(&mut *sealed.lock().expect("no panic"), &all), get(&mut memory, &all));
                }
            }
            prop_assert!(cached.used() <= budget, "{} bytes used of {budget}", cached.used());
        }
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
