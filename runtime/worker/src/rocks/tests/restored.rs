//! A state with checkpoints against the memory backend: uploads that come late or fail, aborted checkpoints, garbage
//! collection at every point, crashes, another parallelism; each restore gives what was there at its barrier.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::{Arc, Mutex};

use flow_dataflow::state::{Cached, MemoryBackend, StateBackend, key};
use flow_dataflow::{Barrier, Error};
use flow_frame::BytesBuilder;
use flow_model::checkpoint::snapshot::Chain;
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation, ObjectName};
use proptest::prelude::*;

use super::tiny;
use crate::rocks::runs::{Acks, Checkpoints, Fetch, Restored, Uploaded, Uploads};
use crate::rocks::{RocksStore, SharedRocks};

/// Key groups of the job, and bytes of the largest value.
const GROUPS: u16 = 8;
const LARGE: usize = 400;

/// The object store, and what is on its way to it.
#[derive(Default)]
struct Objects {
    there: BTreeMap<ObjectName, Vec<u8>>,
    waiting: VecDeque<(ObjectName, Vec<u8>, Uploaded)>,
    acked: BTreeMap<CheckpointId, BTreeMap<usize, Chain>>,
    declined: BTreeSet<CheckpointId>,
}

#[derive(Clone, Default)]
struct Remote(Arc<Mutex<Objects>>);

/// One subtask's way to it.
struct Of(Remote, usize);

impl Uploads for Of {
    fn upload(&self, name: &ObjectName, file: &Path, uploaded: Uploaded) {
        let bytes = std::fs::read(file).expect("the file is there until it is uploaded");
        self.0.0.lock().expect("no panic").waiting.push_back((name.clone(), bytes, uploaded));
    }
}

impl Acks for Of {
    fn acked(&self, checkpoint: CheckpointId, chain: Chain) {
        let mut objects = self.0.0.lock().expect("no panic");
        for run in &chain.runs {
            assert!(
                objects.there.contains_key(&run.chunk.object),
                "{checkpoint}: {} is not uploaded",
                run.chunk.object
            );
        }
        let before = objects.acked.entry(checkpoint).or_default().insert(self.1, chain);
        assert_eq!(before, None, "acknowledged twice");
    }

    fn declined(&self, checkpoint: CheckpointId, _: Error) {
        self.0.0.lock().expect("no panic").declined.insert(checkpoint);
    }
}

impl Fetch for Remote {
    fn fetch(&self, object: &ObjectName, range: Range<u64>, into: &mut dyn Write) -> Result<(), Error> {
        let objects = self.0.lock().expect("no panic");
        let missing = || Error::Fatal(format!("{object} is not there"));
        let bytes = objects.there.get(object).ok_or_else(missing)?;
        into.write_all(&bytes[range.start as usize..range.end as usize]).map_err(|e| Error::Fatal(e.to_string()))
    }
}

impl Remote {
    fn upload(&self, at: usize, succeeds: bool) {
        let mut objects = self.0.lock().expect("no panic");
        if objects.waiting.is_empty() {
            return;
        }
        let at = at % objects.waiting.len();
        let (name, bytes, uploaded) = objects.waiting.remove(at).expect("within bounds");
        let result = if succeeds {
            objects.there.insert(name, bytes);
            Ok(())
        } else {
            Err(Error::Retryable("the store fails".into()))
        };
        drop(objects);
        uploaded(result);
    }
}

fn full(name: u8) -> Vec<u8> {
    let mut full = Vec::new();
    key::encode(u16::from(name) % GROUPS, u16::from(name >= 100), &[name / 3], &mut full);
    full.push(name);
    full
}

fn put(backend: &mut dyn StateBackend, writes: &[(u8, Option<usize>)]) {
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    for (name, length) in writes {
        keys.push(Some(&full(*name)));
        values.push(length.map(|n| vec![n as u8; n]).as_deref());
    }
    backend.put_many(&keys, &values).expect("it writes");
}

fn all(backend: &mut dyn StateBackend) -> Vec<Option<Vec<u8>>> {
    let (mut keys, mut values) = (BytesBuilder::default(), BytesBuilder::default());
    (0..=255).for_each(|name| keys.push(Some(&full(name))));
    backend.get_many(&keys, &mut values, usize::MAX).expect("it reads");
    (0..=255).map(|row| values.column().get(row).map(<[u8]>::to_vec)).collect()
}

