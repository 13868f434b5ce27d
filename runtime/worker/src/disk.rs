//! What an error of the file system means for a task.

use std::io::{self, ErrorKind};
use std::path::Path;

use flow_dataflow::Error;

/// The error of a task that could not do `what` (such as `reading`) with `path`.
pub(crate) fn failure(error: &io::Error, what: &str, path: &Path) -> Error {
    let said = |next: &str| format!("{what} {}: {error}{next}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Error::Retryable(said("; the disk is full: free some space there"))
        }
        ErrorKind::PermissionDenied => Error::Fatal(said("; allow it to the user that the worker runs as")),
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidFilename => Error::Fatal(said("")),
        _ => Error::Retryable(said("")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let check = |code: i32, retryable: bool, expect: &str| {
            let error = failure(&io::Error::from_raw_os_error(code), "writing", Path::new("/out/part-00000.txt"));
            assert_eq!(matches!(error, Error::Retryable(_)), retryable, "{error}");
            assert_eq!(error.to_string(), format!("writing /out/part-00000.txt: {expect}"));
        };
        check(libc::ENOSPC, true, "No space left on device (os error 28); the disk is full: free some space there");
        check(libc::EIO, true, "Input/output error (os error 5)");
        check(libc::EACCES, false, "Permission denied (os error 13); allow it to the user that the worker runs as");
        check(libc::ENOENT, false, "No such file or directory (os error 2)");
        check(libc::ENOTDIR, false, "Not a directory (os error 20)");
    }
}
