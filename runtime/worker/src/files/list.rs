//! Which files a source reads.
//!
//! Found once for all subtasks of a source: two that looked by themselves could see different files and then read one
//! twice and another never.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use flow_dataflow::Error;
use flow_dataflow::report::Place;
use glob::{MatchOptions, Pattern};

use crate::disk;

/// The most files that one source reads: more do not fit into the number of a split.
const FILES_MAX: usize = 1 << 24;

/// What to do about a path that names no input.
const NEXT: &str = "correct `path`, which starts from the pipeline file's directory, or put the input there";

/// Hidden files have to be named, and `*` stays in its directory, as in a shell.
const LIKE_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Files in the order of their paths; the place of one in it is the number of its split.
#[derive(Debug)]
pub struct FileList {
    /// What all paths begin with, left out where people read the name of a line.
    base: PathBuf,
    files: Vec<PathBuf>,
}

impl FileList {
    /// Finds the files of a path:
    /// - a file, whatever its name: that file
    /// - a directory: the files in it and below, without hidden ones, and without following links, as `grep -r`
    /// - a pattern with `*`, `**`, `?` or `[…]`: the files that match it and links to files, without hidden ones unless it
    ///   names the dot, and without following links to directories
    ///
    /// Fails where nothing is found, since a source without input is a misspelt path far more often than a wish.
    pub fn find(path: &Path) -> Result<FileList, Error> {
        let (base, mut files) = match fs::metadata(path) {
            Ok(kind) if kind.is_dir() => (path.to_owned(), Walk::everything().below(path)?),
            Ok(kind) if kind.is_file() => (path.parent().unwrap_or(path).to_owned(), vec![path.to_owned()]),
            Ok(_) => {
                return Err(Error::Fatal(format!("{} is neither a file nor a directory", path.display())).next(NEXT));
            }
            Err(e) if e.kind() == ErrorKind::NotFound && is_pattern(path) => matching(path)?,
            Err(e) => return Err(disk::failure(&e, "looking for", path).next(NEXT)),
        };
        if files.is_empty() {
            let what = if path.is_dir() { "holds no files" } else { "matches no files" };
            let message = format!("{} {what} (hidden ones do not count)", path.display());
            return Err(Error::Fatal(message).next(NEXT));
        }
        if files.len() > FILES_MAX {
            let many = files.len();
            return Err(Error::Fatal(format!("{} has {many} files; the most is {FILES_MAX}", path.display())));
        }
        files.sort_unstable();
        Ok(FileList { base, files })
    }

    /// All paths, sorted.
    pub fn paths(&self) -> &[PathBuf] {
        &self.files
    }

