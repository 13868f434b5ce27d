//! Checking a pipeline whole before anything of it starts: its components are loaded and described under limits, their kinds
//! are held against their places, the plan is made, and each operator reads its config once, under its limits.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use flow_dataflow::Function;
use flow_dataflow::function::StateDescriptor;
use flow_dataflow::report::{Level, Place, Rejected, Report};
use flow_model::diagnostic::{Code, Diagnostic, Error as Diagnostics};
use flow_model::ids::{Digest, OperatorName, SubtaskIndex};
use flow_model::outline::{Findings, Outline};
use flow_model::plan::plan;
use flow_model::spec::{Operator, Pipeline};
use flow_plugin::Component;

use crate::{Error, Worker, outputs};

/// The bytes of each operator's component; operators share them where they share a component.
pub type Components = BTreeMap<OperatorName, Bytes>;

/// A pipeline that may start, and its code.
pub struct Checked {
    pub(crate) outline: Outline,
    pub(crate) components: BTreeMap<OperatorName, Arc<Component>>,
}

impl Deref for Checked {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        &self.outline
    }
}

impl Checked {
    /// The same without its code.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// One subtask of an operator, initialized. `stop` ends its calls.
    pub(crate) fn instantiate(
        &self,
        operator: &Operator,
        component: &Component,
        (subtask, parallelism): (u32, u32),
        report: Arc<dyn Report>,
        stop: Arc<AtomicBool>,
    ) -> Result<Box<dyn Function>, flow_plugin::Error> {
        let range = self.plan().key_groups.range(SubtaskIndex(subtask), parallelism);
        component.instantiate(flow_plugin::Setup {
            operator: operator.name.to_string(),
            config: operator.config.value.to_string(),
            subtask,
            parallelism,
            key_groups: (range.start.into(), u32::from(range.end).saturating_sub(1)),
            limits: operator.limits.value.into(),
            report,
            stop,
        })
    }

    /// Lets the first subtask of each operator initialize itself: what is wrong with a config only its operator knows.
    fn try_configs(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for task in &self.plan().tasks {
            for element in &task.chain {
                let name = &element.operator;
                let (Some(operator), Some(component)) = (self.pipeline.operator(name), self.components.get(name))
                else {
                    continue;
                };
                let place = (0, task.parallelism);
                if let Err(error) = self.instantiate(operator, component, place, Arc::new(Unheard), Arc::default()) {
                    let config = &operator.config;
                    let position = if config.value.is_null() { operator.position } else { config.position };
                    let message = format!("operator \"{name}\": {error}");
                    found.push(Diagnostic::error(Code::Component, &self.pipeline.file, position, message));
                }
            }
        }
        found
    }
}

/// What an operator logs while it is checked it logs again when it starts.
struct Unheard;

impl Report for Unheard {
    fn log(&self, _: Level, _: &str) {}

    fn rejected(&self, _: &Rejected) {}

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("split {split}, position {position}").into()
    }
}

impl Worker {
    /// Checks a pipeline and its components.
    pub fn check(&self, pipeline: Pipeline, bytes: &Components) -> Result<Checked, Error> {
        let mut found = Vec::new();
        let mut components = BTreeMap::new();
        // Operators often share a component; each is loaded once.
        let mut loaded: Vec<(&Bytes, Arc<Component>)> = Vec::new();
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
            // Mostly they are the very same bytes, which need no comparing.
            let same = |known: &Bytes| known.as_ptr() == bytes.as_ptr() && known.len() == bytes.len() || known == bytes;
            let component = match loaded.iter().find(|(known, _)| same(known)) {
                Some((_, component)) => component.clone(),
                None => {
                    let name = operator.component.value.display().to_string();
                    match self.engine.load(&name, bytes, &operator.limits.value.into()) {
                        Ok(component) => {
                            let component = Arc::new(component);
                            loaded.push((bytes, component.clone()));
                            component
                        }
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
            components.insert(operator.name.clone(), component);
        }
        if !found.is_empty() {
            return Err(Error::Pipeline(Diagnostics { diagnostics: found }));
        }
        let kinds = components.iter().map(|(name, c)| (name.clone(), c.kind())).collect();
        let plan = plan(&pipeline, &kinds)?;
        if let Some(shared) = outputs::shared(&pipeline) {
            return Err(Error::Pipeline(shared.into()));
        }
        let states = components.iter().map(|(name, c)| (name.clone(), declared(&c.description().states)));
        let states = states.filter(|(_, states)| !states.is_empty()).collect();
        let checked = Checked { outline: Outline { pipeline, findings: Findings { plan, states } }, components };
        match checked.try_configs() {
            found if found.is_empty() => Ok(checked),
            found => Err(Error::Pipeline(Diagnostics { diagnostics: found })),
        }
    }
}

/// By what a component is found, of its bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest::try_from(flow_plugin::Digest::of(bytes).to_string()).expect("it is shown as hexadecimal digits")
}

/// States by name and kind, as checkpoints tell them.
pub(crate) fn declared(states: &[StateDescriptor]) -> Vec<(String, String)> {
    states.iter().map(|state| (state.name.clone(), format!("{:?}", state.kind).to_lowercase())).collect()
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
