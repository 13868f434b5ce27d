//! A large keyed state whose checkpoints go to MinIO: how long one takes when a part of the keys has changed, and how long it takes
//! from a start with an empty disk until records are read again. Must never assert on a time.

use std::time::{Duration, Instant};

use anyhow::Context;
use flow_e2e::flowd::{Flowd, counted};
use flow_e2e::minio::Minio;
use serde_json::Value;

use crate::child;
use crate::result::Percentiles;

/// Checkpoints and restores of a state of a gigabyte, to and from MinIO
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many keys there are
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Bytes of the state of each
    #[arg(long, default_value_t = 1000)]
    bytes: usize,
    /// How many keys change a second; a checkpoint is taken each second
    #[arg(long, default_value_t = 10_000)]
    changes: u64,
    /// How many checkpoints are measured
    #[arg(long, default_value_t = 30)]
    checkpoints: usize,
    /// `state.cache`
    #[arg(long, default_value = "2Gi")]
    cache: String,
}

/// Longer than all of it together may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// The name of the pipeline.
const NAME: &str = "state";

impl Args {
    /// Of sources with two subtasks. Each record puts its value into a list and into a value: each half of the bytes.
    fn pipeline(&self, parallelism: u32, minio: &Minio, bucket: &str) -> String {
        let Args { keys, changes, cache, .. } = self;
        let (value, endpoint) = ("x".repeat(self.bytes / 2), minio.endpoint());
        format!(
            "parallelism: 2\n\
             state: {{cache: {cache}}}\n\
             checkpoint: {{interval: 1s, to: 's3://{bucket}/flow', endpoint: '{endpoint}', region: us-east-1}}\n\
             sources:\n  \
               fill: {{generator: {{count: {keys}, keys: {keys}, value: '{value}'}}}}\n  \
               changes: {{generator: {{rate: {changes}, keys: {keys}, value: '{value}'}}}}\n\
             operators:\n  keeps: {{component: '{{plugins}}/hoard.wasm', from: [fill, changes], key: $key, parallelism: {parallelism}}}\n\
             sinks:\n  out: {{blackhole: {{}}, from: keeps}}\n"
        )
    }
}

/// Measures and tells.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let minio = Minio::start();
    let bucket = minio.bucket();
    let mut flowd = Flowd::with_env(&Minio::environment());
    let job = flowd.deploy(NAME, &args.pipeline(2, &minio, &bucket));
    eprintln!("{} keys of {} bytes are written", args.keys, args.bytes);
    let filled = |job: &Value| counted(job, "fill", "records-out") >= args.keys;
    wait(&flowd, &job, filled)?;
    // What was changed by the fill is in these.
    settle(&flowd, &job, 5)?;
    let taken = settle(&flowd, &job, args.checkpoints)?;
    tell("checkpoint", &taken)?;

    let read = |job: &Value| counted(job, "changes", "records-out") > 0;
    for (what, loses) in [("restart with its local runs", false), ("restart with an empty disk", true)] {
        settle(&flowd, &job, 2)?;
        flowd.kill();
        if loses {
            flowd.lose_state();
        }
        let begun = Instant::now();
        flowd.start_again();
        wait(&flowd, &job, read)?;
        println!("{what}: {:.1} s until records are read", begun.elapsed().as_secs_f64());
    }
    settle(&flowd, &job, 2)?;
    flowd.savepoint(&job, "last", true);
    flowd.ended(&job);
    for (parallelism, claim) in [(3, false), (1, true)] {
        flowd.lose_state();
        let begun = Instant::now();
        let start = serde_json::json!({"from": {"savepoint": {"job": NAME, "name": "last"}}, "claim": claim});
        let pipeline = args.pipeline(parallelism, &minio, &bucket);
        let job = flowd.deploy_from(NAME, &pipeline, &start).map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
        wait(&flowd, &job, read)?;
        let how = if claim { "claimed" } else { "copied" };
        println!(
            "a savepoint of two subtasks, {how}, by {parallelism} and an empty disk: {:.1} s until records are read",
            begun.elapsed().as_secs_f64()
        );
        flowd.ctl(&["cancel", &job]);
        flowd.ended(&job);
    }
    println!("They leave out the network to a store elsewhere: MinIO shares disk and processors with the job.");
    Ok(())
}

/// Waits until a job is described like this.
fn wait(flowd: &Flowd, job: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let described = flowd.describe(job);
        if is(&described) {
            return Ok(());
        }
        child::check_interrupted()?;
        let goes_on = described["ended"].is_null() && begun.elapsed() < PATIENCE;
        anyhow::ensure!(goes_on, "{described:#}\n{}", flowd.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A checkpoint that counts.
struct Taken {
    id: String,
    millis: u32,
    new_bytes: u64,
}

/// Waits for so many more checkpoints.
fn settle(flowd: &Flowd, job: &str, count: usize) -> anyhow::Result<Vec<Taken>> {
    let (begun, mut all) = (Instant::now(), Vec::<Taken>::new());
    let mut before: Option<Vec<String>> = None;
    while all.len() < count {
        child::check_interrupted()?;
        anyhow::ensure!(begun.elapsed() < PATIENCE, "no checkpoints:\n{}", flowd.log());
        let listed =
            flowd.ask(&format!("/jobs/{job}/checkpoints")).map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
        let completed = listed["checkpoints"].as_array().context("no list")?.iter().filter_map(taken);
        let completed: Vec<Taken> = completed.collect();
        let before = before.get_or_insert_with(|| completed.iter().map(|one| one.id.clone()).collect());
        for one in completed {
            if !before.contains(&one.id) && all.iter().all(|known| known.id != one.id) {
                all.push(one);
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(all)
}

fn taken(checkpoint: &Value) -> Option<Taken> {
    let (begun, ended) = (checkpoint["begun"].as_u64()?, checkpoint["ended"].as_u64()?);
    (checkpoint["state"] == "completed").then(|| Taken {
        id: checkpoint["id"].to_string(),
        millis: ended.saturating_sub(begun) as u32,
        new_bytes: checkpoint["new-bytes"].as_u64().unwrap_or_default(),
    })
}

fn tell(what: &str, taken: &[Taken]) -> anyhow::Result<()> {
    let millis = Percentiles::of(taken.iter().map(|one| one.millis).collect()).context("none")?;
    // Of so many bytes the thousands are enough, and the most may be more than 32 bits hold.
    let kilobytes = taken.iter().map(|one| u32::try_from(one.new_bytes / 1000).unwrap_or(u32::MAX));
    let kilobytes = Percentiles::of(kilobytes.collect()).context("none")?;
    println!(
        "{what}: P50 {} ms, P90 {}, most {} of {}; new bytes P50 {:.1} MB, most {:.1}",
        millis.p50,
        millis.p90,
        millis.most,
        millis.count,
        f64::from(kilobytes.p50) / 1e3,
        f64::from(kilobytes.most) / 1e3
    );
    Ok(())
}
