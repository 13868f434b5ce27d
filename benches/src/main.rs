//! The end-to-end harness: JSON records through a real Kafka, a loop written by hand beside Flow in the same run, and the CPU
//! of exactly those processes. Must never assert on a time.
//!
//! | module | what it holds |
//! |---|---|
//! | [`orders`] | the input, and what is right as output |
//! | [`server`], [`topics`], [`settings`] | Kafka and the store of checkpoints |
//! | [`floor`] | the loop by hand |
//! | [`job`], [`measure`], [`child`] | the jobs, one run of one, its process |
//! | [`state`] | checkpoints and restores of a large state |
//! | [`latency`] | how late records leave at a fixed rate |
//! | [`machine`], [`result`], [`profile`] | the machine's noise, the figures, where the CPU goes |

mod child;
mod floor;
mod job;
mod latency;
mod machine;
mod measure;
mod orders;
mod profile;
mod result;
mod server;
mod settings;
mod state;
mod topics;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use flow_e2e::names;

use job::{Job, PARALLELISM, Setup};
use measure::{Bench, Run};
use orders::Skew;
use result::Results;
use server::Server;

/// CPU per million records of Flow's jobs and of a loop written by hand, through a real Kafka
#[derive(Debug, Parser)]
#[command(name = "end-to-end", args_conflicts_with_subcommands = true)]
struct Args {
    /// JSON records of about 100 bytes in the input
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// How often each job runs, by turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Which jobs, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "floor,simple,simple-in-one,simple-once,keyed-count,keyed-count-once,keyed-count-once-zipf"
    )]
    jobs: Vec<Job>,
    /// A running Kafka; else one is started and gone with this process
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// `state.cache` of keyed-count
    #[arg(long, default_value = "256Mi")]
    cache: String,
    /// Where the result file goes, and meanwhile Kafka's data [default: end-to-end in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The daemon [default: flowd beside this program]
    #[arg(long, value_name = "FILE")]
    flowd: Option<PathBuf>,
    /// The folder of compiled operators [default: where `make plugins` puts them]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Run each job once more under perf, and tell where its CPU goes
    #[arg(long)]
    profile: bool,
    #[command(subcommand)]
    step: Option<Step>,
}

/// The bucket of checkpoints.
const BUCKET: &str = "checkpoints";

