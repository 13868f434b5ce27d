//! Reads the part files of a file sink while they grow: each line once, a line without its end not before it has one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::Context;

use crate::tally::Tally;

/// A folder of part files and how far each was read.
#[derive(Debug)]
pub struct Parts {
    dir: PathBuf,
    read: HashMap<PathBuf, u64>,
}

impl Parts {
    /// The folder need not exist yet.
    pub fn new(dir: PathBuf) -> Parts {
        Parts { dir, read: HashMap::new() }
    }

    /// Takes what was written since the last call.
    pub fn poll(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(|| format!("can't read {}", self.dir.display()))?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_file() {
                self.take(path, tally)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, path: PathBuf, tally: &mut Tally) -> anyhow::Result<()> {
        let mut file = File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
        let at = self.read.entry(path).or_insert(0);
        file.seek(SeekFrom::Start(*at))?;
        let mut lines = BufReader::with_capacity(1 << 18, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = lines.read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                return Ok(());
            }
            tally.update(&line)?;
            *at += length as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn growing_files_are_read_once_and_by_whole_lines() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut parts = Parts::new(dir.path().join("out"));
        let mut tally = Tally::default();
        parts.poll(&mut tally).expect("no folder yet is fine");
        fs::create_dir(dir.path().join("out")).expect("a folder");
        let mut file = File::create(dir.path().join("out/part-0")).expect("a file");
        file.write_all(b"{\"key\":\"a\",\"count\":1}\n{\"key\":\"a\",").expect("written");
        parts.poll(&mut tally).expect("readable");
        assert_eq!(tally.lines(), ["1 a"]);
        file.write_all(b"\"count\":2}\n").expect("written");
        parts.poll(&mut tally).expect("readable");
        parts.poll(&mut tally).expect("readable");
        assert_eq!((tally.lines(), tally.updates()), (vec!["2 a".to_owned()], 2));
    }
}
