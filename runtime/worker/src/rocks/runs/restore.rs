//! A store made from the runs of a checkpoint: of those that this subtask's key groups lie in, whoever wrote them.
//!
//! Each run is had once: from the local disk, where the whole of it is still there as it was written, or else the part with the own
//! key groups from the object store. What they say together becomes files of RocksDB, which it takes as they are.

use std::collections::BTreeSet;
use std::io::{BufWriter, Read, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use flow_dataflow::Error;
use flow_dataflow::state::ledger::Ledger;
use flow_dataflow::state::run::{self, Index, Merge, value};
use flow_model::checkpoint::snapshot::{Chain, Run};
use flow_model::checkpoint::{CheckpointId, Chunk};
use rocksdb::{DB, IngestExternalFileOptions, Options, SstFileWriter};

use super::files::{Local, remove};
use super::{Checkpoints, Fetch, Runs, Shared, State, is_dropped};
use crate::disk;
use crate::failpoint::{self, Point};
use crate::rocks::failure::failure;
use crate::rocks::store;

/// Runs that are fetched at the same time.
const AT_ONCE: usize = 4;
/// A run of so few bytes is fetched whole, and so much of the end of a longer one at first: more than most indexes have.
const SMALL: u64 = 64 << 10;
/// Bytes after which a file of RocksDB ends.
const FILE: u64 = 64 << 20;

/// Opens the store of a directory anew, from what is restored, and the runs that go on from there. Also says how long the longest
/// value is.
pub(in crate::rocks) fn open(
    options: &Options,
    dir: &Path,
    checkpoints: &Checkpoints,
) -> Result<(DB, Runs, usize), Error> {
    let (runs_dir, rocks_dir) = (dir.join("runs"), dir.join("rocks"));
    match std::fs::remove_dir_all(&rocks_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(disk::failure(&error, "removing what an earlier run left in", &rocks_dir));
        }
        _ => {}
    }
    std::fs::create_dir_all(&runs_dir).map_err(|e| disk::failure(&e, "making the state directory", &runs_dir))?;
    let mut ledger = Ledger::new(checkpoints.incarnation.clone(), checkpoints.groups.clone(), checkpoints.confirmed);
    let chains = checkpoints.restored.as_ref().map_or(&[][..], |restored| &restored.chains);
    let parts = parts(chains, &checkpoints.groups);
    clear(&runs_dir, &parts)?;
    let locals = match &checkpoints.restored {
        Some(restored) => fetch_all(&parts, &*restored.fetch, &runs_dir, checkpoints.confirmed)?,
        None => Vec::new(),
    };
    let db = store::open(options, &rocks_dir)?;
    let filling = Filling { db: &db, options, dir: &rocks_dir, checkpoints };
    let longest = filling.fill(&parts, &locals)?;
    if checkpoints.restored.is_some() {
        failpoint::reach(Point::StateRestored);
    }
    let mut files = std::collections::BTreeMap::new();
    for (part, local) in parts.into_iter().zip(locals) {
        let whole = part.groups == checkpoints.groups;
        let groups = (!whole).then_some(part.groups);
        files.insert(ledger.restored(Run { groups, ..part.run }), local);
    }
    let shared = Shared {
        dir: runs_dir,
        dropped: checkpoints.dropped.clone(),
        uploads: checkpoints.uploads.clone(),
        acks: checkpoints.acks.clone(),
        state: Mutex::new(State { ledger, files, merger: None }),
        closed: false.into(),
    };
    Ok((db, Runs { shared: shared.into() }, longest))
}

/// A run, and the groups of it that count here.
struct Part {
    run: Run,
    groups: RangeInclusive<u16>,
    /// Whether the file of the whole run is this part's. Of parts of one run, which several chains name after another parallelism, it is
    /// the first one's: each file belongs to one part, who may remove it.
    keeps: bool,
}