/// Other figures, and steps that run as processes of their own.
#[derive(Debug, Subcommand)]
enum Step {
    Latency(latency::Args),
    State(state::Args),
    #[command(hide = true)]
    Floor(floor::Args),
    #[command(hide = true)]
    Fill {
        #[arg(long)]
        brokers: String,
        #[arg(long)]
        topic: String,
        #[arg(long)]
        records: u64,
        #[arg(long, value_enum)]
        skew: Skew,
    },
    #[command(hide = true)]
    Contents {
        #[arg(long)]
        brokers: String,
        #[arg(long)]
        topic: String,
    },
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match &args.step {
        Some(Step::Floor(args)) => floor::run(args),
        Some(Step::Fill { brokers, topic, records, skew }) => topics::fill(brokers, topic, *records, *skew),
        Some(Step::Contents { brokers, topic }) => {
            println!("{}", serde_json::to_string(&topics::contents(brokers, topic)?)?);
            Ok(())
        }
        Some(Step::State(args)) => {
            child::catch_interrupts();
            state::run(args)
        }
        Some(Step::Latency(_)) | None => run(&args),
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    child::catch_interrupts();
    let out = match &args.out {
        Some(out) => out.clone(),
        None => beside()?.parent().context("no target directory")?.join("end-to-end"),
    };
    let mut setup = Setup {
        flowd: args.flowd.clone().map_or_else(|| beside().map(|dir| dir.join("flowd")), Ok)?,
        plugins: args.plugins.clone().map_or_else(plugins, Ok)?,
        cache: args.cache.clone(),
        brokers: String::new(),
        prefix: names::own("flow-bench"),
        checkpoints: Default::default(),
        interval: "1s".to_owned(),
    };
    let jobs = match &args.step {
        Some(Step::Latency(_)) => &vec![Job::Simple, Job::SimpleOnce],
        _ => &args.jobs,
    };
    setup.check(jobs)?;
    std::fs::create_dir_all(&out)?;
    let work = tempfile::Builder::new().prefix("work-").tempdir_in(&out)?;
    let broker = match &args.kafka {
        Some(address) => Server::given(address),
        None => Server::kafka(&work.path().join("kafka"))?,
    };
    let store = match jobs.iter().any(|job| job.is_once()) {
        true => Some(Server::minio(&work.path().join("minio"), BUCKET)?),
        false => None,
    };
    if let Some(store) = &store {
        let more = format!(", endpoint: \"http://{}\", region: us-east-1", store.address);
        setup.checkpoints = (format!("s3://{BUCKET}"), more);
    }
    setup.brokers.clone_from(&broker.address);
    if let (Some(Step::Latency(args)), Some(store)) = (&args.step, &store) {
        return latency::run(args, &setup, store, work.path());
    }
    let bench = Bench { setup, broker: &broker, records: args.records, dir: work.path() };
    let mut skews: Vec<Skew> = Vec::new();
    for job in &args.jobs {
        if !skews.contains(&job.skew()) {
            skews.push(job.skew());
        }
    }
    for skew in &skews {
        let input = bench.setup.input(*skew);
        topics::create(&broker.address, &input)?;
        eprintln!("writing {} records ({})", args.records, skew.name());
        bench.own(&["fill", "--topic", &input, "--records", &args.records.to_string(), "--skew", skew.name()])?;
    }
    let measured = rounds(args, &bench).and_then(|runs| tell(args, &bench, &runs, &out));
    if args.kafka.is_some() {
        skews.iter().try_for_each(|skew| topics::delete(&broker.address, &bench.setup.input(*skew)))?;
    }
    measured
}

fn rounds(args: &Args, bench: &Bench<'_>) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for round in 0..args.rounds {
        for at in 0..args.jobs.len() {
            // By turns, and each begins a round once: what the machine does by and by hits all alike.
            let job = args.jobs[(round + at) % args.jobs.len()];
            let run = bench.run(job, round, round == 0, |command| command)?;
            let (cpu, millions) = (run.usage.cpu(), args.records as f64 / 1e6);
            eprintln!(
                "round {round}  {:<21} {:6.3} CPU-s per million  {:5.1} s  {:>4} MiB  (beside it: Kafka {:.2}, other {:.2} cores)",
                job.name(),
                cpu / millions,
                run.usage.wall,
                run.usage.peak_rss >> 20,
                run.broker_cpu / run.usage.wall,
                run.other_cpu / run.usage.wall,
            );
            runs.push(run);
        }
    }
    Ok(runs)
}

fn tell(args: &Args, bench: &Bench<'_>, runs: &[Run], out: &Path) -> anyhow::Result<()> {
    let results = Results {
        unix_seconds: result::unix_seconds(),
        commit: result::commit(),
        machine: machine::machine(),
        records: args.records,
        partitions: topics::PARTITIONS,
        parallelism: PARALLELISM,
        cache: &args.cache,
        runs,
        summary: args.jobs.iter().filter_map(|job| result::summary(*job, runs, args.records)).collect(),
        notes: result::NOTES,
    };
    print!("{}", results.table());
    println!("{}", results.write(out)?.display());
    if args.profile {
        for line in &results.summary {
            let data = out.join(format!("{}.perf", line.job.name()));
            bench.run(line.job, args.rounds, false, |command| profile::record(command, &data))?;
            let report = profile::report(&data, line.cpu_per_million.median)?;
            println!("\n{} ({}; `perf report -i` that)\n{report}", line.job.name(), data.display());
        }
    }
    Ok(())
}

/// The directory of this program.
fn beside() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.parent().context("this program is in no directory")?.to_owned())
}

fn plugins() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set; say --plugins")?.join("flow").join("plugins"))
}
