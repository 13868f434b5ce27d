//! The component around an operator: exports of its world, imports for the rest of the crate, the panic hook. Compiled for
//! Wasm only; whatever can be tested natively must not be here.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

use crate::error::Failure;
use crate::log::{self, Level};
use crate::operator::{Answer, Context, Kind, Operator, Refused, Runner, StateDescriptor, StateKind};
use crate::record::Moment;

// The worlds of `wit/kinds.wit`, in parts: an operator exports the lifecycle and one other part, and wit-component joins
// the parts that a module exports to one world. As whole worlds they would define the lifecycle's exports four times.

/// What every world has.
#[allow(missing_docs)]
pub mod lifecycle_part {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package flow:sdk-lifecycle;
            world part {
                import flow:operator/log@0.1.0;
                import flow:operator/state@0.1.0;
                export flow:operator/lifecycle@0.1.0;
            }
        ",
        world: "flow:sdk-lifecycle/part",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        generate_all,
    });
}

/// What the world of a map has beside.
#[allow(missing_docs)]
pub mod map_part {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package flow:sdk-map; world map-part { export flow:operator/%map@0.1.0; }",
        world: "flow:sdk-map/map-part",
        pub_export_macro: true,
        export_macro_name: "export_map",
        with: { "flow:operator/types@0.1.0": super::lifecycle_part::flow::operator::types },
    });
}

/// What the world of a filter has beside.
#[allow(missing_docs)]
pub mod filter_part {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package flow:sdk-filter; world filter-part { export flow:operator/filter@0.1.0; }",
        world: "flow:sdk-filter/filter-part",
        pub_export_macro: true,
        export_macro_name: "export_filter",
        with: { "flow:operator/types@0.1.0": super::lifecycle_part::flow::operator::types },
    });
}

/// What the world of a flat-map has beside.
#[allow(missing_docs)]
pub mod flat_map_part {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package flow:sdk-flat-map; world flat-map-part { export flow:operator/flat-map@0.1.0; }",
        world: "flow:sdk-flat-map/flat-map-part",
        pub_export_macro: true,
        export_macro_name: "export_flat_map",
        with: { "flow:operator/types@0.1.0": super::lifecycle_part::flow::operator::types },
    });
}

/// What the world of a process has beside.
#[allow(missing_docs)]
pub mod process_part {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package flow:sdk-process; world process-part { export flow:operator/process@0.1.0; }",
        world: "flow:sdk-process/process-part",
        pub_export_macro: true,
        export_macro_name: "export_process",
        with: { "flow:operator/types@0.1.0": super::lifecycle_part::flow::operator::types },
    });
}

/// Imports, as `host` names them.
pub(crate) mod imports {
    use super::lifecycle_part::flow::operator::{log as lines, state};
    use crate::log::Level;

    pub(crate) fn log(level: Level, message: &str) {
        let level = match level {
            Level::Trace => lines::Level::Trace,
            Level::Debug => lines::Level::Debug,
            Level::Info => lines::Level::Info,
            Level::Warn => lines::Level::Warn,
            Level::Error => lines::Level::Error,
        };
        lines::log(level, message);
    }

    pub(crate) fn get_many(state: u32, entries: &[u8]) -> Vec<u8> {
        state::get_many(state, entries)
    }

    pub(crate) fn put_many(state: u32, entries: &[u8]) {
        state::put_many(state, entries)
    }

    pub(crate) fn append_many(state: u32, entries: &[u8]) {
        state::append_many(state, entries)
    }

    pub(crate) fn clear_many(state: u32, keys: &[u8]) {
        state::clear_many(state, keys)
    }

    pub(crate) fn scan(state: u32, key_row: u32, after: Option<&[u8]>, limit: u32) -> (Vec<u8>, bool) {
        let page = state::scan(state, key_row, after, limit);
        (page.entries, page.more)
    }
}

/// The slot that holds the component's one instance; [`export!`](crate::export) makes it.
pub trait Slot: Operator {
    /// The slot.
    fn slot() -> &'static LocalKey<RefCell<Option<Self::Runner>>>;
}

/// What the worlds' exports call: an operator in its slot.
#[derive(Debug)]
pub struct Exported<O>(PhantomData<O>);

