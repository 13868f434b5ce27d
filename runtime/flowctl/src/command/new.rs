//! `flowctl new`: an operator project that builds, with tests and a pipeline.

use std::io;
use std::path::{Path, PathBuf};
use std::{fs, path};

use flow_model::ids::OperatorName;
use flow_model::kind::OperatorKind;
use serde::Serialize;

use crate::cli::Shown;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::project::{self, Project};

/// Make a Rust operator project, with tests and a pipeline
///
/// The project holds a copy of the SDK in vendor/, so it needs no checkout of Flow. Crates of others are fetched by cargo
/// when it builds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl new enrich                         a map in the new directory enrich
  flowctl new totals --kind process          keyed, with state
  flowctl new enrich --sdk ../flow/sdk/rust/flow-sdk
                                             with the SDK of a checkout instead of a copy")]
pub struct Args {
    /// Name of the operator, and the directory to make
    name: OperatorName,

    /// What the operator does with records
    #[arg(long, value_enum, value_name = "KIND", default_value = "map")]
    kind: Kind,

    /// Take the SDK's crate from this directory instead of a copy
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,

    #[command(flatten)]
    pub shown: Shown,
}

/// The kinds, as the command line names them.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// One record in, one out
    Map,
    /// Lets a record pass or not
    Filter,
    /// One record in, any number out
    FlatMap,
    /// Any number out, by key, with state
    Process,
}

impl From<Kind> for OperatorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Map => Self::Map,
            Kind::Filter => Self::Filter,
            Kind::FlatMap => Self::FlatMap,
            Kind::Process => Self::Process,
        }
    }
}

/// What was made.
#[derive(Serialize)]
struct Made<'a> {
    directory: &'a Path,
    kind: OperatorKind,
    files: usize,
}

/// Makes the project, all of it or nothing.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let name = args.name.as_str();
    if let Some(why) = project::refused(name) {
        return Err(Failure::invalid(format!("\"{name}\" can't be the name of a project: {why}"))
            .hint("choose another, such as `my-operator`"));
    }
    let sdk = args.sdk.as_deref().map(sdk).transpose()?;
    let project = Project { name, kind: args.kind.into(), sdk: sdk.as_deref() };
    let directory = Path::new(name);
    let mut files = project.files();
    files.push(("pipeline.schema.json".to_owned(), super::schema::text()?));
    if directory.symlink_metadata().is_ok() {
        return Err(
            Failure::invalid(format!("{name} exists already")).hint("choose another name, or another directory")
        );
    }
    write(directory, &files)
        .map_err(|error| Failure::failed(format!("can't make the project {name}: {error}; nothing is left of it")))?;
    let made = Made { directory, kind: project.kind, files: files.len() };
    let text = || {
        let kind = made.kind;
        format!(
            "{name}: a {kind} operator; see {name}/README.md, or begin with\n  cd {name} && flowctl build && flowctl run pipeline.yaml"
        )
    };
    output.print_named(&made, || vec![name.to_owned()], text)?;
    Ok(Exit::Ok)
}

/// The SDK's crate as an absolute path for the manifest.
fn sdk(directory: &Path) -> Result<String, Failure> {
    let shown = directory.display();
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    if !manifest.contains("name = \"flow-sdk\"") {
        return Err(Failure::invalid(format!("{shown} does not hold the crate flow-sdk"))
            .hint("in a checkout of Flow it is in sdk/rust/flow-sdk; without --sdk the project gets a copy"));
    }
    let absolute = path::absolute(directory).map_err(Failure::failed)?;
    absolute.to_str().map(str::to_owned).ok_or_else(|| Failure::invalid(format!("the path {shown} is no valid text")))
}

/// Writes the files into a directory beside the wanted one, which takes its name when all are there.
fn write(directory: &Path, files: &[(String, String)]) -> io::Result<()> {
    let mut beside = tempfile::Builder::new();
    #[cfg(unix)]
    beside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    let beside = beside.prefix(".flowctl-new-").tempdir_in(".")?;
    for (path, text) in files {
        let path = beside.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, text)?;
    }
    fs::rename(beside.path(), directory)?;
    // Nothing is at the old place any more that could be removed.
    _ = beside.keep();
    Ok(())
}
