//! The types of `flow:operator@0.1.0` as they cross the boundary. Written by hand, for one set of types serves the worlds of
//! all kinds; wasmtime compares them with a component's own types before the first call.

use wasmtime::component::{ComponentType, Lift, Lower, TypedFunc};

use flow_dataflow::report::Level;
use flow_dataflow::{function, report};

use crate::log;

/// The package that is served.
pub const PACKAGE: &str = "flow:operator";
/// Its version.
pub const VERSION: &str = "0.1.0";

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub struct Moment {
    pub now: i64,
    pub watermark: i64,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Failure {
    pub code: String,
    pub message: String,
    pub retryable: bool,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Rejection {
    pub row: u32,
    pub code: String,
    pub message: String,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Answer {
    pub rows: Vec<u8>,
    pub rejected: Vec<Rejection>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct KeyedAnswer {
    pub rows: Vec<u8>,
    pub states: Vec<u8>,
    pub rejected: Vec<Rejection>,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub enum Kind {
    #[component(name = "map")]
    Map,
    #[component(name = "filter")]
    Filter,
    #[component(name = "flat-map")]
    FlatMap,
    #[component(name = "process")]
    Process,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub enum StateKind {
    #[component(name = "value")]
    Value,
    #[component(name = "map")]
    Map,
    #[component(name = "list")]
    List,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct StateDescriptor {
    pub name: String,
    pub kind: StateKind,
    pub version: u32,
    pub encoding: String,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Port {
    pub name: String,
    #[expect(dead_code, reason = "rows are opaque bytes until operators declare fields")]
    pub schema: Option<String>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Description {
    pub kind: Kind,
    pub columns: Vec<u16>,
    pub ports: Vec<Port>,
    pub states: Vec<StateDescriptor>,
    pub unordered: bool,
    pub capabilities: Vec<String>,
    #[expect(dead_code, reason = "no name is known yet")]
    pub properties: Vec<(String, String)>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct Context<'a> {
    pub operator: &'a str,
    pub config: &'a str,
    pub subtask: u32,
    pub parallelism: u32,
    #[component(name = "key-groups")]
    pub key_groups: (u32, u32),
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub enum LogLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct Page {
    pub entries: Vec<u8>,
    pub more: bool,
}

/// `describe: func() -> description`
pub type Describe = TypedFunc<(), (Description,)>;
/// `init: func(context) -> result<_, failure>`
pub type Init<'a> = TypedFunc<(Context<'a>,), (Result<(), Failure>,)>;
/// `before-barrier: func(checkpoint: u64) -> result<answer, failure>`
pub type BeforeBarrier = TypedFunc<(u64,), (Result<Answer, Failure>,)>;
/// `end-of-input: func() -> result<answer, failure>`
pub type EndOfInput = TypedFunc<(), (Result<Answer, Failure>,)>;
/// `apply: func(batch: frame, at: moment) -> result<answer, failure>`
pub type Apply<'a> = TypedFunc<(&'a [u8], Moment), (Result<Answer, Failure>,)>;
/// `process: func(rows: frame, keys: frame, at: moment) -> result<keyed-answer, failure>`
pub type Process<'a> = TypedFunc<(&'a [u8], &'a [u8], Moment), (Result<KeyedAnswer, Failure>,)>;

impl From<flow_dataflow::Moment> for Moment {
    fn from(at: flow_dataflow::Moment) -> Moment {
        Moment { now: at.now, watermark: at.watermark }
    }
}

impl From<Rejection> for function::Rejection {
    fn from(r: Rejection) -> function::Rejection {
        function::Rejection { row: r.row, code: log::cut_word(&r.code), message: log::cut_message(&r.message) }
    }
}

impl From<Failure> for function::CallError {
    fn from(f: Failure) -> function::CallError {
        let (code, message) = (log::cut_word(&f.code), log::cut_message(&f.message));
        function::CallError::Failed { code, message, retryable: f.retryable }
    }
}

impl From<Kind> for function::Kind {
    fn from(kind: Kind) -> function::Kind {
        match kind {
            Kind::Map => function::Kind::Map,
            Kind::Filter => function::Kind::Filter,
            Kind::FlatMap => function::Kind::FlatMap,
            Kind::Process => function::Kind::Process,
        }
    }
}

impl From<StateDescriptor> for function::StateDescriptor {
    fn from(s: StateDescriptor) -> function::StateDescriptor {
        let kind = match s.kind {
            StateKind::Value => function::StateKind::Value,
            StateKind::Map => function::StateKind::Map,
            StateKind::List => function::StateKind::List,
        };
        function::StateDescriptor { name: s.name, kind, version: s.version, encoding: s.encoding }
    }
}

impl From<LogLevel> for report::Level {
    fn from(level: LogLevel) -> report::Level {
        match level {
            LogLevel::Trace => Level::Trace,
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        }
    }
}
