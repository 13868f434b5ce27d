//! The jobs that are measured, each as a process of its own with an input and an output topic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::orders::{self, Contents, LEAST};

/// Slots of Flow, threads of the floor.
pub const PARALLELISM: i32 = 2;

/// What is measured.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// The simple job by hand: rdkafka and serde_json, no guarantees.
    Floor,
    /// Flow: parse, double the amount, keep nine of ten, by a map and a filter.
    Simple,
    /// The same by one operator, which parses and serializes once, as the floor does.
    SimpleInOne,
    /// Flow: count by customer, each update told.
    KeyedCount,
}

impl Job {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Job::Floor => "floor",
            Job::Simple => "simple",
            Job::SimpleInOne => "simple-in-one",
            Job::KeyedCount => "keyed-count",
        }
    }

    /// What it has to make of so many orders.
    pub fn expected(self, count: u64) -> anyhow::Result<Contents> {
        match self {
            Job::Floor | Job::Simple | Job::SimpleInOne => Ok(orders::simple(count)?),
            Job::KeyedCount => Ok(orders::keyed_count(count)),
        }
    }
}

/// Where the programs are and what they are told.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The daemon.
    pub flowd: PathBuf,
    /// The folder of compiled operators.
    pub plugins: PathBuf,
    /// `state.cache` of keyed jobs.
    pub cache: String,
    pub brokers: String,
    /// The topic of orders.
    pub input: String,
}

impl Setup {
    /// Finds everything that `jobs` need.
    pub fn check(&self, jobs: &[Job]) -> anyhow::Result<()> {
        let mut needed = Vec::new();
        if jobs.iter().any(|job| *job != Job::Floor) {
            needed.push((self.flowd.clone(), "make build"));
        }
        if jobs.contains(&Job::Simple) {
            needed.extend(["order-map", "order-filter"].map(|name| (self.plugin(name), "make plugins")));
        }
        if jobs.contains(&Job::SimpleInOne) {
            needed.push((self.plugin("order-map-filter"), "make plugins"));
        }
        if jobs.contains(&Job::KeyedCount) {
            needed.push((self.plugin("counter"), "make plugins"));
        }
        for (path, make) in needed {
            if !path.is_file() {
                bail!("{} is missing: run `{make}`", path.display());
            }
        }
        Ok(())
    }

    fn plugin(&self, name: &str) -> PathBuf {
        self.plugins.join(name).with_extension("wasm")
    }

    /// The process that does the job, with all it writes but topics in `dir`.
    pub fn command(&self, job: Job, output: &str, dir: &Path) -> anyhow::Result<Command> {
        let mut command = match job {
            Job::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["floor", "--brokers", &self.brokers, "--from", &self.input, "--to", output]);
                command.args(["--parallelism", &PARALLELISM.to_string()]);
                command
            }
            Job::Simple | Job::SimpleInOne | Job::KeyedCount => {
                let file = dir.join("pipeline.yaml");
                fs::write(&file, self.pipeline(job, output)).with_context(|| format!("{}", file.display()))?;
                let mut command = Command::new(&self.flowd);
                command.arg("run").arg(file);
                command
            }
        };
        command.current_dir(dir);
        Ok(command)
    }

    fn pipeline(&self, job: Job, output: &str) -> String {
        let (brokers, input, cache) = (&self.brokers, &self.input, &self.cache);
        let plugin = |name| self.plugin(name).display().to_string();
        let (operators, last) = match job {
            Job::KeyedCount => {
                (format!("  count: {{component: {}, from: orders, key: $key}}\n", plugin("counter")), "count")
            }
            Job::SimpleInOne => {
                let both = plugin("order-map-filter");
                (format!("  both: {{component: {both}, from: orders, config: {{min: {LEAST}}}}}\n"), "both")
            }
            Job::Floor | Job::Simple => {
                let map = format!("  double: {{component: {}, from: orders}}\n", plugin("order-map"));
                let filter = plugin("order-filter");
                (map + &format!("  large: {{component: {filter}, from: double, config: {{min: {LEAST}}}}}\n"), "large")
            }
        };
        format!(
            "apiVersion: flow/v1\n\
             kind: Pipeline\n\
             metadata: {{name: {name}}}\n\
             parallelism: {PARALLELISM}\n\
             state: {{cache: {cache}}}\n\
             sources:\n  \
               orders: {{kafka: {{brokers: \"{brokers}\", topic: {input}, start: earliest, stop: latest}}}}\n\
             operators:\n\
             {operators}\
             sinks:\n  \
               out: {{kafka: {{brokers: \"{brokers}\", topic: {output}}}, from: {last}}}\n",
            name = job.name(),
        )
    }
}
