//! Runs cargo on an operator's crate and finds the module that it made. What cargo says goes to stderr as it is.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::TARGET;
use super::claim::Claim;
use super::linker::Linker;
use super::toolchain::{Std, Toolchain};
use crate::exit::{Exit, Failure};

/// The crate to compile.
#[derive(Debug)]
pub struct Package {
    /// Its name in Cargo.toml.
    pub name: String,
    manifest: PathBuf,
    /// What its module is called.
    library: String,
}

/// A compiled module. Nobody else writes to its path as long as this lives.
#[derive(Debug)]
pub struct Module {
    pub path: PathBuf,
    _claim: Claim,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<PackageMetadata>,
}

#[derive(Deserialize)]
struct PackageMetadata {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The messages of cargo that matter here; the others have other reasons.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// The package whose Cargo.toml is in `dir`.
pub fn package(toolchain: &Toolchain, dir: &Path) -> Result<Package, Failure> {
    let manifest = dir.join("Cargo.toml");
    let manifest = manifest.canonicalize().map_err(|_| {
        Failure::invalid(format!("{} has no Cargo.toml", dir.display()))
            .hint("give the directory of the operator's crate: flowctl build DIR")
    })?;
    let answer = command(toolchain, dir)
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| unable(toolchain, &error))?;
    if !answer.status.success() {
        return Err(Failure::invalid(format!("cargo can't read {}; it says why above", manifest.display())));
    }
    let metadata: Metadata = serde_json::from_slice(&answer.stdout)
        .map_err(|error| Failure::failed(format!("cargo metadata answered something unknown: {error}")))?;
    select(metadata, manifest)
}

fn select(metadata: Metadata, manifest: PathBuf) -> Result<Package, Failure> {
    let Some(found) = metadata.packages.iter().find(|package| package.manifest_path == manifest) else {
        let members: Vec<String> = metadata
            .packages
            .iter()
            .filter_map(|package| package.manifest_path.parent())
            .map(|dir| format!("flowctl build {}", dir.display()))
            .collect();
        return Err(Failure::invalid(format!("{} is a workspace, not an operator", manifest.display()))
            .hint(format!("build one of its members:\n{}", members.join("\n"))));
    };
    let is_library = |kind: &String| matches!(kind.as_str(), "lib" | "cdylib" | "rlib" | "dylib");
    let Some(library) = found.targets.iter().find(|target| target.kind.iter().any(is_library)) else {
        return Err(Failure::invalid(format!("{} has no library to make an operator of", manifest.display()))
            .hint("put the operator into src/lib.rs"));
    };
    Ok(Package { name: found.name.clone(), manifest, library: library.name.replace('-', "_") })
}

/// Compiles the package's library into a core module.
pub fn compile(
    toolchain: &Toolchain,
    dir: &Path,
    package: &Package,
    target_dir: &Path,
    arguments: &[OsString],
) -> Result<Module, Failure> {
    let claim = claim(toolchain, dir, package, target_dir)?;
    let mut cargo = command(toolchain, dir);
    cargo
        // The crate type is given here, so that a plain library crate will do.
        .args(["rustc", "--release", "--lib", "--crate-type", "cdylib", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(&package.manifest)
        .arg("--target-dir")
        .arg(target_dir);
    if toolchain.std == Std::Source {
        cargo.arg("-Zbuild-std=std,panic_abort");
    }
    let mut child = cargo.args(arguments).stdout(Stdio::piped()).spawn().map_err(|e| unable(toolchain, &e))?;
    let mut module = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| unable(toolchain, &error))?;
            module = artifact(&line, &package.manifest).or(module);
        }
    }
    let status = child.wait().map_err(|error| unable(toolchain, &error))?;
    if !status.success() {
        return Err(Failure::new(Exit::Failed, "compile", format!("{} does not compile", package.name))
            .hint("cargo says why above"));
    }
    let path = module.ok_or_else(|| Failure::failed(format!("cargo made no Wasm module of {}", package.name)))?;
    Ok(Module { path, _claim: claim })
}

/// Makes sure that what cargo finds under the library's name is this package's.
fn claim(toolchain: &Toolchain, dir: &Path, package: &Package, target_dir: &Path) -> Result<Claim, Failure> {
    let failed = |error| Failure::failed(format!("can't use the target directory {}: {error}", target_dir.display()));
    let mut claim = Claim::take(target_dir, &package.library, &package.manifest).map_err(failed)?;
    if claim.is_foreign {
        let mut cargo = command(toolchain, dir);
        cargo.args([
            "clean",
            "--quiet",
            "--release",
            "--target",
            TARGET,
            "--package",
            &package.name,
            "--manifest-path",
        ]);
        cargo.arg(&package.manifest).arg("--target-dir").arg(target_dir);
        let status = cargo.status().map_err(|error| unable(toolchain, &error))?;
        if !status.success() {
            return Err(Failure::failed(format!("cargo can't clean {}; it says why above", target_dir.display())));
        }
        claim.own(&package.manifest).map_err(failed)?;
    }
    Ok(claim)
}

