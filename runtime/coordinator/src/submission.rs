//! A pipeline file and its components, as someone handed them in: over REST or from disk.
//!
//! Makes a checked pipeline of it or says everything that is wrong; starts nothing and keeps nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flow_model::api::{Refusal, RefusalCode};
use flow_model::diagnostic::{Code, Diagnostic, Error as Diagnostics, Position};
use flow_model::ids::{OperatorName, PipelineName};
use flow_model::quantity::ByteSize;
use flow_model::spec::{self, COMPONENT_MAX, Pipeline, SinkConnector, SourceConnector};
use flow_model::start::Start;
use flow_worker::{Checked, Components, Worker};

/// What was handed in.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// The pipeline file's name, for messages.
    pub file: String,
    /// The pipeline file.
    pub text: Vec<u8>,
    /// Components by the operator that they are for, or by the path that the pipeline file gives. The operator's name
    /// goes first where both are there.
    pub components: BTreeMap<String, Bytes>,
    /// Another name for the job than the pipeline's own.
    pub name: Option<PipelineName>,
    /// Where relative paths of sources and sinks start from; the process's own directory if absent.
    pub directory: Option<PathBuf>,
    /// What the job begins with.
    pub start: Start,
    /// Nodes whose parallelism is another one than the file says.
    pub parallelism: BTreeMap<OperatorName, u32>,
}

/// Why a submission can't be accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline or its components can't run.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
    /// A component that no operator asks for: most likely a slip in its name.
    #[error("the component \"{0}\" is for no operator of the pipeline")]
    Surplus(String),
    /// Relative paths can't start from that directory: why.
    #[error("the directory {0:?} {1}")]
    Directory(PathBuf, &'static str),
    /// A fault of this program or its machine.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The same with what to do about each problem of the pipeline that says nothing of it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: Option<&str>) -> Error {
        if let (Error::Invalid(found), Some(hint)) = (&mut self, hint) {
            for diagnostic in &mut found.diagnostics {
                diagnostic.hint.get_or_insert_with(|| hint.to_owned());
            }
        }
        self
    }
}

impl From<Error> for Refusal {
    /// As the REST API tells it.
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(found) => {
                let count = found.diagnostics.len();
                let message = format!("the pipeline has {count} error{}", if count == 1 { "" } else { "s" });
                Self { diagnostics: found.diagnostics, ..Self::new(RefusalCode::InvalidPipeline, message) }
            }
            Error::Surplus(_) => Self::new(RefusalCode::BadRequest, message)
                .hint("name the part by the operator, or by the path that the pipeline file gives"),
            Error::Directory(..) => Self::new(RefusalCode::BadRequest, message).hint(
                "send the absolute path of the directory that the pipeline file lies in, as `flowctl deploy` does",
            ),
            Error::Internal(_) => Self::new(RefusalCode::Internal, message),
        }
    }
}

