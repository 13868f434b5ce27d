//! Gathers what flowctl carries in itself: the SDK's sources for `flowctl new`, and the commit for `--version`. Must put
//! no path of the building machine into the program.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a copy of the SDK consists of: a place in the repository, and the one in the copy.
const SDK: [(&str, &str); 6] = [
    ("sdk/rust/flow-sdk/Cargo.toml", "flow-sdk/Cargo.toml"),
    ("sdk/rust/flow-sdk/README.md", "flow-sdk/README.md"),
    ("sdk/rust/flow-sdk/src", "flow-sdk/src"),
    ("wit/operator-0.1.0", "flow-sdk/wit"),
    ("runtime/frame/Cargo.toml", "flow-frame/Cargo.toml"),
    ("runtime/frame/src", "flow-frame/src"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let repository = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    println!("cargo::rerun-if-changed=build.rs");
    embed_sdk(&repository)?;
    println!("cargo::rustc-env=FLOW_VERSION={}", version(&repository)?);
    Ok(())
}

/// Writes a list of (path, text) for the program to include, and the manifest that holds the copy together.
fn embed_sdk(repository: &Path) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = BTreeMap::new();
    for (from, to) in SDK {
        println!("cargo::rerun-if-changed={}", repository.join(from).display());
        list(&repository.join(from), Path::new(to), &mut files)?;
    }
    let manifest = out.join("Cargo.toml");
    fs::write(&manifest, workspace(repository)?)?;
    files.insert("Cargo.toml".into(), manifest);
    let mut code = String::from("&[\n");
    for (name, file) in files {
        writeln!(code, "    ({name:?}, include_str!({file:?})),")?;
    }
    code += "]\n";
    fs::write(out.join("sdk.rs"), code)?;
    Ok(())
}

/// The file, or all files below the directory but the golden ones, which are for tests.
fn list(from: &Path, to: &Path, files: &mut BTreeMap<PathBuf, PathBuf>) -> Result<(), Box<dyn Error>> {
    if from.is_file() {
        files.insert(to.to_owned(), from.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != "golden" {
            list(&entry.path(), &to.join(entry.file_name()), files)?;
        }
    }
    Ok(())
}

/// The manifest of a workspace of the copied crates alone: what they inherit from this repository's, in the same words.
fn workspace(repository: &Path) -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", repository.join("Cargo.toml").display());
    let whole = fs::read_to_string(repository.join("Cargo.toml"))?;
    let mut inherited = Vec::new();
    for (from, _) in SDK.iter().filter(|(from, _)| from.ends_with("Cargo.toml")) {
        let manifest = fs::read_to_string(repository.join(from))?;
        let names = manifest.lines().filter_map(|line| line.strip_suffix(".workspace = true")).map(str::to_owned);
        inherited.extend(names);
    }
    let mut text = String::from("# The SDK of Flow, as flowctl carries it; `flowctl new` copied it here.\n");
    let mut section = "";
    for line in whole.lines() {
        if line.starts_with('[') {
            section = line;
        } else if line.starts_with('#') {
            // It may belong to what is left out.
            continue;
        }
        let wanted = match section {
            "[workspace]" => !line.starts_with("exclude"),
            "[workspace.dependencies]" => {
                line.is_empty()
                    || line == section
                    || inherited.iter().any(|name| line.starts_with(&format!("{name} = ")))
            }
            other => other == "[workspace.package]" || other.starts_with("[workspace.lints"),
        };
        if wanted {
            let line = if line.starts_with("members") { "members = [\"flow-sdk\", \"flow-frame\"]" } else { line };
            writeln!(text, "{}", line.replace("\"runtime/frame\"", "\"flow-frame\""))?;
        }
    }
    Ok(text)
}

/// The version, with the commit where this is a checkout of git.
fn version(repository: &Path) -> Result<String, Box<dyn Error>> {
    let version = env::var("CARGO_PKG_VERSION")?;
    // It grows with each commit, checkout and rebase.
    let log = repository.join(".git/logs/HEAD");
    if !log.is_file() {
        return Ok(version);
    }
    println!("cargo::rerun-if-changed={}", log.display());
    let asked = Command::new("git").current_dir(repository).args(["rev-parse", "--short=12", "HEAD"]).output();
    Ok(match asked.map(|answer| (answer.status.success(), String::from_utf8(answer.stdout))) {
        Ok((true, Ok(commit))) => format!("{version} ({})", commit.trim()),
        _ => version,
    })
}
