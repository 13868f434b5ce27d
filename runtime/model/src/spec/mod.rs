//! The pipeline file: what a user deploys.
//!
//! [`Pipeline::parse`] turns the text into a checked [`Pipeline`], or into all its errors at once. Paths stay as they
//! are written until [`Pipeline::resolve_paths`]; nothing is opened here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Error, Located, Position};
use crate::graph::Graph;
use crate::ids::{OperatorName, PipelineName};
use crate::key_group::KeyGroups;
use crate::key_selector::KeySelector;
use crate::quantity::ByteSize;

mod connector;
pub(crate) mod fields;
pub(crate) mod parse;
mod parse_connector;
pub mod property;
pub(crate) mod report;
pub mod schema;
pub mod template;
pub(crate) mod trace;
pub(crate) mod yaml;

pub use connector::{
    FilesSink, FilesSource, Generator, KafkaSink, KafkaSource, KafkaStart, KafkaStop, LineFormat, Properties,
    RecordFormat, Sink, SinkConnector, Source, SourceConnector,
};
pub use yaml::FILE_MAX;

/// The `apiVersion` of pipeline files.
pub const API_VERSION: &str = "flow/v1";

/// The most sources, operators and sinks that one pipeline can have together.
pub const OPERATORS_MAX: usize = 1000;

/// The most sources: a row says in 8 bits which of them it came from.
pub const SOURCES_MAX: usize = 256;

/// The highest parallelism: all subtasks run in one process, with as many threads.
pub const PARALLELISM_MAX: u32 = 256;

/// A checked pipeline: names are unique, inputs exist, nothing reads itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// `metadata.name`.
    pub name: PipelineName,
    /// The file that it was read from, as the reader named it: for later errors.
    pub file: String,
    /// `key-groups`.
    pub key_groups: KeyGroups,
    /// `state.cache`: the budget of the write-back cache of each worker.
    pub cache: ByteSize,
    /// The sources, in the order of the file.
    pub sources: Vec<Source>,
    /// The operators, in the order of the file.
    pub operators: Vec<Operator>,
    /// The sinks, in the order of the file.
    pub sinks: Vec<Sink>,
    /// What looks wrong and does not keep the pipeline from running.
    pub warnings: Vec<Diagnostic>,
    graph: Graph,
}

/// A user operator: a component and its place in the pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    /// Its name.
    pub name: OperatorName,
    /// Where its name stands in the file.
    pub position: Position,
    /// The Wasm component.
    pub component: Located<PathBuf>,
    /// What it reads, at least one name.
    pub from: Vec<Located<OperatorName>>,
    /// The number of its subtasks, at least 1; at most the key groups if it has a key.
    pub parallelism: u32,
    /// `key:`, where given.
    pub key: Option<Located<KeySelector>>,
    /// `config:`, handed to the component's `init` as JSON; null if absent.
    pub config: Located<serde_json::Value>,
    /// What happens with a record that it rejects.
    pub on_error: OnError,
    /// What it may use.
    pub limits: Limits,
}

/// What happens with a record that an operator rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// `fail`: the job fails and names the operator, the record's source position and the reason.
    #[default]
    Fail,
    /// `skip`: the record is dropped, counted and logged.
    Skip,
}

/// What one instance of an operator may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory.
    pub memory: ByteSize,
    /// CPU time of one call.
    pub time_per_batch: Duration,
    /// What one call may hand back.
    pub output_per_batch: ByteSize,
}

impl Default for Limits {
    /// Memory for a record of the largest line and a few copies of it; time for one slow batch of a slow language.
    fn default() -> Self {
        Self {
            memory: ByteSize::mebibytes(256),
            time_per_batch: Duration::from_secs(5),
            output_per_batch: ByteSize::mebibytes(64),
        }
    }
}

impl Pipeline {
    /// Reads a pipeline file. `file` is its name for messages; `bytes` its content, at most [`FILE_MAX`].
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        parse::pipeline(file, bytes)
    }

    /// The logical graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The operator of that name.
    pub fn operator(&self, name: &OperatorName) -> Option<&Operator> {
        self.operators.iter().find(|operator| operator.name == *name)
    }

    /// Makes each relative path (components, files sources and sinks) relative to `base`, usually the directory of the
    /// pipeline file.
    pub fn resolve_paths(&mut self, base: &Path) {
        let components = self.operators.iter_mut().map(|operator| &mut operator.component);
        let sources = self.sources.iter_mut().filter_map(|source| match &mut source.connector {
            SourceConnector::Files(files) => Some(&mut files.path),
            SourceConnector::Generator(_) | SourceConnector::Kafka(_) => None,
        });
        let sinks = self.sinks.iter_mut().filter_map(|sink| match &mut sink.connector {
            SinkConnector::Files(files) => Some(&mut files.path),
            SinkConnector::Kafka(_) | SinkConnector::Stdout(_) | SinkConnector::Blackhole => None,
        });
        for path in components.chain(sources).chain(sinks) {
            path.value = base.join(&path.value);
        }
    }
}
