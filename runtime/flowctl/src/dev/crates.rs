//! Which crate makes which component of a pipeline: the one whose package has the component's name, looked for where
//! people put it, unless they say where it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flow_model::spec::Pipeline;

use crate::exit::Failure;

/// A crate behind a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crate {
    /// Its directory.
    pub directory: PathBuf,
    /// The component that it makes.
    pub component: PathBuf,
}

/// The crates behind the components of a pipeline whose file lies in `base`. Components without one are taken as they are.
pub fn behind(pipeline: &Pipeline, base: &Path, given: &[PathBuf]) -> Result<Vec<Crate>, Failure> {
    let mut named = BTreeMap::new();
    for directory in given {
        let name = package(directory).ok_or_else(|| {
            Failure::invalid(format!("{} holds no crate", directory.display()))
                .hint("--crate takes the directory of an operator's crate, with its Cargo.toml")
        })?;
        named.insert(name, directory.clone());
    }
    let mut crates: Vec<Crate> = Vec::new();
    for operator in &pipeline.operators {
        let component = base.join(&operator.component.value);
        if crates.iter().any(|known| known.component == component) {
            continue;
        }
        let Some(name) = component.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let found = named.remove(name).or_else(|| {
            let beside = component.parent()?;
            let places = [beside.to_owned(), beside.join(name), beside.join("..").join(name), base.join(name)];
            places.into_iter().find(|place| package(place).as_deref() == Some(name))
        });
        crates.extend(found.map(|directory| Crate { directory, component }));
    }
    if let Some((name, directory)) = named.into_iter().next() {
        return Err(Failure::invalid(format!(
            "no operator of the pipeline uses {name}.wasm, which {} makes",
            directory.display()
        ))
        .hint("its name has to be the component's: `component: NAME.wasm`"));
    }
    Ok(crates)
}

/// The name of the package in a directory. Cargo's own answer comes when it is built; this one costs nothing.
fn package(directory: &Path) -> Option<String> {
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).ok()?;
    let section = manifest.split("[package]").nth(1)?.split("\n[").next()?.to_owned();
    let line = section.lines().find_map(|line| line.trim().strip_prefix("name")?.trim_start().strip_prefix('='))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_found_where_people_put_them() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |path: &str| root.path().join(path);
        for (place, name) in [("beside", "beside"), (".", "here"), ("elsewhere", "far"), ("other", "not-other")] {
            fs::create_dir_all(at(place)).expect("a directory");
            fs::write(at(place).join("Cargo.toml"), format!("[package]\nname = \"{name}\"\n\n[lib]\nname = \"x\"\n"))
                .expect("a file");
        }
        let operators = ["beside", "here", "far", "other", "beside"].iter().enumerate();
        let operators: String =
            operators.map(|(n, name)| format!("  o{n}: {{component: ./{name}.wasm, from: in}}\n")).collect();
        let text = format!(
            "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {{name: p}}\nsources:\n  in: {{generator: {{}}}}\noperators:\n{operators}sinks:\n  out: {{stdout: {{}}, from: o0}}\n"
        );
        let pipeline = Pipeline::parse("p", text.as_bytes()).expect("a good pipeline");
        let found = behind(&pipeline, root.path(), &[at("elsewhere")]).expect("they are there");
        let made: Vec<_> = found.iter().map(|one| (one.directory.clone(), one.component.clone())).collect();
        let expect = [("beside", "beside"), ("", "here"), ("elsewhere", "far")];
        let expect = expect.map(|(place, name)| (at(place), at(&format!("./{name}.wasm"))));
        let plain = |pairs: &[(PathBuf, PathBuf)]| {
            pairs.iter().map(|(a, b)| (a.canonicalize().ok(), b.file_name().map(ToOwned::to_owned))).collect::<Vec<_>>()
        };
        assert_eq!(plain(&made), plain(&expect));
        let failure = behind(&pipeline, root.path(), &[at("other")]).expect_err("no component of that name");
        assert!(failure.message.starts_with("no operator of the pipeline uses not-other.wasm"), "{}", failure.message);
        assert!(behind(&pipeline, root.path(), &[at("none")]).is_err());
    }
}