/// An operator with several subtasks, and the coordinator of its checkpoints.
struct Job {
    dir: tempfile::TempDir,
    rocks: SharedRocks,
    budget: usize,
    remote: Remote,
    subtasks: Vec<Cached<RocksStore>>,
    truth: MemoryBackend,
    attempt: u32,
    counter: u32,
    confirmed: CheckpointId,
    /// What was there at each barrier, of those that may still be confirmed; and what the manifests retained name.
    triggered: BTreeMap<CheckpointId, (CheckpointId, MemoryBackend)>,
    retained: VecDeque<(CheckpointId, Vec<Chain>, MemoryBackend)>,
}

fn incarnation() -> Incarnation {
    Incarnation::of(9)
}

fn range(subtask: usize, subtasks: usize) -> RangeInclusive<u16> {
    let at = |n: usize| (n * GROUPS as usize / subtasks) as u16;
    at(subtask)..=at(subtask + 1) - 1
}

impl Job {
    fn new(budget: usize) -> Job {
        let mut job = Job {
            dir: tempfile::tempdir().expect("a directory"),
            rocks: tiny(),
            budget,
            remote: Remote::default(),
            subtasks: Vec::new(),
            truth: MemoryBackend::default(),
            attempt: 0,
            counter: 0,
            confirmed: CheckpointId::NONE,
            triggered: BTreeMap::new(),
            retained: VecDeque::new(),
        };
        job.start(1, false);
        job
    }

    /// Begins an attempt from the last confirmed checkpoint.
    fn start(&mut self, parallelism: usize, wiped: bool) {
        self.subtasks.clear();
        // What was on its way may arrive late; nobody hears of it.
        let waiting = std::mem::take(&mut self.remote.0.lock().expect("no panic").waiting);
        for (number, (name, bytes, _)) in waiting.into_iter().enumerate() {
            if number % 2 == 0 {
                self.remote.0.lock().expect("no panic").there.insert(name, bytes);
            }
        }
        if wiped {
            let _ = std::fs::remove_dir_all(self.dir.path().join("0"));
        }
        self.attempt += 1;
        self.counter = 0;
        self.triggered.clear();
        let restored = self.retained.back().map(|(_, chains, at_barrier)| {
            self.truth = at_barrier.clone();
            Restored { chains: chains.clone(), fetch: Arc::new(self.remote.clone()) }
        });
        if restored.is_none() {
            self.truth = MemoryBackend::default();
        }
        for subtask in 0..parallelism {
            let checkpoints = Checkpoints {
                incarnation: incarnation(),
                groups: range(subtask, parallelism),
                confirmed: self.confirmed,
                restored: restored.clone(),
                dropped: Vec::new(),
                uploads: Arc::new(Of(self.remote.clone(), subtask)),
                acks: Arc::new(Of(self.remote.clone(), subtask)),
            };
            let store =
                self.rocks.open_with(&self.dir.path().join(subtask.to_string()), &checkpoints).expect("it restores");
            self.subtasks.push(Cached::new(store, self.budget, &[1]));
        }
        self.compare();
    }

    fn owner(&self, name: u8) -> usize {
        let group = u16::from(name) % GROUPS;
        (0..self.subtasks.len())
            .find(|s| range(*s, self.subtasks.len()).contains(&group))
            .expect("each group has an owner")
    }

    fn put(&mut self, writes: &[(u8, Option<usize>)]) {
        put(&mut self.truth, writes);
        for write in writes {
            let owner = self.owner(write.0);
            put(&mut self.subtasks[owner], &[*write]);
        }
    }

    fn compare(&mut self) {
        let expect = all(&mut self.truth);
        for subtask in 0..self.subtasks.len() {
            let found = all(&mut self.subtasks[subtask]);
            for name in (0..=255).filter(|name| self.owner(*name) == subtask) {
                let at = usize::from(name);
                assert_eq!(found[at], expect[at], "key {name}");
            }
        }
    }

    fn barrier(&mut self) {
        self.counter += 1;
        let checkpoint = CheckpointId::new(Attempt(self.attempt), self.counter);
        let barrier = Barrier { checkpoint, confirmed: self.confirmed };
        self.triggered.insert(checkpoint, (self.confirmed, self.truth.clone()));
        self.subtasks.iter_mut().for_each(|s| s.snapshot(barrier).expect("it begins"));
    }

