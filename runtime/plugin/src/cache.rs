//! Compiled code on disk. A file is used only if its own checksum holds, so neither a torn write nor a foreign file is ever
//! taken for code; a directory that can't be used costs time and nothing else. What was not used for the longest time goes
//! when there is too much.
//!
//! A file: 8 bytes magic, SHA-256 of the rest, the code as wasmtime serializes it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::load::Digest;

const MAGIC: &[u8; 8] = b"FLWCODE\x01";
const HEADER: usize = MAGIC.len() + 32;

/// The most bytes that a directory holds: some hundred operators in Rust, some thirty in Python.
const MOST_BYTES: u64 = 1 << 30;

/// A directory of compiled code.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    /// Tells apart engines whose code does not fit: their version, settings, the processor.
    engine: u64,
}

impl Cache {
    /// In this directory, which is made when something is put there.
    pub fn new(dir: PathBuf, engine: &Engine) -> Cache {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Cache { dir, engine: hasher.finish() }
    }

    /// The code of a component, if it is there and whole.
    pub fn get(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let path = self.path(digest);
        let file = match read(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
            Err(e) => {
                tracing::warn!(path = %path.display(), "compiled code can't be read, compiling again: {e}");
                return None;
            }
        };
        let loaded = code(&file).ok_or("its checksum does not hold".to_owned()).and_then(|code| load(engine, code));
        loaded
            .inspect_err(|e| tracing::warn!(path = %path.display(), "compiled code is unusable, compiling again: {e}"))
            .ok()
    }

    /// Keeps the code of a component. What fails is logged: the next run compiles again.
    pub fn put(&self, component: &Component, digest: Digest) {
        let path = self.path(digest);
        let code = match component.serialize() {
            Ok(code) => code,
            Err(e) => return tracing::warn!(path = %path.display(), "compiled code can't be serialized: {e:#}"),
        };
        let kept = write(&self.dir, &path, &code).and_then(|()| make_room(&self.dir, &path, MOST_BYTES));
        if let Err(e) = kept {
            tracing::warn!(path = %path.display(), "compiled code can't be kept: {e}");
        }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}", self.engine))
    }
}

/// The code in a file, if its checksum holds.
fn code(file: &[u8]) -> Option<&[u8]> {
    let (header, code) = file.split_at_checked(HEADER)?;
    let (magic, sum) = header.split_at(MAGIC.len());
    (magic == MAGIC && sum == &Sha256::digest(code)[..]).then_some(code)
}

fn load(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: deserialize wants bytes that `serialize` made and nobody changed. These carry a checksum that only `write`
    // below puts there, over just such bytes; they were read into memory of our own, so they can't change under its feet.
    // Code of another version, other settings or another processor is refused by wasmtime itself. What the checksum can't
    // tell is malice by someone who may write to the directory: that is the directory's owner, see `Options::cache_dir`.
    #[allow(unsafe_code)]
    let component = unsafe { Component::deserialize(engine, code) };
    component.map_err(|e| format!("{e:#}"))
}

/// Writes beside and renames, so that readers see all of the file or nothing.
fn write(dir: &Path, path: &Path, code: &[u8]) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    make_private(dir)?;
    let part = dir.join(format!(".{}-{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let written = (|| {
        let mut file = fs::File::create(&part)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        fs::rename(&part, path)
    })();
    if written.is_err() {
        // It is the first error that counts.
        let _ = fs::remove_file(&part);
    }
    written
}

/// All of a file, which counts as used now.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // A file system that keeps no times makes the order of what goes worse, nothing else.
    let _ = file.set_modified(SystemTime::now());
    Ok(bytes)
}

/// Removes files, those first that were not used for the longest time, until the rest has at most so many bytes. `newest`
/// stays whatever its size.
fn make_room(dir: &Path, newest: &Path, most_bytes: u64) -> std::io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Another process may have removed it meanwhile.
        if let Ok(about) = entry.metadata()
            && about.is_file()
        {
            files.push((about.modified()?, about.len(), entry.path()));
        }
    }
    files.sort_unstable();
    let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, size, path) in files {
        if bytes > most_bytes && path != newest {
            // So may this one be gone.
            let _ = fs::remove_file(path);
            bytes -= size;
        }
    }
    Ok(())
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, bytes: usize, age: u64| {
            let path = dir.path().join(name);
            fs::write(&path, vec![0; bytes]).expect("it can be written");
            let used = SystemTime::now() - Duration::from_secs(age);
            fs::File::open(&path).and_then(|file| file.set_modified(used)).expect("it is there");
            path
        };
        let [old, older, newest] =
            [("old", 10, 100), ("older", 10, 200), ("newest", 100, 300)].map(|(n, b, a)| file(n, b, a));
        read(&older).expect("it is there");
        make_room(dir.path(), &newest, 110).expect("it can be listed");
        assert!(!old.exists() && older.exists() && newest.exists());
        make_room(dir.path(), &newest, 1).expect("it can be listed");
        assert!(!older.exists() && newest.exists());
    }
}
