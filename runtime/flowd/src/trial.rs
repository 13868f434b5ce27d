//! `flowd trial`: runs an operator over given records in the sandbox, for `flowctl test`. One JSON request comes on the
//! standard input, one JSON answer goes to the standard output. It must never judge what came out.

mod decode;
mod soak;

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, Result};
use flow_model::api::{Refusal, RefusalCode};
use flow_model::trial::{Answer, Blob, Description, Emitted, Outcome, Record, Reject, Request, State, Trial};
use flow_sdk_test::{Compiled, Component, Error, Input, Output};

use crate::cli::{LogFormat, Trial as Args};
use crate::logging::{self, Quiet};
use crate::{data, exit, parent, say};

/// Runs the cases. What keeps all of them from running is a refusal, as in `flowd check`.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.process.die_with_parent {
        parent::die_with_it()?;
    }
    logging::start(&args.process, Quiet::Check, LogFormat::Text);
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("reading the request")?;
    let request: Request = serde_json::from_str(&text).context("the request")?;
    let compiled = match load(&request.component) {
        Ok(compiled) => compiled,
        Err(why) => {
            say::out(&serde_json::to_string(&Refusal::new(RefusalCode::InvalidPipeline, why))?)?;
            return Ok(ExitCode::from(exit::INVALID));
        }
    };
    let outcomes = request.cases.iter().map(|case| outcome(&compiled, case, &request).map_err(|e| e.to_string()));
    let answer =
        Answer { description: description(&compiled), digest: compiled.digest(), outcomes: outcomes.collect() };
    say::out(&serde_json::to_string(&answer)?)?;
    Ok(ExitCode::SUCCESS)
}

fn description(compiled: &Compiled) -> Description {
    let said = compiled.description();
    let states = said.states.iter().map(|state| State {
        name: state.name.clone(),
        kind: format!("{:?}", state.kind).to_lowercase(),
        encoding: state.encoding.clone(),
        version: state.version,
    });
    Description {
        kind: said.kind,
        columns: said.columns.iter().map(|&column| flow_sdk_test::column_name(column)).collect(),
        ports: said.ports.clone(),
        states: states.collect(),
        capabilities: said.capabilities.clone(),
    }
}

fn load(path: &str) -> Result<Compiled, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("can't read {path}: {error}"))?;
    Compiled::new(path, &bytes, data::component_cache()).map_err(|error| error.to_string())
}

fn outcome(compiled: &Compiled, case: &Trial, request: &Request) -> Result<Outcome, Error> {
    let mut component = compiled.start(&case.config)?;
    component.now(case.now);
    if let Some(watermark) = case.watermark {
        component.watermark(watermark);
    }
    let inputs: Vec<Input> = case.input.iter().map(input).collect();
    let mut first = Outcome::default();
    take(&mut first, component.run(inputs.iter().cloned())?, 0);
    close(&mut first, &mut component)?;
    if let Some(ms) = request.soak_ms {
        first.soak = Some(soak::soak(&mut component, &inputs, &first, ms, request.seed));
    }
    Ok(first)
}

/// The end of the input, and what the state is then.
fn close(outcome: &mut Outcome, component: &mut Component) -> Result<(), Error> {
    let last = component.end_of_input()?;
    take(outcome, last, 0);
    outcome.state = decode::states(component.states());
    Ok(())
}

/// Adds what a run gave whose first input was number `first` of the case.
fn take(outcome: &mut Outcome, output: Output, first: usize) {
    outcome.output.extend(output.records.into_iter().map(|record| Emitted {
        input: record.input.map(|input| first + input),
        port: record.port,
        record: Record {
            key: record.key.map(Blob),
            value: record.value.map(Blob),
            timestamp: record.timestamp,
            headers: record.headers.into_iter().map(|(name, value)| (name, value.map(Blob))).collect(),
        },
    }));
    outcome.rejects.extend(output.rejected.into_iter().map(|rejected| Reject {
        input: first + rejected.input,
        code: rejected.code,
        message: rejected.message,
    }));
    outcome.logs.extend(output.logs.into_iter().map(|(level, text)| (format!("{level:?}").to_lowercase(), text)));
}

fn input(record: &Record) -> Input {
    let bytes = |blob: &Option<Blob>| blob.as_ref().map(|blob| blob.0.clone());
    Input {
        key: bytes(&record.key),
        value: bytes(&record.value),
        timestamp: record.timestamp,
        headers: record.headers.iter().map(|(name, value)| (name.clone(), bytes(value))).collect(),
    }
}
