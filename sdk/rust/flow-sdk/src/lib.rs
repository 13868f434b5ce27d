//! Write operators for Flow in Rust.
#![deny(missing_docs)]

mod changes;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod component;
mod emitter;
mod error;
mod export;
mod host;
pub mod kind;
pub mod log;
mod operator;
mod record;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod value;

pub use emitter::{Draft, Emitter};
pub use error::{Error, Failure, Result, fail, reject, retry};
pub use kind::{Filter, FlatMap, Map, MapOutput, Process};
pub use operator::{Answer, Context, Description, Kind, Operator, Refused, Runner, StateDescriptor, StateKind};
pub use record::{Column, Moment, Record};
pub use value::ValueWriter;

/// Everything that an operator's file needs.
pub mod prelude {
    pub use crate::state::{ListState, MapState, State, StateKey, Stored, Value};
    pub use crate::{
        Column, Context, Emitter, Error, Filter, FlatMap, Map, MapOutput, Process, Record, Result, ValueWriter, fail,
        log, reject, retry,
    };
}
