//! A directory to which a sink writes: one file a subtask, or with checkpoints one a subtask and checkpoint.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow_dataflow::Error;
use flow_dataflow::exchange::Wake;
use flow_model::ids::OperatorName;
use flow_model::spec::{FilesSink, RecordFormat};

use super::pending::{self, Laying, PendingOutput};
use crate::attempt::Attempt;
use crate::disk;
use crate::kafka::Warn;
use crate::text_sink::{OnDrop, Target, TextSink};

/// The directory of a files sink. Subtask 3 writes `part-00003.txt`, or `.jsonl` for records; with checkpoints
/// `part-00003-CHECKPOINT-LIFE.txt`, which is there from when the checkpoint counts.
pub struct OutputDirectory {
    path: PathBuf,
    format: RecordFormat,
    /// With checkpoints.
    pending: Option<Arc<PendingOutput>>,
}

impl OutputDirectory {
    /// Makes the directory if there is none. To be called once for all subtasks, before the first opens its part.
    ///
    /// Refuses one that holds the output of a former run: a run with fewer subtasks would replace only some of it.
    pub fn prepare(spec: &FilesSink) -> Result<OutputDirectory, Error> {
        let path = &spec.path.value;
        if let Some(error) = OutputDirectory::former(path)? {
            return Err(error);
        }
        make(path)?;
        Ok(OutputDirectory { path: path.clone(), format: spec.format, pending: None })
    }

    /// What to say of the output in a directory, which need not exist, if there is some.
    pub(crate) fn former(path: &Path) -> Result<Option<Error>, Error> {
        match fs::metadata(path) {
            Ok(about) if about.is_dir() => {}
            // A link to nothing is there too.
            Err(e) if e.kind() == ErrorKind::NotFound && !path.is_symlink() => return Ok(None),
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(disk::failure(&e, "looking for the directory", path));
            }
            Ok(_) | Err(_) => {
                let text = format!("{} is no directory; remove it or name another one", path.display());
                return Err(Error::Fatal(text));
            }
        }
        let failed = |e| disk::failure(&e, "listing", path);
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !is_part(&entry.file_name().to_string_lossy()) {
                continue;
            }
            // An empty one is what a job leaves that could not start. Who opens a pipe may wait for ever.
            let about = entry.metadata().map_err(failed)?;
            if about.len() > 0 || !about.is_file() {
                return Ok(Some(Error::Fatal(format!(
                    "{} holds the output of a former run ({}); remove it or name another directory",
                    path.display(),
                    entry.file_name().display(),
                ))));
            }
        }
        Ok(None)
    }

    /// The same for an attempt of a job with checkpoints. Where it goes on from one, the directory may hold what was written before.
    pub(crate) fn of_attempt(
        spec: &FilesSink,
        sink: &OperatorName,
        attempt: &Attempt,
        warn: &Warn,
    ) -> Result<OutputDirectory, Error> {
        let (path, format) = (spec.path.value.clone(), spec.format);
        match &attempt.from {
            Some(_) => make(&path)?,
            None => _ = OutputDirectory::prepare(spec)?,
        }
        let laying = Laying {
            directory: path.clone(),
            format,
            sink: sink.clone(),
            incarnation: attempt.incarnation.clone(),
            attempt: attempt.attempt,
            restored: attempt.confirmed(),
            node: attempt.node(sink),
            lanes: attempt.part.lanes(sink, &attempt.node(sink)),
            lane: attempt.part.lane(sink),
            listener: attempt.listener.clone(),
        };
        let pending = PendingOutput::restore(laying, warn)?;
        Ok(OutputDirectory { path, format, pending: Some(Arc::new(pending)) })
    }

    /// With checkpoints: what is to hear which of them count.
    pub(crate) fn pending(&self) -> Option<Arc<PendingOutput>> {
        self.pending.clone()
    }

    /// Opens the part of one subtask.
    pub fn part(&self, subtask: u32, wake: Wake) -> Result<TextSink, Error> {
        if let Some(pending) = &self.pending {
            return pending.part(subtask, wake);
        }
        let path = self.path.join(format!("part-{subtask:05}.{}", extension(self.format)));
        let part = Part::open(path, &self.path)?;
        TextSink::start(self.format, part, wake, OnDrop::Join)
    }
}

fn make(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|e| disk::failure(&e, "making the directory", path))
}

/// What the names of parts end with.
pub(super) fn extension(format: RecordFormat) -> &'static str {
    match format {
        RecordFormat::Lines => "txt",
        RecordFormat::Records => "jsonl",
    }
}

fn is_part(name: &str) -> bool {
    name.starts_with("part-") && (name.ends_with(".txt") || name.ends_with(".jsonl"))
}

struct Part {
    file: File,
    path: PathBuf,
    /// The directory while the file's own entry in it may not be durable.
    unsynced: Option<PathBuf>,
}

impl Part {
    fn open(path: PathBuf, directory: &Path) -> Result<Part, Error> {
        let failed = |e| disk::failure(&e, "opening", &path);
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let foreign = || Error::Fatal(format!("another job or sink writes {}; name another directory", path.display()));
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(foreign()),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        // It was empty when the directory was looked at.
        if file.metadata().map_err(failed)?.len() > 0 {
            return Err(foreign());
        }
        Ok(Part { file, path, unsynced: Some(directory.to_owned()) })
    }
}

