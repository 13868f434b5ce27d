//! `flowctl logs`: what a job and its operators log, at once or as it comes.

use std::thread;
use std::time::Instant;

use flow_model::api::{LogLevel, LogLine, one_line};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};
use crate::server::Server;
use crate::time;
use crate::wait::{GIVE_UP, PAUSE};

/// Show the log of a job and its operators
///
/// The server keeps the last lines of each job. With -o json each line is one JSON object. With -f a connection that is lost is
/// made again, and goes on where it was cut; where another coordinator leads by then, with the first line of its log of the job.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl logs wordcount
  flowctl logs wordcount -f --tail 10        the last ten lines, then new ones until the job ends
  flowctl logs wordcount -o json | jq 'select(.level == \"error\")'")]
pub struct Args {
    /// Id or name of the job
    job: String,

    /// Go on with new lines until the job has ended
    #[arg(short, long)]
    follow: bool,

    /// Begin with the last N lines only
    #[arg(long, value_name = "N")]
    tail: Option<u32>,

    #[command(flatten)]
    pub remote: Remote,
}

/// Shows them.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let server = args.remote.server(output)?;
    let tail = args.tail.map_or(String::new(), |tail| format!("&tail={tail}"));
    let path = format!("/jobs/{}/logs?follow={}{tail}", super::segment(&args.job)?, args.follow);
    let mut reading = Reading::default();
    if args.follow {
        follow(&server, &path, &mut reading, output)?;
    } else {
        server.lines(&path, |line| show(line, &mut reading.next, output).map(|()| true))?;
    }
    Ok(Exit::Ok)
}

/// How far a log was read.
#[derive(Default)]
struct Reading {
    /// The number that the next line should have, none for the first.
    next: Option<u64>,
    /// The id of the event whose line comes next.
    coming: Option<String>,
    /// The id of the last one whose line has come, with which the server goes on.
    last: Option<String>,
    /// A line or a sign of life has come.
    is_answered: bool,
    ended: bool,
}

/// Reads events until the job ends. A connection that was there and is lost is made again, and goes on where it was cut.
fn follow(server: &Server, path: &str, reading: &mut Reading, output: &Output) -> Result<(), Failure> {
    let mut lost_at: Option<Instant> = None;
    loop {
        reading.is_answered = false;
        let last = reading.last.clone();
        let result = server.events(path, last.as_deref(), |line| reading.take(line, server, output));
        if reading.ended {
            return Ok(());
        }
        let failure = match result {
            Ok(()) => {
                let message = format!("{} went away before the job ended", server.url());
                Failure::new(Exit::Unreachable, "connection-lost", message)
            }
            Err(failure) if failure.exit == Exit::Unreachable => failure,
            Err(failure) => return Err(failure),
        };
        if reading.is_answered {
            lost_at = None;
        }
        match lost_at {
            // The first connection failed: nothing was there to be lost.
            None if !reading.is_answered => return Err(failure),
            None => {
                output.note(&format!("{}; trying again for {} s", failure.message, GIVE_UP.as_secs()));
                lost_at = Some(Instant::now());
            }
            Some(since) if since.elapsed() > GIVE_UP => return Err(failure),
            Some(_) => {}
        }
        thread::sleep(PAUSE);
    }
}

impl Reading {
    fn take(&mut self, line: &str, server: &Server, output: &Output) -> Result<bool, Failure> {
        self.is_answered = true;
        match event(line) {
            Event::Line(json) => {
                let id = self.coming.take();
                if let (Some(last), Some(id)) = (&self.last, &id)
                    && log(last) != log(id)
                {
                    output.note(&anew(last, id, || server.is_cluster()));
                    self.next = Some(0);
                }
                show(json, &mut self.next, output)?;
                self.last = id.or(self.last.take());
            }
            Event::Id(id) => self.coming = Some(id.to_owned()),
            Event::End => {
                self.ended = true;
                return Ok(false);
            }
            Event::Other => {}
        }
        Ok(true)
    }
}

/// What an event's id says of the log that its line is of: `JOB/LOG` of `JOB/LOG-NUMBER`. Numbers count within it.
fn log(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(log, _)| log)
}

/// The line that comes is the first of another log.
fn anew(last: &str, id: &str, is_cluster: impl FnOnce() -> Option<bool>) -> String {
    let job = |id: &str| id.split('/').next().unwrap_or_default().to_owned();
    if job(last) != job(id) {
        return format!("the name is another job's by now; the log of {} begins here", job(id));
    }
    let who = if is_cluster() == Some(true) { "another coordinator leads" } else { "the server was started again" };
    format!("{who}; its log of the job begins here")
}

enum Event<'a> {
    /// A log line.
    Line(&'a str),
    /// What to say to the server to go on behind the line that follows.
    Id(&'a str),
    /// The job has ended and this was all.
    End,
    /// A comment that keeps the connection alive, the end of an event, a field of no interest.
    Other,
}

/// One line of a stream of server-sent events. The server writes each event's data on one line, and the name or the id before it.
fn event(line: &str) -> Event<'_> {
    match line.split_once(':') {
        Some(("event", name)) if name.trim() == "end" => Event::End,
        Some(("id", id)) => Event::Id(id.trim()),
        Some(("data", json)) => Event::Line(json.trim_start()),
        _ => Event::Other,
    }
}

