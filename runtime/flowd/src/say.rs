//! Words on the standard output and error. A reader that went away (`| head`) is no error; macros that print would panic.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Lines to the standard output.
///
/// # Errors
/// They can't be written, though somebody would read them.
pub fn out(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("can't write to the standard output"),
    }
}

/// Lines to the standard error. Where they can't be written, there is no place left to say so.
pub fn err(text: &str) {
    _ = writeln!(io::stderr(), "{}", text.trim_end());
}
