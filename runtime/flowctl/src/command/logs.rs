//! `flowctl logs`: what a job and its operators log, at once or as it comes.

use flow_model::api::{LogLevel, LogLine, one_line};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};
use crate::time;

/// Show the log of a job and its operators
///
/// The server keeps the last lines of each job. With -o json each line is one JSON object.
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
    let (mut ended, mut next) = (false, None);
    server.lines(&path, |line| {
        let json = if args.follow {
            match event(line) {
                Event::Line(json) => json,
                Event::End => {
                    ended = true;
                    return Ok(false);
                }
                Event::Other => return Ok(true),
            }
        } else {
            line
        };
        show(json, &mut next, output)?;
        Ok(true)
    })?;
    if args.follow && !ended {
        let message = format!("{} went away before the job ended", server.url());
        return Err(Failure::new(Exit::Unreachable, "connection-lost", message));
    }
    Ok(Exit::Ok)
}

enum Event<'a> {
    /// A log line.
    Line(&'a str),
    /// The job has ended and this was all.
    End,
    /// A comment that keeps the connection alive, the end of an event, a field of no interest.
    Other,
}

/// One line of a stream of server-sent events. The server writes each event's data on one line, and the name before it.
fn event(line: &str) -> Event<'_> {
    match line.split_once(':') {
        Some(("event", name)) if name.trim() == "end" => Event::End,
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
    fn events() {
        assert!(matches!(event("data: {\"a\":1}"), Event::Line("{\"a\":1}")));
        assert!(matches!(event("event: end"), Event::End));
        assert!(matches!(event(": still here"), Event::Other));
        assert!(matches!(event(""), Event::Other));
    }
}
