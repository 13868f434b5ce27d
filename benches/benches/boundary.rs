//! The sandbox's boundary by kind of operator and batch size, beside the same work natively on the same columns. Time a record
//! is the time shown divided by the rows; throughput is records a second. Must never assert on a time.
//!
//! What it leaves out: sources, sinks, exchanges, and state on disk (the keyed count's is in memory).

use std::borrow::Cow;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_dataflow::build::bytes_column;
use flow_dataflow::call::{Blame, FunctionOperator, OnError, Setup as Drive};
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_dataflow::state::{KeyedState, MemoryBackend};
use flow_dataflow::{Batch, BatchBuilder, Moment, Operator, Row};
use flow_frame::BytesBuilder;
use flow_frame::id;
use flow_model::key_group::KeyGroups;
use flow_plugin::{Engine, Limits, Options, Setup};
use serde::{Deserialize, Serialize};

const ROWS: [usize; 4] = [1, 32, 256, 1024];
const AT: Moment = Moment { now: 0, watermark: i64::MIN };

struct Quiet;

impl Report for Quiet {
    fn log(&self, _: Level, _: &str) {}

    fn locate(&self, _: u32, _: i64) -> Place {
        Place::default()
    }

    fn rejected(&self, record: &Rejected) {
        panic!("a benchmark's record was rejected: {record:?}");
    }
}

fn plugin(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.expect("a home directory").join("flow/plugins").join(format!("{name}.wasm"))
}

/// A component as an operator of a chain, the way a worker drives it.
fn component(engine: &Engine, name: &str, config: &str) -> FunctionOperator {
    let bytes = std::fs::read(plugin(name)).expect("built by `make plugins`");
    let limits = Limits::default();
    let component = engine.load(name, &bytes, &limits).expect("an operator");
    let report: Arc<dyn Report> = Arc::new(Quiet);
    let function = component
        .instantiate(Setup {
            operator: name.into(),
            config: config.into(),
            subtask: 0,
            parallelism: 1,
            key_groups: (0, 127),
            limits,
            report: report.clone(),
            stop: Arc::default(),
        })
        .expect("it starts");
    let state = KeyedState::new(Box::<MemoryBackend>::default(), &function.description().states, KeyGroups::default());
    let blame = Blame { on_error: OnError::Skip, report };
    FunctionOperator::new(
        function,
        state,
        Drive { blame, retry: None, limits_at: String::new(), stopwatch: || 0, max_rows: 1024, stop: Arc::default() },
    )
}

/// Records of about 100 bytes of JSON, under 1,000 keys.
fn orders(rows: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    for n in 0..rows {
        let key = format!("c-{:04}", n * 7919 % 1000);
        let note = "second floor, leave it at the desk";
        let value = format!(r#"{{"id":{n},"customer":"{key}","amount":{}.25,"note":"{note}"}}"#, n % 500);
        builder.push(Row {
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            position: n as i64,
            ..Row::default()
        });
    }
    builder.finish()
}

#[derive(Deserialize, Serialize)]
struct Order<'a> {
    id: u64,
    #[serde(borrow)]
    customer: Cow<'a, str>,
    amount: f64,
    #[serde(borrow)]
    note: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Amount {
    amount: f64,
}

#[derive(Serialize)]
struct Update<'a> {
    key: &'a str,
    count: u64,
}

fn with_values(batch: &Batch, values: BytesBuilder) -> Batch {
    let mut out = batch.clone();
    out.set(bytes_column(id::VALUE, values));
    out
}

fn native_identity(batch: &Batch) -> Batch {
    let values = batch.bytes(id::VALUE).expect("orders have values");
    let mut out = BytesBuilder::with_capacity(batch.rows(), batch.rows() * 110);
    (0..batch.rows()).for_each(|row| out.push(values.get(row)));
    with_values(batch, out)
}

fn native_json_map(batch: &Batch) -> Batch {
    let values = batch.bytes(id::VALUE).expect("orders have values");
    let mut out = BytesBuilder::with_capacity(batch.rows(), batch.rows() * 110);
    for row in 0..batch.rows() {
        let mut order: Order<'_> = serde_json::from_slice(values.raw(row)).expect("orders are JSON");
        order.amount *= 2.0;
        serde_json::to_writer(&mut out.data, &order).expect("memory takes everything");
        out.end_row();
    }
    with_values(batch, out)
}

fn native_filter(batch: &Batch) -> Batch {
    let values = batch.bytes(id::VALUE).expect("orders have values");
    let amount = |row| serde_json::from_slice::<Amount>(values.raw(row)).expect("orders are JSON").amount;
    let rows: Vec<u32> = (0..batch.rows()).filter(|row| amount(*row) >= 50.0).map(|row| row as u32).collect();
    batch.select(&rows)
}

