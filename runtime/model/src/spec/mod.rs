//! The pipeline file: what a user deploys.
//!
//! [`Pipeline::parse`] turns the text into a checked [`Pipeline`], or into all its errors at once. Paths stay as they
//! are written until [`Pipeline::resolve_paths`]; nothing is opened here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostic::{Code, Diagnostic, Error, Located, Position};
use crate::graph::Graph;
use crate::ids::{OperatorName, PipelineName};
use crate::key_group::KeyGroups;
use crate::key_selector::KeySelector;
use crate::nearest;
use crate::quantity::{ByteSize, Rate};

mod checkpoint;
mod connector;
pub(crate) mod fields;
pub mod kafka;
mod on_error;
pub(crate) mod parse;
mod parse_connector;
mod parse_kafka;
pub mod property;
pub(crate) mod report;
pub mod schema;
pub mod secret;
pub mod template;
pub(crate) mod trace;
pub(crate) mod yaml;

pub use checkpoint::{Checkpointing, Encryption, Restart, S3};
pub use connector::{
    FilesSink, FilesSource, Generator, Input, LineFormat, RecordFormat, Sink, SinkConnector, Source, SourceConnector,
};
pub use kafka::{Delivery, KafkaCluster, KafkaSink, KafkaSource, KafkaStart, KafkaStop};
pub use on_error::{DEAD_LETTER, OnError, RETRIES_MAX, Retry, Then};
pub use yaml::{FILE_MAX, read_bounded};

/// The largest component, in bytes: what is larger was not meant for one.
pub const COMPONENT_MAX: u64 = 256 << 20;

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
    /// Where relative paths start that are known only when references are looked up; [`Self::resolve_paths`] sets it.
    pub directory: PathBuf,
    /// `key-groups`.
    pub key_groups: KeyGroups,
    /// `state.cache`: the budget of the write-back cache of each worker.
    pub cache: ByteSize,
    /// `checkpoint`; without it the job loses what it knows when it fails, and is not started again.
    pub checkpoint: Option<Checkpointing>,
    /// `restart`.
    pub restart: Restart,
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
    /// What happens with a record that it does not take.
    pub on_error: OnError,
    /// What it may use; the place is that of the operator where it says nothing.
    pub limits: Located<Limits>,
}

/// What one subtask of an operator may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory.
    pub memory: ByteSize,
    /// CPU time of one call.
    pub time_per_batch: Duration,
    /// What one call may hand back.
    pub output_per_batch: ByteSize,
    /// What the states of one key may hold, all together; without bound if absent.
    pub state_per_key: Option<ByteSize>,
    /// Lines in the job's log in a second; those beyond it are counted.
    pub log_rate: Rate,
}

impl Default for Limits {
    /// Memory for a record of the largest line and a few copies of it; time for one slow batch of a slow language.
    fn default() -> Self {
        Self {
            memory: ByteSize::mebibytes(256),
            time_per_batch: Duration::from_secs(5),
            output_per_batch: ByteSize::mebibytes(64),
            state_per_key: None,
            log_rate: Rate(100),
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

    /// Gives nodes another parallelism than the file does.
    ///
    /// # Errors
    /// There is no such node; it can't have so many subtasks.
    pub fn scale(&mut self, parallelism: &BTreeMap<OperatorName, u32>) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for (name, wanted) in parallelism {
            if let Err(diagnostic) = self.scale_one(name, *wanted) {
                wrong.push(diagnostic);
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error { diagnostics: wrong }) }
    }

    fn scale_one(&mut self, name: &OperatorName, wanted: u32) -> Result<(), Diagnostic> {
        let (file, groups) = (self.file.clone(), u16::from(self.key_groups));
        let wrong = |at: Option<Position>, message: String, hint: String| {
            Err(Diagnostic::error(Code::InvalidValue, &file, at, message).hint(hint))
        };
        let operators =
            self.operators.iter_mut().map(|it| (&it.name, &mut it.parallelism, it.position, it.key.is_some()));
        let sources = self.sources.iter_mut().map(|it| (&it.name, &mut it.parallelism, it.position, false));
        let sinks = self.sinks.iter_mut().map(|it| (&it.name, &mut it.parallelism, it.position, false));
        let mut names = Vec::new();
        for (known, parallelism, position, is_keyed) in sources.chain(operators).chain(sinks) {
            if known != name {
                names.push(known.to_string());
                continue;
            }
            if wanted == 0 || wanted > PARALLELISM_MAX {
                let hint = format!("a number from 1 to {PARALLELISM_MAX}");
                return wrong(Some(position), format!("\"{name}\" can't have {wanted} subtasks"), hint);
            }
            if is_keyed && wanted > groups.into() {
                let message = format!("\"{name}\" can't have {wanted} subtasks: there are {groups} key groups");
                return wrong(Some(position), message, format!("at most {groups}"));
            }
            *parallelism = wanted;
            return Ok(());
        }
        let hint = format!("those that there are: {}", nearest::listed(names.iter().map(String::as_str)));
        wrong(None, format!("the pipeline has no \"{name}\" to be given another parallelism"), hint)
    }

    /// As [`Pipeline::resolve_paths`], but for components: where their bytes are there already, messages name them as their author wrote them.
    pub fn resolve_data_paths(&mut self, base: &Path) {
        let written: Vec<PathBuf> = self.operators.iter().map(|operator| operator.component.value.clone()).collect();
        self.resolve_paths(base);
        for (operator, path) in self.operators.iter_mut().zip(written) {
            operator.component.value = path;
        }
    }

    /// Makes each relative path (components, files sources and sinks, files that texts refer to) relative to `base`, usually
    /// the directory of the pipeline file.
    pub fn resolve_paths(&mut self, base: &Path) {
        self.directory = base.to_owned();
        let relative = |path: &mut Located<PathBuf>| path.value = base.join(&path.value);
        self.operators.iter_mut().for_each(|operator| relative(&mut operator.component));
        // What begins with a reference may turn out to be absolute.
        let relative = |path: &mut Located<PathBuf>| {
            if !path.value.to_string_lossy().starts_with("${") {
                relative(path);
            }
        };
        for source in &mut self.sources {
            match &mut source.connector {
                SourceConnector::Files(files) => relative(&mut files.path),
                SourceConnector::Kafka(kafka) => kafka.resolve_paths(base),
                SourceConnector::Generator(_) => {}
            }
        }
        for sink in &mut self.sinks {
            match &mut sink.connector {
                SinkConnector::Files(files) => relative(&mut files.path),
                SinkConnector::Kafka(kafka) => kafka.resolve_paths(base),
                SinkConnector::Stdout(_) | SinkConnector::Blackhole => {}
            }
        }
    }
}
