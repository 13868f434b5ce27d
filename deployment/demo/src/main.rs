//! What the demo needs beside Flow itself: a live table of a running job, text lines into Kafka, the counts that come
//! out. It must do none of the counting: that is the job's, and the comparison is `sort | uniq -c`'s.

mod job;
mod parts;
mod screen;
mod tally;
mod topic;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use flow_model::api::JobState;

use job::{Job, Progress};
use parts::Parts;
use screen::{Screen, grouped};
use tally::Tally;
use topic::Counts;

/// Helper of `make demo`; see deployment/demo.sh.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a job that writes counts as files until it has finished, then write its counts
    WatchFiles {
        #[command(flatten)]
        watch: Watch,
        /// Folder of the job's file sink
        #[arg(long)]
        dir: PathBuf,
    },
    /// Show a job that writes counts into a Kafka topic until it has finished, then write its counts
    WatchTopic {
        #[command(flatten)]
        watch: Watch,
        /// `host:port` of Kafka
        #[arg(long)]
        brokers: String,
        /// Topic of the job's Kafka sink
        #[arg(long)]
        topic: String,
    },
    /// Make two topics and write the lines of all files of a folder into the first
    Produce {
        /// `host:port` of Kafka
        #[arg(long)]
        brokers: String,
        /// Topic for the lines
        #[arg(long)]
        lines: String,
        /// Topic for the counts, made empty
        #[arg(long)]
        counts: String,
        /// Folder of the text
        #[arg(long)]
        text: PathBuf,
    },
    /// Delete topics
    Delete {
        /// `host:port` of Kafka
        #[arg(long)]
        brokers: String,
        /// The topics
        topics: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Watch {
    /// The daemon's REST API, as http://127.0.0.1:8081
    #[arg(long)]
    api: String,
    /// The job
    #[arg(long)]
    job: String,
    /// File for the final counts, as `count word` in the order of the words
    #[arg(long)]
    out: PathBuf,
}

/// Between two looks at the job.
const LOOK: Duration = Duration::from_millis(250);
const PARTITIONS: i32 = 4;

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // The sentence alone, whatever the environment says of backtraces.
        Err(error) => {
            eprintln!("flow-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::WatchFiles { watch, dir } => {
            let mut parts = Parts::new(dir);
            run(&watch, |tally, _| {
                parts.poll(tally)?;
                std::thread::sleep(LOOK);
                // What a finished job wrote is there at once.
                Ok(true)
            })
        }
        Command::WatchTopic { watch, brokers, topic } => {
            let mut counts = Counts::new(&brokers, &topic)?;
            run(&watch, |tally, finished| {
                counts.poll(tally, LOOK)?;
                if finished { counts.at_end() } else { Ok(false) }
            })
        }
        Command::Produce { brokers, lines, counts, text } => {
            topic::create(&brokers, &lines, PARTITIONS)?;
            topic::create(&brokers, &counts, PARTITIONS)?;
            let begun = Instant::now();
            let sent = topic::produce(&brokers, &lines, &text)?;
            println!("{} lines written into topic {lines} in {:.1} s", grouped(sent), begun.elapsed().as_secs_f64());
            Ok(())
        }
        Command::Delete { brokers, topics } => {
            topic::delete(&brokers, &topics.iter().map(String::as_str).collect::<Vec<_>>())
        }
    }
}

/// Draws until the job has finished and `poll`, told so, has taken everything; `poll` waits a while for more.
fn run(watch: &Watch, mut poll: impl FnMut(&mut Tally, bool) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let (mut job, mut screen, mut tally) = (Job::new(&watch.api, &watch.job), Screen::new(), Tally::default());
    let begun = Instant::now();
    loop {
        let progress = job.progress()?;
        let finished = progress.state == JobState::Finished;
        let complete = poll(&mut tally, finished)? && finished;
        screen.show(&progress, &tally, complete)?;
        if complete {
            summary(&progress, &tally, begun.elapsed());
            return write(&tally, &watch.out);
        }
    }
}

fn summary(progress: &Progress, tally: &Tally, took: Duration) {
    let seconds = took.as_secs_f64().max(0.001);
    println!(
        "{} lines → {} words → counts of {} distinct words in {seconds:.1} s: {} words/s, as this table saw it",
        grouped(progress.lines),
        grouped(tally.updates()),
        grouped(tally.distinct() as u64),
        grouped((tally.updates() as f64 / seconds) as u64),
    );
}

fn write(tally: &Tally, out: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(out)?);
    for line in tally.lines() {
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}
