//! `flowd run`: one pipeline in this process until it finishes, fails, or is stopped.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use flow_coordinator::handle::Handle;
use flow_coordinator::jobs::{Error, Jobs};
use flow_coordinator::submission::Submission;
use flow_model::api::{Description, JobState, Refusal, printable};
use flow_worker::log::{JobLog, Level, LogLine};
use flow_worker::{Options, TaskError, Worker};

use crate::check;
use crate::cli::{Format, LogFormat, Run};
use crate::data::{self, DataDir};
use crate::logging::{self, Quiet};
use crate::signals::Signals;
use crate::{exit, parent, say};

/// Runs it to its end.
pub fn run(args: &Run) -> Result<ExitCode> {
    if args.process.die_with_parent {
        parent::die_with_it()?;
    }
    // Who wants JSON takes the standard error as a row of objects.
    let log = if args.output == Format::Json { LogFormat::Json } else { LogFormat::Text };
    logging::start(&args.process, Quiet::Job, log);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _guard = runtime.enter();
    // Signals are not caught yet: a pipe may let this wait.
    let submission = match Submission::read(&args.file) {
        Ok(submission) => submission,
        Err(error) => return refuse(&error.into(), args.output),
    };
    let mut signals = Signals::catch()?;
    let data = DataDir::temporary()?;
    let options = Options { data_dir: data.path().to_owned(), component_cache_dir: data::component_cache() };
    let leader = format!("flowctl run, process {}", std::process::id());
    let jobs = Arc::new(Jobs::new(Worker::new(options)?, data.path().to_owned(), leader)?);
    let starting = jobs.clone();
    let started = runtime.block_on(async {
        // It compiles the components, and may have many of them to start.
        let job = tokio::task::spawn_blocking(move || starting.submit(submission));
        tokio::select! {
            job = job => Some(job.context("starting the job")),
            () = signals.next() => None,
        }
    });
    let job = match started.transpose()? {
        Some(Ok(job)) => job,
        Some(Err(Error::Submission(error))) => return refuse(&error.into(), args.output),
        Some(Err(error)) => return Err(error.into()),
        None => {
            // Nothing runs that would have to come to an end.
            drop(data);
            std::process::exit(exit::INTERRUPTED.into());
        }
    };
    let (_, handle) = jobs.handle(job.id.as_str())?;
    let log = handle.log().clone();
    let writer = thread::Builder::new().name("log".into()).spawn(move || write_log(&log))?;
    runtime.block_on(until_over(&handle, &mut signals))?;
    // It ends when the log is closed, which it is by now; a panic in it has been told by itself.
    _ = writer.join();
    // Whoever reads the standard output has seen enough, as `head` has: that is an end like any other.
    if let Some(TaskError::Closed(_)) = handle.status().error {
        return Ok(ExitCode::SUCCESS);
    }
    report(&jobs.describe(job.id.as_str())?, args.output)
}

/// Waits for the end. The first signal stops the job, the second the process.
async fn until_over(handle: &Handle, signals: &mut Signals) -> Result<()> {
    let waiting = handle.clone();
    let mut over = tokio::task::spawn_blocking(move || waiting.wait());
    tokio::select! {
        ended = &mut over => return ended.map(drop).context("waiting for the job"),
        () = signals.next() => {}
    }
    say::err("stopping; once more ends it at once");
    handle.cancel();
    tokio::select! {
        ended = over => ended.map(drop).context("waiting for the job"),
        never = signals.kill() => never,
    }
}

/// The job's log goes to the log of the process.
fn write_log(log: &Arc<JobLog>) {
    let mut next = 0;
    while let Some(lines) = log.follow(next, Duration::from_secs(1)) {
        let lost = lines.first().map_or(0, |line| line.number - next);
        if lost > 0 {
            tracing::warn!(target: "job", "{lost} lines are missing here: the job logs faster than they can be written");
        }
        next = lines.last().map_or(next, |line| line.number + 1);
        lines.iter().for_each(write_line);
    }
}

fn write_line(line: &LogLine) {
    let text = match (&line.operator, line.subtask) {
        (Some(operator), Some(subtask)) => format!("{operator}/{subtask}: {}", line.message),
        _ => line.message.clone(),
    };
    // A macro each, since tracing fixes a line's level when it is compiled.
    match line.level {
        Level::Trace => tracing::trace!(target: "job", "{text}"),
        Level::Debug => tracing::debug!(target: "job", "{text}"),
        Level::Info => tracing::info!(target: "job", "{text}"),
        Level::Warn => tracing::warn!(target: "job", "{text}"),
        Level::Error => tracing::error!(target: "job", "{text}"),
    }
}

fn report(description: &Description, format: Format) -> Result<ExitCode> {
    let job = &description.job;
    match format {
        Format::Json => say::err(&serde_json::to_string_pretty(description)?),
        Format::Table => {
            let seconds = job.ended.unwrap_or(description.now).saturating_sub(job.submitted) as f64 / 1000.0;
            say::err(&format!("{} {} after {seconds:.1} s", job.name, job.state));
            for counters in &description.operators {
                let rejected = match counters.figures.rejected {
                    0 => String::new(),
                    rejected => format!(", {rejected} rejected"),
                };
                let (taken, given) = (counters.figures.records_in, counters.figures.records_out);
                say::err(&format!("  {}: {taken} records in, {given} out{rejected}", counters.operator));
            }
            job.error.iter().for_each(|error| say::err(&format!("error: {}", printable(error))));
        }
    }
    Ok(match job.state {
        JobState::Finished => ExitCode::SUCCESS,
        JobState::Canceled => ExitCode::from(exit::INTERRUPTED),
        JobState::Failed | JobState::Running | JobState::Restarting | JobState::Canceling => {
            ExitCode::from(exit::FAILED)
        }
    })
}

fn refuse(refusal: &Refusal, format: Format) -> Result<ExitCode> {
    match format {
        Format::Json => say::err(&serde_json::to_string_pretty(refusal)?),
        Format::Table => say::err(&check::text(refusal)),
    }
    Ok(ExitCode::from(check::code(refusal)))
}
