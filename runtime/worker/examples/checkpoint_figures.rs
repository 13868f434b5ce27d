//! The figures of `runtime/docs/adr/0016-runs.md`: what checkpoints of keyed state cost, from the state as jobs use it. Uploads are
//! hard links, so the object store's part is left out.
//!
//! `cargo run --release -p flow-worker --example checkpoint_figures -- DIRECTORY`

mod measure;

use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flow_dataflow::state::{Cached, StateBackend, key};
use flow_dataflow::{Barrier, Error};
use flow_frame::BytesBuilder;
use flow_model::checkpoint::snapshot::Chain;
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation, ObjectName};
use flow_model::key_group::KeyGroups;
use flow_worker::rocks::runs::{Acks, Checkpoints, Fetch, Restored, Uploaded, Uploads};
use flow_worker::rocks::{RocksStore, SharedRocks};

use measure::{next, process_cpu, thread_cpu};

const BATCH: u64 = 1024;

/// An object store that costs nothing.
struct Objects {
    dir: PathBuf,
    bytes: AtomicU64,
    last: Mutex<Option<(CheckpointId, Chain)>>,
}

impl Uploads for Objects {
    fn upload(&self, name: &ObjectName, file: &Path, uploaded: Uploaded) {
        self.bytes.fetch_add(std::fs::metadata(file).expect("it is there").len(), Relaxed);
        std::fs::hard_link(file, self.dir.join(name.unique())).expect("the directory takes links");
        uploaded(Ok(()));
    }
}

impl Acks for Objects {
    fn acked(&self, checkpoint: CheckpointId, chain: Chain) {
        *self.last.lock().expect("no panic") = Some((checkpoint, chain));
    }

    fn declined(&self, checkpoint: CheckpointId, cause: Error) {
        panic!("{checkpoint}: {cause}");
    }
}

impl Fetch for Objects {
    fn fetch(&self, object: &ObjectName, range: Range<u64>, into: &mut dyn Write) -> Result<(), Error> {
        let mut file = std::fs::File::open(self.dir.join(object.unique())).expect("it was uploaded");
        file.seek(SeekFrom::Start(range.start)).expect("a file");
        std::io::copy(&mut file.take(range.end - range.start), into).expect("it is copied");
        Ok(())
    }
}

struct Job {
    rocks: SharedRocks,
    dir: PathBuf,
    objects: Arc<Objects>,
    state: Cached<RocksStore>,
    counter: u32,
    value: usize,
    seed: u64,
    /// CPU seconds of the calls, by the task's thread.
    spent: f64,
}

fn open(rocks: &SharedRocks, dir: &Path, objects: &Arc<Objects>, groups: RangeInclusive<u16>) -> RocksStore {
    let last = objects.last.lock().expect("no panic").clone();
    let confirmed = last.as_ref().map_or(CheckpointId::NONE, |(id, _)| *id);
    let restored = last.map(|(_, chain)| Restored { chains: vec![chain], fetch: objects.clone() });
    let checkpoints = Checkpoints {
        incarnation: Incarnation::of(1),
        groups,
        confirmed,
        restored,
        dropped: Vec::new(),
        uploads: objects.clone(),
        acks: objects.clone(),
    };
    rocks.open_with(dir, &checkpoints).expect("the directory can be used")
}

impl Job {
    fn new(dir: &Path, value: usize, budget: usize) -> Job {
        let _ = std::fs::remove_dir_all(dir);
        let remote = dir.join("remote");
        std::fs::create_dir_all(&remote).expect("the directory can be used");
        let objects = Arc::new(Objects { dir: remote, bytes: AtomicU64::new(0), last: Mutex::default() });
        let rocks = SharedRocks::new();
        let store = open(&rocks, &dir.join("0"), &objects, 0..=127);
        let state = Cached::new(store, budget, &[]);
        Job { rocks, dir: dir.to_owned(), objects, state, counter: 0, value, seed: 1, spent: 0.0 }
    }

    /// Reads and writes each of these keys, as a keyed count does; says how long the slowest call took.
    fn update(&mut self, mut numbers: impl Iterator<Item = u64>) -> Duration {
        let mut slowest = Duration::ZERO;
        loop {
            let (mut keys, mut values, mut found) =
                (BytesBuilder::default(), BytesBuilder::default(), BytesBuilder::default());
            for number in numbers.by_ref().take(BATCH as usize) {
                let text = format!("customer-{number:07}");
                key::encode(KeyGroups::default().of(text.as_bytes()).0, 0, text.as_bytes(), &mut keys.data);
                keys.end_row();
                let bytes = next(&mut self.seed).to_le_bytes();
                values.data.extend(bytes.iter().cycle().take(self.value));
                values.end_row();
            }
            if keys.is_empty() {
                return slowest;
            }
            let (begun, cpu) = (Instant::now(), thread_cpu());
            self.state.get_many(&keys, &mut found, usize::MAX).expect("it reads");
            self.state.put_many(&keys, &values).expect("it writes");
            self.spent += thread_cpu() - cpu;
            slowest = slowest.max(begun.elapsed());
        }
    }

