//! The lines of one subtask's files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow_dataflow::build::Row;
use flow_dataflow::call::{Blame, OnError};
use flow_dataflow::report::Rejected;
use flow_dataflow::source::Locator;
use flow_dataflow::{BatchBuilder, Error, Polled, Source};
use flow_model::checkpoint::snapshot::Split;
use flow_model::quantity::ByteSize;
use flow_model::spec;
use flow_model::spec::LineFormat;
use serde::de::IgnoredAny;

use super::FileList;
use super::line_reader::{LineReader, Next};
use crate::disk;
use crate::paths::{meant, plain};

/// Files that one poll opens at most: a directory of empty ones must not hold up the slot.
const FILES_A_POLL: usize = 64;

/// Reads the files `i, i + n, i + 2n, …` of a list as subtask `i` of `n`, one after the other, each to its end.
///
/// Each line is a record: its value is the bytes of the line without `\n` or `\r\n`, its split the number of the file, its
/// position the number of the line from 1; it has no key, no timestamp and no headers. A last line without `\n` counts. Bytes
/// that are not UTF-8 pass as they are, unless the format is JSON: then each line has to be one document, and lines of
/// nothing but blanks are passed over.
///
/// A line that is refused ends the source with an error that names file and line, after all lines before it; one that is no JSON
/// is passed over if `on-error` says so.
pub struct FilesSource {
    list: Arc<FileList>,
    json: bool,
    max_line: ByteSize,
    /// How far from one file of this subtask to the next.
    stride: usize,
    /// The file at hand; beyond the list when all are read.
    split: usize,
    reader: Option<LineReader>,
    /// Bytes of the file at hand when it was opened.
    length: u64,
    /// For each file of this subtask up to the one at hand, the number of its next line.
    lines: Vec<i64>,
    /// What happens with lines that are no JSON, and the bits of their splits; the source ends if absent.
    refusing: Option<(Blame, u32)>,
    /// Of a source that goes on from a checkpoint: files that were begun, by path.
    restored: HashMap<String, Split>,
}

impl FilesSource {
    /// Subtask `subtask` of `parallelism`. Nothing is opened yet.
    pub fn new(spec: &spec::FilesSource, list: Arc<FileList>, subtask: u32, parallelism: u32) -> FilesSource {
        FilesSource {
            list,
            json: spec.format == LineFormat::Json,
            max_line: spec.max_line,
            stride: parallelism.max(1) as usize,
            split: subtask as usize,
            reader: None,
            length: 0,
            lines: vec![1],
            refusing: None,
            restored: HashMap::new(),
        }
    }

    /// The same, which goes on where the subtasks of an earlier one stopped. That may have come to its files by other paths.
    #[must_use]
    pub fn restored(self, splits: &[Split]) -> FilesSource {
        let mut restored: HashMap<String, Split> =
            splits.iter().map(|split| (split.split.clone(), split.clone())).collect();
        let is_listed = |split: &&Split| self.list.paths().binary_search(&PathBuf::from(&split.split)).is_ok();
        let others = splits.iter().filter(|split| !is_listed(split));
        let others: HashMap<PathBuf, &Split> =
            others.map(|split| (meant(&plain(Path::new(&split.split))), split)).collect();
        if !others.is_empty() {
            for path in self.list.paths() {
                if let Entry::Vacant(entry) = restored.entry(path.to_string_lossy().into_owned())
                    && let Some(split) = others.get(&meant(path))
                {
                    let split = Split { split: entry.key().clone(), ..(*split).clone() };
                    entry.insert(split);
                }
            }
        }
        FilesSource { restored, ..self }
    }

    /// The same, which does with lines that are no JSON as `blame` says. Their splits carry `bits` already.
    #[must_use]
    pub fn refusing(self, blame: Blame, bits: u32) -> FilesSource {
        let refusing = (!matches!(blame.on_error, OnError::Fail)).then_some((blame, bits));
        FilesSource { refusing, ..self }
    }

    fn path(&self) -> &Path {
        &self.list.paths()[self.split]
    }

    fn line(&mut self) -> &mut i64 {
        self.lines.last_mut().expect("there is one for the file at hand")
    }

    fn refused(&mut self, why: &str) -> Error {
        let line = *self.line();
        Error::Plugin(format!("{}:{line}: {why}", self.path().display()))
    }