    /// A line: `words.txt:17` for people, with the directories below the source's path.
    pub fn locate(&self, split: u32, line: i64) -> Place {
        let Some(path) = self.files.get(split as usize) else { return format!("file {split}, line {line}").into() };
        let fields = vec![("file", path.display().to_string()), ("line", line.to_string())];
        Place { text: format!("{}:{line}", path.strip_prefix(&self.base).unwrap_or(path).display()), fields }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

/// What a walk through a directory takes in.
struct Walk {
    /// How many directories deep, the first one included.
    depth: usize,
    hidden: bool,
    linked_files: bool,
}

impl Walk {
    fn everything() -> Walk {
        Walk { depth: usize::MAX, hidden: false, linked_files: false }
    }

    fn below(&self, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        let mut directories = vec![(directory.to_owned(), 1)];
        while let Some((directory, depth)) = directories.pop() {
            let failed = |e| disk::failure(&e, "listing", &directory);
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let kind = entry.file_type().map_err(failed)?;
                if !self.hidden && is_hidden(&entry.file_name()) {
                    continue;
                } else if kind.is_dir() && depth < self.depth {
                    directories.push((entry.path(), depth + 1));
                } else if kind.is_file() || kind.is_symlink() && self.linked_files && entry.path().is_file() {
                    files.push(entry.path());
                }
            }
        }
        Ok(files)
    }
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().any(|b| matches!(b, b'*' | b'?' | b'['))
}

/// Whether a file is one that such a path finds, were it there.
pub(crate) fn covers(path: &Path, file: &Path) -> bool {
    let in_pattern = || {
        divided(path).is_ok_and(|(base, _, pattern)| file.strip_prefix(base).is_ok_and(|name| is_like(&pattern, name)))
    };
    file.starts_with(path) || is_pattern(path) && in_pattern()
}

fn is_like(pattern: &Pattern, name: &Path) -> bool {
    pattern.matches_path_with(name, LIKE_A_SHELL)
}

/// The directory that a pattern begins with, and what follows.
fn divided(path: &Path) -> Result<(PathBuf, PathBuf, Pattern), Error> {
    let bad = |why: &dyn std::fmt::Display| Error::Fatal(format!("{}: {why}", path.display()));
    // As far as the path exists as it is written, it is no pattern: directories may have brackets in their names.
    let mut base = PathBuf::new();
    let mut rest = path.components().peekable();
    while let Some(next) = rest.next_if(|next: &Component<'_>| base.join(next).exists()) {
        base.push(next);
    }
    let rest: PathBuf = rest.collect();
    let pattern = rest.to_str().ok_or_else(|| bad(&"is not UTF-8"))?;
    let pattern = Pattern::new(pattern).map_err(|e| bad(&format!("no pattern: {}", e.msg)))?;
    let base = if base.as_os_str().is_empty() { PathBuf::from(".") } else { base };
    Ok((base, rest, pattern))
}

/// The files of a pattern, and the directory that it begins with.
fn matching(path: &Path) -> Result<(PathBuf, Vec<PathBuf>), Error> {
    let (base, rest, pattern) = divided(path)?;
    let recursive = rest.components().any(|c| c.as_os_str() == "**");
    let walk = Walk {
        depth: if recursive { usize::MAX } else { rest.components().count() },
        hidden: rest.components().any(|c| is_hidden(c.as_os_str())),
        linked_files: true,
    };
    let mut files = walk.below(&base)?;
    files.retain(|file| file.strip_prefix(&base).is_ok_and(|name| is_like(&pattern, name)));
    Ok((base, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["b.txt", "a.txt", "a/z.txt", "a/.hidden", ".git/config", "x[1]/n.log", "a/deep/er.log"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("below the directory")).expect("made");
            fs::write(path, "x\n").expect("written");
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).expect("linked");
        std::os::unix::fs::symlink("a.txt", dir.path().join("link")).expect("linked");
        dir
    }

    #[test]
    fn finds() {
        let dir = tree();
        let check = |path: &str, expect: &[&str]| {
            let list = FileList::find(&dir.path().join(path)).expect("files");
            let named = |p: &PathBuf| p.strip_prefix(dir.path()).expect("below").display().to_string();
            assert_eq!(list.paths().iter().map(named).collect::<Vec<_>>(), expect, "{path}");
        };
        check("", &["a/deep/er.log", "a/z.txt", "a.txt", "b.txt", "x[1]/n.log"]);
        check("a.txt", &["a.txt"]);
        check("a/.hidden", &["a/.hidden"]);
        check("*.txt", &["a.txt", "b.txt"]);
        check("**/*.log", &["a/deep/er.log", "x[1]/n.log"]);
        check("x[1]/*", &["x[1]/n.log"]);
        check("a/.h*", &["a/.hidden"]);
        check("?.txt", &["a.txt", "b.txt"]);
        check("[b-z].txt", &["b.txt"]);
        check("**/z*", &["a/z.txt"]);
        check("*/*.txt", &["a/z.txt"]);
        check("l?nk", &["link"]);
    }

    #[test]
    fn what_is_found_no_more_is_known() {
        let dir = tree();
        let check = |path: &str, file: &str, expect: bool| {
            assert_eq!(covers(&dir.path().join(path), &dir.path().join(file)), expect, "{path} {file}");
        };
        check("gone", "gone", true);
        check("a", "a/gone.txt", true);
        check("a", "b/gone.txt", false);
        check("a", "ab.txt", false);
        check("*.txt", "gone.txt", true);
        check("*.txt", "gone.log", false);
        check("*.txt", "a/gone.txt", false);
        check("x[1]/*.log", "x[1]/gone.log", true);
        check("gone/**/*.log", "gone/a/b.log", true);
    }

    #[test]
    fn refuses() {
        let dir = tree();
        fs::create_dir(dir.path().join("empty")).expect("made");
        let check = |path: &str, expect: &str| {
            let path = dir.path().join(path);
            let error = FileList::find(&path).expect_err("no files");
            assert!(matches!(error, Error::Fatal(_)), "{error}");
            let expect = expect.replace("PATH", &path.display().to_string());
            let error = error.to_string();
            assert_eq!(error.strip_suffix(&format!("; {NEXT}")).unwrap_or(&error), expect);
        };
        check("missing.txt", "looking for PATH: No such file or directory (os error 2)");
        check("a.txt/more", "looking for PATH: Not a directory (os error 20)");
        check("empty", "PATH holds no files (hidden ones do not count)");
        check("*.csv", "PATH matches no files (hidden ones do not count)");
        check("a[.txt", "PATH: no pattern: invalid range pattern");
    }

    #[test]
    fn a_device_is_no_file() {
        let error = FileList::find(Path::new("/dev/null")).expect_err("no file");
        assert_eq!(error.to_string(), format!("/dev/null is neither a file nor a directory; {NEXT}"));
    }

    #[test]
    fn names_lines_below_the_path() {
        let dir = tree();
        let list = FileList::find(dir.path()).expect("files");
        let place = list.locate(1, 17);
        let file = dir.path().join("a/z.txt").display().to_string();
        assert_eq!((place.text.as_str(), place.fields), ("a/z.txt:17", vec![("file", file), ("line", "17".into())]));
        assert_eq!(FileList::find(&dir.path().join("b.txt")).expect("a file").locate(0, 3).text, "b.txt:3");
        assert_eq!(list.locate(99, 3), "file 99, line 3".to_owned().into());
    }
}