    /// Confirms what is acknowledged by all, the newest first: what is older is subsumed.
    fn confirm(&mut self) {
        let acked = self.remote.0.lock().expect("no panic").acked.clone();
        for (checkpoint, chains) in acked.into_iter().rev() {
            if checkpoint <= self.confirmed || chains.len() < self.subtasks.len() {
                continue;
            }
            let Some((since, at_barrier)) = self.triggered.remove(&checkpoint) else { continue };
            let manifest: Vec<Chain> = chains.into_values().collect();
            let before = self.retained.iter().find(|(id, ..)| *id == since);
            let known: BTreeSet<_> = before.iter().flat_map(|(_, chains, _)| names(chains)).collect();
            for name in names(&manifest) {
                assert!(
                    name.checkpoint() > since || known.contains(name),
                    "{checkpoint} names {name}, confirmed {since}"
                );
            }
            self.confirmed = checkpoint;
            self.triggered.retain(|id, _| *id > checkpoint);
            self.retained.push_back((checkpoint, manifest, at_barrier));
            if self.retained.len() > 2 {
                self.retained.pop_front();
            }
            break;
        }
    }

    /// Deletes what the rule of garbage allows.
    fn collect(&mut self) {
        let least = self.triggered.values().map(|(since, _)| *since).min().unwrap_or(self.confirmed);
        let named: BTreeSet<_> = self.retained.iter().flat_map(|(_, chains, _)| names(chains)).collect();
        let mut objects = self.remote.0.lock().expect("no panic");
        objects.there.retain(|name, _| name.checkpoint() > least || named.contains(name));
    }
}

fn names(chains: &[Chain]) -> Vec<&ObjectName> {
    chains.iter().flat_map(|chain| chain.runs.iter().map(|run| &run.chunk.object).chain(&chain.pending)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<(u8, Option<usize>)>),
    Barrier,
    /// An upload ends: which, and how.
    Upload(usize, bool),
    UploadAll,
    Confirm,
    Collect,
    /// Lets background threads come to rest.
    Rest,
    Crash {
        parallelism: usize,
        wiped: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let write = (any::<u8>(), prop::option::weighted(0.8, 0..LARGE));
    prop_oneof![
        8 => prop::collection::vec(write, 1..40).prop_map(Step::Put),
        6 => Just(Step::Barrier),
        4 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(at, how)| Step::Upload(at, how)),
        4 => Just(Step::UploadAll),
        4 => Just(Step::Confirm),
        3 => Just(Step::Collect),
        3 => Just(Step::Rest),
        1 => (1..4usize, any::<bool>()).prop_map(|(parallelism, wiped)| Step::Crash { parallelism, wiped }),
    ]
}

fn run(job: &mut Job, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Put(writes) => job.put(writes),
            Step::Barrier => job.barrier(),
            Step::Upload(at, succeeds) => job.remote.upload(*at, *succeeds),
            Step::UploadAll => {
                let waiting = job.remote.0.lock().expect("no panic").waiting.len();
                (0..waiting).for_each(|_| job.remote.upload(0, true));
            }
            Step::Confirm => job.confirm(),
            Step::Collect => job.collect(),
            Step::Rest => job.compare(),
            Step::Crash { parallelism, wiped } => job.start(*parallelism, *wiped),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_restored_state_is_that_of_its_barrier(
        steps in prop::collection::vec(step(), 1..120),
        budget in prop_oneof![Just(0usize), 500..30_000usize, Just(1usize << 20)],
    ) {
        let mut job = Job::new(budget);
        run(&mut job, &steps);
        job.start(2, true);
        job.start(3, false);
    }
}

