//! `flowctl dev`: a pipeline that is built and run anew whenever its sources change.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flow_model::api::{Checked, Description, Job, JobState, LogLevel, LogLine, Start, one_line};
use flow_model::spec::{self, Pipeline};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::build::{self, How};
use crate::deployment::{Deployment, invalid};
use crate::dev::crates::{self, Crate};
use crate::dev::daemon::Daemon;
use crate::dev::watch::Watch;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::rates;
use crate::table::count;

/// How often the rates are told.
const TELL: Duration = Duration::from_secs(5);
/// Between two looks at the sources and the job.
const LOOK: Duration = Duration::from_millis(300);
/// How long a job may take to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Build a pipeline's crates and run it, again at each change
///
/// Takes for each component NAME.wasm the crate NAME that lies beside it, or the one given with --crate; other components
/// are used as they are. Runs in a flowd of its own. A sample of what stdout sinks write goes to the standard output, the
/// rest to the standard error. If something does not compile or can't run, what runs goes on. Ctrl-C stops it all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl dev pipeline.yaml
  flowctl dev pipeline.yaml --crate operators/enrich --crate operators/totals
  flowctl dev pipeline.yaml --sample 100     more of the output")]
pub struct Args {
    /// The pipeline file
    file: PathBuf,

    /// Directory of a crate behind a component of the same name
    #[arg(long = "crate", value_name = "DIR")]
    crates: Vec<PathBuf>,

    /// Lines of output to show a second
    #[arg(long, value_name = "N", default_value_t = 5)]
    sample: usize,
}

/// Runs until Ctrl-C.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| Failure::failed(format!("can't catch Ctrl-C: {error}")))?;
    }
    let mut crates = behind(args)?;
    let daemon = Daemon::start(args.sample)?;
    let mut watch = Watch::start(&args.file, &crates)?;
    let mut session = Session { file: &args.file, output, daemon, running: None, told: Instant::now(), is_lost: false };
    let all: Vec<&Crate> = crates.iter().collect();
    session.renew(&all, &stop);
    while !stop.load(Ordering::Relaxed) && !session.daemon.is_unread() {
        let changed = watch.changed(LOOK);
        let touched = |one: &Crate| one.directory.canonicalize().is_ok_and(|path| changed.crates.contains(&path));
        let mut due: Vec<Crate> = crates.iter().filter(|one| touched(one)).cloned().collect();
        // The file may name other components by now. What is wrong with it is told when it is to run.
        if changed.pipeline
            && let Ok(found) = behind(args)
            && found != crates
        {
            due.extend(found.iter().filter(|one| !crates.contains(one)).cloned());
            watch = Watch::start(&args.file, &found)?;
            crates = found;
        }
        if !due.is_empty() || changed.pipeline {
            session.renew(&due.iter().collect::<Vec<_>>(), &stop);
        }
        match session.look() {
            // Its own daemon runs, or that would be told: it has too much to do, or the connection was cut.
            Err(failure) if failure.exit == Exit::Unreachable => {
                if !std::mem::replace(&mut session.is_lost, true) {
                    session.say(&format!("{}; trying again", failure.message));
                }
            }
            looked => {
                looked?;
                session.is_lost = false;
            }
        }
    }
    session.stop();
    // Who reads the output has seen enough, which is an end like any other.
    Ok(if session.daemon.is_unread() { Exit::Ok } else { Exit::Interrupted })
}

/// The crates behind the components that the pipeline file names now.
fn behind(args: &Args) -> Result<Vec<Crate>, Failure> {
    crates::behind(&read(&args.file)?, directory(&args.file), &args.crates)
}

fn read(file: &Path) -> Result<Pipeline, Failure> {
    let shown = file.display().to_string();
    let text = File::open(file).and_then(spec::read_bounded).map_err(|error| {
        Failure::invalid(format!("can't read the pipeline file {shown}: {error}"))
            .hint("give the path of a pipeline file (YAML)")
    })?;
    Pipeline::parse(&shown, &text).map_err(|error| invalid(error.diagnostics))
}

fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

struct Session<'a> {
    file: &'a Path,
    output: &'a Output,
    daemon: Daemon,
    running: Option<Running>,
    told: Instant,
    /// The daemon did not answer when it was asked last.
    is_lost: bool,
}

/// A job that was started.
struct Running {
    job: Job,
    /// As it was when its rates were told last.
    before: Option<Description>,
    /// The first line of its log that was not shown yet.
    next_line: u64,
}

