//! That a job is to stop, with a savepoint or without, in its directory: should the process end before that is done, the next one
//! does it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use flow_model::ids::SavepointName;

use crate::whole;

/// In the job's directory, once it is canceled.
const CANCELED: &str = "canceled";

fn file(directory: &Path) -> PathBuf {
    directory.join("stop-with-savepoint")
}

/// Remembers that the job is canceled, whatever happens to this process.
pub fn remember_cancel(directory: &Path) -> io::Result<()> {
    // Two at once write the same: nothing.
    let file = File::create(directory.join(CANCELED))?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

/// Whether the job of this directory was canceled.
pub fn is_canceled(directory: &Path) -> bool {
    directory.join(CANCELED).exists()
}

/// Remembers it, whatever happens to this process. False if one is remembered already: a job stops with one only.
pub fn remember(directory: &Path, name: &SavepointName) -> io::Result<bool> {
    if remembered(directory).is_some() {
        return Ok(false);
    }
    whole::write(&file(directory), name.as_str().as_bytes())?;
    Ok(true)
}

/// The job does not stop with it.
pub fn forget(directory: &Path) {
    if let Err(error) = fs::remove_file(file(directory)) {
        tracing::warn!(directory = %directory.display(), "after a restart of flowd the job stops: {error}");
    }
}

/// The savepoint that the job of this directory is to stop with.
pub fn remembered(directory: &Path) -> Option<SavepointName> {
    let text = match fs::read_to_string(file(directory)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(directory = %directory.display(), "can't tell whether the job is to stop: {error}");
            return None;
        }
    };
    // What is no name was cut off, and had not been answered yet.
    SavepointName::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_remembered() {
        let directory = tempfile::tempdir().expect("a directory");
        let name = |text: &str| text.parse::<SavepointName>().expect("a name");
        let directory = directory.path();
        assert_eq!(remembered(directory), None);
        assert!(remember(directory, &name("a")).expect("it is written"));
        assert!(!remember(directory, &name("b")).expect("there is one"));
        assert_eq!(remembered(directory), Some(name("a")));
        forget(directory);
        assert_eq!(remembered(directory), None);
    }

    #[test]
    fn what_is_no_name_is_in_nobodys_way() {
        let directory = tempfile::tempdir().expect("a directory");
        let (directory, name) = (directory.path(), "a".parse::<SavepointName>().expect("a name"));
        // Of a disk that was full, or of a process that died.
        for left in ["", "No name", "\0\0\0"] {
            fs::write(file(directory), left).expect("a file");
            assert_eq!(remembered(directory), None);
            assert!(remember(directory, &name).expect("it is written"), "{left:?}");
            assert_eq!(remembered(directory), Some(name.clone()));
        }
    }
}
