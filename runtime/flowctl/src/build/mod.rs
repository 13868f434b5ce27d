//! Rust crate → Wasm component: find a compiler, run cargo, wrap the module, check what came out.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::exit::Failure;
use crate::output::Output;

pub mod cargo;
mod claim;
mod component;
mod linker;
pub mod toolchain;
pub mod world;

/// What operators are compiled to: no system interface at all, so there is nothing to take away from them.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// How a crate is compiled.
#[derive(Default)]
pub struct How<'a> {
    /// Where the standard library for Wasm has to come from.
    pub std: Option<toolchain::Std>,
    /// Where cargo keeps what it compiles; a directory for all operators in the user's cache if absent.
    pub target_dir: Option<&'a Path>,
    /// Further arguments for cargo.
    pub cargo: &'a [OsString],
}

/// A component that is an operator.
pub struct Operator {
    /// The crate's name.
    pub name: String,
    /// Its bytes.
    pub component: Vec<u8>,
    /// What it says of itself.
    pub world: world::World,
}

/// Compiles the library crate in `dir`.
pub fn operator(dir: &Path, how: &How<'_>, output: &Output) -> Result<Operator, Failure> {
    let directory = dir
        .canonicalize()
        .ok()
        .filter(|dir| dir.is_dir())
        .ok_or_else(|| Failure::invalid(format!("no directory {}", dir.display())))?;
    let toolchain = toolchain::find(&directory, how.std)?;
    let package = cargo::package(&toolchain, &directory)?;
    if toolchain.std == toolchain::Std::Source {
        output.note("compiling the standard library for Wasm too: two minutes the first time, then seconds");
    }
    let target_dir = match how.target_dir {
        Some(dir) => std::path::absolute(dir).map_err(Failure::failed)?,
        None => cache()?.join("operators"),
    };
    let module = cargo::compile(&toolchain, &directory, &package, &target_dir, how.cargo)?;
    of_module(package.name, &module.path)
}

/// Wraps a core module, or takes a component as it is, and checks it.
pub fn of_module(name: String, module: &Path) -> Result<Operator, Failure> {
    let shown = module.display().to_string();
    let bytes = fs::read(module).map_err(|error| Failure::invalid(format!("can't read {shown}: {error}")))?;
    let component = component::componentize(&shown, bytes)?;
    let world = world::check(&shown, &component)?;
    Ok(Operator { name, component, world })
}

/// Writes a component whole or not at all: who reads it meanwhile sees the old one. Only a regular file is replaced, be it
/// behind a link: a device or a pipe takes the bytes and stays.
pub fn write(path: &Path, component: &[u8]) -> Result<(), Failure> {
    let unable = |error: std::io::Error| Failure::failed(format!("can't write {}: {error}", path.display()));
    let file = match path.canonicalize() {
        Ok(file) if file.is_file() => file,
        _ if path.symlink_metadata().is_ok() => return fs::write(path, component).map_err(unable),
        _ => path.to_owned(),
    };
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(unable)?;
    let mut builder = tempfile::Builder::new();
    // A temporary file is private unless told otherwise; a component is not secret.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut written = builder.tempfile_in(dir).map_err(unable)?;
    written.write_all(component).map_err(unable)?;
    written.persist(&file).map_err(|error| unable(error.error))?;
    Ok(())
}

/// Flow's directory in the user's cache.
fn cache() -> Result<PathBuf, Failure> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("flow"))
        .ok_or_else(|| {
            Failure::invalid("HOME is not set, so there is no cache directory").hint("give --target-dir DIR")
        })
}
