//! A flowd of our own, on a free port and with a temporary directory, that ends with us. What stdout sinks write there is
//! shown as a sample: so many lines a second, the rest counted.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::exit::Failure;
use crate::flowd;
use crate::output;
use crate::server::{Server, Target};

/// It runs until this is dropped.
pub struct Daemon {
    child: Child,
    directory: TempDir,
    pub server: Server,
    unread: Arc<AtomicBool>,
}

impl Daemon {
    /// Starts it. `sample` lines a second of its sinks' output are shown.
    pub fn start(sample: usize) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("can't start flowd: {error}"));
        let directory = tempfile::tempdir().map_err(|error| failed(&error))?;
        let log = File::create(directory.path().join("log")).map_err(|error| failed(&error))?;
        let mut child = flowd::command()?
            .args(["standalone", "--listen", "127.0.0.1:0", "--die-with-parent", "--data"])
            .arg(directory.path().join("data"))
            // Ctrl-C is ours: the job is canceled before flowd ends.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| failed(&error))?;
        let mut lines = child.stdout.take().map(BufReader::new).ok_or_else(|| failed(&"it has no output"))?;
        let mut first = String::new();
        let read = lines.read_line(&mut first);
        let Some(url) = first.trim_end().strip_prefix("flowd listens on ").filter(|_| read.is_ok()) else {
            _ = child.kill();
            _ = child.wait();
            let log = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            return Err(failed(&log.lines().last().unwrap_or("it says nothing")));
        };
        let server = Server::new(Target::of(url), false)?;
        let unread = Arc::new(AtomicBool::new(false));
        let of_thread = unread.clone();
        thread::Builder::new()
            .name("sample".into())
            .spawn(move || show(lines, sample, &of_thread))
            .map_err(|error| failed(&error))?;
        Ok(Self { child, directory, server, unread })
    }

    /// Whether nobody reads our standard output any more, as behind `| head`.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Why it does not run any more, if so: the last lines of its log.
    pub fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        Some(format!("flowd has ended ({status}):\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its jobs are canceled by now; nothing of it is to be kept.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Shows some of the lines of each second, until there are no more.
fn show(lines: BufReader<ChildStdout>, sample: usize, unread: &AtomicBool) {
    let (mut begun, mut shown, mut hidden) = (Instant::now(), 0, 0u64);
    for line in lines.split(b'\n').map_while(Result::ok) {
        if begun.elapsed() >= Duration::from_secs(1) {
            if hidden > 0 {
                output::to_stderr(&format!("… and {hidden} more"));
            }
            (begun, shown, hidden) = (Instant::now(), 0, 0);
        }
        if shown < sample {
            shown += 1;
            if !output::to_stdout(&flow_model::api::printable(&String::from_utf8_lossy(&line))) {
                unread.store(true, Ordering::Relaxed);
            }
        } else {
            hidden += 1;
        }
    }
}
