//! Machines whose clock is wrong, on this one: a library that is preloaded into a process has it see another time of day.

use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{env, fs};

/// An hour, in seconds.
pub const HOUR: i64 = 3600;

/// The variables with which a process sees a time of day that is so many seconds later than the machine's, or earlier. Not one that has the
/// C library linked into it.
pub fn environment(seconds: i64) -> [(&'static str, String); 2] {
    [("LD_PRELOAD", library().display().to_string()), ("FLOW_TEST_CLOCK", seconds.to_string())]
}

/// The library, made anew beside the test program, where Cargo puts what it makes.
fn library() -> PathBuf {
    let own = env::current_exe().expect("a test program has a path");
    let (made, library) = (own.with_file_name(format!("clock-{}.so", process::id())), own.with_file_name("clock.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/shifted/clock.c");
    // That of the build.
    let compiler = env::var_os("CC").unwrap_or_else(|| "clang".into());
    let mut command = Command::new(&compiler);
    command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&made).arg(source).arg("-ldl");
    let done = command.output().expect("a C compiler starts");
    assert!(done.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&done.stderr));
    // Whoever has the one before open keeps it.
    fs::rename(made, &library).expect("renamed");
    library
}
