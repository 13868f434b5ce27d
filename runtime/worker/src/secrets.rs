//! Looks up what the texts of a pipeline file refer to: variables of this process's environment, files of this machine. When
//! a job starts, never before; what was found goes to who needs it as a [`Secret`] and must never be told to anybody.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flow_model::diagnostic::{Code, Diagnostic, Located};
use flow_model::spec::secret::{Reference, Secret, Text};

use crate::paths::plain;

/// The largest file that a text can refer to, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Where texts stand, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The pipeline file.
    pub(crate) file: &'a str,
    /// Where relative paths start.
    pub(crate) directory: &'a Path,
    /// `source "in"`.
    pub(crate) what: &'a str,
}

impl Place<'_> {
    /// An error about a text of this place.
    pub(crate) fn error<T>(&self, of: &Located<T>, code: Code, message: &str) -> Diagnostic {
        Diagnostic::error(code, self.file, of.position, format!("{}: {message}", self.what))
    }

    /// A text with all that it refers to.
    pub(crate) fn resolve(&self, text: &Located<Text>) -> Result<Secret, Diagnostic> {
        let missing = |Missing { what, hint }: Missing| self.error(text, Code::Reference, &what).hint(hint);
        text.value.resolve(look_up).map_err(missing)
    }

    /// A path with all that it refers to, which is a name and no secret. However it is spelled, it is the same.
    pub(crate) fn path(&self, path: &Located<PathBuf>) -> Result<PathBuf, Diagnostic> {
        // Only text can hold references, and only good ones get past the reading of the file.
        let Some(Ok(mut text)) = path.value.to_str().map(str::parse::<Text>) else {
            return Ok(plain(&path.value));
        };
        text.resolve_paths(self.directory);
        let text = Located { value: text, position: path.position };
        Ok(plain(&self.directory.join(self.resolve(&text)?.expose())))
    }
}

/// What a reference leads to is not there.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Names the reference.
    pub(crate) what: String,
    /// The next step.
    pub(crate) hint: String,
}

/// What a reference leads to now.
pub(crate) fn look_up(reference: &Reference) -> Result<String, Missing> {
    match reference {
        Reference::Env(name) => std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => Missing {
                what: format!("{reference}: flowd's environment has no {name}"),
                hint: format!("set {name} where flowd is started, and start it again"),
            },
            std::env::VarError::NotUnicode(_) => {
                Missing { what: format!("{reference} is no UTF-8 text"), hint: "set it to text".into() }
            }
        }),
        Reference::File(path) => read(path).map_err(|error| Missing {
            what: format!("{reference} can't be read: {error}"),
            hint: "check the path, and that flowd's user may read the file".into(),
        }),
    }
}

/// Opens a file, and nothing else: who opens a pipe may wait for ever, and a device may have no end.
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    File::open(path)
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One more than allowed, to see that there is more.
    if open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)? as u64 > FILE_MAX {
        return Err(std::io::Error::other(format!("it has more than {FILE_MAX} bytes")));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use flow_model::diagnostic::Position;

    use super::*;

    fn resolved(text: &str) -> Result<String, String> {
        let text = Located { value: text.parse().expect("good text"), position: Position { line: 3, column: 7 } };
        let place = Place { file: "p.yaml", directory: Path::new("/"), what: "source \"in\"" };
        place.resolve(&text).map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn files_lose_the_end_of_their_last_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let check = |content: &[u8], expect: Result<&str, &str>| {
            std::fs::write(&path, content).expect("written");
            let found = resolved(&format!("<${{file:{}}}>", path.display()));
            match (&found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect),
                (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
                _ => panic!("{found:?}, not {expect:?}"),
            }
        };
        check(b"hunter2\n", Ok("<hunter2>"));
        check(b"hunter2\r\n", Ok("<hunter2>"));
        check(b"two\nlines\n\n", Ok("<two\nlines\n>"));
        check(b"", Ok("<>"));
        check(b"\xff\xfe", Err("UTF-8"));
        check(&vec![b'x'; FILE_MAX as usize + 1], Err("more than 1048576 bytes"));
    }

    #[test]
    fn paths_start_where_the_pipeline_lies() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("where"), "/abs\n").expect("written");
        let place = Place { file: "p.yaml", directory: directory.path(), what: "source \"in\"" };
        let check = |path: &str, expect: PathBuf| {
            let path = Located { value: PathBuf::from(path), position: Position { line: 1, column: 1 } };
            assert_eq!(place.path(&path).expect("it is there"), expect);
        };
        check("in/a.txt", directory.path().join("in/a.txt"));
        for spelled in ["./in/a.txt", "in//a.txt", "in/./a.txt", ".//in/a.txt", "gone/../in/a.txt"] {
            check(spelled, directory.path().join("in/a.txt"));
            let path = Located { value: PathBuf::from(spelled), position: Position { line: 1, column: 1 } };
            let text = place.path(&path).expect("it is there").into_os_string();
            assert_eq!(text, directory.path().join("in/a.txt").into_os_string(), "letter by letter");
        }
        check("/in/$${x}", PathBuf::from("/in/${x}"));
        check("${file:where}/in", PathBuf::from("/abs/in"));
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        let error = resolved("${env:FLOW_TEST_OF_NO_SUCH_VARIABLE}").expect_err("it is not there");
        assert!(error.starts_with("p.yaml:3:7: source \"in\": ${env:FLOW_TEST_OF_NO_SUCH_VARIABLE}: "), "{error}");
        assert!(error.contains("set FLOW_TEST_OF_NO_SUCH_VARIABLE where flowd is started"), "{error}");
        let error = resolved("${file:/no/such/file}").expect_err("it is not there");
        assert!(error.contains("${file:/no/such/file} can't be read: No such file"), "{error}");
        assert!(resolved("${file:/dev/zero}").expect_err("it never ends").contains("it is no file"));
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        let error = resolved(&format!("${{file:{}}}", pipe.display())).expect_err("nobody writes to it");
        assert!(error.contains("it is no file"), "{error}");
    }
}
