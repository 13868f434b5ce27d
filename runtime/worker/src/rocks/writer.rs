//! The thread that works for one store: it saves generations as runs and writes them to RocksDB, in the order in which it is
//! told to.
//!
//! One thread a store, not one for all of a worker: order within a store then needs no bookkeeping, and a store that RocksDB
//! stalls holds back its own task alone. An idle one costs a parked thread. How much is on its way is bounded by the
//! cache's budget, which counts what [`Writer::progress`] has not confirmed.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use flow_dataflow::state::{Generation, Progress};
use flow_dataflow::{Barrier, Error};
use rocksdb::{DB, WriteBatch, WriteOptions};

use super::failure::failure;
use super::runs::Runs;

/// Bytes of one batch: large enough to share its fixed cost, small enough to leave no second copy of a generation.
const BATCH_BYTES: usize = 256 << 10;

/// What it is told to do.
enum Job {
    /// Save a generation as a run, for a checkpoint where there is a barrier.
    Save(Generation, Option<Barrier>),
    /// Write changes to RocksDB.
    Store(Generation),
}

#[derive(Default)]
struct State {
    progress: Progress,
    done: u64,
    failed: Option<Error>,
    /// The store goes away: leave what is queued.
    abandoned: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes of the longest value that was written.
    longest: AtomicUsize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a few assignments, so a panic leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store's end.
pub(super) struct Writer {
    queue: Option<Sender<Job>>,
    sent: u64,
    saves: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// A thread for a store, which saves generations where there are `runs` to save them to.
    pub(super) fn start(db: Arc<DB>, runs: Option<Runs>) -> Result<Writer, Error> {
        let shared = Arc::<Shared>::default();
        let (queue, jobs) = channel();
        let (of_thread, saves) = (shared.clone(), runs.is_some());
        let dir = db.path().to_owned();
        let thread = std::thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || run(&db, runs.as_ref(), &jobs, &of_thread))
            .map_err(|e| Error::Retryable(format!("no thread that writes state in {}: {e}", dir.display())))?;
        Ok(Writer { queue: Some(queue), sent: 0, saves, shared, thread: Some(thread) })
    }

    /// As [`flow_dataflow::state::Store::seal`]. Fails when an earlier job did.
    pub(super) fn seal(&mut self, changes: Generation, barrier: Option<Barrier>) -> Result<(), Error> {
        if self.saves {
            return self.send(Job::Save(changes, barrier));
        }
        self.shared.lock().progress.saved = changes.number;
        Ok(())
    }

    /// As [`flow_dataflow::state::Store::store`]. Fails when an earlier job did.
    pub(super) fn store(&mut self, changes: Generation) -> Result<(), Error> {
        self.send(Job::Store(changes))
    }

    fn send(&mut self, job: Job) -> Result<(), Error> {
        if let Some(error) = &self.shared.lock().failed {
            return Err(error.clone());
        }
        self.sent += 1;
        if let Some(queue) = &self.queue {
            // Where the thread has ended since, `progress` says why.
            let _ = queue.send(job);
        }
        Ok(())
    }

    /// As [`flow_dataflow::state::Store::progress`].
    pub(super) fn progress(&self, wait: bool) -> Result<Progress, Error> {
        let mut state = self.shared.lock();
        while wait && state.done < self.sent && state.failed.is_none() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match &state.failed {
            Some(error) => Err(error.clone()),
            None => Ok(state.progress),
        }
    }

    /// Bytes of the longest value that was written.
    pub(super) fn longest(&self) -> usize {
        self.shared.longest.load(Relaxed)
    }
}

impl Drop for Writer {
    /// Ends the thread within one batch or run: nobody will ask for what is still queued.
    fn drop(&mut self) {
        self.shared.lock().abandoned = true;
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told as `failed`.
            let _ = thread.join();
        }
    }
}

/// Tells whoever waits when the thread ends by a panic.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let gone = || Error::Fatal("the thread that writes state panicked".into());
            self.0.lock().failed.get_or_insert_with(gone);
        }
        self.0.changed.notify_all();
    }
}

/// What saves generations. One that the disk has no room for is kept, and its checkpoint declined: the task goes on, and each further
/// generation begins with what is left of those before it.
struct Saver<'a> {
    runs: Option<&'a Runs>,
    unsaved: VecDeque<Generation>,
    /// All generations up to this one are saved.
    saved: u32,
}

impl Saver<'_> {
    fn save(&mut self, changes: Generation, barrier: Option<Barrier>) -> Result<(), Error> {
        let number = changes.number;
        self.unsaved.push_back(changes);
        match (self.flush(number, barrier), barrier, self.runs) {
            (Err(error @ Error::Retryable(_)), Some(barrier), Some(runs)) => {
                runs.decline(barrier, error);
                Ok(())
            }
            (Err(Error::Retryable(_)), None, _) => Ok(()),
            (outcome, ..) => outcome,
        }
    }

    /// Saves what is left, of which the one with that number belongs to the barrier.
    fn flush(&mut self, last: u32, barrier: Option<Barrier>) -> Result<(), Error> {
        while let Some(changes) = self.unsaved.front() {
            if let Some(runs) = self.runs {
                runs.save(changes, barrier.filter(|_| changes.number == last))?;
            }
            self.saved = changes.number;
            self.unsaved.pop_front();
        }
        Ok(())
    }
}

fn run(db: &DB, runs: Option<&Runs>, jobs: &Receiver<Job>, shared: &Shared) {
    let _ending = Ending(shared);
    let mut saver = Saver { runs, unsaved: VecDeque::new(), saved: 0 };
    for job in jobs {
        if shared.lock().abandoned {
            return;
        }
        let outcome = match job {
            Job::Save(changes, barrier) => saver.save(changes, barrier).map(|()| None),
            // What RocksDB has may leave memory, so it is saved before.
            Job::Store(changes) => saver.flush(changes.number, None).and_then(|()| {
                let failed = |e: rocksdb::Error| failure(&e, "writing", db.path());
                let written = write(db, &changes, &shared.longest, || shared.lock().abandoned).map_err(failed)?;
                Ok(written.then_some(changes.number))
            }),
        };
        let mut state = shared.lock();
        match outcome {
            Ok(stored) => state.progress.stored = stored.unwrap_or(state.progress.stored),
            Err(error) => {
                state.failed = Some(error);
                return;
            }
        }
        state.progress.saved = state.progress.saved.max(saver.saved);
        state.done += 1;
        drop(state);
        shared.changed.notify_all();
    }
}

/// Writes changes in the order of their keys, which is what makes an insert cheap. False if that was abandoned midway.
fn write(
    db: &DB,
    changes: &Generation,
    longest: &AtomicUsize,
    abandoned: impl Fn() -> bool,
) -> Result<bool, rocksdb::Error> {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    let mut batch = WriteBatch::default();
    let mut long = 0;
    for (key, stored) in changes.sorted() {
        match stored {
            Some(stored) => batch.put(key, stored),
            None => batch.delete(key),
        }
        long = long.max(stored.map_or(0, <[u8]>::len));
        if batch.size_in_bytes() >= BATCH_BYTES {
            if abandoned() {
                return Ok(false);
            }
            longest.fetch_max(long, Relaxed);
            db.write_opt(std::mem::take(&mut batch), &options)?;
        }
    }
    longest.fetch_max(long, Relaxed);
    db.write_opt(batch, &options)?;
    Ok(true)
}