impl Submission {
    /// Reads a pipeline file and the components that it names, which lie relative to it.
    ///
    /// # Errors
    /// [`Error::Invalid`] with one diagnostic for each file that can't be read, or for what is wrong with the pipeline.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let text = File::open(path).and_then(spec::read_bounded).map_err(|error| {
            let message = format!("can't read the pipeline file: {error}");
            Diagnostics::from(Diagnostic::error(Code::Syntax, &file, None, message))
        })?;
        let pipeline = Pipeline::parse(&file, &text)?;
        let directory = std::path::absolute(path)
            .map_err(|error| Error::Internal(format!("can't tell where {file} is: {error}")))?
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default();
        let mut components: BTreeMap<String, Bytes> = BTreeMap::new();
        let mut by_place: BTreeMap<PathBuf, Bytes> = BTreeMap::new();
        let mut diagnostics = Vec::new();
        for operator in &pipeline.operators {
            let place = directory.join(&operator.component.value);
            let bytes = match by_place.get(&place) {
                Some(bytes) => Ok(bytes.clone()),
                None => read_file(&place).map(Bytes::from),
            };
            match bytes {
                Ok(bytes) => {
                    components.insert(operator.name.to_string(), bytes.clone());
                    by_place.insert(place, bytes);
                }
                Err(error) => {
                    let shown = operator.component.value.display();
                    let message =
                        format!("can't read the component {shown} of operator \"{}\": {error}", operator.name);
                    let hint = format!("build it: flowctl build DIR -o {}", place.display());
                    let position = operator.component.position;
                    diagnostics.push(Diagnostic::error(Code::Component, &file, position, message).hint(hint));
                }
            }
        }
        if !diagnostics.is_empty() {
            return Err(Diagnostics { diagnostics }.into());
        }
        Ok(Self { file, text, components, name: None, directory: Some(directory), ..Self::default() })
    }

    /// Checks the whole of it. Loads the components, so it may take seconds; it blocks.
    ///
    /// # Errors
    /// Everything that keeps it from running.
    pub fn check(self, worker: &Worker) -> Result<Checked, Error> {
        let mut pipeline = Pipeline::parse(&self.file, &self.text)?;
        let components = assign(&pipeline, self.components)?;
        if let Some(name) = self.name {
            pipeline.name = name;
        }
        pipeline.scale(&self.parallelism)?;
        check_directory(self.directory.as_deref())?;
        let directory = match self.directory {
            Some(directory) => directory,
            None => std::env::current_dir()
                .map_err(|error| Error::Internal(format!("this process has no directory: {error}")))?,
        };
        pipeline.resolve_data_paths(&directory);
        let nodes = Nodes::of(&pipeline);
        worker.check(pipeline, &components).map_err(|error| nodes.refused(error))
    }
}

/// Whether relative paths can start there.
///
/// # Errors
/// [`Error::Directory`].
pub(crate) fn check_directory(directory: Option<&Path>) -> Result<(), Error> {
    let Some(directory) = directory else { return Ok(()) };
    wrong_directory(directory).map_or(Ok(()), |why| Err(Error::Directory(directory.to_owned(), why)))
}

/// Why relative paths can't start there. It need not exist: who deploys from another machine may have no file here at all.
fn wrong_directory(directory: &Path) -> Option<&'static str> {
    if !directory.is_absolute() {
        return Some("is not absolute");
    }
    match std::fs::metadata(directory) {
        Ok(about) if !about.is_dir() => Some("is no directory"),
        Err(error) => match error.kind() {
            ErrorKind::NotADirectory => Some("is no directory"),
            ErrorKind::InvalidInput => Some("has a zero byte in it"),
            ErrorKind::InvalidFilename => Some("is longer than a path can be"),
            _ => None,
        },
        Ok(_) => None,
    }
}

/// The component of each operator, not copied where several share it; what is missing the worker says with the rest.
pub(crate) fn assign(pipeline: &Pipeline, mut parts: BTreeMap<String, Bytes>) -> Result<Components, Error> {
    let mut components = Components::new();
    let mut used = Vec::new();
    for operator in &pipeline.operators {
        let path = operator.component.value.to_str().unwrap_or_default();
        let part = [operator.name.as_str(), path].into_iter().find(|&name| parts.contains_key(name));
        if let Some((name, bytes)) = part.and_then(|name| parts.get_key_value(name)) {
            components.insert(operator.name.clone(), bytes.clone());
            used.push(name.clone());
        }
    }
    parts.retain(|name, _| !used.contains(name));
    match parts.into_keys().next() {
        Some(surplus) => Err(Error::Surplus(surplus)),
        None => Ok(components),
    }
}

/// The place in the file that each node is to be mended at: for errors that come without one.
pub(crate) struct Nodes {
    file: String,
    positions: BTreeMap<OperatorName, Position>,
}