/// The module that a line of cargo's messages announces, if it is the package's.
fn artifact(line: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    (message.reason == "compiler-artifact" && message.manifest_path == manifest)
        .then_some(message.filenames)?
        .into_iter()
        .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

fn command(toolchain: &Toolchain, dir: &Path) -> Command {
    let mut command = Command::new(&toolchain.cargo);
    command.current_dir(dir).env("RUSTC", &toolchain.rustc).stdin(Stdio::null());
    if let Linker::Named(linker) = &toolchain.linker {
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    if toolchain.std == Std::Source {
        // Compiling the standard library is not stable yet; this lets a stable compiler do it.
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

fn unable(toolchain: &Toolchain, error: &std::io::Error) -> Failure {
    Failure::failed(format!("can't run {}: {error}", toolchain.cargo.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(json: &str) -> Metadata {
        serde_json::from_str(json).expect("metadata as cargo writes it")
    }

    #[test]
    fn a_workspace_names_its_members() {
        let workspace = metadata(
            r#"{"packages": [{"name": "a", "manifest_path": "/w/a/Cargo.toml", "targets": [{"name": "a", "kind": ["lib"]}]}]}"#,
        );
        let failure = select(workspace, "/w/Cargo.toml".into()).expect_err("no package there");
        assert_eq!(failure.hint.as_deref(), Some("build one of its members:\nflowctl build /w/a"));
    }

    #[test]
    fn a_program_is_no_operator() {
        let program = metadata(
            r#"{"packages": [{"name": "a", "manifest_path": "/a/Cargo.toml", "targets": [{"name": "a", "kind": ["bin"]}]}]}"#,
        );
        let failure = select(program, "/a/Cargo.toml".into()).expect_err("no library");
        assert_eq!(failure.message, "/a/Cargo.toml has no library to make an operator of");
    }

    /// A crate in `dir` whose module answers `number`.
    fn twin(dir: &Path, number: u32) {
        std::fs::create_dir_all(dir.join("src")).expect("a directory");
        let manifest = "[package]\nname = \"twin\"\nedition = \"2024\"\n[workspace]\n";
        std::fs::write(dir.join("Cargo.toml"), manifest).expect("a file");
        let code = format!("#[unsafe(no_mangle)]\npub extern \"C\" fn number() -> u32 {{ {number} }}\n");
        std::fs::write(dir.join("src/lib.rs"), code).expect("a file");
    }

    #[test]
    fn crates_of_one_name_get_their_own_modules() {
        let place = tempfile::tempdir().expect("a directory");
        let [one, two, target] = ["one", "two", "target"].map(|name| place.path().join(name));
        twin(&one, 1_111_111);
        twin(&two, 2_222_222);
        let build = |dir: &Path| {
            let toolchain = super::super::toolchain::find(dir, None).expect("a compiler");
            let package = package(&toolchain, dir).expect("a crate");
            let module = compile(&toolchain, dir, &package, &target, &[]).expect("it compiles");
            std::fs::read(&module.path).expect("a module")
        };
        let (first, second) = (build(&one), build(&two));
        assert_ne!(first, second);
        // Cargo has nothing to compile, and yet the file is another's.
        assert!(build(&one) == first, "the first crate got the second one's module");
        std::thread::scope(|scope| {
            for (dir, expect) in [(&one, &first), (&two, &second)] {
                let build = &build;
                scope.spawn(move || (0..3).for_each(|_| assert!(build(dir) == *expect, "{}", dir.display())));
            }
        });
    }

    #[test]
    fn finds_the_module_among_the_messages() {
        let check = |line: &str, expect: Option<&str>| {
            assert_eq!(artifact(line, Path::new("/a/Cargo.toml")), expect.map(PathBuf::from), "{line}");
        };
        let own =
            r#"{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml","filenames":["/t/a.d","/t/a.wasm"]}"#;
        check(own, Some("/t/a.wasm"));
        check(&own.replace("/a/Cargo", "/b/Cargo"), None);
        check(&own.replace("compiler-artifact", "build-script-executed"), None);
        check(r#"{"reason":"build-finished","success":true}"#, None);
        check("note: not JSON", None);
    }
}
