//! The nouns of Flow: what a pipeline file says, the graph it describes, and the plan that runs.
//!
//! This crate never does I/O, reads no clock, draws no random number and starts no thread: bytes come in, values or
//! diagnostics come out. It is linked by the data plane, by the coordinator and by `flowctl`, so it stays small.
//!
//! The parts, in the order in which a pipeline passes them:
//!
//! | module | what it holds |
//! |---|---|
//! | [`spec`] | the pipeline file: YAML in, a checked [`spec::Pipeline`] out, every problem with its line and column |
//! | [`diagnostic`] | one problem in a pipeline file, and [`diagnostic::Error`], all of them together |
//! | [`quantity`] | `64Mi`, `500ms` and `100/s` |
//! | [`key_selector`] | what `key:` says: where the key of a keyed operator comes from |
//! | [`graph`] | the logical graph: sources, operators and sinks with their edges, in topological order |
//! | [`kind`] | what a component turned out to be: map, filter, flat-map or process |
//! | [`plan`] | graph and kinds → chains → tasks and the exchanges between them |
//! | [`outline`] | a pipeline with its plan and what else its components say of themselves |
//! | [`key_group`] | key → key group → subtask |
//! | [`channel`] | attempts and the channels between their subtasks |
//! | [`checkpoint`] | ids of checkpoints, names of their objects, manifests and HEAD |
//! | [`cluster`] | workers, who leads them, where an attempt runs, and the documents that a leader goes by |
//! | [`figures`] | what a part of a running job has done so far |
//! | [`history`] | what became of a job's checkpoints |
//! | [`ids`] | names and numbers that must not be mixed up |
//! | [`api`] | what the REST API and its clients say to each other |
//! | [`workers`] | the workers of a cluster, as the REST API tells of them |
//! | [`trial`] | a `*.test.yaml`, and what flowctl and flowd say to each other about it |
//!
//! ```
//! use std::collections::BTreeMap;
//! use flow_model::{ids::OperatorName, kind::OperatorKind, plan::plan, spec::Pipeline};
//!
//! let text = "
//! apiVersion: flow/v1
//! kind: Pipeline
//! metadata: {name: wordcount}
//! sources:
//!   lines: {files: {path: ./texts}}
//! operators:
//!   tokens: {component: ./tokenize.wasm, from: lines}
//!   counts: {component: ./count.wasm, from: tokens, key: $value, parallelism: 2}
//! sinks:
//!   out: {stdout: {}, from: counts}
//! ";
//! let pipeline = Pipeline::parse("pipeline.yaml", text.as_bytes())?;
//! let kinds = BTreeMap::from([
//!     (OperatorName::new("tokens")?, OperatorKind::FlatMap),
//!     (OperatorName::new("counts")?, OperatorKind::Process),
//! ]);
//! let plan = plan(&pipeline, &kinds)?;
//! assert_eq!(plan.tasks[0].name, "lines → tokens");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod api;
pub mod channel;
pub mod checkpoint;
pub mod cluster;
pub mod diagnostic;
pub mod figures;
pub mod graph;
pub mod history;
pub mod ids;
pub mod key_group;
pub mod key_selector;
pub mod kind;
mod nearest;
pub mod outline;
pub mod plan;
pub mod quantity;
pub mod savepoint;
pub mod spec;
pub mod start;
pub mod trial;
pub mod workers;
