//! One test file → what became of its cases, which `flowd trial` runs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use flow_model::api::Refusal;
use flow_model::spec;
use flow_model::trial::{Answer, Case, Component, Request, TestFile, Trial};

use crate::build::{self, How};
use crate::deployment::invalid;
use crate::exit::Failure;
use crate::flowd;
use crate::output::Output;

/// How a component is soaked.
#[derive(Clone, Copy)]
pub struct Soak {
    pub ms: u64,
    pub seed: u64,
}

/// Reads a test file. `path` is also its name for messages.
pub fn read(path: &Path) -> Result<(String, TestFile), Failure> {
    let shown = path.display().to_string();
    let text = File::open(path)
        .and_then(spec::read_bounded)
        .map_err(|error| Failure::invalid(format!("can't read {shown}: {error}")))?;
    let file = TestFile::parse(&shown, &text).map_err(|error| {
        let failure = invalid(error.diagnostics);
        Failure { message: failure.message.replacen("the pipeline", "the test file", 1), ..failure }
    })?;
    let text = String::from_utf8(text).map_err(|_| Failure::invalid(format!("{shown} is not UTF-8")))?;
    Ok((text, file))
}

/// Runs the cases of the file at `path`, whose crate is compiled first if it names one.
pub fn run(
    path: &Path,
    file: &TestFile,
    cases: &[&Case],
    soak: Option<Soak>,
    output: &Output,
) -> Result<Answer, Failure> {
    let directory = path.parent().unwrap_or(Path::new(""));
    // It has to stay until flowd has read the component.
    let compiled;
    let component = match &file.component.value {
        Component::File(component) => directory.join(component),
        Component::Crate(crate_dir) => {
            let dir = directory.join(crate_dir);
            let dir = if dir.as_os_str().is_empty() { Path::new(".").to_owned() } else { dir };
            let operator = build::operator(&dir, &How::default(), output)?;
            compiled =
                tempfile::tempdir().map_err(|error| Failure::failed(format!("no temporary directory: {error}")))?;
            let component = compiled.path().join(format!("{}.wasm", operator.name));
            build::write(&component, &operator.component)?;
            component
        }
    };
    if !component.is_file() {
        let position = file.component.position;
        let (shown, test) = (component.display(), path.display());
        return Err(Failure::invalid(format!("{test}:{}:{}: no component {shown}", position.line, position.column))
            .hint("build it with `flowctl build`, or name the crate: `crate: DIR`"));
    }
    let request = Request {
        component: component
            .to_str()
            .ok_or_else(|| Failure::invalid(format!("the path {} is no valid text", component.display())))?
            .to_owned(),
        cases: cases.iter().map(|case| trial(case)).collect(),
        soak_ms: soak.map(|soak| soak.ms),
        seed: soak.map_or(0, |soak| soak.seed),
    };
    ask(&request)
}

fn trial(case: &Case) -> Trial {
    Trial { config: case.config.clone(), now: case.now, watermark: case.watermark, input: case.input.clone() }
}

/// Has flowd load the component and run the cases.
pub fn ask(request: &Request) -> Result<Answer, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("flowd could not run the operator: {error}"));
    let request = serde_json::to_vec(request).map_err(|error| failed(&error))?;
    let mut child = flowd::command()?
        .args(["trial", "--die-with-parent"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&request));
    let answer = child.wait_with_output().map_err(|error| failed(&error))?;
    written.map_err(|error| failed(&error))?;
    if answer.status.success() {
        return serde_json::from_slice(&answer.stdout)
            .map_err(|error| failed(&format_args!("it answers what flowctl does not know: {error}")));
    }
    match serde_json::from_slice::<Refusal>(&answer.stdout) {
        Ok(refusal) => Err(Failure::from(refusal)),
        Err(_) => Err(failed(&answer.status)),
    }
}