impl Nodes {
    pub fn of(pipeline: &Pipeline) -> Self {
        let sources = pipeline.sources.iter().map(|source| match &source.connector {
            SourceConnector::Files(files) => (&source.name, files.path.position),
            SourceConnector::Generator(_) | SourceConnector::Kafka(_) => (&source.name, source.position),
        });
        // What an operator refuses when it starts is its configuration, if it has one.
        let operators = pipeline.operators.iter().map(|operator| match &operator.config {
            config if config.value.is_null() => (&operator.name, operator.position),
            config => (&operator.name, config.position),
        });
        let sinks = pipeline.sinks.iter().map(|sink| match &sink.connector {
            SinkConnector::Files(files) => (&sink.name, files.path.position),
            SinkConnector::Kafka(_) | SinkConnector::Stdout(_) | SinkConnector::Blackhole => {
                (&sink.name, sink.position)
            }
        });
        let positions = sources.chain(operators).chain(sinks).map(|(name, at)| (name.clone(), at)).collect();
        Self { file: pipeline.file.clone(), positions }
    }

    /// The worker's error in the words of a submission.
    pub fn refused(&self, error: flow_worker::Error) -> Error {
        use flow_worker::Error as Worker;
        let message = error.to_string();
        let at = |name, code| {
            let position = self.positions.get(name).copied();
            Error::Invalid(Diagnostic::error(code, &self.file, position, message.clone()).into())
        };
        match error {
            Worker::Pipeline(diagnostics) => Error::Invalid(diagnostics),
            Worker::Operator(name, _) => at(&name, Code::Component),
            Worker::Connector(name, _) | Worker::Output(name, _) => at(&name, Code::Connector),
            Worker::Plan(_) | Worker::Start(_) => Error::Internal(message),
        }
    }
}

/// All of a component's file; a device or a pipe may have no end.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    if metadata.len() > COMPONENT_MAX {
        return Err(std::io::Error::other(format!("it is larger than {}", ByteSize(COMPONENT_MAX))));
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
apiVersion: flow/v1
kind: Pipeline
metadata: {name: p}
sources:
  in: {generator: {count: 1, value: x}}
operators:
  a: {component: ./shared.wasm, from: in}
  b: {component: ./shared.wasm, from: a}
sinks:
  out: {blackhole: {}, from: b}
";

    fn check(parts: &[&str], expect: Result<&[(&str, &str)], &str>) {
        let pipeline = Pipeline::parse("p.yaml", TEXT.as_bytes()).expect("a good pipeline");
        let parts = parts.iter().map(|name| (name.to_string(), Bytes::copy_from_slice(name.as_bytes())));
        let parts = parts.collect();
        let found = assign(&pipeline, parts).map_err(|error| error.to_string());
        let expect = expect.map_err(str::to_owned).map(|pairs| {
            let component = |bytes: &str| Bytes::copy_from_slice(bytes.as_bytes());
            pairs.iter().map(|(name, bytes)| (name.parse().expect("a name"), component(bytes))).collect()
        });
        assert_eq!(found, expect);
    }

    #[test]
    fn components_come_by_operator_or_by_path() {
        check(&["./shared.wasm"], Ok(&[("a", "./shared.wasm"), ("b", "./shared.wasm")]));
        check(&["a", "./shared.wasm"], Ok(&[("a", "a"), ("b", "./shared.wasm")]));
        check(&["a", "b"], Ok(&[("a", "a"), ("b", "b")]));
        check(&["a"], Ok(&[("a", "a")]));
        check(&["a", "b", "c"], Err("the component \"c\" is for no operator of the pipeline"));
    }

    #[test]
    fn operators_share_a_component_that_lies_in_memory_once() {
        let pipeline = Pipeline::parse("p.yaml", TEXT.as_bytes()).expect("a good pipeline");
        let bytes = b"component".to_vec();
        let place = bytes.as_ptr();
        let components = assign(&pipeline, [("./shared.wasm".into(), bytes.into())].into()).expect("it is for both");
        let places: Vec<_> = components.values().map(|bytes| bytes.as_ptr()).collect();
        assert_eq!(places, [place, place]);
    }

    #[test]
    fn a_component_file_is_read_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("p.yaml");
        std::fs::write(&path, TEXT).expect("a file");
        std::fs::write(directory.path().join("shared.wasm"), "component").expect("a file");
        let Submission { components, .. } = Submission::read(&path).expect("all is there");
        assert_eq!(components["a"], "component");
        assert_eq!(components["a"].as_ptr(), components["b"].as_ptr());
    }
}
