//! The thread that writes one store's generations.
//!
//! One thread a store, not one for all of a worker: order within a store then needs no bookkeeping, and a store that RocksDB
//! stalls holds back its own task alone. An idle one costs a parked thread. How much is on its way is bounded by the
//! cache's budget, which counts what [`Writer::written`] has not confirmed.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use flow_dataflow::Error;
use flow_dataflow::state::Generation;
use rocksdb::{DB, WriteBatch, WriteOptions};

use super::failure::failure;
use super::value;

/// Bytes of one batch: large enough to share its fixed cost, small enough to leave no second copy of a generation.
const BATCH_BYTES: usize = 256 << 10;

#[derive(Default)]
struct State {
    written: u64,
    failed: Option<Error>,
    /// The store goes away: leave what is queued.
    abandoned: bool,
}

#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so a panic leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store's end.
pub(super) struct Writer {
    queue: Option<Sender<Generation>>,
    sent: u64,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(db: Arc<DB>) -> Result<Writer, Error> {
        let progress = Arc::<Progress>::default();
        let (queue, generations) = channel();
        let of_thread = progress.clone();
        let dir = db.path().to_owned();
        let thread = std::thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || run(&db, &generations, &of_thread))
            .map_err(|e| Error::Retryable(format!("no thread that writes state in {}: {e}", dir.display())))?;
        Ok(Writer { queue: Some(queue), sent: 0, progress, thread: Some(thread) })
    }

    /// Queues a generation. Fails when an earlier one could not be written.
    pub(super) fn write(&mut self, generation: Generation) -> Result<(), Error> {
        if let Some(error) = &self.progress.lock().failed {
            return Err(error.clone());
        }
        self.sent += 1;
        if let Some(queue) = &self.queue {
            // Where the thread has ended since, `written` says why.
            let _ = queue.send(generation);
        }
        Ok(())
    }

    /// As [`flow_dataflow::state::Store::written`].
    pub(super) fn written(&self, wait: bool) -> Result<u64, Error> {
        let mut state = self.progress.lock();
        while wait && state.written < self.sent && state.failed.is_none() {
            state = self.progress.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match &state.failed {
            Some(error) => Err(error.clone()),
            None => Ok(state.written),
        }
    }
}

impl Drop for Writer {
    /// Ends the thread within one batch: nobody will ask for what is still queued.
    fn drop(&mut self) {
        self.progress.lock().abandoned = true;
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told as `failed`.
            let _ = thread.join();
        }
    }
}

/// Tells whoever waits when the thread ends by a panic.
struct Ending<'a>(&'a Progress);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let gone = || Error::Fatal("the thread that writes state panicked".into());
            self.0.lock().failed.get_or_insert_with(gone);
        }
        self.0.changed.notify_all();
    }
}

fn run(db: &DB, generations: &Receiver<Generation>, progress: &Progress) {
    let _ending = Ending(progress);
    for generation in generations {
        let outcome = write_generation(db, &generation, || progress.lock().abandoned);
        drop(generation);
        let mut state = progress.lock();
        match outcome {
            Ok(true) => state.written += 1,
            Ok(false) => return,
            Err(error) => {
                state.failed = Some(failure(&error, "writing", db.path()));
                return;
            }
        }
        drop(state);
        progress.changed.notify_all();
    }
}

/// Writes a generation in the order of its keys, which is what makes an insert cheap. False if it was abandoned midway.
fn write_generation(db: &DB, generation: &Generation, abandoned: impl Fn() -> bool) -> Result<bool, rocksdb::Error> {
    let (keys, values) = (generation.keys.column(), generation.values.column());
    let mut order: Vec<u32> = (0..generation.keys.rows() as u32).collect();
    order.sort_unstable_by_key(|row| keys.raw(*row as usize));
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    let mut stored = Vec::new();
    let mut batch = WriteBatch::default();
    for row in order {
        let key = keys.raw(row as usize);
        match values.get(row as usize) {
            Some(bytes) => {
                value::encode(bytes, &mut stored);
                batch.put(key, &stored);
            }
            None => batch.delete(key),
        }
        if batch.size_in_bytes() >= BATCH_BYTES {
            if abandoned() {
                return Ok(false);
            }
            db.write_opt(std::mem::take(&mut batch), &options)?;
        }
    }
    db.write_opt(batch, &options)?;
    Ok(true)
}