/// Ends a checkpoint, as a coordinator would when nothing goes wrong.
fn checkpoint(job: &mut Job) {
    let before = job.confirmed;
    job.barrier();
    for _ in 0..10_000 {
        run(job, &[Step::UploadAll, Step::Confirm]);
        if job.confirmed > before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("the checkpoint is not complete");
}

#[test]
fn deltas_and_bases_replace_each_other() {
    let mut job = Job::new(1 << 20);
    let mut longest = 0;
    for round in 0..100u8 {
        job.put(&(0..50).map(|n| (n * 5 + round % 5, Some(usize::from(round)))).collect::<Vec<_>>());
        checkpoint(&mut job);
        job.collect();
        let runs = job.retained.back().map_or(0, |(_, chains, _)| chains[0].runs.len());
        longest = longest.max(runs);
    }
    assert!((16..40).contains(&longest), "{longest} runs: they are merged, and not at once");
    let objects = job.remote.0.lock().expect("no panic").there.len();
    assert!(objects < 60, "{objects} objects stay");
    let files = std::fs::read_dir(job.dir.path().join("0/runs")).expect("a directory").count();
    assert!(files < 60, "{files} local files stay");
    job.start(2, true);
    checkpoint(&mut job);
    job.start(1, true);
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let mut job = Job::new(1 << 20);
    job.put(&(0..200).map(|n| (n, Some(100))).collect::<Vec<_>>());
    checkpoint(&mut job);
    let (id, chains, _) = job.retained.back().expect("one is confirmed").clone();
    let name = chains[0].runs[0].chunk.object.clone();
    let check = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
        let remote = Remote::default();
        let whole = job.remote.0.lock().expect("no panic").there[&name].clone();
        let mut bytes = whole.clone();
        change(&mut bytes);
        // As long as before: a store that cuts an object says so itself.
        bytes.resize(whole.len(), 0);
        if what != "is not there" {
            remote.0.lock().expect("no panic").there.insert(name.clone(), bytes);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let of = Arc::new(Of(remote.clone(), 0));
        let checkpoints = Checkpoints {
            incarnation: incarnation(),
            groups: 0..=GROUPS - 1,
            confirmed: id,
            restored: Some(Restored { chains: chains.clone(), fetch: Arc::new(remote) }),
            dropped: Vec::new(),
            uploads: of.clone(),
            acks: of,
        };
        let error = match tiny().open_with(dir.path(), &checkpoints) {
            Ok(_) => panic!("{what}: it can't be restored"),
            Err(error) => error.to_string(),
        };
        for part in [what, name.as_str(), &format!("checkpoint {id}")] {
            assert!(error.contains(part), "{error} does not say {part}");
        }
    };
    check(&|_| (), "is not there");
    check(&|bytes| bytes[40] ^= 1, "the checksum at byte 0 does not fit");
    check(&|bytes| bytes.truncate(bytes.len() - 9), "it is cut off");
    check(&|bytes| *bytes = vec![0; bytes.len()], "no run of state");
}

#[test]
fn local_runs_are_used_where_they_are_whole() {
    let mut job = Job::new(1 << 20);
    job.put(&(0..200).map(|n| (n, Some(100))).collect::<Vec<_>>());
    checkpoint(&mut job);
    // Another disk: from the store, once.
    job.start(1, true);
    let objects = std::mem::take(&mut job.remote.0.lock().expect("no panic").there);
    job.start(1, false);
    // A file that is not what was written counts for nothing.
    let runs = job.dir.path().join("0/runs");
    for file in std::fs::read_dir(&runs).expect("a directory") {
        let path = file.expect("an entry").path();
        let mut bytes = std::fs::read(&path).expect("a file");
        bytes[30] ^= 1;
        std::fs::write(&path, bytes).expect("it can be written");
    }
    job.remote.0.lock().expect("no panic").there = objects;
    job.start(1, false);
}

/// Has the content of long runs come late, after all that is short.
struct Late(Remote);

impl Fetch for Late {
    fn fetch(&self, object: &ObjectName, range: Range<u64>, into: &mut dyn Write) -> Result<(), Error> {
        if range.end - range.start > 100_000 {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        self.0.fetch(object, range, into)
    }
}

/// Of subtask 0 of so many, from the last confirmed checkpoint, and where its runs lie.
fn restored(job: &Job, dir: &Path, fetch: Arc<dyn Fetch>) -> Result<Cached<RocksStore>, Error> {
    let (confirmed, chains, _) = job.retained.back().expect("one is confirmed").clone();
    let of = Arc::new(Of(job.remote.clone(), 0));
    let checkpoints = Checkpoints {
        incarnation: incarnation(),
        groups: 0..=GROUPS - 1,
        confirmed,
        restored: Some(Restored { chains, fetch }),
        dropped: Vec::new(),
        uploads: of.clone(),
        acks: of,
    };
    Ok(Cached::new(tiny().open_with(dir, &checkpoints)?, 1 << 20, &[1]))
}

/// One subtask's run, which was shared by two ever since, is one subtask's again: two chains name it then, each for groups of its
/// own, and threads restore them side by side.
#[test]
fn a_run_that_two_chains_name_is_had_for_each() {
    let mut job = Job::new(1 << 20);
    // Longer than what is fetched of its end, and all of it in the first groups: one part of it is all of it.
    let first: Vec<_> = (0..=255).filter(|name| u16::from(*name) % GROUPS < GROUPS / 2).collect();
    job.put(&first.iter().map(|name| (*name, Some(2000))).collect::<Vec<_>>());
    checkpoint(&mut job);
    job.start(2, true);
    checkpoint(&mut job);
    for (round, name) in first.iter().enumerate().take(3) {
        job.put(&[(*name, Some(round))]);
        checkpoint(&mut job);
    }
    let chains = &job.retained.back().expect("one is confirmed").1;
    assert_eq!(chains[0].runs[0].chunk.object, chains[1].runs[0].chunk.object);
    let dir = tempfile::tempdir().expect("a directory");
    let mut found = restored(&job, dir.path(), Arc::new(Late(job.remote.clone()))).expect("it restores");
    assert_eq!(all(&mut found), all(&mut job.truth));
}

/// The same run again: merging one part of it away leaves the other one where it is.
#[test]
fn parts_of_a_run_are_merged_one_by_one() {
    let mut job = Job::new(1 << 20);
    job.put(&(0..=255).map(|name| (name, Some(100))).collect::<Vec<_>>());
    checkpoint(&mut job);
    job.start(2, true);
    checkpoint(&mut job);
    job.start(1, true);
    let begun = std::time::Instant::now();
    // Another thread merges: how soon is not ours to say.
    for round in 0usize.. {
        // Few changes first, so that younger runs are merged among themselves; then so many that all are.
        let large = if round < 30 { 10 } else { 30_000 };
        job.put(&(0..10).map(|name| (name, Some(large))).collect::<Vec<_>>());
        checkpoint(&mut job);
        job.collect();
        let (_, chains, _) = job.retained.back().expect("one is confirmed");
        if round > 30 && chains[0].runs.len() < 3 {
            break;
        }
        assert!(
            begun.elapsed().as_secs() < 60,
            "{} runs: they were never merged with the oldest one",
            chains[0].runs.len()
        );
        std::thread::sleep(std::time::Duration::from_millis(round as u64 / 10));
    }
    job.start(1, true);
}

#[test]
fn a_state_that_was_given_up_is_left_out() {
    let mut job = Job::new(1 << 20);
    job.put(&(0..200).map(|n| (n, Some(10))).collect::<Vec<_>>());
    checkpoint(&mut job);
    let (confirmed, chains, _) = job.retained.back().expect("one is confirmed").clone();
    let of = Arc::new(Of(job.remote.clone(), 0));
    let dir = tempfile::tempdir().expect("a directory");
    let checkpoints = Checkpoints {
        incarnation: incarnation(),
        groups: 0..=GROUPS - 1,
        confirmed,
        restored: Some(Restored { chains, fetch: Arc::new(job.remote.clone()) }),
        dropped: vec![1],
        uploads: of.clone(),
        acks: of,
    };
    let store = tiny().open_with(dir.path(), &checkpoints).expect("it restores");
    let found = all(&mut Cached::new(store, 1 << 20, &[1]));
    for (name, value) in found.iter().enumerate().take(200) {
        assert_eq!(value.is_some(), name < 100, "key {name}: those from 100 on are of state 1");
    }
}

/// A disk that is full, say: the checkpoint is declined, the task goes on, and what could not be saved is in the next one.
#[test]
fn what_can_not_be_saved_is_saved_with_the_next_checkpoint() {
    let mut job = Job::new(1 << 20);
    job.put(&[(1, Some(10)), (2, Some(10)), (3, Some(10))]);
    checkpoint(&mut job);
    let (runs, away) = (job.dir.path().join("0/runs"), job.dir.path().join("0/away"));
    std::fs::rename(&runs, &away).expect("moved");
    // A link to itself: nothing can be opened there, for a reason that may pass.
    std::os::unix::fs::symlink(&runs, &runs).expect("a link");
    for (name, length) in [(2, Some(20)), (4, Some(20))] {
        job.put(&[(name, length)]);
        job.barrier();
    }
    job.put(&[(3, None), (4, Some(30))]);
    let declined = || job.remote.0.lock().expect("no panic").declined.len();
    let begun = std::time::Instant::now();
    while declined() < 2 {
        assert!(begun.elapsed().as_secs() < 60, "{} checkpoints were declined", declined());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::fs::remove_file(&runs).expect("a link");
    std::fs::rename(&away, &runs).expect("moved back");
    checkpoint(&mut job);
    job.start(1, true);
    checkpoint(&mut job);
    job.start(2, true);
}
