//! Which test files are meant: those named, and those below the directories named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// What their names end with.
const SUFFIX: &str = ".test.yaml";

/// The files of these paths, sorted within each directory; at least one.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let here = [PathBuf::from(".")];
    let mut found = Vec::new();
    for path in if paths.is_empty() { &here } else { paths } {
        let kind =
            fs::metadata(path).map_err(|error| Failure::invalid(format!("can't read {}: {error}", path.display())))?;
        if kind.is_dir() {
            let before = found.len();
            below(path, &mut found)
                .map_err(|error| Failure::failed(format!("can't list {}: {error}", path.display())))?;
            found[before..].sort();
        } else {
            found.push(path.clone());
        }
    }
    if found.is_empty() {
        return Err(Failure::invalid(format!("no {SUFFIX} file is there"))
            .hint("write one beside the operator, or see how `flowctl new` does it"));
    }
    Ok(found)
}

/// Hidden directories, what cargo builds and copies of others hold no tests of the user.
fn below(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name().to_string_lossy().into_owned(), entry.file_type()?);
        if kind.is_dir() && !name.starts_with('.') && name != "target" && name != "vendor" {
            below(&entry.path(), found)?;
        } else if kind.is_file() && name.ends_with(SUFFIX) {
            let path = entry.path();
            found.push(path.strip_prefix(".").map(Path::to_owned).unwrap_or(path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_of_others_are_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in
            ["b.test.yaml", "a/x.test.yaml", "target/t.test.yaml", "vendor/v.test.yaml", ".h/h.test.yaml", "p.yaml"]
        {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("below")).expect("a directory");
            fs::write(path, "").expect("a file");
        }
        let found = files(&[directory.path().to_owned()]).expect("two");
        let names: Vec<_> = found.iter().filter_map(|path| path.strip_prefix(directory.path()).ok()).collect();
        assert_eq!(names, [Path::new("a/x.test.yaml"), Path::new("b.test.yaml")]);
        assert!(files(&[directory.path().join("target/none")]).is_err());
    }
}
