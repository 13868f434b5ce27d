//! A directory with pipeline files, and flowctl called in it against a coordinator of its own.

use std::fs;
use std::path::Path;

use flow_coordinator::rest::Options;
use tempfile::TempDir;

use crate::server::Server;
use crate::{Called, run};

pub struct Session {
    pub server: Server,
    directory: TempDir,
}

impl Session {
    /// With these files, by their names.
    pub fn new(files: &[(&str, &str)]) -> Self {
        Self::with(Options::default(), files)
    }

    pub fn with(options: Options, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            fs::write(directory.path().join(name), content).expect("a file");
        }
        Self { server: Server::with(options), directory }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn run(&self, line: &str) -> Called {
        let mut arguments: Vec<&str> = line.split(' ').collect();
        arguments.extend(["--server", &self.server.url]);
        run(self.directory.path(), &arguments)
    }

    /// Runs it, expects success, returns the standard output.
    #[track_caller]
    pub fn good(&self, line: &str) -> String {
        let called = self.run(line);
        assert_eq!(called.code, 0, "{line}: {}", called.stderr);
        called.stdout
    }
}
