//! `flowctl graph`: a pipeline file or a job, drawn.

use std::fs::File;
use std::path::Path;

use flow_model::plan::Plan;
use flow_model::spec::{self, Pipeline};

use crate::cli::Remote;
use crate::deployment::invalid;
use crate::drawing::Drawing;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Draw a pipeline file, or a job as it runs
///
/// What is the path of a file is read here, without its components. Anything else is the id or the name of a job, of which
/// the server knows kinds and exchanges too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl graph pipeline.yaml
  flowctl graph wordcount                    the job of that name
  flowctl graph wordcount -o dot | dot -Tsvg > wordcount.svg
  flowctl graph pipeline.yaml -o mermaid     for Markdown")]
pub struct Args {
    /// Path of a pipeline file, or id or name of a job
    what: String,

    /// What to draw with
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORM", default_value = "text")]
    form: Form,

    /// Address of the coordinator [env: FLOW_SERVER]
    #[arg(long, value_name = "URL", conflicts_with = "context")]
    server: Option<String>,

    /// A cluster by its name, as of `flowctl context` [env: FLOW_CONTEXT]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// What to draw with.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    /// A tree of each source
    Text,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
    /// Nodes and edges
    Json,
}

impl Args {
    /// For programs, errors too.
    pub fn is_json(&self) -> bool {
        matches!(self.form, Form::Json)
    }
}

/// Draws it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let path = Path::new(&args.what);
    let is_file = path.is_file() || args.what.contains(['/', '.']);
    let drawing = if is_file {
        let text = File::open(path)
            .and_then(spec::read_bounded)
            .map_err(|error| Failure::invalid(format!("can't read the pipeline file {}: {error}", args.what)))?;
        let pipeline = Pipeline::parse(&args.what, &text).map_err(|error| invalid(error.diagnostics))?;
        Drawing::of_pipeline(&pipeline)
    } else {
        let server = Remote::of(args.server.clone(), args.context.clone()).server(output)?;
        let plan: Plan = server.get(&format!("/jobs/{}/plan", super::segment(&args.what)?))?;
        Drawing::of_plan(&plan)
    };
    output.line(&match args.form {
        Form::Text => drawing.text(),
        Form::Dot => drawing.dot(),
        Form::Mermaid => drawing.mermaid(),
        Form::Json => serde_json::to_string_pretty(&drawing).map_err(Failure::failed)?,
    })?;
    Ok(Exit::Ok)
}
