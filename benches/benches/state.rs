//! Keyed state by backend and skew: one call's reads and writes of 1,024 keys of a million, as a keyed count makes them (read
//! each, write each back). Must never assert on a time.
//!
//! What it leaves out: the operator, and the writer's thread beside the one that is timed (`rocks_figures` counts its CPU).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_dataflow::state::{Cached, MemoryBackend, StateBackend, key};
use flow_frame::BytesBuilder;
use flow_model::key_group::KeyGroups;
use flow_worker::rocks::SharedRocks;

const KEYS: u64 = 1_000_000;
const ROWS: usize = 1024;
/// Room for all keys, and for a tenth of them.
const FITTING: usize = 256 << 20;
const TIGHT: usize = 16 << 20;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks by the quick zipf of Gray and others (SIGMOD 1994), scattered over the keys.
struct Zipf {
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(theta: f64) -> Zipf {
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-theta)).sum::<f64>();
        let (two, all) = (zeta(2), zeta(KEYS));
        let eta = (1.0 - (2.0 / KEYS as f64).powf(1.0 - theta)) / (1.0 - two / all);
        Zipf { theta, zeta: all, alpha: 1.0 / (1.0 - theta), eta }
    }

    fn rank(&self, random: &mut Random) -> u64 {
        let u = random.unit();
        let uz = u * self.zeta;
        if uz < 1.0 {
            0
        } else if uz < 1.0 + 0.5f64.powf(self.theta) {
            1
        } else {
            ((KEYS as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64).min(KEYS - 1)
        }
    }
}

fn keys(numbers: impl Iterator<Item = u64>) -> BytesBuilder {
    let mut keys = BytesBuilder::default();
    for number in numbers {
        let text = format!("customer-{number:07}");
        key::encode(KeyGroups::default().of(text.as_bytes()).0, 0, text.as_bytes(), &mut keys.data);
        keys.end_row();
    }
    keys
}

fn counts(rows: usize) -> BytesBuilder {
    let mut values = BytesBuilder::default();
    (0..rows as u64).for_each(|n| values.push(Some(&n.to_le_bytes())));
    values
}

fn fill(backend: &mut dyn StateBackend) {
    for from in (0..KEYS).step_by(10_000) {
        backend.put_many(&keys(from..from + 10_000), &counts(10_000)).expect("it takes a million keys");
    }
    backend
        .snapshot(flow_dataflow::Barrier::first(flow_model::checkpoint::CheckpointId(1)))
        .expect("it writes them down");
}

fn state(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let rocks = SharedRocks::new();
    let cached = |name: &str, budget| {
        let store = rocks.open(&dir.path().join(name)).expect("a fresh directory");
        Box::new(Cached::new(store, budget, &[]))
    };
    let mut backends: Vec<(&str, Box<dyn StateBackend>)> = vec![
        ("memory", Box::<MemoryBackend>::default()),
        ("rocksdb, cache fits", cached("fits", FITTING)),
        ("rocksdb, cache for a tenth", cached("tenth", TIGHT)),
        ("rocksdb, no cache", cached("none", 0)),
    ];
    let zipf = Zipf::new(0.99);
    let mut random = Random(7);
    // Enough different calls that a small cache can't hold the keys of all of them.
    let mut calls = |skew: &str| -> Vec<BytesBuilder> {
        let mut number = || match skew {
            "uniform" => random.next() % KEYS,
            _ => zipf.rank(&mut random).wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS,
        };
        let one = |_| {
            let mut all: Vec<u64> = (0..ROWS).map(|_| number()).collect();
            // A call has each key once.
            all.sort_unstable();
            all.dedup();
            keys(all.into_iter())
        };
        (0..500).map(one).collect()
    };
    let skews = [("uniform", calls("uniform")), ("zipf 0.99", calls("zipf"))];
    for (name, backend) in &mut backends {
        fill(&mut **backend);
        let mut group = criterion.benchmark_group(*name);
        group.sample_size(20);
        for (skew, calls) in &skews {
            let mut next = calls.iter().cycle();
            group.throughput(Throughput::Elements(ROWS as u64));
            group.bench_function(BenchmarkId::new(*skew, ROWS), |b| {
                b.iter(|| {
                    let keys = next.next().expect("a cycle does not end");
                    let mut values = BytesBuilder::with_capacity(keys.rows(), keys.rows() * 8);
                    backend.get_many(black_box(keys), &mut values, usize::MAX).expect("it reads");
                    backend.put_many(keys, &values).expect("it writes");
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, state);
criterion_main!(benches);