/// The runs that groups lie in, in an order in which what comes later hides what came before: chains have no group in common.
fn parts(chains: &[Chain], own: &RangeInclusive<u16>) -> Vec<Part> {
    let common = |a: &RangeInclusive<u16>, b: &RangeInclusive<u16>| *a.start().max(b.start())..=*a.end().min(b.end());
    let of = |chain: &Chain| {
        let groups = common(&chain.groups, own);
        let part = move |run: &Run| {
            let groups = run.groups.as_ref().map_or(groups.clone(), |only| common(only, &groups));
            Part { run: run.clone(), groups, keeps: false }
        };
        chain.runs.iter().map(part).collect::<Vec<_>>()
    };
    let mut parts: Vec<Part> = chains.iter().flat_map(of).filter(|part| !part.groups.is_empty()).collect();
    let mut kept = BTreeSet::new();
    for part in parts.iter_mut().filter(|part| part.run.groups.is_none()) {
        part.keeps = kept.insert(part.run.chunk.object.clone());
    }
    parts
}

/// Removes runs that the checkpoint does not name, and pieces of some.
fn clear(dir: &Path, parts: &[Part]) -> Result<(), Error> {
    let kept = parts.iter().filter(|part| part.keeps);
    let named: BTreeSet<&str> = kept.map(|part| part.run.chunk.object.unique()).collect();
    let failed = |e| disk::failure(&e, "reading", dir);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_str().is_some_and(|name| named.contains(name)) {
            remove(&entry.path());
        }
    }
    Ok(())
}

/// Has all parts on the local disk.
fn fetch_all(parts: &[Part], fetch: &dyn Fetch, dir: &Path, checkpoint: CheckpointId) -> Result<Vec<Local>, Error> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new((0..parts.len()).map(|_| None).collect::<Vec<Option<Local>>>());
    let lock = || found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let one = || -> Result<(), Error> {
        loop {
            let at = next.fetch_add(1, Relaxed);
            let Some(part) = parts.get(at) else { return Ok(()) };
            let local = Fetching { part, fetch, dir, number: at }.local();
            match local {
                Ok(local) => lock()[at] = Some(local),
                Err(error) => {
                    next.store(parts.len(), Relaxed);
                    return Err(error.at(&place(part, checkpoint)));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE.min(parts.len())).map(|_| scope.spawn(one)).collect();
        let ended = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::Fatal("a thread that fetches state panicked".into())))
        });
        ended.collect::<Result<Vec<()>, Error>>()
    })?;
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(found.into_iter().map(|local| local.expect("no thread failed, so each part was had")).collect())
}

fn place(part: &Part, checkpoint: CheckpointId) -> String {
    format!("checkpoint {checkpoint}: object {}", part.run.chunk.object)
}

/// What is wrong with a run's bytes.
fn damaged(error: &run::Error) -> Error {
    Error::Fatal(format!("{error}; go back to an earlier checkpoint (`flowctl checkpoint ls` shows them)"))
}

struct Fetching<'a> {
    part: &'a Part,
    fetch: &'a dyn Fetch,
    dir: &'a Path,
    number: usize,
}

