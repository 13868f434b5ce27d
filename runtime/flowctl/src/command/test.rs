//! `flowctl test`: operators over given records, in the sandbox that they run in.

use std::path::PathBuf;
use std::time::Duration;

use flow_model::kind::OperatorKind;
use flow_model::quantity::parse_duration;
use flow_model::trial::{Case, Outcome, Soaked, TestFile};
use serde::Serialize;

use crate::cli::Shown;
use crate::exit::{Exit, Failure};
use crate::output::{Output, size};
use crate::table::count;
use crate::trial::ask::Soak;
use crate::trial::{ask, compare, find, update};

/// Try operators on the records of *.test.yaml files, in the sandbox
///
/// A test file names a crate, which is compiled first, or a component, and cases: config, input records, and what has to
/// come out, be refused and be in the state then. Each case runs on a new operator in the real engine, with its limits;
/// what is not said in `expect` is not compared. Ends with 1 if a case does not hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl test                               every *.test.yaml here and below
  flowctl test enrich.test.yaml -c 'bad orders'
  flowctl test --update                      write what comes out into the files; look at it with git diff
  flowctl test --soak 30s                    again and again, with instances replaced at random

A test file:
  crate: .                                   or component: enrich.wasm
  config: {rate: 2}
  cases:
    - name: doubles the amount
      input:
        - {key: k, value: {amount: 1.5}, headers: {trace: '7'}, timestamp: 1700000000000}
        - just a text as value               bytes: value-base64, key-base64
      expect:
        output: [{key: k, value: {amount: 3}}]
        rejects: [{input: 1, code: bad-json, message: a part of it}]
        state: {k: {count: 1}}               after the end of the input; or error: a part of it")]
pub struct Args {
    /// Test files, or directories to look for them
    paths: Vec<PathBuf>,

    /// Only the cases whose name contains this
    #[arg(short, long, value_name = "TEXT")]
    case: Option<String>,

    /// Write what comes out into the files, as what is expected
    #[arg(long, conflicts_with = "soak")]
    update: bool,

    /// Repeat each case for so long, cut into random batches and with instances replaced at random; what comes out must
    /// stay the same
    #[arg(long, value_name = "TIME", value_parser = time)]
    soak: Option<Duration>,

    /// Where the random choices of a soak begin
    #[arg(long, value_name = "N", default_value_t = 1, requires = "soak")]
    seed: u64,

    #[command(flatten)]
    pub shown: Shown,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// What became of all files.
#[derive(Serialize)]
struct Report {
    files: Vec<FileReport>,
    passed: usize,
    failed: usize,
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    kind: OperatorKind,
    digest: String,
    cases: Vec<CaseReport>,
}

#[derive(Serialize)]
struct CaseReport {
    name: String,
    line: u32,
    passed: bool,
    /// Lines that tell what differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
    input: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

/// Runs them all and says what differs.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let mut report = Report { files: Vec::new(), passed: 0, failed: 0 };
    for path in find::files(&args.paths)? {
        let (text, file) = ask::read(&path)?;
        let cases = wanted(&file, args.case.as_deref());
        if cases.is_empty() {
            continue;
        }
        let soak = args.soak.map(|time| Soak { ms: time.as_millis() as u64, seed: args.seed });
        let answer = ask::run(&path, &file, &cases, soak, output)?;
        let shown = path.display().to_string();
        if args.update {
            let outcomes: Vec<_> = cases.iter().copied().zip(&answer.outcomes).collect();
            let new = update::updated(&text, &outcomes).map_err(|why| Failure::invalid(format!("{shown}: {why}")))?;
            if new != text {
                std::fs::write(&path, new).map_err(|error| Failure::failed(format!("can't write {shown}: {error}")))?;
                output.note(&format!("{shown} is written anew; look at the difference"));
            }
            continue;
        }
        let cases: Vec<CaseReport> =
            cases.into_iter().zip(answer.outcomes).map(|(case, outcome)| judged(case, outcome)).collect();
        let failed = cases.iter().filter(|case| !case.passed).count();
        report.failed += failed;
        report.passed += cases.len() - failed;
        report.files.push(FileReport { file: shown, kind: answer.description.kind, digest: answer.digest, cases });
    }
    if args.update {
        return Ok(Exit::Ok);
    }
    if report.passed + report.failed == 0 {
        let message = format!("no case's name contains \"{}\"", args.case.as_deref().unwrap_or_default());
        return Err(Failure::invalid(message).hint("leave out --case to run them all"));
    }
    output.print_named(&report, || failed_places(&report), || text(&report, output))?;
    Ok(if report.failed == 0 { Exit::Ok } else { Exit::Failed })
}

fn wanted<'f>(file: &'f TestFile, name: Option<&str>) -> Vec<&'f Case> {
    file.cases.iter().filter(|case| name.is_none_or(|part| case.name.contains(part))).collect()
}

fn judged(case: &Case, outcome: Result<Outcome, String>) -> CaseReport {
    let differences = compare::differences(case, &outcome);
    CaseReport {
        name: case.name.clone(),
        line: case.position.line,
        passed: differences.is_empty(),
        differences,
        input: case.input.len(),
        outcome: outcome.ok(),
    }
}

/// `FILE:LINE` of each case that does not hold.
fn failed_places(report: &Report) -> Vec<String> {
    let failed = |file: &FileReport| {
        let cases = file.cases.iter().filter(|case| !case.passed);
        cases.map(|case| format!("{}:{}", file.file, case.line)).collect::<Vec<_>>()
    };
    report.files.iter().flat_map(failed).collect()
}

fn text(report: &Report, output: &Output) -> String {
    let mut lines = Vec::new();
    for FileReport { file, kind, digest, cases } in &report.files {
        lines.push(format!("{file}: {kind} {}", &digest[..digest.len().min(12)]));
        for case in cases {
            let mark = if case.passed { output.styled("32", "ok    ") } else { output.styled("31", "FAILED") };
            lines.push(format!("  {mark} {}{}", case.name, numbers(case)));
            if !case.passed {
                lines.push(format!("         {file}:{}", case.line));
            }
            lines.extend(case.differences.iter().map(|line| format!("         {}", coloured(line, output))));
            if let Some(Outcome { soak: Some(soak), .. }) = &case.outcome {
                lines.push(format!("         {}", soaked(soak)));
            }
        }
    }
    let of = |count: usize, what: &str| format!("{count} {what}");
    lines.push(format!("{}, {}", of(report.passed, "passed"), of(report.failed, "failed")));
    lines.join("\n")
}

fn numbers(case: &CaseReport) -> String {
    let Some(outcome) = &case.outcome else { return String::new() };
    format!(" ({} in, {} out, {} rejected)", case.input, outcome.output.len(), outcome.rejects.len())
}

fn soaked(soak: &Soaked) -> String {
    let (sign, grown) = if soak.memory_growth < 0 { ("-", -soak.memory_growth) } else { ("+", soak.memory_growth) };
    format!(
        "{} rounds, {} instances replaced, {} records/s, memory {sign}{}",
        count(soak.rounds),
        count(soak.replaced),
        count(soak.records_per_second as u64),
        size(grown.unsigned_abs())
    )
}

fn coloured(line: &str, output: &Output) -> String {
    let line = flow_model::api::printable(line);
    match line.as_bytes().first() {
        Some(b'-') => output.styled("31", &line),
        Some(b'+') => output.styled("32", &line),
        _ => line,
    }
}
