//! Keyed state by backend and skew: one call's reads and writes of 1,024 keys of a million, as a keyed count makes them (read
//! each, write each back). Must never assert on a time.
//!
//! What it leaves out: the operator, and the writer's thread beside the one that is timed (`rocks_figures` counts its CPU).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_benches::random::{Random, Zipf};
use flow_dataflow::state::{Cached, MemoryBackend, StateBackend, key};
use flow_frame::BytesBuilder;
use flow_model::key_group::KeyGroups;
use flow_worker::rocks::SharedRocks;

const KEYS: u64 = 1_000_000;
const ROWS: usize = 1024;
/// Room for all keys, and for a tenth of them.
const FITTING: usize = 256 << 20;
const TIGHT: usize = 16 << 20;

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
    let zipf = Zipf::new(KEYS, 0.99);
    let mut random = Random(7);
    // Enough different calls that a small cache can't hold the keys of all of them.
    let mut calls = |skew: &str| -> Vec<BytesBuilder> {
        let mut number = || match skew {
            "uniform" => random.next() % KEYS,
            _ => zipf.key(random.next()),
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
