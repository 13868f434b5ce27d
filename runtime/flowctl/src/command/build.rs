//! `flowctl build`: a Rust operator, or a core module from elsewhere, becomes a component ready to deploy.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use serde::Serialize;

use crate::build::{cargo, component, toolchain, world};
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, size};

/// Compile a Rust operator into a component
///
/// Compiles the library crate in DIR with the Rust compiler of this machine, wraps the module as a component, and checks
/// that it is an operator. Nothing is installed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl build                              the crate here → NAME.wasm here
  flowctl build operators/enrich -o enrich.wasm
  flowctl build -- --features fast --locked  what follows -- goes to cargo
  flowctl build --module core.wasm -o operator.wasm
                                             wrap a module that another compiler made")]
pub struct Args {
    /// Directory of the operator's crate
    #[arg(default_value = ".")]
    dir: PathBuf,

    /// The component to write [default: NAME.wasm here]
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,

    /// Wrap and check this Wasm module or component instead of compiling a crate
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "std", "target_dir", "cargo"])]
    module: Option<PathBuf>,

    /// Take the standard library for Wasm from here [default: installed if it is, else from source]
    #[arg(long, value_enum, value_name = "WAY")]
    std: Option<toolchain::Std>,

    /// Where cargo keeps what it compiles [default: a directory for all operators in the user's cache]
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,

    /// For people or for programs (here without a short form: -o is the file)
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,

    /// Further arguments for cargo
    #[arg(last = true)]
    cargo: Vec<OsString>,
}

/// What was built.
#[derive(Debug, Serialize)]
struct Built {
    file: PathBuf,
    kind: flow_model::kind::OperatorKind,
    world: String,
    bytes: usize,
    seconds: f64,
}

/// Builds and says what came out.
pub fn run(args: Args, output: &Output) -> Result<Exit, Failure> {
    let start = Instant::now();
    let (name, module) = match &args.module {
        Some(module) => (stem(module)?, module.clone()),
        None => compile(&args, output)?,
    };
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("{name}.wasm")));
    let shown = module.display().to_string();
    let bytes = fs::read(&module).map_err(|error| Failure::invalid(format!("can't read {shown}: {error}")))?;
    let component = component::componentize(&shown, bytes)?;
    let world = world::check(&shown, &component)?;
    write(&out, &component)?;
    let seconds = (start.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    let built = Built { file: out, kind: world.kind, world: world.id, bytes: component.len(), seconds };
    output.print(&built, || {
        let Built { file, kind, world, seconds, .. } = &built;
        format!("{}: {kind} operator ({world}), {}, {seconds:.1} s", file.display(), size(built.bytes as u64))
    })?;
    Ok(Exit::Ok)
}

/// Compiles the crate: its name and the module.
fn compile(args: &Args, output: &Output) -> Result<(String, PathBuf), Failure> {
    let dir = args
        .dir
        .canonicalize()
        .ok()
        .filter(|dir| dir.is_dir())
        .ok_or_else(|| Failure::invalid(format!("no directory {}", args.dir.display())))?;
    let toolchain = toolchain::find(&dir, args.std)?;
    let package = cargo::package(&toolchain, &dir)?;
    if toolchain.std == toolchain::Std::Source {
        output.note("compiling the standard library for Wasm too: two minutes the first time, then seconds");
    }
    let target_dir = match &args.target_dir {
        Some(dir) => std::path::absolute(dir).map_err(Failure::failed)?,
        None => cache()?.join("operators"),
    };
    let module = cargo::compile(&toolchain, &dir, &package, &target_dir, &args.cargo)?;
    Ok((package.name, module))
}

/// The name for the component of a module without one: `core.wasm` stays as it is, beside it comes `core.component.wasm`.
fn stem(module: &Path) -> Result<String, Failure> {
    module
        .file_stem()
        .map(|stem| format!("{}.component", stem.to_string_lossy()))
        .ok_or_else(|| Failure::invalid(format!("{} names no file", module.display())))
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

/// Writes the whole file or nothing: who reads it meanwhile sees the old one.
fn write(path: &Path, component: &[u8]) -> Result<(), Failure> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unable = |error: std::io::Error| Failure::failed(format!("can't write {}: {error}", path.display()));
    fs::create_dir_all(dir).map_err(unable)?;
    let mut builder = tempfile::Builder::new();
    // A temporary file is private unless told otherwise; a component is not secret.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(dir).map_err(unable)?;
    file.write_all(component).map_err(unable)?;
    file.persist(path).map_err(|error| unable(error.error))?;
    Ok(())
}
