//! Which Rust compiler on this machine can compile to Wasm.
//!
//! Two ways exist: a compiler with the target's standard library installed (rustup's usual way), or one with the
//! source of its standard library (rustup's `rust-src`, Debian's `rust-web-src`), which cargo then compiles too. Every
//! compiler on the PATH is asked; nothing is ever installed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TARGET;
use super::linker::{self, Linker};
use crate::exit::{Exit, Failure};

/// Where the standard library for Wasm comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Std {
    /// Installed, compiled, beside the compiler.
    Prebuilt,
    /// Compiled by cargo from its source.
    Source,
}

/// A compiler, its cargo and linker, and how they come by the standard library.
#[derive(Debug, PartialEq, Eq)]
pub struct Toolchain {
    pub cargo: PathBuf,
    pub rustc: PathBuf,
    pub std: Std,
    pub linker: Linker,
}

/// The first compiler that can do it, those with the target installed first; only the way `wanted`, if one is. A
/// compiler is asked in `dir`, since a `rust-toolchain.toml` there changes what rustup's answers.
pub fn find(dir: &Path, wanted: Option<Std>) -> Result<Toolchain, Failure> {
    let path = path();
    let pairs = installed(&path);
    let libraries: Vec<Option<PathBuf>> =
        pairs.iter().map(|(_, rustc)| ask(dir, rustc, &["--print", "target-libdir"])).collect();
    let all: Vec<PathBuf> = libraries.iter().flatten().cloned().collect();
    let mut without_linker = None;
    for std in [Std::Prebuilt, Std::Source] {
        if wanted.is_some_and(|wanted| wanted != std) {
            continue;
        }
        for ((cargo, rustc), libraries) in pairs.iter().zip(&libraries) {
            let Some(libraries) = libraries.as_ref().filter(|_| has_std(dir, rustc, std)) else { continue };
            match linker::find(libraries, &path, &all) {
                Some(linker) => return Ok(Toolchain { cargo: cargo.clone(), rustc: rustc.clone(), std, linker }),
                None => without_linker = without_linker.or(Some(rustc)),
            }
        }
    }
    Err(missing(&pairs, without_linker))
}

/// The directories to look for programs in.
fn path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/bin".into()]).collect()
}

/// Every directory of the path with both a cargo and a rustc; `RUSTC` and `CARGO` come first, as cargo has it.
fn installed(path: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
    let program = |dir: &PathBuf, name: &str| Some(dir.join(name)).filter(|program| program.is_file());
    let mut pairs: Vec<(PathBuf, PathBuf)> = Vec::new();
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(rustc) = set("RUSTC") {
        let beside = path.iter().find_map(|dir| program(dir, "cargo"));
        pairs.extend(set("CARGO").or(beside).map(|cargo| (cargo, rustc)));
    }
    for pair in path.iter().filter_map(|dir| program(dir, "cargo").zip(program(dir, "rustc"))) {
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
}

fn has_std(dir: &Path, rustc: &Path, std: Std) -> bool {
    match std {
        Std::Prebuilt => ask(dir, rustc, &["--print", "target-libdir", "--target", TARGET])
            .and_then(|lib| lib.read_dir().ok())
            .is_some_and(|mut files| files.any(|file| file.is_ok_and(|file| is_core(&file.file_name())))),
        Std::Source => ask(dir, rustc, &["--print", "sysroot"])
            .is_some_and(|root| root.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()),
    }
}

fn is_core(file: &OsStr) -> bool {
    file.to_str().is_some_and(|name| name.starts_with("libcore-") && name.ends_with(".rlib"))
}

/// The path that a compiler prints; nothing if it fails (rustup's does when `dir` wants one that is not installed).
fn ask(dir: &Path, rustc: &Path, arguments: &[&str]) -> Option<PathBuf> {
    let answer = Command::new(rustc).args(arguments).current_dir(dir).stdin(Stdio::null()).output().ok()?;
    answer.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim_end()))
}

fn missing(pairs: &[(PathBuf, PathBuf)], without_linker: Option<&PathBuf>) -> Failure {
    let message = match (pairs, without_linker) {
        ([], _) => "no Rust compiler on this machine".to_owned(),
        (_, Some(rustc)) => format!("{} could compile to {TARGET}, but no linker for Wasm is here", rustc.display()),
        (pairs, None) => {
            let asked: Vec<String> = pairs.iter().map(|(_, rustc)| rustc.display().to_string()).collect();
            format!("no Rust compiler here can compile to {TARGET} (asked: {})", asked.join(", "))
        }
    };
    Failure::new(Exit::MissingTool, "no-wasm-compiler", message).hint(format!(
        "get one of these:\n\
         - with rustup:            rustup target add {TARGET}\n\
         - on Debian or Ubuntu:    apt-get install rustc-web cargo-web rust-web-src lld-22\n\
         \u{20}                         (lld-N of the LLVM that /usr/bin/rustc -vV names)\n\
         - any compiler's sources: rustup component add rust-src, then flowctl build --std source\n\
         rustup itself comes from https://rustup.rs"
    ))
}
