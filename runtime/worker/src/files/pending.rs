//! The output of a files sink in a job with checkpoints: a subtask writes into a hidden file, a barrier seals it, and once its
//! checkpoint counts it gets the name under which readers find it. Must never give that name to what no confirmed checkpoint
//! names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow_dataflow::exchange::Wake;
use flow_dataflow::{Barrier, Error};
use flow_model::checkpoint::snapshot::{Node, Output, Piece, Progress, SealedFile};
use flow_model::checkpoint::{Attempt, CheckpointId, Incarnation};
use flow_model::ids::OperatorName;
use flow_model::spec::RecordFormat;

use super::sink::extension;
use crate::attempt::{Listener, Told};
use crate::disk;
use crate::kafka::Warn;
use crate::text_sink::{OnDrop, Target, TextSink};

/// What a hidden file has behind the name that it is to get.
const PENDING: &str = ".pending";

/// The sealed files of a sink, and the thread that renames them.
pub struct PendingOutput {
    shared: Arc<Shared>,
    confirmed: Sender<CheckpointId>,
}

/// What a sink goes on from.
pub(super) struct Laying {
    /// Where its files are.
    pub(super) directory: PathBuf,
    pub(super) format: RecordFormat,
    pub(super) sink: OperatorName,
    pub(super) incarnation: Incarnation,
    pub(super) attempt: Attempt,
    /// The checkpoint that the attempt goes on from; [`CheckpointId::NONE`] for a new job.
    pub(super) restored: CheckpointId,
    /// What that checkpoint says of the sink.
    pub(super) node: Node,
    /// Files of these lanes get their names here.
    pub(super) lanes: BTreeSet<u32>,
    /// The lane of the subtasks that run here; none if none do.
    pub(super) lane: Option<u32>,
    pub(super) listener: Listener,
}

struct Shared {
    laying: Laying,
    /// By subtask, oldest first: what has not got its name.
    sealed: Mutex<BTreeMap<u32, Vec<SealedFile>>>,
}

impl PendingOutput {
    /// Gives the files that the checkpoint names the names that they were to get, and removes what attempts before have begun since.
    ///
    /// # Errors
    /// A file that is not what the checkpoint says, the file system's.
    pub(super) fn restore(laying: Laying, warn: &Warn) -> Result<PendingOutput, Error> {
        let shared = Arc::new(Shared { laying, sealed: Mutex::default() });
        let Laying { directory, node, lanes, restored, .. } = &shared.laying;
        let (named, owed) = named(node, lanes);
        for file in &named {
            shared.check(file)?;
            if !shared.rename(file)? {
                let path = directory.join(&file.name);
                warn(&format!(
                    "{} is not there any more: checkpoint {} has sealed it",
                    path.display(),
                    file.checkpoint
                ));
            }
        }
        shared.clean()?;
        sync(directory)?;
        owed.into_iter().for_each(|lane| shared.progressed(lane, *restored));
        let (confirmed, inbox) = channel();
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("files-commit".to_owned());
        let started = thread.spawn(move || of_thread.commit_all(&inbox));
        started.map_err(|e| Error::Retryable(format!("no thread for a sink: {e}")))?;
        Ok(PendingOutput { shared, confirmed })
    }

    /// Opens the output of one subtask.
    pub(super) fn part(&self, subtask: u32, wake: Wake) -> Result<TextSink, Error> {
        let Laying { attempt, format, lane, .. } = self.shared.laying;
        let lane = lane.ok_or_else(|| Error::Fatal("the assignment gives it no lane".to_owned()))?;
        let begun = CheckpointId::new(attempt, 1);
        let part = Part { shared: self.shared.clone(), subtask, lane, begun, open: None };
        TextSink::start(format, part, wake, OnDrop::Join)
    }

    /// A checkpoint counts, which all subtasks have acknowledged: its files get their names.
    pub fn confirm(&self, checkpoint: CheckpointId) {
        // A thread that is gone has told why.
        _ = self.confirmed.send(checkpoint);
    }
}

/// The checkpoint before which nothing of a file was written that has its name.
fn begun(name: &str) -> Option<CheckpointId> {
    let mut fields = name.strip_prefix("part-")?.split('-');
    let id = fields.nth(1)?;
    u64::from_str_radix(id, 16).ok().map(CheckpointId)
}