/// Shows a line; `next` is the number that it should have, none for the first.
fn show(json: &str, next: &mut Option<u64>, output: &Output) -> Result<(), Failure> {
    match output.format {
        Format::Json => return output.line(json),
        // The lines are then one list.
        Format::Yaml => return output.line(&format!("- {json}")),
        Format::Table | Format::Wide | Format::Name => {}
    }
    let line: LogLine =
        serde_json::from_str(json).map_err(|error| Failure::failed(format!("not a log line ({error}): {json}")))?;
    if let Some(gap) = gap(next, line.number) {
        output.note(&gap);
    }
    output.line(&text(&line, output))
}

/// What is missing before the line of this number.
fn gap(next: &mut Option<u64>, number: u64) -> Option<String> {
    let lost = number.saturating_sub(next.replace(number.saturating_add(1))?);
    let lines = match lost {
        0 => return None,
        1 => "1 line is".to_owned(),
        lost => format!("{lost} lines are"),
    };
    Some(format!("{lines} missing here: the job logs faster than it is read, and the server keeps the last lines only"))
}

fn text(line: &LogLine, output: &Output) -> String {
    let style = match line.level {
        LogLevel::Error => "31",
        LogLevel::Warn => "33",
        LogLevel::Info => "0",
        LogLevel::Debug | LogLevel::Trace => "2",
    };
    let level = output.styled(style, &format!("{:<5}", line.level.as_str()));
    let place = match (&line.operator, line.subtask) {
        (Some(operator), Some(subtask)) => format!("{operator}/{subtask}: "),
        (Some(operator), None) => format!("{operator}: "),
        (None, _) => String::new(),
    };
    format!("{} {level} {place}{}", time::utc(line.time), one_line(&line.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Target;

    #[test]
    fn lines_for_people() {
        let line = LogLine {
            number: 7,
            time: 0,
            level: LogLevel::Warn,
            operator: Some("counts".parse().expect("a name")),
            subtask: Some(2),
            message: "odd \x1b[2J\nerror".into(),
        };
        // Standard output is no terminal in a test.
        let output = Output::new(Format::Table);
        assert_eq!(text(&line, &output), "1970-01-01 00:00:00.000Z warn  counts/2: odd \\u{1b}[2J\\nerror");
    }

    #[test]
    fn lines_that_are_missing_are_told() {
        let mut next = None;
        let mut check = |number: u64, expect: Option<&str>| {
            let told = gap(&mut next, number);
            assert_eq!(told.as_deref().and_then(|told| told.split(" missing").next()), expect, "{number}");
        };
        check(5, None);
        check(6, None);
        check(8, Some("1 line is"));
        check(20, Some("11 lines are"));
        check(u64::MAX, Some("18446744073709551594 lines are"));
        // A server that gives no numbers.
        check(0, None);
        check(0, None);
    }

    #[test]
    fn the_log_of_another_coordinator_is_told_and_read_from_its_first_line() {
        let (output, server) = (Output::new(Format::Table), Server::new(Target::of("http://127.0.0.1:1"), false));
        let (server, mut reading) = (server.expect("an address"), Reading::default());
        let mut take = |id: &str, number: u64| {
            let json = format!(r#"data: {{"number":{number},"time":0,"level":"info","message":"m"}}"#);
            for line in [&*format!("id: {id}"), &json, ""] {
                assert!(matches!(reading.take(line, &server, &output), Ok(true)), "{line}");
            }
            (reading.next, reading.last.clone())
        };
        assert_eq!(take("a-b-000001/2a-12", 12), (Some(13), Some("a-b-000001/2a-12".to_owned())));
        assert_eq!(take("a-b-000001/2b-0", 0), (Some(1), Some("a-b-000001/2b-0".to_owned())));
        let told = |id: &str, is_cluster| anew("a-b-000001/2a-12", id, || is_cluster);
        assert_eq!(told("a-b-000001/2b-0", Some(true)), "another coordinator leads; its log of the job begins here");
        assert!(told("a-b-000001/2b-0", Some(false)).starts_with("the server was started again; "));
        assert!(told("a-b-000002/2a-0", None).ends_with("the log of a-b-000002 begins here"));
        assert_eq!((log("a-b/2a-12"), log("a/7")), ("a-b/2a", "a/7"));
    }

    #[test]
    fn events() {
        assert!(matches!(event("data: {\"a\":1}"), Event::Line("{\"a\":1}")));
        assert!(matches!(event("id: finite-00af3c/2a-7"), Event::Id("finite-00af3c/2a-7")));
        assert!(matches!(event("event: end"), Event::End));
        assert!(matches!(event(": still here"), Event::Other));
        assert!(matches!(event(""), Event::Other));
    }
}
