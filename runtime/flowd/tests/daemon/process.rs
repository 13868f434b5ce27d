//! Starting flowd, signalling it, waiting for it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

/// Ends after ten records, which go to stdout.
pub const FINITE: &str = "\
apiVersion: flow/v1
kind: Pipeline
metadata: {name: finite}
sources:
  in: {generator: {count: 10, value: 'record {{seq}}'}}
sinks:
  out: {stdout: {}, from: in}
";

/// A pipeline that never ends by itself.
pub fn endless() -> String {
    FINITE.replace("finite", "endless").replace("count: 10", "rate: 100")
}

/// A directory with a pipeline file and a home of its own.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new(pipeline: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("p.yaml"), pipeline).expect("a file");
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A flowd that keeps everything in this place.
    pub fn flowd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowd"));
        command
            .args(arguments)
            .arg("--die-with-parent")
            .current_dir(self.path())
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end: exit code, stdout, stderr.
    pub fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.flowd(arguments).output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("it exits by itself"), text(output.stdout), text(output.stderr))
    }
}

/// A flowd that runs.
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        Self { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts") }
    }

    /// The next line of its standard output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        // Reads byte by byte, so that nothing of what follows is lost.
        let stdout = self.child.stdout.as_mut().expect("piped");
        BufReader::with_capacity(1, stdout).read_line(&mut line).expect("text");
        line
    }

    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(done.expect("kill exists").success());
    }

    /// What it logs until it ends.
    pub fn log(mut self) -> String {
        let mut log = String::new();
        self.child.stderr.as_mut().expect("piped").read_to_string(&mut log).expect("text");
        self.ended();
        log
    }

    /// The rest of its standard output, and all that it tells beside it, until it ends.
    pub fn rest(mut self) -> (String, String) {
        let mut rest = String::new();
        self.child.stdout.as_mut().expect("piped").read_to_string(&mut rest).expect("text");
        (rest, self.log())
    }

    /// Waits for its end, but not for ever.
    pub fn ended(mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has most likely ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
