//! `flowctl plugin`: what a component is, without a pipeline.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use flow_model::trial::{Answer, Description, Request};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wasm_metadata::Producers;

use crate::build::world;
use crate::deployment::read_file;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, size};
use crate::trial::ask;

/// Look at components
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl plugin inspect enrich.wasm")]
pub struct Args {
    #[command(subcommand)]
    what: What,

    /// For people or for programs [default: table]
    #[arg(short, long, value_enum, value_name = "FORMAT", global = true)]
    pub output: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what a component is, reads, keeps and asks for
    ///
    /// Its world, imports and tools are read from the file; what it says of itself, it says in the sandbox.
    #[command(after_help = "\
Examples:
  flowctl plugin inspect enrich.wasm
  flowctl plugin inspect enrich.wasm -o json | jq -r .digest")]
    Inspect {
        /// The component
        file: PathBuf,
    },
}

/// What a component is.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Inspected {
    file: PathBuf,
    bytes: usize,
    /// SHA-256, as hex.
    digest: String,
    /// Such as `flow:operator/map-operator@0.1.0`; none for what is no operator of this version.
    world: Option<String>,
    exports: Vec<String>,
    imports: Vec<String>,
    /// What made it: names and versions of tools.
    tools: Vec<(String, String)>,
    /// What it says of itself.
    #[serde(flatten)]
    description: Option<Description>,
    /// Why it can't run here.
    problem: Option<String>,
}

/// Shows it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let What::Inspect { file } = &args.what;
    let bytes = read_file(file).map_err(|error| Failure::invalid(format!("can't read {}: {error}", file.display())))?;
    let inspected = inspect(file, &bytes)?;
    output.print_named(&inspected, || vec![inspected.digest.clone()], || text(&inspected, output))?;
    Ok(if inspected.problem.is_none() { Exit::Ok } else { Exit::Invalid })
}

fn inspect(file: &Path, bytes: &[u8]) -> Result<Inspected, Failure> {
    let shown = file.display().to_string();
    let (exports, imports) = world::interfaces(&shown, bytes)?;
    let world = world::check(&shown, bytes).ok().map(|world| world.id);
    let asked = ask::ask(&Request { component: shown, cases: Vec::new(), soak_ms: None, seed: 0 });
    let (description, problem) = match asked {
        Ok(Answer { description, .. }) => (Some(description), None),
        Err(failure) => (None, Some(failure.message)),
    };
    let digest = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = file.to_owned();
    Ok(Inspected {
        file,
        bytes: bytes.len(),
        digest,
        world,
        exports,
        imports,
        tools: tools(bytes),
        description,
        problem,
    })
}

/// The section in which tools name themselves; it says only what they want it to.
fn tools(bytes: &[u8]) -> Vec<(String, String)> {
    let Ok(Some(producers)) = Producers::from_wasm(bytes) else { return Vec::new() };
    let all = producers
        .iter()
        .flat_map(|(_, field)| field.iter().map(|(name, version)| (name.clone(), version.clone())).collect::<Vec<_>>());
    all.collect()
}

fn text(inspected: &Inspected, output: &Output) -> String {
    let Inspected { file, bytes, digest, world, exports, imports, tools, description, problem } = inspected;
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let mut lines = vec![
        ("file", file.display().to_string()),
        ("size", size(*bytes as u64)),
        ("digest", format!("sha256:{digest}")),
        ("world", world.clone().unwrap_or_else(|| "none of this version".to_owned())),
    ];
    if world.is_none() {
        lines.push(("exports", list(exports)));
    }
    lines.push(("imports", list(imports)));
    if let Some(description) = description {
        lines.push(("kind", description.kind.to_string()));
        lines.push(("reads", list(&description.columns)));
        lines.push(("outputs", list(&description.ports)));
        let states: Vec<String> = description.states.iter().map(ToString::to_string).collect();
        lines.push(("state", list(&states)));
        lines.push(("asks for", list(&description.capabilities)));
    }
    let tools: Vec<String> =
        tools.iter().map(|(name, version)| format!("{name} {version}").trim().to_owned()).collect();
    lines.push(("made by", list(&tools)));
    lines.extend(problem.as_ref().map(|problem| ("problem", output.styled("31", problem))));
    let lines: Vec<String> =
        lines.iter().map(|(name, value)| format!("{name:<9} {}", flow_model::api::printable(value))).collect();
    lines.join("\n")
}