    /// A barrier; says how long it held the task back.
    fn barrier(&mut self) -> Duration {
        self.counter += 1;
        let confirmed = self.objects.last.lock().expect("no panic").as_ref().map_or(CheckpointId::NONE, |(id, _)| *id);
        let begun = Instant::now();
        let checkpoint = CheckpointId::new(Attempt(1), self.counter);
        self.state.snapshot(Barrier { checkpoint, confirmed }).expect("it begins");
        begun.elapsed()
    }

    /// Waits until the last checkpoint is acknowledged; says how long that took.
    fn acked(&self) -> Duration {
        let begun = Instant::now();
        let wanted = CheckpointId::new(Attempt(1), self.counter);
        while self.objects.last.lock().expect("no panic").as_ref().is_none_or(|(id, _)| *id < wanted) {
            std::thread::sleep(Duration::from_micros(200));
        }
        begun.elapsed()
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Keyed counts over so many keys that the cache holds, a barrier each `interval` rows.
fn counts(dir: &Path, keys: u64, interval: u64, checkpoints: u32) {
    let mut job = Job::new(dir, 8, 1 << 30);
    job.update(0..keys);
    job.barrier();
    job.acked();
    job.objects.bytes.store(0, Relaxed);
    let (mut held, mut own_held, mut random) = (Vec::new(), 0.0f64, 7);
    let (cpu, own, spent) = (process_cpu(), thread_cpu(), job.spent);
    let mut changed = 0;
    for _ in 0..checkpoints {
        let mut numbers: Vec<u64> = (0..interval).map(|_| next(&mut random) % keys).collect();
        job.update(numbers.iter().copied());
        let cpu = thread_cpu();
        held.push(job.barrier());
        own_held = own_held.max(thread_cpu() - cpu);
        numbers.sort_unstable();
        numbers.dedup();
        changed += numbers.len() as u64;
    }
    job.acked();
    let rows = f64::from(checkpoints) * interval as f64;
    let (cpu, own) = (process_cpu() - cpu, thread_cpu() - own);
    held.sort_unstable();
    let bytes = job.objects.bytes.load(Relaxed);
    println!(
        "{keys} keys of 8 bytes, {interval} rows a checkpoint, {checkpoints} checkpoints: {:.0} ns a row on the task's thread, {:.0} on \
         others; held back {:.3} ms, at worst {:.3} ({:.3} of CPU); {:.0} bytes uploaded a changed key, {} runs at the end",
        (job.spent - spent) / rows * 1e9,
        (cpu - own) / rows * 1e9,
        ms(held[held.len() / 2]),
        ms(held[held.len() - 1]),
        own_held * 1e3,
        bytes as f64 / changed as f64,
        job.objects.last.lock().expect("no panic").as_ref().map_or(0, |(_, chain)| chain.runs.len()),
    );
}

/// A gigabyte, of which a hundredth changes between barriers.
fn gigabyte(dir: &Path, budget: usize) {
    let mut job = Job::new(dir, 1000, budget);
    for from in (0..1_000_000).step_by(50_000) {
        job.update(from..from + 50_000);
        job.barrier();
        job.acked();
    }
    let (mut held, mut slowest, mut complete, mut random) = (Vec::new(), Duration::ZERO, Duration::ZERO, 7);
    for _ in 0..100 {
        let numbers: Vec<u64> = (0..10_000).map(|_| next(&mut random) % 1_000_000).collect();
        slowest = slowest.max(job.update(numbers.into_iter()));
        held.push(job.barrier());
        complete = complete.max(job.acked());
    }
    held.sort_unstable();
    println!(
        "1 GB in a cache of {} MiB: held back {:.3} ms, P99 {:.3}; the slowest call {:.1} ms; the slowest checkpoint {:.0} ms",
        budget >> 20,
        ms(held[50]),
        ms(held[98]),
        ms(slowest),
        ms(complete),
    );
    let Job { rocks, dir, objects, state, .. } = job;
    drop(state);
    let timed = |what: &str, open: &dyn Fn()| {
        let (begun, cpu) = (Instant::now(), process_cpu());
        open();
        println!("  restored {what} in {:.1} s, {:.1} s of CPU", begun.elapsed().as_secs_f64(), process_cpu() - cpu);
    };
    timed("from local files", &|| drop(open(&rocks, &dir.join("0"), &objects, 0..=127)));
    timed("from objects", &|| drop(open(&rocks, &dir.join("1"), &objects, 0..=127)));
    timed("by two subtasks from objects", &|| {
        std::thread::scope(|scope| {
            scope.spawn(|| drop(open(&rocks, &dir.join("2"), &objects, 0..=63)));
            scope.spawn(|| drop(open(&rocks, &dir.join("3"), &objects, 64..=127)));
        });
    });
}

fn main() {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: checkpoint_figures DIRECTORY; a directory of that name is made, and removed at the end");
        std::process::exit(2);
    };
    let dir = directory.join("checkpoint-figures");
    counts(&dir, 1_000_000, 300_000, 20);
    for keys in [100_000, 1_000_000, 4_000_000] {
        counts(&dir, keys, 20_000, 60);
    }
    gigabyte(&dir, 2 << 30);
    gigabyte(&dir, 256 << 20);
    let _ = std::fs::remove_dir_all(&dir);
}
