//! Sources and sinks: which connector, and what it is told. Only nouns; the worker opens them.

use std::path::PathBuf;

use super::kafka::{KafkaSink, KafkaSource};
use super::on_error::{DEAD_LETTER, Then};
use super::template::Template;
use crate::diagnostic::{Located, Position};
use crate::ids::OperatorName;
use crate::quantity::ByteSize;

/// A source: where records come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: OperatorName,
    /// Where its name stands in the file.
    pub position: Position,
    /// The number of its subtasks, at least 1.
    pub parallelism: u32,
    /// What it reads.
    pub connector: SourceConnector,
    /// What happens with a record that it can't give.
    pub on_error: Then,
}

/// What a source reads.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceConnector {
    /// `files`: files of a file system that every worker sees.
    Files(FilesSource),
    /// `generator`: records made up at a rate.
    Generator(Generator),
    /// `kafka`: a topic.
    Kafka(Box<KafkaSource>),
}

impl SourceConnector {
    /// The field that chooses it: `files`, `generator` or `kafka`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Generator(_) => "generator",
            Self::Kafka(_) => "kafka",
        }
    }
}

/// Reads files to their ends, one record a line.
#[derive(Debug, Clone, PartialEq)]
pub struct FilesSource {
    /// A file, a directory (read with all below it) or a glob pattern.
    pub path: Located<PathBuf>,
    /// What a line holds.
    pub format: LineFormat,
    /// A longer line fails the job.
    pub max_line: ByteSize,
}

/// What the lines of a files source hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// `lines`: anything; the value is the line without its end.
    Lines,
    /// `json`: one JSON document a line; `on-error` says what happens with a line that is none, one of nothing but blanks is passed over.
    Json,
}

/// Makes records up.
#[derive(Debug, Clone, PartialEq)]
pub struct Generator {
    /// How many records in all, over all subtasks; without end if absent.
    pub count: Option<u64>,
    /// Records a second in all, over all subtasks; as fast as possible if absent.
    pub rate: Option<u64>,
    /// The number of distinct keys, at least 1.
    pub keys: u64,
    /// The value of each record.
    pub value: Template,
}

/// A sink: where records go.
#[derive(Debug, Clone, PartialEq)]
pub struct Sink {
    /// Its name.
    pub name: OperatorName,
    /// Where its name stands in the file.
    pub position: Position,
    /// The number of its subtasks, at least 1.
    pub parallelism: u32,
    /// What it reads, at least one.
    pub from: Vec<Located<Input>>,
    /// What it writes.
    pub connector: SinkConnector,
    /// What happens with a record that it can't write.
    pub on_error: Then,
}

/// What a sink reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The output of a source or an operator.
    Output(OperatorName),
    /// `dead-letter`: all dead letters; `NAME.dead-letter`: those of one operator, source or sink.
    DeadLetters(Option<OperatorName>),
}

impl Input {
    /// What a name in `from:` of a sink means; none if it is no name.
    pub fn of(text: &str) -> Option<Self> {
        match text.rsplit_once('.') {
            None if text == DEAD_LETTER => Some(Self::DeadLetters(None)),
            None => OperatorName::new(text).ok().map(Self::Output),
            Some((name, DEAD_LETTER)) => OperatorName::new(name).ok().map(|name| Self::DeadLetters(Some(name))),
            Some(_) => None,
        }
    }
}

/// What a sink writes.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkConnector {
    /// `files`: one file a subtask in a directory.
    Files(FilesSink),
    /// `kafka`: a topic.
    Kafka(Box<KafkaSink>),
    /// `stdout`: the standard output of the worker.
    Stdout(RecordFormat),
    /// `blackhole`: nothing; records are counted and dropped.
    Blackhole,
}

impl SinkConnector {
    /// The field that chooses it: `files`, `kafka`, `stdout` or `blackhole`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Kafka(_) => "kafka",
            Self::Stdout(_) => "stdout",
            Self::Blackhole => "blackhole",
        }
    }
}

/// Writes files into a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct FilesSink {
    /// The directory; made if it does not exist.
    pub path: Located<PathBuf>,
    /// How a record is written.
    pub format: RecordFormat,
}

/// How a record becomes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFormat {
    /// `lines`: the value, then `\n`.
    Lines,
    /// `records`: one JSON object a line with `key`, `value`, `timestamp` and `headers`.
    Records,
}