impl Session<'_> {
    /// Builds these crates and runs the pipeline in the place of what runs; if one of that fails, what runs goes on.
    fn renew(&mut self, crates: &[&Crate], stop: &AtomicBool) {
        let begun = Instant::now();
        let Err(failure) = self.try_renew(crates) else {
            let seconds = begun.elapsed().as_secs_f64();
            self.say(&format!("runs, {seconds:.1} s after the change; Ctrl-C stops it"));
            return;
        };
        // Ctrl-C ends cargo too.
        if stop.load(Ordering::Relaxed) {
            return;
        }
        self.output.failure(&failure);
        let still = if self.running.is_some() { "what ran before goes on" } else { "nothing runs" };
        self.say(&format!("{still}; waiting for a change"));
    }

    fn try_renew(&mut self, crates: &[&Crate]) -> Result<(), Failure> {
        for one in crates {
            self.say(&format!("building {}", one.directory.display()));
            let operator = build::operator(&one.directory, &How::default(), self.output)?;
            build::write(&one.component, &operator.component)?;
        }
        let deployment = Deployment::read(self.file)?;
        let server = &self.daemon.server;
        // Before what runs is stopped.
        let _: Checked = server.upload("/jobs/check", deployment.upload(None, &Start::default(), false)?)?;
        self.stop();
        let server = &self.daemon.server;
        let job: Job = server.upload("/jobs/submit", deployment.upload(None, &Start::default(), false)?)?;
        self.running = Some(Running { job, before: None, next_line: 0 });
        self.told = Instant::now();
        Ok(())
    }

    /// Stops what runs, and waits for it.
    fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        let (server, id) = (&self.daemon.server, &running.job.id);
        let begun = Instant::now();
        // One that has ended is refused, which is as good.
        let mut asked: Result<Job, Failure> = server.post(&format!("/jobs/{id}/cancel"));
        while asked.is_ok_and(|job| !job.state.is_terminal()) && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
            asked = server.get::<Description>(&format!("/jobs/{id}")).map(|description| description.job);
        }
    }

    /// Tells what the job logs, how fast it goes, and that it has ended.
    fn look(&mut self) -> Result<(), Failure> {
        if let Some(why) = self.daemon.has_ended() {
            return Err(Failure::failed(why));
        }
        let Some(running) = &mut self.running else { return Ok(()) };
        let server = &self.daemon.server;
        let path = format!("/jobs/{}", running.job.id);
        let mut lines = Vec::new();
        server.lines(&format!("{path}/logs?tail=100"), |line| {
            lines.extend(serde_json::from_str::<LogLine>(line).ok());
            Ok(true)
        })?;
        let mut words = Vec::new();
        for line in lines.iter().filter(|line| line.number >= running.next_line) {
            // What the engine says of the job as a whole is told below.
            if line.operator.is_some() || line.level >= LogLevel::Warn {
                words.push(said(line));
            }
        }
        running.next_line = lines.last().map_or(running.next_line, |line| line.number + 1);
        let is_over = if self.told.elapsed() >= TELL || running.before.is_none() {
            self.told = Instant::now();
            let now: Description = server.get(&path)?;
            if let Some(before) = &running.before {
                words.push(flow(before, &now));
            }
            let state = now.job.state;
            let error = now.job.error.clone().unwrap_or_default();
            running.before = Some(now);
            state.is_terminal().then_some((state, error))
        } else {
            None
        };
        words.iter().for_each(|words| self.say(words));
        if let Some((state, error)) = is_over {
            self.running = None;
            match state {
                JobState::Failed => {
                    self.output.failure(&Failure::new(Exit::Failed, "job-failed", format!("the job failed: {error}")))
                }
                state => self.say(&format!("the job is {state}")),
            }
            self.say("waiting for a change");
        }
        Ok(())
    }

    /// A line beside the output.
    fn say(&self, words: &str) {
        self.output.aside(&format!("[dev] {}", one_line(words)));
    }
}

fn said(line: &LogLine) -> String {
    let from = line.operator.as_ref().map_or(String::new(), |operator| format!("{operator}: "));
    format!("{} {from}{}", line.level.as_str(), line.message)
}

/// `orders 5/s → enrich 5/s → out 5/s, 0 rejected`
fn flow(before: &Description, now: &Description) -> String {
    let rates = rates::between(before, now);
    let rejected: u64 = rates.operators.iter().map(|operator| operator.rejected).sum();
    let each = rates
        .operators
        .iter()
        .map(|one| format!("{} {}/s", one.operator, count(one.records_out_per_second.round() as u64)));
    format!("{}; {} rejected in all", each.collect::<Vec<_>>().join(", "), count(rejected))
}
