//! The runs of one subtask's state: written beside its RocksDB, uploaded, merged, and read again by a restore. Which of them a
//! checkpoint names is the ledger's to decide ([`flow_dataflow::state::ledger`]); this is its hands.
//!
//! Must never make the task wait: generations are saved by the store's writer, merges have a thread of their own, uploads are
//! somebody else's.
//!
//! - [`Uploads`], [`Fetch`], [`Acks`]: what is asked of the rest of the worker
//! - `files`: runs on the local disk; `restore`: a store from runs

mod files;
pub(super) mod restore;

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use flow_dataflow::state::ledger::{Action, Ledger, Merge, Number};
use flow_dataflow::state::run::Written;
use flow_dataflow::state::{Generation, key};
use flow_dataflow::{Barrier, Error};
use flow_model::checkpoint::snapshot::Chain;
use flow_model::checkpoint::{CheckpointId, Incarnation, ObjectName};

use self::files::Local;
use crate::disk;
use crate::failpoint::{self, Point};

/// Called once with what came of an upload, by any thread.
pub type Uploaded = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Where runs go.
pub trait Uploads: Send + Sync {
    /// Begins to upload a file, which stays as it is until `uploaded` is called, and returns at once.
    fn upload(&self, name: &ObjectName, file: &Path, uploaded: Uploaded);
}

/// Where runs come from.
pub trait Fetch: Send + Sync {
    /// Writes these bytes of an object to `into`. Called by several threads at once.
    ///
    /// # Errors
    /// One that says what is wrong with the object, or with the way to it.
    fn fetch(&self, object: &ObjectName, range: Range<u64>, into: &mut dyn Write) -> Result<(), Error>;
}

/// Who is told what a subtask has for a checkpoint.
pub trait Acks: Send + Sync {
    /// The state of a checkpoint is complete: all objects that it names are uploaded, the pending ones apart, which may not even be there.
    fn acked(&self, checkpoint: CheckpointId, chain: Chain);

    /// It will never be.
    fn declined(&self, checkpoint: CheckpointId, cause: Error);
}

/// A checkpoint that a subtask's state is restored from.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What all subtasks that the operator had have put into it; chains without groups of this subtask may be missing.
    pub chains: Vec<Chain>,
    /// How runs are had that are not on the local disk.
    pub fetch: Arc<dyn Fetch>,
}

impl std::fmt::Debug for dyn Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetch")
    }
}

/// How a store takes part in checkpoints.
#[derive(Clone)]
pub struct Checkpoints {
    /// The life of the job.
    pub incarnation: Incarnation,
    /// The key groups that the subtask owns, first and last.
    pub groups: RangeInclusive<u16>,
    /// The last confirmed checkpoint: the one that is restored, where one is. [`CheckpointId::NONE`] for none.
    pub confirmed: CheckpointId,
    /// What is restored; nothing for a state that begins empty.
    pub restored: Option<Restored>,
    /// Numbers of states that were given up: their entries are left out wherever runs are read.
    pub dropped: Vec<u16>,
    /// Where runs go.
    pub uploads: Arc<dyn Uploads>,
    /// Who is told.
    pub acks: Arc<dyn Acks>,
}

/// The runs of one subtask. Dropping them leaves their files, which a later restore may use, and waits for no upload.
pub(super) struct Runs {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    dropped: Vec<u16>,
    uploads: Arc<dyn Uploads>,
    acks: Arc<dyn Acks>,
    state: Mutex<State>,
    /// Nobody wants more of it.
    closed: AtomicBool,
}

struct State {
    ledger: Ledger,
    files: BTreeMap<Number, Local>,
    /// The merge that runs.
    merger: Option<JoinHandle<()>>,
}

impl Runs {
    /// Saves what a generation changes as a run, and with a barrier takes the snapshot of its checkpoint.
    pub(super) fn save(&self, changes: &Generation, barrier: Option<Barrier>) -> Result<(), Error> {
        if !changes.is_empty() {
            let unique = unique()?;
            let name = self.shared.lock().ledger.begin(barrier, unique);
            let path = self.shared.dir.join(name.unique());
            let written = files::write(&path, |run| {
                let failed = |e| disk::failure(&e, "writing", &path);
                changes.sorted().try_for_each(|(key, stored)| run.push(key, stored)).map_err(failed)
            })?;
            failpoint::reach(Point::RunSaved);
            self.shared.step(|state| {
                let (number, actions) = state.ledger.sealed(name, &written);
                state.files.insert(number, Local::written(path, &written));
                actions
            })?;
        }
        match barrier {
            Some(barrier) => self.shared.step(|state| state.ledger.barrier(barrier)),
            None => Ok(()),
        }
    }

