//! The jobs that are measured, each as a process of its own with an input and an output topic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::orders::{self, Contents, LEAST, Skew};

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
    /// Simple with checkpoints each second, and its output exactly once.
    SimpleOnce,
    /// Flow: count by customer, each update told.
    KeyedCount,
    /// The same with checkpoints each second, and its output exactly once.
    KeyedCountOnce,
    /// The same where some customers order much more often than others.
    KeyedCountOnceZipf,
}

impl Job {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Job::Floor => "floor",
            Job::Simple => "simple",
            Job::SimpleInOne => "simple-in-one",
            Job::SimpleOnce => "simple-once",
            Job::KeyedCount => "keyed-count",
            Job::KeyedCountOnce => "keyed-count-once",
            Job::KeyedCountOnceZipf => "keyed-count-once-zipf",
        }
    }

    /// What its figures are held against: the same job without checkpoints, or the floor.
    pub fn base(self) -> Option<Job> {
        match self {
            Job::Floor => None,
            Job::Simple | Job::SimpleInOne | Job::KeyedCount => Some(Job::Floor),
            Job::SimpleOnce => Some(Job::Simple),
            Job::KeyedCountOnce | Job::KeyedCountOnceZipf => Some(Job::KeyedCount),
        }
    }

    /// Whose orders it takes.
    pub fn skew(self) -> Skew {
        if self == Job::KeyedCountOnceZipf { Skew::Zipf } else { Skew::Uniform }
    }

    /// Whether it has checkpoints.
    pub fn is_once(self) -> bool {
        matches!(self, Job::SimpleOnce | Job::KeyedCountOnce | Job::KeyedCountOnceZipf)
    }

    /// What it has to make of so many orders.
    pub fn expected(self, count: u64) -> anyhow::Result<Contents> {
        match self {
            Job::Floor | Job::Simple | Job::SimpleInOne | Job::SimpleOnce => Ok(orders::simple(count)?),
            Job::KeyedCount | Job::KeyedCountOnce | Job::KeyedCountOnceZipf => {
                Ok(orders::keyed_count(count, self.skew()))
            }
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
    /// What the names of all topics begin with.
    pub prefix: String,
    /// What the location of checkpoints begins with, and more fields of `checkpoint`.
    pub checkpoints: (String, String),
    /// From one to the next.
    pub interval: String,
}

impl Setup {
    /// Finds everything that `jobs` need.
    pub fn check(&self, jobs: &[Job]) -> anyhow::Result<()> {
        let mut needed = Vec::new();
        if jobs.iter().any(|job| *job != Job::Floor) {
            needed.push((self.flowd.clone(), "make build"));
        }
        if jobs.iter().any(|job| matches!(job, Job::Simple | Job::SimpleOnce)) {
            needed.extend(["order-map", "order-filter"].map(|name| (self.plugin(name), "make plugins")));
        }
        if jobs.contains(&Job::SimpleInOne) {
            needed.push((self.plugin("order-map-filter"), "make plugins"));
        }
        if jobs.iter().any(|job| matches!(job, Job::KeyedCount | Job::KeyedCountOnce | Job::KeyedCountOnceZipf)) {
            needed.push((self.plugin("counter"), "make plugins"));
        }
        for (path, make) in needed {
            if !path.is_file() {
                bail!("{} is missing: run `{make}`", path.display());
            }
        }
        Ok(())
    }

    /// The topic of orders.
    pub fn input(&self, skew: Skew) -> String {
        format!("{}-{}", self.prefix, skew.name())
    }

    fn plugin(&self, name: &str) -> PathBuf {
        self.plugins.join(name).with_extension("wasm")
    }

    /// A process that does one of Flow's jobs without end.
    pub fn endless(&self, job: Job, output: &str, dir: &Path) -> anyhow::Result<Command> {
        self.flow(self.pipeline(job, output).replace(", stop: latest", ""), dir)
    }

    fn flow(&self, pipeline: String, dir: &Path) -> anyhow::Result<Command> {
        let file = dir.join("pipeline.yaml");
        fs::write(&file, pipeline).with_context(|| format!("{}", file.display()))?;
        let mut command = Command::new(&self.flowd);
        // The keys of the MinIO that is started here.
        command.env("AWS_ACCESS_KEY_ID", "flow").env("AWS_SECRET_ACCESS_KEY", "flow-secret");
        command.arg("run").arg(file).current_dir(dir);
        Ok(command)
    }

    /// The process that does the job, with all it writes but topics in `dir`.
    pub fn command(&self, job: Job, output: &str, dir: &Path) -> anyhow::Result<Command> {
        if job != Job::Floor {
            return self.flow(self.pipeline(job, output), dir);
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor", "--brokers", &self.brokers, "--from", &self.input(job.skew()), "--to", output]);
        command.args(["--parallelism", &PARALLELISM.to_string()]).current_dir(dir);
        Ok(command)
    }

    fn pipeline(&self, job: Job, output: &str) -> String {
        let (brokers, input, cache) = (&self.brokers, self.input(job.skew()), &self.cache);
        let plugin = |name| self.plugin(name).display().to_string();
        let (operators, last) = match job {
            Job::KeyedCount | Job::KeyedCountOnce | Job::KeyedCountOnceZipf => {
                (format!("  count: {{component: {}, from: orders, key: $key}}\n", plugin("counter")), "count")
            }
            Job::SimpleInOne => {
                let both = plugin("order-map-filter");
                (format!("  both: {{component: {both}, from: orders, config: {{min: {LEAST}}}}}\n"), "both")
            }
            Job::Floor | Job::Simple | Job::SimpleOnce => {
                let map = format!("  double: {{component: {}, from: orders}}\n", plugin("order-map"));
                let filter = plugin("order-filter");
                (map + &format!("  large: {{component: {filter}, from: double, config: {{min: {LEAST}}}}}\n"), "large")
            }
        };
        let (checkpoint, delivery) = if job.is_once() {
            let ((to, more), interval) = (&self.checkpoints, &self.interval);
            let checkpoint = format!("checkpoint: {{interval: {interval}, to: \"{to}/{output}\"{more}}}\n");
            (checkpoint, ", delivery: exactly-once")
        } else {
            (String::new(), "")
        };
        format!(
            "apiVersion: flow/v1\n\
             kind: Pipeline\n\
             metadata: {{name: {name}}}\n\
             parallelism: {PARALLELISM}\n\
             state: {{cache: {cache}}}\n\
             {checkpoint}\
             sources:\n  \
               orders: {{kafka: {{brokers: \"{brokers}\", topic: {input}, start: earliest, stop: latest}}}}\n\
             operators:\n\
             {operators}\
             sinks:\n  \
               out: {{kafka: {{brokers: \"{brokers}\", topic: {output}{delivery}}}, from: {last}}}\n",
            name = job.name(),
        )
    }
}