impl Fetching<'_> {
    fn chunk(&self) -> &Chunk {
        &self.part.run.chunk
    }

    fn local(&self) -> Result<Local, Error> {
        let chunk = self.chunk();
        let path = self.dir.join(chunk.object.unique());
        if self.part.keeps
            && let Some(local) = self.kept(&path)?
        {
            return Ok(local);
        }
        let mut tail = Vec::new();
        self.get(chunk.length.saturating_sub(SMALL)..chunk.length, &mut tail)?;
        let wanted = Index::tail(&tail, chunk.length).map_err(|e| damaged(&e))?;
        if wanted > tail.len() as u64 {
            tail.clear();
            self.get(chunk.length - wanted..chunk.length, &mut tail)?;
        }
        let index = Index::parse(&tail, chunk.length).map_err(|e| damaged(&e))?;
        let blocks = index.range(&self.part.groups);
        // What is whole serves a later restore too, a piece does not.
        let whole = self.part.keeps && blocks == (0..chunk.length - wanted);
        let path = if whole { path } else { path.with_extension(self.number.to_string()) };
        let failed = |e| disk::failure(&e, "writing", &path);
        let mut file = BufWriter::new(std::fs::File::create(&path).map_err(failed)?);
        if tail.len() as u64 == chunk.length {
            let range = blocks.start as usize..blocks.end as usize;
            file.write_all(&tail[range]).map_err(failed)?;
        } else if !blocks.is_empty() {
            self.get(blocks.clone(), &mut file)?;
        }
        if whole {
            file.write_all(&tail[tail.len() - wanted as usize..]).map_err(failed)?;
        }
        file.flush().map_err(failed)?;
        Ok(Local { path, blocks: 0..blocks.end - blocks.start })
    }

    /// The whole run, if it still lies here as it was written.
    fn kept(&self, path: &Path) -> Result<Option<Local>, Error> {
        let chunk = self.chunk();
        let Ok(mut file) = std::fs::File::open(path) else { return Ok(None) };
        let failed = |e| disk::failure(&e, "reading", path);
        let (mut crc, mut length, mut tail, mut buffer) = (0, 0, Vec::new(), vec![0; 1 << 20]);
        loop {
            let read = file.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            crc = crc32c::crc32c_append(crc, &buffer[..read]);
            length += read as u64;
            // The last two pieces hold the index of any run whose index is as long as one of them.
            tail.drain(..tail.len().saturating_sub(buffer.len()));
            tail.extend_from_slice(&buffer[..read]);
        }
        let index = if (length, crc) == (chunk.length, chunk.crc) { Index::parse(&tail, length).ok() } else { None };
        if index.is_none() {
            remove(path);
        }
        Ok(index.map(|index| Local { path: path.to_owned(), blocks: index.range(&self.part.groups) }))
    }

    fn get(&self, range: std::ops::Range<u64>, into: &mut dyn Write) -> Result<(), Error> {
        let chunk = self.chunk();
        let mut counted = Counted { into, written: 0 };
        let wanted = range.end - range.start;
        self.fetch.fetch(&chunk.object, chunk.offset + range.start..chunk.offset + range.end, &mut counted)?;
        if counted.written == wanted { Ok(()) } else { Err(damaged(&run::Error::Short(range.start + counted.written))) }
    }
}

struct Counted<'a> {
    into: &'a mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.into.flush()
    }
}

/// An empty RocksDB, and what is to be in it.
struct Filling<'a> {
    db: &'a DB,
    options: &'a Options,
    dir: &'a Path,
    checkpoints: &'a Checkpoints,
}

impl Filling<'_> {
    /// Puts in what the parts say together, and says how long the longest value is.
    fn fill(&self, parts: &[Part], locals: &[Local]) -> Result<usize, Error> {
        let checkpoint = self.checkpoints.confirmed;
        let at = |(number, error): (usize, run::Error)| damaged(&error).at(&place(&parts[number], checkpoint));
        let failed = |e: rocksdb::Error| failure(&e, "restoring", self.dir);
        let entries = locals.iter().map(Local::entries).collect::<Result<_, _>>()?;
        let mut merge = Merge::new(entries).map_err(at)?;
        let mut files: Vec<PathBuf> = Vec::new();
        let mut writer: Option<SstFileWriter<'_>> = None;
        let mut longest = 0;
        while merge.advance().map_err(at)? {
            let Some(stored) = merge.stored() else { continue };
            if is_dropped(merge.key(), &self.checkpoints.dropped) {
                continue;
            }
            value::decode(stored).map_err(|e| Error::Fatal(format!("checkpoint {checkpoint}: {e}")))?;
            longest = longest.max(stored.len());
            let file = match &mut writer {
                Some(file) => file,
                None => {
                    let path = self.dir.join(format!("restored-{}.sst", files.len()));
                    let file = SstFileWriter::create(self.options);
                    file.open(&path).map_err(failed)?;
                    files.push(path);
                    writer.insert(file)
                }
            };
            file.put(merge.key(), stored).map_err(failed)?;
            if file.file_size() >= FILE
                && let Some(mut full) = writer.take()
            {
                full.finish().map_err(failed)?;
            }
        }
        if let Some(mut last) = writer {
            last.finish().map_err(failed)?;
        }
        if !files.is_empty() {
            let mut how = IngestExternalFileOptions::default();
            how.set_move_files(true);
            how.set_snapshot_consistency(false);
            self.db.ingest_external_file_opts(&how, files).map_err(failed)?;
        }
        Ok(longest)
    }
}