    /// What belongs to a checkpoint can't be saved now: this one will never be complete.
    pub(super) fn decline(&self, barrier: Barrier, cause: Error) {
        self.shared.acks.declined(barrier.checkpoint, cause);
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
        let merger = self.shared.lock().merger.take();
        if let Some(merger) = merger {
            // A panic in it leaves a file that nobody names.
            let _ = merger.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The ledger's changes are whole before anything that could panic is called.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the ledger something and does what it asks for.
    fn step(self: &Arc<Self>, tell: impl FnOnce(&mut State) -> Vec<Action>) -> Result<(), Error> {
        let actions = tell(&mut self.lock());
        self.perform(actions)
    }

    fn perform(self: &Arc<Self>, actions: Vec<Action>) -> Result<(), Error> {
        let unique = unique()?;
        let (mut uploads, mut answers) = (Vec::new(), Vec::new());
        let mut state = self.lock();
        for action in actions {
            match action {
                Action::Upload(number, name) => {
                    let file = state.files.get(&number).map(|local| local.path.clone());
                    uploads.push((number, name, file.expect("what is uploaded was written here")));
                }
                Action::Forget(number) => {
                    if let Some(local) = state.files.remove(&number) {
                        local.remove();
                    }
                }
                Action::Ack(..) | Action::Decline(..) => answers.push(action),
            }
        }
        if !self.closed.load(Relaxed)
            && let Some(merge) = state.ledger.next_merge(unique)
        {
            self.begin_merge(&mut state, merge);
        }
        drop(state);
        if self.closed.load(Relaxed) {
            return Ok(());
        }
        for (number, name, file) in uploads {
            let shared = self.clone();
            let uploaded = move |result| {
                let told = shared.step(|state| state.ledger.uploaded(number, result));
                // Only the system's randomness can fail, and it has been asked before.
                if let Err(error) = told {
                    tracing::error!("an upload of {number} is not taken note of: {error}");
                }
            };
            self.uploads.upload(&name, &file, Box::new(uploaded));
        }
        for answer in answers {
            match answer {
                Action::Ack(checkpoint, chain) => self.acks.acked(checkpoint, chain),
                Action::Decline(checkpoint, cause) => self.acks.declined(checkpoint, cause),
                Action::Upload(..) | Action::Forget(..) => {}
            }
        }
        Ok(())
    }

    fn begin_merge(self: &Arc<Self>, state: &mut State, merge: Merge) {
        let inputs = merge.inputs.iter().filter_map(|number| state.files.get(number).cloned()).collect::<Vec<_>>();
        let (shared, number) = (self.clone(), merge.number);
        let run = move || {
            failpoint::reach(Point::MergeBegins);
            let written = shared.merge(&merge, &inputs).inspect_err(|error| {
                // Nothing is lost: its inputs stay in the chain.
                tracing::warn!("runs of state are not merged: {error}");
            });
            failpoint::reach(Point::Merged);
            let merged = shared.step(|state| {
                if let Ok(Some((path, written))) = &written {
                    state.files.insert(merge.number, Local::written(path.clone(), written));
                }
                let written = written.as_ref().ok().and_then(Option::as_ref).map(|(_, written)| written);
                state.ledger.merged(merge.number, written)
            });
            if let Err(error) = merged {
                tracing::error!("a merge is not taken note of: {error}");
            }
        };
        match std::thread::Builder::new().name("state-merge".into()).spawn(run) {
            // The one before has told its end, so it waits for nothing any more.
            Ok(thread) => state.merger = Some(thread),
            Err(error) => {
                tracing::warn!("no thread that merges runs of state: {error}");
                state.ledger.merged(number, None);
            }
        }
    }

    /// Writes a merge. None where nobody wants it any more.
    fn merge(&self, merge: &Merge, inputs: &[Local]) -> Result<Option<(PathBuf, Written)>, Error> {
        let path = self.dir.join(merge.name.unique());
        let written = files::write(&path, |run| {
            files::merged(inputs, |key, stored| {
                let wanted = stored.is_some() || !merge.oldest;
                if wanted && !is_dropped(key, &self.dropped) {
                    run.push(key, stored).map_err(|e| disk::failure(&e, "writing", &path))?;
                }
                Ok(!self.closed.load(Relaxed))
            })
        })?;
        if self.closed.load(Relaxed) {
            files::remove(&path);
            return Ok(None);
        }
        Ok(Some((path, written)))
    }
}

/// Whether an entry belongs to one of these states.
fn is_dropped(key: &[u8], dropped: &[u16]) -> bool {
    !dropped.is_empty() && key::state_of(key).is_some_and(|state| dropped.contains(&state))
}

/// 128 random bits.
fn unique() -> Result<u128, Error> {
    let mut bytes = [0; 16];
    let failed = |error| Error::Retryable(format!("the system gives no random number: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(u128::from_le_bytes(bytes))
}
