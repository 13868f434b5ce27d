//! `flowctl build`: a Rust operator, or a core module from elsewhere, becomes a component ready to deploy.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::build::world::World;
use crate::build::{self, How, Operator, toolchain};
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
    let built = match &args.module {
        Some(module) => wrap(module)?,
        None => {
            let how = How { std: args.std, target_dir: args.target_dir.as_deref(), cargo: &args.cargo };
            build::operator(&args.dir, &how, output)?
        }
    };
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("{}.wasm", built.name)));
    build::write(&out, &built.component)?;
    let seconds = (start.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    let World { kind, id } = built.world;
    let built = Built { file: out, kind, world: id, bytes: built.component.len(), seconds };
    output.print_named(
        &built,
        || vec![built.file.display().to_string()],
        || {
            let Built { file, kind, world, seconds, .. } = &built;
            format!("{}: {kind} operator ({world}), {}, {seconds:.1} s", file.display(), size(built.bytes as u64))
        },
    )?;
    Ok(Exit::Ok)
}

/// The component of a module at hand. `core.wasm` stays as it is; the component is called `core.component`.
fn wrap(module: &Path) -> Result<Operator, Failure> {
    let name = module
        .file_stem()
        .map(|stem| format!("{}.component", stem.to_string_lossy()))
        .ok_or_else(|| Failure::invalid(format!("{} names no file", module.display())))?;
    build::of_module(name, module)
}
