//! That a job is to stop with a savepoint, in its directory: should the process end before that is done, the next one does it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use flow_model::ids::SavepointName;

fn file(directory: &Path) -> PathBuf {
    directory.join("stop-with-savepoint")
}

/// Remembers it, whatever happens to this process. False if one is remembered already: a job stops with one only.
pub fn remember(directory: &Path, name: &SavepointName) -> io::Result<bool> {
    let mut file = match File::create_new(file(directory)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    };
    file.write_all(name.as_str().as_bytes())?;
    file.sync_all()?;
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
    // One that was cut off had not been answered yet.
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
        fs::write(file(directory), "").expect("a file");
        assert_eq!(remembered(directory), None);
    }
}