impl Target for Part {
    fn write(&mut self, text: &[u8]) -> Result<(), Error> {
        self.file.write_all(text).map_err(|e| disk::failure(&e, "writing", &self.path))
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(|e| disk::failure(&e, "syncing", &self.path))?;
        if let Some(directory) = &self.unsynced {
            pending::sync(directory)?;
            self.unsynced = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flow_dataflow::Sink;
    use flow_model::diagnostic::{Located, Position};

    use super::*;
    use crate::text_sink::tests::{batch, until};

    fn directory(path: &Path, format: RecordFormat) -> Result<OutputDirectory, Error> {
        let path = Located { value: path.to_owned(), position: Position { line: 1, column: 1 } };
        OutputDirectory::prepare(&FilesSink { path, format })
    }

    fn part(directory: &OutputDirectory, subtask: u32) -> Result<TextSink, Error> {
        directory.part(subtask, Arc::new(|| {}))
    }

    fn run(directory: &OutputDirectory, subtask: u32, values: &[&str]) {
        let mut sink = part(directory, subtask).expect("it opens");
        sink.write(batch(values)).expect("it takes a batch");
        until(|| sink.finish()).expect("it finishes");
    }

    #[test]
    fn every_subtask_has_its_part() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("made/for/it");
        let output = directory(&path, RecordFormat::Lines).expect("it is made");
        run(&output, 0, &["a", "b"]);
        run(&output, 12, &["c"]);
        let read = |name: &str| fs::read_to_string(path.join(name)).expect("written");
        assert_eq!((read("part-00000.txt").as_str(), read("part-00012.txt").as_str()), ("a\nb\n", "c\n"));
        let records = directory(&dir.path().join("records"), RecordFormat::Records).expect("it is made");
        run(&records, 3, &["x"]);
        let record = fs::read_to_string(dir.path().join("records/part-00003.jsonl")).expect("written");
        assert_eq!(record, "{\"key\":null,\"value\":\"x\",\"timestamp\":null,\"headers\":[]}\n");
    }

    #[test]
    fn what_is_written_can_be_followed_before_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sink = part(&directory(dir.path(), RecordFormat::Lines).expect("a directory"), 0).expect("it opens");
        sink.write(batch(&["seen"])).expect("it takes a batch");
        let file = dir.path().join("part-00000.txt");
        let seen = || sink.ready().map(|_| fs::read(&file).expect("there") == b"seen\n");
        until(seen).expect("nothing is wrong");
    }

    #[test]
    fn a_former_run_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("README"), "not of a run").expect("written");
        let output = directory(dir.path(), RecordFormat::Lines).expect("a directory");
        drop(part(&output, 1).expect("it opens"));
        // What a job leaves that never wrote is in nobody's way.
        let output = directory(dir.path(), RecordFormat::Lines).expect("nothing was written");
        run(&output, 1, &["kept"]);
        let Err(error) = directory(dir.path(), RecordFormat::Lines) else { panic!("the output is there") };
        let shown = dir.path().display();
        assert_eq!(
            error.to_string(),
            format!("{shown} holds the output of a former run (part-00001.txt); remove it or name another directory")
        );
        let Err(error) = part(&output, 1) else { panic!("it is written") };
        assert!(matches!(error, Error::Fatal(_)));
        assert_eq!(fs::read_to_string(dir.path().join("part-00001.txt")).expect("there"), "kept\n");
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = std::process::Command::new("mkfifo").arg(dir.path().join("part-00000.txt")).status();
        assert!(made.expect("mkfifo runs").success());
        let Err(error) = directory(dir.path(), RecordFormat::Lines) else { panic!("nobody reads it") };
        assert!(error.to_string().contains("part-00000.txt"), "{error}");
    }

    #[test]
    fn two_can_not_write_one_part() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = directory(dir.path(), RecordFormat::Lines).expect("a directory");
        let _first = part(&output, 0).expect("it opens");
        let Err(error) = part(&output, 0) else { panic!("it is taken") };
        let path = dir.path().join("part-00000.txt");
        assert_eq!(error.to_string(), format!("another job or sink writes {}; name another directory", path.display()));
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let Err(error) = directory(file.path(), RecordFormat::Lines) else { panic!("it is a file") };
        let expected = |path: &Path| format!("{} is no directory; remove it or name another one", path.display());
        assert_eq!(error.to_string(), expected(file.path()));
        let dir = tempfile::tempdir().expect("a directory");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("gone"), &link).expect("a link");
        let Err(error) = directory(&link, RecordFormat::Lines) else { panic!("it leads nowhere") };
        assert_eq!(error.to_string(), expected(&link));
    }

    #[test]
    fn a_full_disk_is_retryable_and_named() {
        let path = PathBuf::from("/dev/full");
        let file = File::options().write(true).open(&path).expect("Linux has it");
        let mut sink =
            TextSink::start(RecordFormat::Lines, Part { file, path, unsynced: None }, Arc::new(|| {}), OnDrop::Join)
                .expect("it starts");
        sink.write(batch(&["x"])).expect("it takes a batch");
        let error = until(|| sink.finish()).expect_err("no room");
        assert!(matches!(error, Error::Retryable(_)));
        assert!(error.to_string().starts_with("writing /dev/full: No space left on device"), "{error}");
    }
}
