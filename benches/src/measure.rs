//! One run of one job: a fresh output topic, a process, what it used, and whether all of its output is there.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::child::{self, Usage};
use crate::job::{Job, Setup};
use crate::machine::Clock;
use crate::orders::Contents;
use crate::server::Server;
use crate::topics;

/// What one run gave.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub job: Job,
    /// From 0; runs of one round lie next to each other in time.
    pub round: usize,
    pub usage: Usage,
    /// Records in the output topic.
    pub output: u64,
    /// Whether the output was also read and each record compared.
    pub contents_compared: bool,
    /// Seconds of CPU that the broker used meanwhile, if it was started here.
    pub broker_cpu: f64,
    /// Seconds of CPU that anything else on the machine used meanwhile.
    pub other_cpu: f64,
}

/// What is the same for all runs.
pub struct Bench<'a> {
    pub setup: Setup,
    pub broker: &'a Server,
    /// Orders in the input.
    pub records: u64,
    /// For files of the runs.
    pub dir: &'a Path,
}

impl Bench<'_> {
    /// Runs a job once and checks what it wrote: how many records, and with `compare` each of them. `wrap` may put another
    /// program before the job's.
    pub fn run(
        &self,
        job: Job,
        round: usize,
        compare: bool,
        wrap: impl FnOnce(Command) -> Command,
    ) -> anyhow::Result<Run> {
        let dir = self.dir.join(format!("{}-{round}", job.name()));
        fs::create_dir_all(&dir)?;
        let output = format!("{}-{}-{round}", self.setup.prefix, job.name());
        topics::create(&self.setup.brokers, &output)?;
        let mut command = wrap(self.setup.command(job, &output, &dir)?);
        let log = dir.join("log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let before = Clock::read(self.broker.pid());
        let (status, usage) = child::run(&mut command).with_context(|| format!("{:?}", command.get_program()))?;
        let (broker_cpu, other_cpu) = Clock::read(self.broker.pid()).since(before, usage.cpu());
        if !status.success() {
            bail!("{} ended with {status}; the end of what it said:\n{}", job.name(), tail(&log));
        }
        let written = self.verify(job, &output, compare)?;
        topics::delete(&self.setup.brokers, &output)?;
        fs::remove_dir_all(&dir)?;
        Ok(Run { job, round, usage, output: written, contents_compared: compare, broker_cpu, other_cpu })
    }

    fn verify(&self, job: Job, output: &str, compare: bool) -> anyhow::Result<u64> {
        let expected = job.expected(self.records)?;
        // In transactions offsets are no numbers of records.
        let contents = if compare || job.is_once() {
            Some(serde_json::from_slice::<Contents>(&self.own(&["contents", "--topic", output])?)?)
        } else {
            None
        };
        let written = match contents {
            Some(found) => found.records,
            None => topics::records(&self.setup.brokers, output)?,
        };
        if written != expected.records {
            bail!("{} wrote {written} records where {} are right", job.name(), expected.records);
        }
        if let Some(found) = contents.filter(|found| *found != expected) {
            bail!("{} wrote the right number of records, but not the right ones: {found:?}, {expected:?}", job.name());
        }
        Ok(written)
    }

    /// Runs one of this program's own steps in a process of its own, since a large parent makes large children (see
    /// [`child::run`]); returns what it printed.
    pub fn own(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let printed = self.dir.join("printed");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).args(["--brokers", &self.setup.brokers]);
        command.stdin(Stdio::null()).stdout(File::create(&printed)?);
        let (status, _) = child::run(&mut command)?;
        if !status.success() {
            bail!("{} failed", arguments.join(" "));
        }
        Ok(fs::read(printed)?)
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
