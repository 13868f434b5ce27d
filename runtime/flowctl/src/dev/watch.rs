//! Tells when sources change. What builds and runs write themselves must not look like a change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::crates::Crate;
use crate::exit::Failure;

/// Editors write a file in several steps, and several files at once.
const SETTLED: Duration = Duration::from_millis(200);
/// Of a crate, nobody edits what is in these.
const OTHERS: [&str; 2] = ["target", "vendor"];

/// Watches the sources of some crates and the pipeline file.
pub struct Watch {
    _watcher: RecommendedWatcher,
    changes: Receiver<PathBuf>,
    pipeline: PathBuf,
    crates: Vec<PathBuf>,
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The pipeline file.
    pub pipeline: bool,
    /// Directories of crates, as they were given.
    pub crates: Vec<PathBuf>,
}

impl Watch {
    /// From now on.
    pub fn start(pipeline: &Path, crates: &[Crate]) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("can't watch the sources: {error}"))
                .hint("`flowctl build` and `flowctl run` do without")
        };
        let (sender, changes) = mpsc::channel();
        let mut watcher =
            notify::recommended_watcher(move |event| tell(event, &sender)).map_err(|error| failed(&error))?;
        let mut watch = |path: &Path, mode| watcher.watch(path, mode).map_err(|error| failed(&error));
        let absolute = |path: &Path| path.canonicalize().map_err(|error| failed(&error));
        let pipeline = absolute(pipeline)?;
        // The directory, since editors put a new file in the place of the old one.
        watch(pipeline.parent().unwrap_or(&pipeline), RecursiveMode::NonRecursive)?;
        let mut directories = Vec::new();
        for one in crates {
            let directory = absolute(&one.directory)?;
            watch(&directory, RecursiveMode::NonRecursive)?;
            for entry in fs::read_dir(&directory).map_err(|error| failed(&error))?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir() && !name.starts_with('.') && !OTHERS.contains(&name.as_str()) {
                    watch(&entry.path(), RecursiveMode::Recursive)?;
                }
            }
            directories.push(directory);
        }
        Ok(Self { _watcher: watcher, changes, pipeline, crates: directories })
    }

    /// What has changed within `patience`; waits a little longer for all that changes with it.
    pub fn changed(&self, patience: Duration) -> Changed {
        let mut changed = Changed::default();
        let mut until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.changes.recv_timeout(left) {
                Ok(path) => {
                    if self.note(&path, &mut changed) {
                        until = Instant::now() + SETTLED;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return changed,
            }
        }
    }

    /// Whether it is a source.
    fn note(&self, path: &Path, changed: &mut Changed) -> bool {
        if path == self.pipeline {
            changed.pipeline = true;
            return true;
        }
        // One crate may lie in the directory of another.
        let of = self.crates.iter().filter(|directory| path.starts_with(directory));
        let Some(directory) = of.max_by_key(|directory| directory.components().count()) else { return false };
        let rest = path.strip_prefix(directory).unwrap_or(path);
        let first = rest.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned());
        let is_top = rest.components().count() == 1;
        let is_source = match first.as_deref() {
            Some("Cargo.toml" | "build.rs" | "rust-toolchain.toml") => true,
            // What else lies at the top, such as the component itself, is no source.
            _ => !is_top && first.is_some_and(|first| !first.starts_with('.') && !OTHERS.contains(&first.as_str())),
        };
        if is_source && !changed.crates.contains(directory) {
            changed.crates.push(directory.clone());
        }
        is_source
    }
}

fn tell(event: notify::Result<Event>, sender: &Sender<PathBuf>) {
    let Ok(event) = event else { return };
    if matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)) {
        // Without a receiver the watch is over.
        event.paths.into_iter().for_each(|path| _ = sender.send(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_and_what_is_built_is_not() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |path: &str| root.path().canonicalize().expect("it exists").join(path);
        for name in ["p.yaml", "op/Cargo.toml", "op/src/lib.rs", "op/target/x", "op/op.wasm", "op/.git/x"] {
            fs::create_dir_all(at(name).parent().expect("below")).expect("a directory");
            fs::write(at(name), "").expect("a file");
        }
        let one = Crate { directory: at("op"), component: at("op/op.wasm") };
        let watch = Watch::start(&at("p.yaml"), &[one]).expect("it watches");
        assert_eq!(watch.changed(Duration::ZERO), Changed::default());
        let long = Duration::from_secs(10);
        let check = |path: &str, expect: Changed| {
            fs::write(at(path), "new").expect("a file");
            let patience = if expect == Changed::default() { SETTLED } else { long };
            assert_eq!(watch.changed(patience), expect, "{path}");
        };
        let op = || Changed { pipeline: false, crates: vec![at("op")] };
        check("op/target/x", Changed::default());
        check("op/op.wasm", Changed::default());
        check("op/.git/x", Changed::default());
        check("op/src/lib.rs", op());
        check("op/src/new.rs", op());
        check("op/Cargo.toml", op());
        check("p.yaml", Changed { pipeline: true, crates: Vec::new() });
    }
}
