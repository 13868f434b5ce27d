//! What an error of RocksDB means for a task, and what to do about it.

use std::path::Path;

use flow_dataflow::Error;
use rocksdb::ErrorKind;

/// The error of a task for one of RocksDB while it did `what` in `dir`.
pub(super) fn failure(error: &rocksdb::Error, what: &str, dir: &Path) -> Error {
    classify(error.kind(), error.as_ref(), what, dir)
}

/// RocksDB tells what the operating system said only in its text.
fn classify(kind: ErrorKind, text: &str, what: &str, dir: &Path) -> Error {
    let said = |next: &str| format!("state in {}: {what}: {text}; {next}", dir.display());
    let has = |part: &str| text.contains(part);
    match kind {
        ErrorKind::Corruption => Error::Fatal(said("its files are damaged: remove the directory, check the disk")),
        ErrorKind::IOError if has("lock hold by current process") || has("While lock file") => {
            Error::Retryable(said("another job or process has it open: stop that one first"))
        }
        ErrorKind::IOError if has("No space left") || has("Disk quota exceeded") => {
            Error::Retryable(said("the disk is full: free some space there"))
        }
        ErrorKind::IOError if has("Permission denied") || has("Read-only file system") || has("Not a directory") => {
            Error::Fatal(said("allow it to the user that the worker runs as"))
        }
        ErrorKind::IOError if has("Too many open files") => {
            Error::Retryable(said("raise the limit of open files (ulimit -n)"))
        }
        ErrorKind::NotSupported | ErrorKind::InvalidArgument | ErrorKind::NotFound => {
            Error::Fatal(said("it was written by another version: remove the directory"))
        }
        _ => Error::Retryable(said("look at the disk, then start the job again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let check = |kind, text: &str, retryable: bool, next: &str| {
            let error = classify(kind, text, "writing", Path::new("/data/counts/3"));
            assert_eq!(matches!(error, Error::Retryable(_)), retryable, "{error}");
            let shown = error.to_string();
            assert!(shown.starts_with(&format!("state in /data/counts/3: writing: {text}; ")), "{shown}");
            assert!(shown.contains(next), "{shown}");
        };
        let io = || ErrorKind::IOError;
        check(io(), "IO error: No space left on device: While appending to file: /d/1.sst", true, "free some space");
        check(io(), "IO error: While lock file: /d/LOCK: Resource temporarily unavailable", true, "stop that one");
        check(io(), "IO error: While open a file: /d/1.sst: Input/output error", true, "look at the disk");
        check(io(), "IO error: While mkdir if missing: /d: Permission denied", false, "allow it");
        check(ErrorKind::Corruption, "Corruption: block checksum mismatch", false, "remove the directory");
        check(ErrorKind::NotSupported, "Not implemented: newer format", false, "another version");
        check(ErrorKind::TimedOut, "Operation timed out", true, "start the job again");
    }
}
