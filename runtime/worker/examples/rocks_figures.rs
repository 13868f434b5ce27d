//! The figures of `runtime/docs/adr/0005-rocksdb-settings.md`, from the store as jobs use it.
//!
//! `cargo run --release -p flow-worker --example rocks_figures -- DIRECTORY`

mod measure;

use std::path::PathBuf;
use std::time::Instant;

use flow_dataflow::state::{Generation, Store, key};
use flow_frame::BytesBuilder;
use flow_worker::rocks::{RocksStore, SharedRocks};

use measure::{next, process_cpu, thread_cpu};

const KEYS: u64 = 1_000_000;
const GENERATION: u64 = 100_000;
const READ: u64 = 1024;

fn push_key(number: u64, keys: &mut BytesBuilder) {
    let text = format!("customer-{number}");
    let group = flow_model::key_group::KeyGroups::default().of(text.as_bytes()).0;
    key::encode(group, 0, text.as_bytes(), &mut keys.data);
    keys.end_row();
}

fn generation(numbers: impl Iterator<Item = u64>, value: usize, seed: &mut u64) -> Generation {
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    for number in numbers {
        push_key(number, &mut keys);
        let digits = next(seed).to_string();
        values.data.extend(digits.bytes().cycle().take(value));
        values.end_row();
    }
    Generation::of(1, &keys, &values)
}

/// Writes a generation and says what it cost in CPU, compactions that ran beside it included, and in time.
fn write(store: &mut RocksStore, generation: Generation) -> (f64, f64) {
    let (before, begun) = (process_cpu(), Instant::now());
    store.store(generation).and_then(|()| store.progress(true)).expect("the store writes");
    (process_cpu() - before, begun.elapsed().as_secs_f64())
}

fn read(store: &mut RocksStore, label: &str, seed: &mut u64, number: impl Fn(u64) -> u64) {
    let rounds = 100;
    let (mut spent, mut found) = (0.0, 0);
    for round in 0..rounds * 2 {
        let mut keys = BytesBuilder::default();
        (0..READ).for_each(|_| push_key(number(next(seed)), &mut keys));
        let mut values = BytesBuilder::default();
        let before = thread_cpu();
        store.get_many(&keys, &mut values, usize::MAX).expect("the store reads");
        // The first half warms the caches.
        if round >= rounds {
            spent += thread_cpu() - before;
            found += (0..values.rows()).filter(|row| values.column().get(*row).is_some()).count();
        }
    }
    let keys = rounds * READ;
    println!("  get_many of {READ} {label}: {:.2} µs a key, {found} of {keys} found", spent / keys as f64 * 1e6);
}

fn figures(directory: &PathBuf, value: usize) {
    println!("{KEYS} keys, values of {value} bytes, generations of {GENERATION} keys");
    let _ = std::fs::remove_dir_all(directory);
    let mut store = SharedRocks::new().open(directory).expect("the directory can be used");
    let mut seed = 1;
    let mut total = (0.0, 0.0);
    for from in (0..KEYS).step_by(GENERATION as usize) {
        let (cpu, wall) = write(&mut store, generation(from..from + GENERATION, value, &mut seed));
        total = (total.0 + cpu, total.1 + wall);
    }
    let per_key = |seconds: f64, keys: u64| seconds / keys as f64 * 1e6;
    println!("  new keys: {:.2} µs of CPU, {:.2} µs each", per_key(total.0, KEYS), per_key(total.1, KEYS));
    let (mut total, mut worst, rounds) = ((0.0, 0.0), 0.0f64, 20);
    for _ in 0..rounds {
        let mut pick = seed;
        let numbers: std::collections::BTreeSet<u64> = (0..GENERATION).map(|_| next(&mut pick) % KEYS).collect();
        let (cpu, wall) = write(&mut store, generation(numbers.into_iter(), value, &mut seed));
        total = (total.0 + cpu, total.1 + wall);
        worst = worst.max(wall);
    }
    let keys = rounds * GENERATION;
    println!(
        "  changed keys: {:.2} µs of CPU, {:.2} µs each; the slowest generation {:.0} ms",
        per_key(total.0, keys),
        per_key(total.1, keys),
        worst * 1e3
    );
    read(&mut store, "random keys", &mut seed, |n| n % KEYS);
    read(&mut store, "keys that are not there", &mut seed, |n| KEYS + n % KEYS);
    read(&mut store, "of 10,000 keys", &mut seed, |n| n % 10_000);
    store.close().expect("it closes");
    let files = std::fs::read_dir(directory).expect("the directory is there");
    let bytes: u64 = files.filter_map(|f| f.ok()?.metadata().ok()).map(|m| m.len()).sum();
    let _ = std::fs::remove_dir_all(directory);
    println!("  on disk: {} MiB", bytes >> 20);
}

fn main() {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: rocks_figures DIRECTORY; a directory of that name is made, and removed at the end");
        std::process::exit(2);
    };
    for value in [16, 100] {
        figures(&directory.join("rocks-figures"), value);
    }
}