/// What a checkpoint names of some lanes, and those of them of which it names something.
fn named<'a>(node: &'a Node, lanes: &BTreeSet<u32>) -> (Vec<&'a SealedFile>, BTreeSet<u32>) {
    let outputs = node.subtasks.iter().filter_map(|snapshot| snapshot.output.as_ref());
    let mine = outputs.filter(|output| lanes.contains(&output.lane) && !output.files.is_empty());
    let mine: Vec<&Output> = mine.collect();
    (mine.iter().flat_map(|output| &output.files).collect(), mine.iter().map(|output| output.lane).collect())
}

/// Makes the entries of a directory durable.
pub(super) fn sync(directory: &Path) -> Result<(), Error> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|e| disk::failure(&e, "syncing", directory))
}

impl Shared {
    fn sealed(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<SealedFile>>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self, name: &str) -> PathBuf {
        self.laying.directory.join(format!(".{name}{PENDING}"))
    }

    /// What the names have in common that this life of the job gives, and no other.
    fn tag(&self) -> &str {
        let incarnation = self.laying.incarnation.as_str();
        incarnation.get(..8).unwrap_or(incarnation)
    }

    /// Holds a pending file against what was sealed.
    fn check(&self, file: &SealedFile) -> Result<(), Error> {
        let path = self.pending(&file.name);
        let bytes = match fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(disk::failure(&e, "looking for", &path)),
        };
        if bytes == file.bytes {
            return Ok(());
        }
        Err(Error::Fatal(format!(
            "{} has {bytes} bytes, and {} when checkpoint {} sealed it; deploy the job from an earlier checkpoint",
            path.display(),
            file.bytes,
            file.checkpoint,
        )))
    }

    /// False if it is neither there nor has its name.
    fn rename(&self, file: &SealedFile) -> Result<bool, Error> {
        let (pending, path) = (self.pending(&file.name), self.laying.directory.join(&file.name));
        match fs::rename(&pending, &path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(path.exists()),
            Err(e) => Err(disk::failure(&e, "renaming", &pending)),
        }
    }

    /// Removes what no checkpoint will name any more: what attempts before have begun. Other workers of this one may have begun some.
    ///
    /// # Errors
    /// Something has its name that this checkpoint knows nothing of; the file system's.
    fn clean(&self) -> Result<(), Error> {
        // Those of other workers' lanes they have not given their names yet.
        let outputs = self.laying.node.subtasks.iter().filter_map(|snapshot| snapshot.output.as_ref());
        let named: BTreeSet<&str> = outputs.flat_map(|output| &output.files).map(|file| file.name.as_str()).collect();
        let failed = |e| disk::failure(&e, "listing", &self.laying.directory);
        for entry in fs::read_dir(&self.laying.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !name.contains(&format!("-{}.", self.tag())) {
                continue;
            }
            if begun(&name).is_some_and(|begun| begun > self.laying.restored) {
                return Err(Error::Fatal(format!(
                    "{} was written behind checkpoint {}, which the job goes on from: HEAD is older than the output, as if it was put \
                     back; go on from a later checkpoint, or begin a new life from this one with --allow-repeat",
                    entry.path().display(),
                    self.laying.restored
                )));
            }
            let pending = name.strip_prefix('.').and_then(|name| name.strip_suffix(PENDING));
            let pending = pending.filter(|name| !named.contains(name)).and_then(begun);
            if pending.is_some_and(|begun| begun.attempt() < self.laying.attempt)
                && let Err(e) = fs::remove_file(entry.path())
                // Another worker may have removed it.
                && e.kind() != ErrorKind::NotFound
            {
                return Err(disk::failure(&e, "removing", &entry.path()));
            }
        }
        Ok(())
    }

    fn commit_all(&self, confirmed: &Receiver<CheckpointId>) {
        for checkpoint in confirmed {
            match self.commit(checkpoint) {
                Ok(()) => self.laying.lane.iter().for_each(|lane| self.progressed(*lane, checkpoint)),
                Err(error) => return (self.laying.listener)(Told::Failed(error.at(self.laying.sink.as_str()))),
            }
        }
    }

    fn commit(&self, checkpoint: CheckpointId) -> Result<(), Error> {
        let is_due = |file: &&SealedFile| file.checkpoint <= checkpoint;
        let due: Vec<SealedFile> = self.sealed().values().flatten().filter(is_due).cloned().collect();
        for file in &due {
            // Whoever has taken its name from it already was a later attempt, or the reader.
            self.rename(file)?;
        }
        if !due.is_empty() {
            sync(&self.laying.directory)?;
        }
        self.sealed().values_mut().for_each(|files| files.retain(|file| file.checkpoint > checkpoint));
        Ok(())
    }

    fn progressed(&self, lane: u32, checkpoint: CheckpointId) {
        (self.laying.listener)(Told::Progressed {
            sink: self.laying.sink.clone(),
            lane,
            progress: Progress { checkpoint, part: 0 },
        });
    }
}

