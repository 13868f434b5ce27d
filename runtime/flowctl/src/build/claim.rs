//! Whose module lies in a target directory that many crates share. Cargo names it by the library alone, so two crates whose
//! libraries are called the same write the same file, and what one has made passes for the other's. Here one of them at a time has
//! the name. What the crates depend on stays compiled once for all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The right to a library's name in a target directory, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    file: File,
    /// What lies there under the name is another crate's, or nobody knows whose.
    pub is_foreign: bool,
}

impl Claim {
    /// Waits until nobody else has the name. `manifest` is the path of the crate's Cargo.toml.
    pub fn take(target_dir: &Path, library: &str, manifest: &Path) -> io::Result<Self> {
        let directory = target_dir.join("flowctl");
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{library}.owner"));
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        file.lock()?;
        let mut owner = Vec::new();
        file.read_to_end(&mut owner)?;
        Ok(Self { file, is_foreign: owner != manifest.as_os_str().as_bytes() })
    }

    /// From now on what lies there is this crate's. Said before it is compiled: who stops in between has it compiled anew at worst.
    pub fn own(&mut self, manifest: &Path) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(manifest.as_os_str().as_bytes())
    }
}