    fn open(&mut self) -> Result<(), Error> {
        let path = self.path();
        let file = File::open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::Retryable(format!("{} is gone since the job started", path.display())),
            _ => disk::failure(&e, "opening", path),
        })?;
        let length = file.metadata().map_err(|e| disk::failure(&e, "opening", path))?.len();
        let (mut from, mut line) = (0, 1);
        if let Some(split) = self.restored.get(&*path.to_string_lossy()) {
            (from, line) = (split.at.unwrap_or(0), split.next);
            if from > length {
                let shown = path.display();
                return Err(Error::Fatal(format!(
                    "{shown} has {length} bytes, and {from} of it were read before: it was cut off; lines may be lost"
                )));
            }
            (&file).seek(SeekFrom::Start(from)).map_err(|e| disk::failure(&e, "reading", path))?;
        }
        self.length = length;
        self.reader = Some(LineReader::new(file, self.max_line.as_usize()).behind(from));
        *self.line() = line;
        Ok(())
    }

    /// Whether the file at hand was read to its end before the checkpoint.
    fn was_read(&self) -> bool {
        !self.restored.is_empty() && self.restored.get(&*self.path().to_string_lossy()).is_some_and(|split| split.ended)
    }

    fn next_file(&mut self) {
        self.reader = None;
        self.split += self.stride;
        self.lines.push(1);
    }

    /// Takes lines of the file at hand. True at its end.
    fn read(&mut self, batch: &mut BatchBuilder, max_rows: usize, max_bytes: usize) -> Result<bool, Error> {
        let Some(reader) = &mut self.reader else { return Ok(true) };
        let split = self.split as u32;
        let position = self.lines.last_mut().expect("there is one for the file at hand");
        let mut looked_at = 0;
        while batch.rows() < max_rows && looked_at < max_bytes.max(1) {
            let line = match reader.peek() {
                Ok(Next::Line(line)) => line,
                Ok(Next::End) => match reader.shrank(self.length) {
                    Ok(false) => return Ok(true),
                    // What was read before it goes on first.
                    _ if batch.rows() > 0 => return Ok(false),
                    Ok(true) => return Err(self.refused("the file was cut off while it was read; lines may be lost")),
                    Err(e) => return Err(disk::failure(&e, "reading", self.path())),
                },
                // What was read before it goes on first.
                _ if batch.rows() > 0 => return Ok(false),
                Ok(Next::TooLong) => {
                    let max = self.max_line;
                    return Err(self.refused(&format!("the line is longer than `max-line: {max}`; raise that")));
                }
                Err(e) => return Err(disk::failure(&e, "reading", self.path())),
            };
            looked_at += line.len() + 1;
            if self.json {
                if line.trim_ascii().is_empty() {
                    reader.take();
                    *position += 1;
                    continue;
                }
                if let Err(why) = check_json(line) {
                    let Some((blame, bits)) = &self.refusing else {
                        let next = "mend it, or set `on-error: skip` or `on-error: dead-letter`";
                        return if batch.rows() > 0 { Ok(false) } else { Err(self.refused(&format!("{why}; {next}"))) };
                    };
                    refuse(
                        blame,
                        Row { value: Some(line), split: split | bits, position: *position, ..Row::default() },
                        why,
                    )?;
                    reader.take();
                    *position += 1;
                    continue;
                }
            }
            if batch.rows() > 0 && batch.bytes() + line.len() > max_bytes {
                return Ok(false);
            }
            batch.push(Row { value: Some(line), split, position: *position, ..Row::default() });
            reader.take();
            *position += 1;
        }
        Ok(false)
    }
}

/// Treats a line that is no JSON as `on-error` says.
fn refuse(blame: &Blame, line: Row<'_>, why: String) -> Result<(), Error> {
    let origin = Some((line.split, line.position));
    let mut batch = BatchBuilder::default();
    batch.push(line);
    let (code, backtrace) = ("no-json".to_owned(), Vec::new());
    blame.reject(&batch.finish(), 0, Rejected { origin, code, message: why, backtrace, attempts: 1 })
}

fn check_json(line: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(line)
        .map_err(|e| format!("column {}: the line is no JSON: it is not UTF-8", e.valid_up_to() + 1))?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|e| {
        let shown = e.to_string();
        let why = shown.split(" at line ").next().unwrap_or_default();
        format!("column {}: the line is no JSON: {why}", e.column())
    })
}

impl Source for FilesSource {
    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Polled, Error> {
        let mut batch = BatchBuilder::with_capacity(max_rows.min(1024), max_bytes.min(64 << 10));
        for _ in 0..FILES_A_POLL {
            if self.split >= self.list.paths().len() {
                if batch.rows() == 0 {
                    return Ok(Polled::End);
                }
                break;
            }
            if self.was_read() {
                self.next_file();
                continue;
            }
            if self.reader.is_none() {
                match self.open() {
                    // What was read before it goes on first.
                    Err(_) if batch.rows() > 0 => break,
                    opened => opened?,
                }
            }
            if !self.read(&mut batch, max_rows, max_bytes)? {
                break;
            }
            self.next_file();
        }
        Ok(if batch.rows() > 0 { Polled::Batch(batch.finish()) } else { Polled::Idle })
    }

    fn positions(&self) -> Vec<(u32, i64)> {
        let first = self.split - (self.lines.len() - 1) * self.stride;
        let splits = (first..self.list.paths().len()).step_by(self.stride);
        splits.zip(self.lines.iter().copied().chain(std::iter::repeat(1))).map(|(s, line)| (s as u32, line)).collect()
    }

    fn splits(&self) -> Vec<Split> {
        let of = |index: usize| self.list.paths()[index].to_string_lossy().into_owned();
        let ended = |split: String| Split { split, next: 0, at: None, until: None, id: None, ended: true };
        let first = self.split - (self.lines.len() - 1) * self.stride;
        let mut splits: Vec<Split> = (first..self.split).step_by(self.stride).map(|index| ended(of(index))).collect();
        if let (Some(reader), Some(line)) = (&self.reader, self.lines.last()) {
            let split = of(self.split);
            splits.push(Split { next: *line, at: Some(reader.at()), ended: false, ..ended(split) });
        } else if self.split < self.list.paths().len() {
            // Begun before the checkpoint, and not opened again yet.
            splits.extend(self.restored.get(&of(self.split)).cloned());
        }
        splits
    }

    fn locator(&self) -> Locator {
        let list = self.list.clone();
        Arc::new(move |split, position| list.locate(split, position))
    }
}

#[cfg(test)]
mod tests;