fn native_words(batch: &Batch) -> Batch {
    let values = batch.bytes(id::VALUE).expect("orders have values");
    let (mut out, mut inputs) = (BytesBuilder::with_capacity(batch.rows() * 12, batch.rows() * 90), Vec::new());
    for row in 0..batch.rows() {
        for word in values.raw(row).split(|b| !b.is_ascii_alphabetic()).filter(|w| !w.is_empty()) {
            out.data.extend(word.iter().map(u8::to_ascii_lowercase));
            out.end_row();
            inputs.push(row as u32);
        }
    }
    let mut batch = batch.project(&[id::KEY, id::SPLIT, id::POSITION]).select(&inputs);
    batch.set(bytes_column(id::VALUE, out));
    batch
}

fn native_count(counts: &mut HashMap<Vec<u8>, u64>, batch: &Batch) -> Batch {
    let keys = batch.bytes(id::KEY).expect("orders have keys");
    let mut out = BytesBuilder::with_capacity(batch.rows(), batch.rows() * 32);
    for row in 0..batch.rows() {
        let key = keys.raw(row);
        let count = match counts.get_mut(key) {
            Some(count) => count,
            None => counts.entry(key.to_vec()).or_default(),
        };
        *count += 1;
        let update = Update { key: std::str::from_utf8(key).expect("keys are text"), count: *count };
        serde_json::to_writer(&mut out.data, &update).expect("memory takes everything");
        out.end_row();
    }
    with_values(batch, out)
}

fn compare(
    criterion: &mut Criterion,
    kind: &str,
    guest: &mut FunctionOperator,
    native: &mut dyn FnMut(&Batch) -> Batch,
) {
    let mut group = criterion.benchmark_group(kind);
    for rows in ROWS {
        let batch = orders(rows);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::new("wasm", rows), |b| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                guest.process(black_box(batch.clone()), AT, &mut out).expect("good records");
            });
        });
        group.bench_function(BenchmarkId::new("native", rows), |b| b.iter(|| native(black_box(&batch))));
    }
    group.finish();
}

fn boundary(criterion: &mut Criterion) {
    let engine = Engine::new(Options::default()).expect("wasmtime starts");
    let load = |name, config| component(&engine, name, config);
    compare(criterion, "map: identity", &mut load("identity", "null"), &mut native_identity);
    compare(criterion, "map: JSON", &mut load("order-map", "null"), &mut native_json_map);
    compare(criterion, "filter: JSON", &mut load("order-filter", r#"{"min":50.0}"#), &mut native_filter);
    let words = r#"{"letters":"ascii","lowercase":true}"#;
    compare(criterion, "flat-map: words", &mut load("tokenizer", words), &mut native_words);
    let mut counts = HashMap::new();
    let mut native = |batch: &Batch| native_count(&mut counts, batch);
    compare(criterion, "process: keyed count", &mut load("counter", "null"), &mut native);
}

/// Forms of nulls: writing and reading 1,024 rows of which so many in a hundred are null, as a byte a row and as a bitmap.
fn nulls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nulls");
    group.throughput(Throughput::Elements(1024));
    for percent in [0u32, 1, 50] {
        let rows: Vec<bool> = (0..1024u32).map(|n| n.wrapping_mul(2_654_435_761) % 100 >= percent).collect();
        group.bench_function(BenchmarkId::new("bytes: write", percent), |b| {
            b.iter(|| black_box(&rows).iter().map(|set| u8::from(*set)).collect::<Vec<u8>>());
        });
        group.bench_function(BenchmarkId::new("bitmap: write", percent), |b| {
            b.iter(|| {
                let byte = |eight: &[bool]| eight.iter().rev().fold(0u8, |bits, set| bits << 1 | u8::from(*set));
                black_box(&rows).chunks(8).map(byte).collect::<Vec<u8>>()
            });
        });
        let bytes: Vec<u8> = rows.iter().map(|set| u8::from(*set)).collect();
        let bits: Vec<u8> =
            rows.chunks(8).map(|e| e.iter().rev().fold(0, |bits, set| bits << 1 | u8::from(*set))).collect();
        let lengths: Vec<u32> = (0..1024u32).collect();
        group.bench_function(BenchmarkId::new("bytes: read", percent), |b| {
            b.iter(|| {
                let row = |(n, set): (&u32, &u8)| if *set == 1 { *n } else { 0 };
                black_box(&lengths).iter().zip(black_box(&bytes)).map(row).sum::<u32>()
            });
        });
        group.bench_function(BenchmarkId::new("bitmap: read", percent), |b| {
            b.iter(|| {
                let bits = black_box(&bits);
                let row = |(i, n): (usize, &u32)| if bits[i / 8] >> (i % 8) & 1 == 1 { *n } else { 0 };
                black_box(&lengths).iter().enumerate().map(row).sum::<u32>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, boundary, nulls);
criterion_main!(benches);