/// The output of one subtask.
struct Part {
    shared: Arc<Shared>,
    subtask: u32,
    /// That of its worker.
    lane: u32,
    /// No barrier of an earlier checkpoint follows: with it the name is one that no other file has.
    begun: CheckpointId,
    open: Option<Open>,
}

struct Open {
    file: File,
    path: PathBuf,
    name: String,
    bytes: u64,
}

impl Part {
    fn open(&mut self) -> Result<&mut Open, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let (subtask, begun) = (self.subtask, self.begun);
                let extension = extension(self.shared.laying.format);
                let name = format!("part-{subtask:05}-{begun}-{}.{extension}", self.shared.tag());
                let path = self.shared.pending(&name);
                let file = File::options().create_new(true).write(true).open(&path);
                Open { file: file.map_err(|e| disk::failure(&e, "opening", &path))?, path, name, bytes: 0 }
            }
        };
        Ok(self.open.insert(open))
    }
}

impl Target for Part {
    fn write(&mut self, text: &[u8]) -> Result<(), Error> {
        let open = self.open()?;
        open.bytes += text.len() as u64;
        open.file.write_all(text).map_err(|e| disk::failure(&e, "writing", &open.path))
    }

    fn sync(&mut self) -> Result<(), Error> {
        let Some(open) = &self.open else { return Ok(()) };
        open.file.sync_all().map_err(|e| disk::failure(&e, "syncing", &open.path))
    }

    fn seal(&mut self, barrier: Barrier) -> Result<(), Error> {
        self.sync()?;
        let checkpoint = barrier.checkpoint;
        let sealed = self.open.take().map(|Open { name, bytes, .. }| SealedFile { checkpoint, name, bytes });
        if sealed.is_some() {
            sync(&self.shared.laying.directory)?;
        }
        self.begun = CheckpointId(checkpoint.0 + 1);
        // Held while it is told: the checkpoint can't be confirmed before it stands there.
        let mut all = self.shared.sealed();
        let mine = all.entry(self.subtask).or_default();
        mine.extend(sealed);
        let output = Output { lane: self.lane, segments: Vec::new(), files: mine.clone() };
        (self.shared.laying.listener)(Told::Acknowledged {
            checkpoint,
            node: self.shared.laying.sink.clone(),
            subtask: self.subtask,
            piece: Piece::Output(output),
        });
        Ok(())
    }
}

