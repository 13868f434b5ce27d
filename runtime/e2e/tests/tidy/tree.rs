//! The files of the checkout as git knows them: tracked ones, and new ones that are not ignored, so that a check speaks
//! before a commit does.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The checkout's root and the paths of its files, relative to the root.
pub struct Tree {
    root: PathBuf,
    paths: Vec<String>,
}

impl Tree {
    /// The checkout that this test was compiled in.
    pub fn of_checkout() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout exists");
        let listed = output(Command::new("git").current_dir(&root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]));
        let paths = listed.split('\0').filter(|path| root.join(path).is_file()).map(str::to_owned).collect();
        Tree { root, paths }
    }

    pub fn has(&self, path: &str) -> bool {
        self.paths.iter().any(|known| known == path)
    }

    /// Whether it is a file, or a folder that has one.
    pub fn has_below(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.paths.iter().any(|known| known == path || known.starts_with(&folder))
    }

    /// The text of one file; empty if it is not there.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    /// Path and text of each Rust file.
    pub fn rust(&self) -> Vec<(String, String)> {
        self.text().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
    }

    /// Path and text of each file that is text; files that are not UTF-8 are data.
    pub fn text(&self) -> Vec<(String, String)> {
        let read = |path: &String| Some((path.clone(), std::fs::read_to_string(self.root.join(path)).ok()?));
        self.paths.iter().filter_map(read).collect()
    }

    /// `cargo metadata` of one workspace without its dependencies' own.
    pub fn metadata(&self, manifest: &str) -> Value {
        let text = output(Command::new(env!("CARGO")).current_dir(&self.root).args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
            "--manifest-path",
            manifest,
        ]));
        serde_json::from_str(&text).expect("cargo prints JSON")
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("git and cargo are installed where this was compiled");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("paths of the checkout are UTF-8")
}
