//! What the runs say: medians, the ratio to the floor of the same round, a table and a file of JSON. It tells figures and their
//! targets and never fails because of one: a time is no test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::job::Job;
use crate::machine::Machine;
use crate::measure::Run;

/// What each figure leaves out.
pub const NOTES: [&str; 8] = [
    "CPU is user and system time of the job's own process, all threads, from its start to its end (wait4): start, load and stop \
     of the job are in it, the broker and its part of the kernel's network are not.",
    "Input and output are lz4 in both; floor and Flow give librdkafka the same settings. The broker is on this machine and on \
     the same processors, so records/s is what is left beside it.",
    "The floor parses and serializes a record once; Flow's map and filter are two operators, and the filter parses again.",
    "RSS is the peak of resident memory with code and libraries; of keyed-count it has the cache in it.",
    "other is CPU that neither the job nor the broker used meanwhile: beside much of it trust the ratio, not the seconds.",
    "simple-once and keyed-count-once have a checkpoint each second, to a MinIO on this machine: its CPU is not in the figure, that of \
     the uploads is. They begin with claiming a transactional id, a second or two in which records wait.",
    "MinIO's CPU is in the other.",
    "Every run's output was counted, and that of the first round compared record by record with what is right.",
];

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Results<'a> {
    pub unix_seconds: u64,
    pub commit: Option<String>,
    pub machine: Machine,
    pub records: u64,
    pub partitions: i32,
    pub parallelism: i32,
    pub cache: &'a str,
    pub runs: &'a [Run],
    pub summary: Vec<Summary>,
    pub notes: [&'static str; 8],
}

/// The runs of one job. Per million means per million input records.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub job: Job,
    pub cpu_per_million: Spread,
    pub system_per_million: f64,
    /// To that of another job in the same round, see [`Job::base`].
    pub ratio_to_base: Option<Spread>,
    pub records_per_second: Spread,
    pub peak_rss_mib: f64,
    pub other_cpu_share: f64,
}

/// Median, least and most.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// None of no values.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median =
            if values.len().is_multiple_of(2) { f64::midpoint(values[half - 1], values[half]) } else { values[half] };
        Some(Spread { median, least, most })
    }
}

/// How many values lie below which.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub count: usize,
    pub p50: u32,
    pub p90: u32,
    pub p99: u32,
    pub p999: u32,
    pub most: u32,
}

impl Percentiles {
    /// None of no values.
    pub fn of(mut values: Vec<u32>) -> Option<Percentiles> {
        values.sort_unstable();
        let most = *values.last()?;
        let at = |share: f64| values[((values.len() as f64 * share) as usize).min(values.len() - 1)];
        Some(Percentiles { count: values.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), most })
    }
}

/// Sums up the runs of a job; none if there are none.
pub fn summary(job: Job, runs: &[Run], records: u64) -> Option<Summary> {
    let millions = records as f64 / 1e6;
    let mine: Vec<&Run> = runs.iter().filter(|run| run.job == job).collect();
    let each = |f: &dyn Fn(&Run) -> f64| Spread::of(mine.iter().map(|run| f(run)).collect());
    let base = |round| runs.iter().find(|run| Some(run.job) == job.base() && run.round == round);
    let ratios = mine.iter().filter_map(|run| Some(run.usage.cpu() / base(run.round)?.usage.cpu())).collect();
    Some(Summary {
        job,
        cpu_per_million: each(&|run| run.usage.cpu() / millions)?,
        system_per_million: each(&|run| run.usage.system / millions)?.median,
        ratio_to_base: Spread::of(ratios),
        records_per_second: each(&|run| records as f64 / run.usage.wall)?,
        peak_rss_mib: each(&|run| run.usage.peak_rss as f64 / f64::from(1 << 20))?.most,
        other_cpu_share: each(&|run| run.other_cpu / run.usage.wall)?.median,
    })
}

impl Results<'_> {
    /// For people.
    pub fn table(&self) -> String {
        let mut out = format!(
            "\n{} records, {} partitions, parallelism {}, cache {}; {}, {} processors\n\n",
            self.records,
            self.partitions,
            self.parallelism,
            self.cache,
            self.machine.processor,
            self.machine.processors
        );
        out += "job                    CPU-s per million    (system)   ratio to base        records/s   peak RSS   other CPU\n";
        for line in &self.summary {
            let cpu = line.cpu_per_million;
            let ratio =
                line.ratio_to_base.map_or(String::new(), |r| format!("{:.2} [{:.2}–{:.2}]", r.median, r.least, r.most));
            out += &format!(
                "{:<21}  {:.2} [{:.2}–{:.2}]     {:>5.2}      {:<17}  {:>9.0}   {:>4.0} MiB    {:.2} cores\n",
                line.job.name(),
                cpu.median,
                cpu.least,
                cpu.most,
                line.system_per_million,
                ratio,
                line.records_per_second.median,
                line.peak_rss_mib,
                line.other_cpu_share,
            );
        }
        out += "\nMedian [least–most]. Base: the floor; of a job with -once the same without. Targets: simple at most 1.15; \
                simple-once at most 1.25; keyed-count at most 2.2 CPU-s per million, once 3.0, zipf 2.5; RSS at most 300 MB beside \
                the cache.\n";
        self.notes.iter().for_each(|note| out += &format!("- {note}\n"));
        out
    }

    /// For programs: a new file in `dir`.
    pub fn write(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("end-to-end-{}.json", self.unix_seconds));
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        Ok(path)
    }
}

/// Seconds since the Unix epoch.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The commit that is checked out where this was built, if that can be asked.
pub fn commit() -> Option<String> {
    let mut git = std::process::Command::new("git");
    let output = git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Usage;

    fn run(job: Job, round: usize, cpu: f64) -> Run {
        let usage = Usage { user: cpu, system: 0.0, wall: 2.0, peak_rss: 1 << 20 };
        Run { job, round, usage, output: 0, contents_compared: false, broker_cpu: 0.0, other_cpu: 1.0 }
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let runs = [
            run(Job::Floor, 0, 1.0),
            run(Job::Simple, 0, 1.2),
            run(Job::Floor, 1, 2.0),
            run(Job::Simple, 1, 2.2),
            run(Job::Simple, 2, 9.0),
        ];
        let simple = summary(Job::Simple, &runs, 1_000_000).expect("there are runs");
        let ratio = simple.ratio_to_base.expect("there is a floor");
        assert!((ratio.median - 1.15).abs() < 1e-9 && (ratio.most - 1.2).abs() < 1e-9, "{ratio:?}");
        assert!((simple.cpu_per_million.median - 2.2).abs() < 1e-9);
        assert!((simple.records_per_second.median - 500_000.0).abs() < 1e-3);
        assert!(summary(Job::KeyedCount, &runs, 1_000_000).is_none());
    }
}
