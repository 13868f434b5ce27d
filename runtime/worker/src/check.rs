//! Checking a pipeline whole before anything of it starts: its components are loaded and described under limits, their kinds
//! are held against their places, and the plan is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow_model::diagnostic::{Code, Diagnostic, Error as Diagnostics};
use flow_model::ids::OperatorName;
use flow_model::plan::{Plan, plan};
use flow_model::spec::Pipeline;
use flow_plugin::Component;

use crate::{Error, Worker};

/// The bytes of each operator's component.
pub type Components = BTreeMap<OperatorName, Vec<u8>>;

/// A pipeline that may start.
pub struct Checked {
    pub(crate) pipeline: Pipeline,
    pub(crate) plan: Plan,
    pub(crate) components: BTreeMap<OperatorName, Arc<Component>>,
}

impl Checked {
    /// What was checked.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// How it would run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Worker {
    /// Checks a pipeline and its components.
    pub fn check(&self, pipeline: Pipeline, bytes: &Components) -> Result<Checked, Error> {
        let mut found = Vec::new();
        let mut components = BTreeMap::new();
        // Operators often share a component; each is loaded once.
        let mut loaded: Vec<(&[u8], Arc<Component>)> = Vec::new();
        for operator in &pipeline.operators {
            let at = |message: String| {
                let message = format!("operator \"{}\": {message}", operator.name);
                Diagnostic::error(Code::Component, &pipeline.file, operator.component.position, message)
            };
            let Some(bytes) = bytes.get(&operator.name) else {
                let path = operator.component.value.display();
                let hint = format!("build it with `flowctl build` and check the path {path}");
                found.push(at("its component was not handed in".into()).hint(hint));
                continue;
            };
            let component = match loaded.iter().find(|(known, _)| known == bytes) {
                Some((_, component)) => component.clone(),
                None => {
                    let name = operator.component.value.display().to_string();
                    match self.engine.load(&name, bytes, &limits(&operator.limits)) {
                        Ok(component) => Arc::new(component),
                        Err(error) => {
                            found.push(at(error.to_string()));
                            continue;
                        }
                    }
                }
            };
            if let Some(unserved) = unserved(&component) {
                found.push(at(unserved));
            }
            loaded.push((bytes, component.clone()));
            components.insert(operator.name.clone(), component);
        }
        if !found.is_empty() {
            return Err(Error::Pipeline(Diagnostics { diagnostics: found }));
        }
        let kinds = components.iter().map(|(name, c)| (name.clone(), c.kind())).collect();
        let plan = plan(&pipeline, &kinds)?;
        Ok(Checked { pipeline, plan, components })
    }
}

pub(crate) fn limits(spec: &flow_model::spec::Limits) -> flow_plugin::Limits {
    flow_plugin::Limits {
        memory: spec.memory.as_usize(),
        time_per_batch: spec.time_per_batch,
        output: spec.output_per_batch.as_usize(),
        ..Default::default()
    }
}

/// What a component asks for that this version does not give.
fn unserved(component: &Component) -> Option<String> {
    let description = component.description();
    if let Some(port) = description.ports.get(1) {
        return Some(format!("the component has a side output \"{port}\"; only the main output can be read"));
    }
    let capability = description.capabilities.first()?;
    Some(format!("the component needs \"{capability}\"; nothing of the outside can be granted"))
}
