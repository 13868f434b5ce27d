//! A pipeline of which is known what its components are: all that whoever leads a job needs to know of it, without any of its code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnostic;
use crate::ids::OperatorName;
use crate::plan::{Plan, plan};
use crate::spec::{Delivery, Pipeline, SinkConnector};

/// What loading a pipeline's components brought to light.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Findings {
    /// How it runs.
    pub plan: Plan,
    /// The states of each keyed operator, by name and kind.
    pub states: BTreeMap<OperatorName, Vec<(String, String)>>,
}

/// A pipeline that may start, without its code.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// What was checked.
    pub pipeline: Pipeline,
    /// What its components are.
    pub findings: Findings,
}

impl Outline {
    /// The same of a pipeline whose nodes have another parallelism.
    ///
    /// # Errors
    /// It can't run so.
    pub fn scaled(&self, pipeline: Pipeline) -> Result<Outline, diagnostic::Error> {
        let plan = plan(&pipeline, &self.plan().kinds())?;
        Ok(Outline { pipeline, findings: Findings { plan, states: self.findings.states.clone() } })
    }

    /// What was checked.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// How it runs.
    pub fn plan(&self) -> &Plan {
        &self.findings.plan
    }

    /// The states of a keyed operator by name and kind, none of everything else.
    pub fn states(&self, operator: &OperatorName) -> Vec<(String, String)> {
        self.findings.states.get(operator).cloned().unwrap_or_default()
    }

    /// Whether a node is a sink whose output waits for its checkpoint to count, in a pipeline with checkpoints.
    pub fn is_exactly_once(&self, node: &OperatorName) -> bool {
        let sink = self.pipeline.sinks.iter().find(|sink| sink.name == *node);
        sink.is_some_and(|sink| match &sink.connector {
            SinkConnector::Kafka(kafka) => kafka.delivery.value == Delivery::ExactlyOnce,
            SinkConnector::Files(_) => true,
            SinkConnector::Stdout(_) | SinkConnector::Blackhole => false,
        })
    }
}
