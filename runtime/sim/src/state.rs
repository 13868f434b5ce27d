//! The slow store under the cache of one subtask's keyed state: what RocksDB and the files of runs are in a worker, in memory, with
//! the same ledger. Its background work is done when whoever drives it says so.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow_dataflow::state::ledger::{Action, Ledger, Merge, Number};
use flow_dataflow::state::run::{self, Entries, Index, RunWriter, Written, value};
use flow_dataflow::state::{Generation, MemoryBackend, Progress, StateBackend, Store, key};
use flow_dataflow::{Barrier, Error};
use flow_frame::BytesBuilder;
use flow_model::checkpoint::snapshot::{Chain, Piece, Run};
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation, ObjectName};
use flow_model::ids::OperatorName;
use flow_protocol::job::Event;

use crate::outbox::{Names, Outbox, Ticket, Wish};
use crate::store::Body;

/// Whose state it is.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The attempt.
    pub attempt: Attempt,
    /// The operator.
    pub node: OperatorName,
    /// Its subtask.
    pub subtask: usize,
}

enum Job {
    Save(Generation, Option<Barrier>),
    Store(Generation),
}

struct Shared {
    owner: Owner,
    data: MemoryBackend,
    ledger: Ledger,
    files: BTreeMap<Number, Arc<[u8]>>,
    jobs: VecDeque<Job>,
    merge: Option<Merge>,
    progress: Progress,
    names: Names,
    outbox: Outbox,
}

/// A handle to the store of one subtask.
#[derive(Clone)]
pub struct RunStore(Arc<Mutex<Shared>>);

/// What runs say together, oldest first: each key with its stored value, none where it was removed.
pub fn read(
    runs: &[Arc<[u8]>],
    groups: &RangeInclusive<u16>,
    mut each: impl FnMut(&[u8], Option<&[u8]>),
) -> Result<(), run::Error> {
    let mut all = Vec::new();
    for bytes in runs {
        let length = bytes.len() as u64;
        let range = Index::parse(bytes, length)?.range(groups);
        all.push(Entries::new(io::Cursor::new(bytes[range.start as usize..].to_vec()), range));
    }
    let mut merged = run::Merge::new(all).map_err(|(_, error)| error)?;
    while merged.advance().map_err(|(_, error)| error)? {
        each(merged.key(), merged.stored());
    }
    Ok(())
}

impl RunStore {
    /// A store that goes on from a chain, whose runs are given in its order.
    pub fn new(
        owner: Owner,
        incarnation: Incarnation,
        groups: RangeInclusive<u16>,
        confirmed: CheckpointId,
        restored: (&[Run], &[Arc<[u8]>]),
        (names, outbox): (Names, Outbox),
    ) -> Result<RunStore, Error> {
        let mut ledger = Ledger::new(incarnation, groups.clone(), confirmed);
        let (mut data, mut files) = (MemoryBackend::default(), BTreeMap::new());
        let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
        let mut wrong = None;
        let done = read(restored.1, &groups, |key, stored| {
            if let Some(stored) = stored {
                keys.push(Some(key));
                match value::decode(stored) {
                    Ok(value) => values.push(Some(value)),
                    Err(error) => wrong = Some(error.to_string()),
                }
            }
        });
        if let Some(error) = wrong.or(done.err().map(|error| error.to_string())) {
            return Err(Error::Fatal(error));
        }
        data.put_many(&keys, &values)?;
        for (run, bytes) in restored.0.iter().zip(restored.1) {
            files.insert(ledger.restored(run.clone()), bytes.clone());
        }
        let (jobs, merge, progress) = (VecDeque::new(), None, Progress::default());
        let shared = Shared { owner, data, ledger, files, jobs, merge, progress, names, outbox };
        Ok(RunStore(Arc::new(Mutex::new(shared))))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the next piece of background work: a generation, or the merge that is due.
    pub fn work(&self, merges: bool) -> Result<(), Error> {
        if merges { self.lock().merge() } else { self.lock().work().map(drop) }
    }

    /// What became of an upload.
    pub fn uploaded(&self, number: Number, result: Result<(), Error>) {
        let mut shared = self.lock();
        let actions = shared.ledger.uploaded(number, result);
        shared.perform(actions);
    }
}

impl Shared {
    /// Does the oldest job. False where there is none.
    fn work(&mut self) -> Result<bool, Error> {
        match self.jobs.pop_front() {
            None => return Ok(false),
            Some(Job::Save(changes, barrier)) => {
                self.save(&changes, barrier)?;
                self.progress.saved = changes.number;
            }
            Some(Job::Store(changes)) => {
                let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
                for (key, stored) in changes.sorted() {
                    keys.push(Some(key));
                    let value = stored.map(value::decode).transpose().map_err(|e| Error::Fatal(e.to_string()))?;
                    values.push(value);
                }
                self.data.put_many(&keys, &values)?;
                self.progress.stored = changes.number;
            }
        }
        Ok(true)
    }

