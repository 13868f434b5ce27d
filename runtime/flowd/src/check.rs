//! `flowd check`: can this pipeline run? Loads its components, starts nothing.

use std::process::ExitCode;

use anyhow::Result;
use flow_coordinator::submission::{Error, Submission};
use flow_model::api::{Checked, Refusal, RefusalCode, printable};
use flow_worker::{Options, Worker};

use crate::cli::{Check, Format, LogFormat};
use crate::data::{self, DataDir};
use crate::logging::{self, Quiet};
use crate::{exit, parent, say};

/// Checks and prints the plan, or what is wrong: JSON to stdout, text for people to stderr.
pub fn run(args: &Check) -> Result<ExitCode> {
    if args.process.die_with_parent {
        parent::die_with_it()?;
    }
    logging::start(&args.process, Quiet::Check, LogFormat::Text);
    // What is wrong with the files is told before the engine is made.
    let checked = match Submission::read(&args.file) {
        Ok(submission) => {
            let data = DataDir::temporary()?;
            let options = Options { data_dir: data.path().to_owned(), component_cache_dir: data::component_cache() };
            submission.check(&Worker::new(options)?)
        }
        Err(error) => Err(error),
    };
    match checked {
        Ok(checked) => {
            let warnings = checked.pipeline().warnings.clone();
            show(&Checked { plan: checked.plan().clone(), warnings }, args.output)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => refuse(error, args.output),
    }
}

fn show(checked: &Checked, format: Format) -> Result<()> {
    match format {
        Format::Json => say::out(&serde_json::to_string_pretty(checked)?)?,
        Format::Table => {
            checked.warnings.iter().for_each(|warning| say::err(&printable(&warning.to_string())));
            say::out(&checked.plan.to_string())?;
        }
    }
    Ok(())
}

fn refuse(error: Error, format: Format) -> Result<ExitCode> {
    let refusal = Refusal::from(error);
    match format {
        Format::Json => say::out(&serde_json::to_string_pretty(&refusal)?)?,
        Format::Table => say::err(&text(&refusal)),
    }
    Ok(ExitCode::from(code(&refusal)))
}

/// A refusal for people.
pub fn text(refusal: &Refusal) -> String {
    let mut lines: Vec<String> = refusal.diagnostics.iter().map(ToString::to_string).collect();
    lines.push(format!("error: {}", refusal.message));
    lines.extend(refusal.hint.iter().map(|hint| format!("  {hint}")));
    lines.iter().map(|line| printable(line)).collect::<Vec<String>>().join("\n")
}

/// The exit code for a refusal.
pub fn code(refusal: &Refusal) -> u8 {
    match refusal.code {
        RefusalCode::InvalidPipeline | RefusalCode::BadRequest => exit::INVALID,
        _ => exit::FAILED,
    }
}
