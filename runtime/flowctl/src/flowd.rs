//! The `flowd` that belongs to this `flowctl`: the one beside it, else the one on the PATH.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::exit::{Exit, Failure};

/// A command line that starts with it.
pub fn command() -> Result<Command, Failure> {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join("flowd")));
    let path = env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> = beside
        .into_iter()
        .chain(env::split_paths(&path).map(|directory| directory.join("flowd")))
        .find(|program| program.is_file());
    found.map(Command::new).ok_or_else(|| {
        Failure::new(Exit::MissingTool, "no-flowd", "flowd is neither beside flowctl nor on the PATH")
            .hint("put the two programs into one directory")
    })
}