fn init<O: Slot>(config: &str, context: &Context) -> Result<(), Failure> {
    std::panic::set_hook(Box::new(|panic| log::line(Level::Error, format_args!("{panic}"))));
    let runner = O::Runner::create(config, context)?;
    O::slot().set(Some(runner));
    Ok(())
}

fn with<O: Slot>(call: impl FnOnce(&mut O::Runner) -> Result<Answer, Failure>) -> Result<Answer, Failure> {
    O::slot().with_borrow_mut(|runner| match runner {
        Some(runner) => call(runner),
        None => {
            let message = "the operator was called before its init".into();
            Err(Failure { code: "no-init".into(), message, retryable: false })
        }
    })
}

use lifecycle_part::exports::flow::operator::lifecycle;
use lifecycle_part::flow::operator::types;

impl From<Failure> for types::Failure {
    fn from(f: Failure) -> Self {
        types::Failure { code: f.code, message: f.message, retryable: f.retryable }
    }
}

impl From<types::Moment> for Moment {
    fn from(at: types::Moment) -> Self {
        Moment { now: at.now, watermark: at.watermark }
    }
}

impl From<Refused> for types::Rejection {
    fn from(r: Refused) -> Self {
        types::Rejection { row: r.row, code: r.code, message: r.message }
    }
}

impl From<Answer> for types::Answer {
    fn from(a: Answer) -> Self {
        types::Answer { rows: a.rows, rejected: a.rejected.into_iter().map(Into::into).collect() }
    }
}

impl From<Kind> for lifecycle::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Map => lifecycle::Kind::Map,
            Kind::Filter => lifecycle::Kind::Filter,
            Kind::FlatMap => lifecycle::Kind::FlatMap,
            Kind::Process => lifecycle::Kind::Process,
        }
    }
}

impl From<StateDescriptor> for lifecycle::StateDescriptor {
    fn from(s: StateDescriptor) -> Self {
        let kind = match s.kind {
            StateKind::Value => lifecycle::StateKind::Value,
            StateKind::Map => lifecycle::StateKind::Map,
            StateKind::List => lifecycle::StateKind::List,
        };
        lifecycle::StateDescriptor { name: s.name.into(), kind, version: s.version, encoding: s.encoding }
    }
}

impl<O: Slot> lifecycle::Guest for Exported<O> {
    fn describe() -> lifecycle::Description {
        let d = O::Runner::description();
        lifecycle::Description {
            kind: d.kind.into(),
            columns: d.columns,
            ports: d.ports.iter().map(|p| lifecycle::Port { name: (*p).into(), schema: None }).collect(),
            states: d.states.into_iter().map(Into::into).collect(),
            unordered: d.unordered,
            capabilities: Vec::new(),
            properties: vec![("sdk".into(), concat!("rust ", env!("CARGO_PKG_VERSION")).into())],
        }
    }

    fn init(context: lifecycle::Context) -> Result<(), types::Failure> {
        let lifecycle::Context { operator, config, subtask, parallelism, key_groups } = context;
        Ok(init::<O>(&config, &Context { operator, subtask, parallelism, key_groups })?)
    }

    fn before_barrier(checkpoint: u64) -> Result<types::Answer, types::Failure> {
        Ok(with::<O>(|r| r.before_barrier(checkpoint))?.into())
    }

    fn end_of_input() -> Result<types::Answer, types::Failure> {
        Ok(with::<O>(Runner::end_of_input)?.into())
    }
}

macro_rules! serve {
    ($($part:ident $interface:ident),*) => {$(
        impl<O: Slot> $part::exports::flow::operator::$interface::Guest for Exported<O> {
            fn apply(batch: Vec<u8>, at: types::Moment) -> Result<types::Answer, types::Failure> {
                Ok(with::<O>(|r| r.call(&batch, &[], at.into()))?.into())
            }
        }
    )*};
}
serve!(map_part map, filter_part filter, flat_map_part flat_map);

impl<O: Slot> process_part::exports::flow::operator::process::Guest for Exported<O> {
    fn process(
        rows: Vec<u8>,
        keys: Vec<u8>,
        at: types::Moment,
    ) -> Result<process_part::exports::flow::operator::process::KeyedAnswer, types::Failure> {
        let Answer { rows, states, rejected } = with::<O>(|r| r.call(&rows, &keys, at.into()))?;
        let rejected = rejected.into_iter().map(Into::into).collect();
        Ok(process_part::exports::flow::operator::process::KeyedAnswer { rows, states, rejected })
    }
}
