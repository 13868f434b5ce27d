//! What a job that does not run owes: its sinks write what a confirmed checkpoint carries, and nothing else is made of it. Must
//! never take rows.

use flow_dataflow::Error as TaskError;
use flow_model::checkpoint::snapshot::Output;
use flow_model::ids::OperatorName;

use crate::Error;
use crate::attempt::Attempt;
use crate::check::Checked;
use crate::connect::SharedSink;

/// Sinks that write what they owe. What they have written the attempt's listener hears. Dropped, they stop where they stand.
pub struct Settling {
    /// Kept for what they do when they go.
    _sinks: Vec<SharedSink>,
}

impl Settling {
    /// Opens the sinks of which the attempt's checkpoint carries output.
    ///
    /// # Errors
    /// One of them is not in the pipeline as a sink that writes exactly once, or can't be opened.
    pub(crate) fn open(checked: &Checked, attempt: &Attempt) -> Result<Settling, Error> {
        let nodes = attempt.from.iter().flat_map(|from| &from.nodes);
        let owes = |output: &Output| !output.segments.is_empty() || !output.files.is_empty();
        let owing =
            nodes.filter(|(_, node)| node.subtasks.iter().any(|subtask| subtask.output.as_ref().is_some_and(owes)));
        let owing = owing.filter(|(name, node)| !attempt.part.lanes(name, node).is_empty());
        let sinks: Result<Vec<SharedSink>, Error> = owing.map(|(name, _)| open(checked, attempt, name)).collect();
        Ok(Settling { _sinks: sinks? })
    }
}

fn open(checked: &Checked, attempt: &Attempt, name: &OperatorName) -> Result<SharedSink, Error> {
    let spec = checked.pipeline.sinks.iter().find(|sink| sink.name == *name && checked.is_exactly_once(name));
    let Some(spec) = spec else {
        let checkpoint = attempt.confirmed();
        let why = format!(
            "checkpoint {checkpoint} carries output of the sink \"{name}\", which the pipeline does not have, or not as one that \
             writes exactly once; to write it, `flowctl sink settle` a file with that sink as it was, or deploy one, with \
             --from-checkpoint latest to go on from there"
        );
        return Err(Error::Connector(name.clone(), TaskError::Fatal(why)));
    };
    SharedSink::open(spec, &checked.pipeline, Some(attempt), attempt.warn(name))
}
