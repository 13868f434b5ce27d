//! Runs on the local disk: a cache of what the object store holds, so nothing here is flushed to the disk's platter.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Take};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flow_dataflow::Error;
use flow_dataflow::state::run::{self, Entries, Merge, RunWriter, Written};

use crate::disk;

/// Bytes that are read or written at once.
const BUFFER: usize = 128 << 10;

/// A run, or the part of one that this subtask needs, as a file.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub(super) path: PathBuf,
    /// Where in the file the blocks of this subtask's groups lie.
    pub(super) blocks: Range<u64>,
}

/// A run being written to a file.
pub(super) type Writing = RunWriter<BufWriter<File>>;

impl Local {
    /// One that was written here.
    pub(super) fn written(path: PathBuf, written: &Written) -> Local {
        Local { path, blocks: 0..written.blocks }
    }

    /// Its entries.
    pub(super) fn entries(&self) -> Result<Entries<Take<BufReader<File>>>, Error> {
        let failed = |e| disk::failure(&e, "reading", &self.path);
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.blocks.start)).map_err(failed)?;
        let length = self.blocks.end - self.blocks.start;
        let file = BufReader::with_capacity(BUFFER.min(length as usize + 1), file);
        Ok(Entries::new(file.take(length), self.blocks.clone()))
    }

    /// The error of a task for what is wrong with it.
    pub(super) fn damaged(&self, error: &run::Error) -> Error {
        Error::Retryable(format!("a run of state in {}: {error}; check the disk", self.path.display()))
    }

    /// Removes it.
    pub(super) fn remove(self) {
        remove(&self.path);
    }
}

/// Removes a file that nobody needs. One that stays costs room until the directory is removed.
pub(super) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!("{}: {error}", path.display());
    }
}

/// Writes a run. Of one that fails nothing is left.
pub(super) fn write(path: &Path, fill: impl FnOnce(&mut Writing) -> Result<(), Error>) -> Result<Written, Error> {
    let failed = |e| disk::failure(&e, "writing", path);
    let file = File::create(path).map_err(failed)?;
    let mut run = RunWriter::new(BufWriter::with_capacity(BUFFER, file));
    let written = fill(&mut run).and_then(|()| run.finish().map_err(failed));
    match written {
        Ok((_, written)) => Ok(written),
        Err(error) => {
            remove(path);
            Err(error)
        }
    }
}

/// Reads runs as one, oldest first, and calls `each` with every key and what the newest of them says of it, until it says false.
pub(super) fn merged(
    runs: &[Local],
    mut each: impl FnMut(&[u8], Option<&[u8]>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let entries = runs.iter().map(Local::entries).collect::<Result<_, _>>()?;
    let damaged = |(number, error): (usize, run::Error)| runs[number].damaged(&error);
    let mut merge = Merge::new(entries).map_err(damaged)?;
    while merge.advance().map_err(damaged)? && each(merge.key(), merge.stored())? {}
    Ok(())
}