impl Drop for Part {
    /// What no barrier has sealed is named by no checkpoint: a life that is canceled leaves none of it in its user's directory.
    fn drop(&mut self) {
        if let Some(open) = self.open.take()
            && let Err(error) = fs::remove_file(&open.path)
        {
            tracing::warn!("{} stays behind: {error}", open.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flow_dataflow::Sink;
    use flow_model::checkpoint::snapshot::Snapshot;

    use super::*;
    use crate::text_sink::tests::{batch, until};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A job that is started again and again, with one sink of one subtask.
    struct Job {
        directory: tempfile::TempDir,
        incarnation: Incarnation,
        attempt: Attempt,
        /// What was confirmed last.
        confirmed: (CheckpointId, Node),
        warnings: Arc<Mutex<Vec<String>>>,
    }

    struct Running {
        output: PendingOutput,
        sink: TextSink,
        told: Receiver<Told>,
        next: CheckpointId,
    }

    impl Job {
        fn new() -> Job {
            Job {
                directory: tempfile::tempdir().expect("a directory"),
                incarnation: Incarnation::of(fastrand::u128(..)),
                attempt: Attempt(0),
                confirmed: (CheckpointId::NONE, Node::default()),
                warnings: Arc::default(),
            }
        }

        fn try_start(&mut self) -> Result<Running, Error> {
            self.attempt = Attempt(self.attempt.0 + 1);
            self.try_start_as(0)
        }

        /// The part of an attempt that writes by this lane.
        fn try_start_as(&self, lane: u32) -> Result<Running, Error> {
            let (tell, told) = channel();
            let laying = Laying {
                directory: self.directory.path().to_owned(),
                format: RecordFormat::Lines,
                sink: "out".parse().expect("a name"),
                incarnation: self.incarnation.clone(),
                attempt: self.attempt,
                restored: self.confirmed.0,
                node: self.confirmed.1.clone(),
                lanes: BTreeSet::from([lane]),
                lane: Some(lane),
                listener: Arc::new(move |event| _ = tell.send(event)),
            };
            let warnings = self.warnings.clone();
            let warn: Warn = Arc::new(move |text| warnings.lock().expect("no panic").push(text.to_owned()));
            let output = PendingOutput::restore(laying, &warn)?;
            let sink = output.part(lane, Arc::new(|| {}))?;
            Ok(Running { output, sink, told, next: CheckpointId::new(self.attempt, 1) })
        }

        fn start(&mut self) -> Running {
            self.try_start().expect("it starts")
        }

        fn names(&self, hidden: bool) -> Vec<String> {
            let entries = fs::read_dir(self.directory.path()).expect("there");
            let names = entries.map(|entry| entry.expect("listed").file_name().into_string().expect("UTF-8"));
            let mut names: Vec<String> = names.filter(|name| name.starts_with('.') == hidden).collect();
            names.sort();
            names
        }

        /// What readers find.
        fn read(&self) -> Vec<String> {
            let path = |name: String| self.directory.path().join(name);
            self.names(false).into_iter().map(|name| fs::read_to_string(path(name)).expect("text")).collect()
        }

        fn confirm(&mut self, checkpoint: CheckpointId, output: Output) {
            let subtasks = vec![Snapshot { output: Some(output), ..Snapshot::default() }];
            self.confirmed = (checkpoint, Node { subtasks, ..Node::default() });
        }
    }

    impl Running {
        fn take(&mut self, values: &[&str]) {
            until(|| self.sink.ready()).expect("nothing is wrong");
            self.sink.write(batch(values)).expect("it takes a batch");
        }

        fn barrier(&mut self) -> (CheckpointId, Output) {
            let checkpoint = self.next;
            self.next = CheckpointId(checkpoint.0 + 1);
            self.sink.snapshot(Barrier { checkpoint, confirmed: CheckpointId::NONE }).expect("nothing is wrong");
            loop {
                let told = self.told.recv_timeout(PATIENCE).expect("it acknowledges");
                if let Told::Acknowledged { checkpoint: acked, piece: Piece::Output(output), .. } = told {
                    assert_eq!(acked, checkpoint);
                    return (checkpoint, output);
                }
            }
        }

        fn until_progress(&self, checkpoint: CheckpointId) {
            loop {
                match self.told.recv_timeout(PATIENCE).expect("it tells") {
                    Told::Progressed { progress, .. } if progress.checkpoint == checkpoint => return,
                    Told::Progressed { .. } | Told::Acknowledged { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn files_are_there_when_their_checkpoint_counts() {
        let mut job = Job::new();
        let mut running = job.start();
        running.take(&["a", "b"]);
        let (_, aborted) = running.barrier();
        assert_eq!(aborted.files.iter().map(|file| file.bytes).collect::<Vec<_>>(), [4]);
        running.take(&["c"]);
        let (checkpoint, output) = running.barrier();
        running.take(&["open"]);
        assert_eq!(output.files.len(), 2, "that of the aborted checkpoint included");
        assert_eq!(job.read(), Vec::<String>::new());
        running.output.confirm(checkpoint);
        running.until_progress(checkpoint);
        assert_eq!(job.read(), ["a\nb\n", "c\n"]);
        assert_eq!(running.barrier().1.files.len(), 1, "what has its name is not named again");
    }

    #[test]
    fn the_next_attempt_names_what_was_confirmed_and_removes_the_rest() {
        let mut job = Job::new();
        let mut running = job.start();
        running.take(&["first"]);
        let (checkpoint, output) = running.barrier();
        running.take(&["lost"]);
        _ = running.barrier();
        running.take(&["open"]);
        // It counts, and the attempt ends before it hears of that.
        job.confirm(checkpoint, output);
        drop(running);
        assert_eq!(job.names(true).len(), 2, "what is open goes with who wrote it");
        // A process that was killed could not remove its own.
        let tag = &job.incarnation.as_str()[..8];
        let left = format!(".part-00000-0000000100000003-{tag}.txt.pending");
        fs::write(job.directory.path().join(left), "open").expect("written");
        let mut running = job.start();
        running.until_progress(checkpoint);
        assert_eq!((job.read(), job.names(true)), (vec!["first\n".to_owned()], vec![]));
        running.take(&["second"]);
        let (checkpoint, output) = running.barrier();
        running.output.confirm(checkpoint);
        running.until_progress(checkpoint);
        job.confirm(checkpoint, output);
        job.start();
        assert_eq!(job.read(), ["first\n", "second\n"]);
        assert_eq!(*job.warnings.lock().expect("no panic"), Vec::<String>::new());
    }

    #[test]
    fn a_worker_leaves_alone_what_another_one_has_to_name() {
        let mut job = Job::new();
        job.attempt = Attempt(1);
        let mut parts: Vec<Running> = (0..2).map(|lane| job.try_start_as(lane).expect("it starts")).collect();
        let mut sealed = parts.iter_mut().zip(["a", "b"]).map(|(part, value)| {
            part.take(&[value]);
            part.barrier()
        });
        let (checkpoint, outputs): (Vec<CheckpointId>, Vec<Output>) = sealed.by_ref().unzip();
        // It counts, and neither hears of that.
        let snapshot = |output| Snapshot { output: Some(output), ..Snapshot::default() };
        let subtasks = outputs.into_iter().map(snapshot).collect();
        job.confirmed = (checkpoint[0], Node { subtasks, ..Node::default() });
        drop(sealed);
        drop(parts);
        job.attempt = Attempt(2);
        let first = job.try_start_as(0).expect("it starts");
        assert_eq!(job.read(), ["a\n"]);
        let second = job.try_start_as(1).expect("it starts");
        assert_eq!(job.read(), ["a\n", "b\n"]);
        assert_eq!(*job.warnings.lock().expect("no panic"), Vec::<String>::new());
        drop((first, second));
    }

    #[test]
    fn output_that_the_checkpoint_can_not_know_of_is_not_repeated() {
        let mut job = Job::new();
        let mut running = job.start();
        running.take(&["first"]);
        let (checkpoint, output) = running.barrier();
        running.output.confirm(checkpoint);
        running.until_progress(checkpoint);
        job.confirm(checkpoint, output);
        running.take(&["second"]);
        let (later, _) = running.barrier();
        running.output.confirm(later);
        running.until_progress(later);
        drop(running);
        // HEAD says what it said before.
        let Err(error) = job.try_start() else { panic!("it would be written again") };
        let told = error.to_string();
        assert!(told.contains("part-00000-0000000100000002-") && told.contains("--allow-repeat"), "{told}");
        assert_eq!(job.read(), ["first\n", "second\n"]);
    }

    #[test]
    fn what_readers_took_is_told_and_what_was_changed_is_refused() {
        let mut job = Job::new();
        let mut running = job.start();
        running.take(&["read"]);
        let (checkpoint, output) = running.barrier();
        let name = output.files[0].name.clone();
        job.confirm(checkpoint, output);
        drop(running);
        let pending = job.directory.path().join(format!(".{name}.pending"));
        fs::write(&pending, "re").expect("written");
        let Err(error) = job.try_start() else { panic!("it was cut off") };
        assert_eq!(
            error.to_string(),
            format!(
                "{} has 2 bytes, and 5 when checkpoint 0000000100000001 sealed it; deploy the job from an earlier checkpoint",
                pending.display()
            )
        );
        fs::remove_file(&pending).expect("there");
        job.start();
        let told = job.warnings.lock().expect("no panic").join("");
        assert!(told.contains(&name) && told.contains("not there any more"), "{told}");
    }
}