    fn save(&mut self, changes: &Generation, barrier: Option<Barrier>) -> Result<(), Error> {
        if !changes.is_empty() {
            let name = self.ledger.begin(barrier, self.names.next());
            let (bytes, written) = file(|run| changes.sorted().try_for_each(|(key, stored)| run.push(key, stored)))?;
            let (number, actions) = self.ledger.sealed(name, &written);
            self.files.insert(number, bytes);
            self.perform(actions);
        }
        if let Some(barrier) = barrier {
            let actions = self.ledger.barrier(barrier);
            self.perform(actions);
        }
        Ok(())
    }

    /// Writes the merge that is due.
    fn merge(&mut self) -> Result<(), Error> {
        let Some(merge) = self.merge.take() else { return Ok(()) };
        let inputs: Vec<_> = merge.inputs.iter().filter_map(|number| self.files.get(number).cloned()).collect();
        let (bytes, written) = file(|run| {
            let mut failed = Ok(());
            let done = read(&inputs, &(0..=u16::MAX), |key, stored| {
                if failed.is_ok() && (stored.is_some() || !merge.oldest) {
                    failed = run.push(key, stored);
                }
            });
            done.map_err(io::Error::other).and(failed)
        })?;
        self.files.insert(merge.number, bytes);
        let actions = self.ledger.merged(merge.number, Some(&written));
        self.perform(actions);
        Ok(())
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Upload(number, name) => {
                    let bytes = self.files[&number].clone();
                    let ticket = Ticket::Run(self.owner.subtask, number);
                    self.outbox.put(Wish::Upload(ticket, name, Body::Run(bytes)));
                }
                Action::Ack(checkpoint, chain) => self.acknowledge(checkpoint, chain),
                Action::Decline(checkpoint, error) => {
                    let (attempt, reason) = (self.owner.attempt, error.to_string());
                    self.outbox.put(Wish::Tell(Event::Declined { attempt, checkpoint, reason }));
                }
                Action::Forget(number) => drop(self.files.remove(&number)),
            }
        }
        if let Some(merge) = self.ledger.next_merge(self.names.next()) {
            self.merge = Some(merge);
        }
    }

    fn acknowledge(&self, checkpoint: CheckpointId, chain: Chain) {
        let Owner { attempt, node, subtask } = self.owner.clone();
        let piece = Piece::State(chain);
        let event = Event::Acknowledged { attempt, checkpoint, node, subtask: subtask as u32, piece };
        self.outbox.put(Wish::Tell(event));
    }
}

/// The bytes of a run.
fn file(fill: impl FnOnce(&mut RunWriter<Vec<u8>>) -> io::Result<()>) -> Result<(Arc<[u8]>, Written), Error> {
    let mut run = RunWriter::new(Vec::new());
    let done = fill(&mut run).and_then(|()| run.finish());
    let (bytes, written) = done.map_err(|error| Error::Fatal(format!("a run: {error}")))?;
    Ok((bytes.into(), written))
}

impl Store for RunStore {
    fn get_many(&mut self, keys: &BytesBuilder, values: &mut BytesBuilder, most: usize) -> Result<(), Error> {
        self.lock().data.get_many(keys, values, most)
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.lock().data.scan(prefix, after, each)
    }

    fn seal(&mut self, changes: Generation, barrier: Option<Barrier>) -> Result<(), Error> {
        self.lock().jobs.push_back(Job::Save(changes, barrier));
        Ok(())
    }

    fn store(&mut self, changes: Generation) -> Result<(), Error> {
        self.lock().jobs.push_back(Job::Store(changes));
        Ok(())
    }

    fn progress(&mut self, wait: bool) -> Result<Progress, Error> {
        let mut shared = self.lock();
        while wait && shared.work()? {}
        Ok(shared.progress)
    }
}

/// The counts of the entries of a value state, by the record's key.
pub fn counts(runs: &[Arc<[u8]>], groups: &RangeInclusive<u16>) -> Result<crate::input::Counts, String> {
    let mut counts = crate::input::Counts::new();
    let mut wrong = None;
    let done = read(runs, groups, |full, stored| {
        let Some(stored) = stored else { return };
        let name = full.get(8..).map(|name| String::from_utf8_lossy(name).into_owned());
        let count = value::decode(stored).ok().and_then(crate::counter::stored);
        match (name, count, key::state_of(full)) {
            (Some(name), Some(count), Some(0)) => drop(counts.insert(name, count)),
            _ => wrong = Some(format!("an entry that is no count: {full:?}")),
        }
    });
    wrong.map_or(done.map_err(|error| error.to_string()), Err).map(|()| counts)
}

/// The name of an object that a run lies in.
pub fn objects(chain: &Chain) -> impl Iterator<Item = &ObjectName> {
    chain.runs.iter().map(|run| &run.chunk.object)
}
