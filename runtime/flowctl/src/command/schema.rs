//! `flowctl schema`: the JSON Schema of a pipeline file, for editors.

use flow_model::spec::schema;

use crate::deployment::invalid;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Print the JSON Schema of a pipeline file, for editors
///
/// An editor with a YAML language server completes and checks a file whose first line names the schema:
/// `# yaml-language-server: $schema=pipeline.schema.json`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl schema > pipeline.schema.json
  flowctl schema | jq .properties.sources")]
pub struct Args {}

/// Prints it.
pub fn run(output: &Output) -> Result<Exit, Failure> {
    output.line(&text()?)?;
    Ok(Exit::Ok)
}

/// The schema as a file holds it.
pub fn text() -> Result<String, Failure> {
    let schema = schema::schema().map_err(|error| invalid(error.diagnostics))?;
    Ok(serde_json::to_string_pretty(&schema).map_err(Failure::failed)? + "\n")
}
