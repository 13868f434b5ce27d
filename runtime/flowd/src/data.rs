//! The directory that a flowd keeps its data in. It belongs to one process at a time, and to nothing but flowd: what lies
//! in it may be removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Marks a directory as flowd's; its lock says that a process uses it.
const LOCK: &str = "flowd.lock";
/// Where the REST API listens, for who started it on a free port.
const ADDRESS: &str = "flowd.address";
const RUN_PREFIX: &str = "run-";
/// A directory of a run that is not locked after so long belongs to none.
const MAKING: Duration = Duration::from_secs(60);

/// How long a process that was killed may take to give its lock back.
const GOING: Duration = Duration::from_secs(2);

/// A data directory, locked as long as this lives.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
    /// Removes the directory at the end, if it is for one run only.
    _temporary: Option<TempDir>,
}

impl DataDir {
    /// Opens `path`, or makes it. `flag` is how the user would choose another.
    ///
    /// # Errors
    /// It can't be made, another process uses it, or it holds files of someone else.
    pub fn open(path: &Path, flag: &str) -> Result<Self> {
        let shown = path.display();
        let advice = || format!("can't use the data directory {shown}; choose another with {flag}");
        make(path).with_context(advice)?;
        let path = path.canonicalize().with_context(advice)?;
        let lock = path.join(LOCK);
        if !lock.exists() && path.read_dir().with_context(advice)?.next().is_some() {
            bail!("{shown} holds files that are not flowd's; choose an empty directory with {flag}");
        }
        // One that was killed just now may not be gone yet.
        let begun = Instant::now();
        let locked = loop {
            match lock_file(&lock).with_context(advice)? {
                None if begun.elapsed() < GOING => thread::sleep(GOING / 100),
                locked => break locked,
            }
        };
        match locked {
            Some(lock) => Ok(Self { path, _lock: lock, _temporary: None }),
            None => bail!("another flowd uses {shown}; stop it, or choose another directory with {flag}"),
        }
    }

    /// A directory for one run, removed at its end. What killed runs left is removed now.
    ///
    /// # Errors
    /// It can't be made.
    pub fn temporary() -> Result<Self> {
        let root = state_home()?.join("runs");
        let advice = || format!("can't make a data directory in {}", root.display());
        make(&root).with_context(advice)?;
        sweep(&root);
        let prefix = format!("{RUN_PREFIX}{}-", process::id());
        let temporary = tempfile::Builder::new().prefix(&prefix).tempdir_in(&root).with_context(advice)?;
        // It gets its name when it is locked: no sweep ever sees the lock of a living run free.
        let new = temporary.path().join(".flowd.lock.new");
        let lock = lock_file(&new).with_context(advice)?;
        let lock = lock.with_context(|| format!("{} is in use", temporary.path().display()))?;
        fs::rename(&new, temporary.path().join(LOCK)).with_context(advice)?;
        Ok(Self { path: temporary.path().to_owned(), _lock: lock, _temporary: Some(temporary) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says where the REST API listens, in one step.
    pub fn write_address(&self, address: &str) -> Result<()> {
        let new = self.path.join(".flowd.address.new");
        fs::write(&new, format!("{address}\n"))
            .and_then(|()| fs::rename(&new, self.path.join(ADDRESS)))
            .with_context(|| format!("can't write {}", self.path.join(ADDRESS).display()))
    }

    /// Nobody listens any more, or not yet.
    pub fn remove_address(&self) {
        // It may not be there.
        _ = fs::remove_file(self.path.join(ADDRESS));
    }
}

/// Makes a directory that only its owner looks into: pipelines may hold passwords, and states hold what is in the records.
fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Where a daemon keeps its data unless it is told otherwise.
pub fn default_dir() -> Result<PathBuf> {
    dir_of("standalone")
}

/// Where a daemon of another kind does.
pub fn dir_of(kind: &str) -> Result<PathBuf> {
    Ok(state_home()?.join(kind))
}

/// Where compiled components are kept, for all flowds of the user.
pub fn component_cache() -> Option<PathBuf> {
    home("XDG_CACHE_HOME", ".cache").map(|cache| cache.join("components"))
}

fn state_home() -> Result<PathBuf> {
    home("XDG_STATE_HOME", ".local/state")
        .context("HOME is not set, so there is no place for data; set it, or XDG_STATE_HOME to an absolute path")
}

/// Flow's directory in one of the user's base directories (XDG Base Directory Specification).
fn home(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set(variable).or_else(|| set("HOME").map(|home| home.join(below_home))).map(|base| base.join("flow"))
}

/// The file, locked; nothing if another process has locked it.
fn lock_file(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the directories of runs that no process has locked.
fn sweep(root: &Path) {
    for entry in root.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(RUN_PREFIX) {
            continue;
        }
        // Held until the directory is gone.
        let lock = File::options().write(true).open(path.join(LOCK));
        let is_left = match &lock {
            Ok(lock) => lock.try_lock().is_ok(),
            // It is just being made, or just being removed, or whoever did that was killed.
            Err(error) => error.kind() == io::ErrorKind::NotFound && age(&path).is_some_and(|age| age > MAKING),
        };
        if is_left {
            // Another sweep may be at it too.
            _ = fs::remove_dir_all(path);
        }
    }
}

/// How long ago something was put into a directory or taken from it.
fn age(directory: &Path) -> Option<Duration> {
    directory.metadata().ok()?.modified().ok()?.elapsed().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let base = tempfile::tempdir().expect("a directory");
        let path = base.path().join("a/b");
        let first = DataDir::open(&path, "--data").expect("a new directory");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o700);
        // A lock belongs to the open file, so this holds within one process too.
        let error = DataDir::open(&path, "--data").err().expect("locked").to_string();
        assert!(error.starts_with("another flowd uses "), "{error}");
        drop(first);
        DataDir::open(&path, "--data").expect("free again");
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let base = tempfile::tempdir().expect("a directory");
        fs::write(base.path().join("thesis.txt"), "years of work").expect("a file");
        let error = DataDir::open(base.path(), "--data").err().expect("not flowd's").to_string();
        assert!(error.contains("holds files that are not flowd's; choose an empty directory with --data"), "{error}");
        assert!(!base.path().join(LOCK).exists());
    }

    #[test]
    fn a_killed_run_is_swept_and_a_live_one_not() {
        let base = tempfile::tempdir().expect("a directory");
        let run = |name: &str| {
            let path = base.path().join(name);
            fs::create_dir(&path).expect("a directory");
            lock_file(&path.join(LOCK)).expect("a file").expect("not locked")
        };
        drop(run("run-1"));
        let _live = run("run-2");
        drop(run("other"));
        let bare = |name: &str| {
            let path = base.path().join(name);
            fs::create_dir(&path).expect("a directory");
            File::open(path).expect("a directory")
        };
        bare("run-3");
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        bare("run-4").set_modified(long_ago).expect("a time that the file system knows");
        sweep(base.path());
        let left = |name: &str| base.path().join(name).exists();
        assert_eq!((left("run-1"), left("run-2"), left("other")), (false, true, true));
        assert_eq!((left("run-3"), left("run-4")), (true, false), "one may be in the making, the other not");
    }
}
