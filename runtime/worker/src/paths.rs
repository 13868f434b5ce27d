//! Paths as people spell them, and what they mean: checkpoints name files by their paths, and two spellings of one file are one file.

use std::path::{Component, Path, PathBuf};

/// No system call takes a longer path, in bytes: nothing is there.
const PATH_MAX: usize = 4096;

/// A path without `.`, `..` or `//` in it, which is the name of what lies there. Links stay as they are, but for those that `..`
/// leads out of: it goes to where the directory that is meant lies. What does not exist goes by its letters.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            if is_possible(&plain) && plain.is_symlink() {
                plain = plain.canonicalize().unwrap_or(plain);
            }
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// Where a path that is [`plain`] leads, whatever links its directories are: two are the same where this is. A file keeps its name, link
/// or not, and so does what does not exist.
pub(crate) fn meant(path: &Path) -> PathBuf {
    let mut directories = path.ancestors().skip_while(|path| !is_possible(path));
    let Some(directory) = directories.find(|path| path.is_dir()) else { return path.to_owned() };
    match (directory.canonicalize(), path.strip_prefix(directory)) {
        (Ok(real), Ok(rest)) if rest.as_os_str().is_empty() => real,
        (Ok(real), Ok(rest)) => real.join(rest),
        _ => path.to_owned(),
    }
}

fn is_possible(path: &Path) -> bool {
    path.as_os_str().len() < PATH_MAX
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn spellings_of_one_path_are_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path().canonicalize().expect("it is there");
        fs::create_dir_all(base.join("far/away")).expect("made");
        symlink("far/away", base.join("link")).expect("linked");
        let check = |spelled: &str, expect: &str| {
            assert_eq!(plain(&base.join(spelled)).into_os_string(), base.join(expect).into_os_string(), "{spelled}");
        };
        check("./in//a.txt", "in/a.txt");
        check("gone/../in/a.txt", "in/a.txt");
        check("far/../in", "in");
        check("link/a.txt", "link/a.txt");
        // As the system goes.
        check("link/../in", "far/in");
        assert_eq!(plain(Path::new("/../../in")), Path::new("/in"));
        let long = Path::new("/").join("a/".repeat(100_000) + &"../".repeat(100_000));
        assert_eq!(plain(&long), Path::new("/"), "soon enough");
    }

    #[test]
    fn links_to_directories_mean_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path().canonicalize().expect("it is there");
        fs::create_dir_all(base.join("far/away")).expect("made");
        fs::write(base.join("far/away/a.txt"), "").expect("written");
        symlink("far/away", base.join("link")).expect("linked");
        symlink("a.txt", base.join("far/away/b.txt")).expect("linked");
        symlink("nowhere", base.join("broken")).expect("linked");
        let check = |path: &str, expect: &str| assert_eq!(meant(&base.join(path)), base.join(expect), "{path}");
        check("link", "far/away");
        check("link/a.txt", "far/away/a.txt");
        check("link/b.txt", "far/away/b.txt");
        check("link/*.txt", "far/away/*.txt");
        check("link/gone/a.txt", "far/away/gone/a.txt");
        check("gone", "gone");
        check("broken", "broken");
        check(&"gone/".repeat(100_000), &"gone/".repeat(100_000));
    }
}
