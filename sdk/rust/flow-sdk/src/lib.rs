//! Write operators for Flow in Rust: code for one record at a time, with typed state, compiled to a WebAssembly component.
//!
//! # An operator
//!
//! A library crate holds one operator: a type that implements the trait of its kind, and a line that exports it. Its config
//! in the pipeline file becomes a typed struct; a config that does not fit stops the deployment with the field's name.
//!
//! ```
//! use flow_sdk::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     rate: f64,
//! }
//!
//! #[derive(Deserialize, Serialize)]
//! struct Order<'a> {
//!     customer: &'a str,
//!     amount: f64,
//! }
//!
//! struct Convert {
//!     config: Config,
//! }
//!
//! impl Map for Convert {
//!     type Config = Config;
//!
//!     fn new(config: Config, _context: &Context) -> Result<Self> {
//!         Ok(Convert { config })
//!     }
//!
//!     fn map(&mut self, record: &Record, out: &mut MapOutput) -> Result<()> {
//!         let mut order: Order = record.json()?;
//!         if order.amount < 0.0 {
//!             return Err(reject("negative", format!("{} for {}", order.amount, order.customer)));
//!         }
//!         order.amount *= self.config.rate;
//!         out.json(&order)
//!     }
//! }
//! flow_sdk::export!(map Convert);
//!
//! // `cargo test` runs the same code natively.
//! let mut harness = flow_sdk::testing::Harness::<Convert>::new(serde_json::json!({"rate": 2}))?;
//! let output = harness.run([r#"{"customer":"ann","amount":1.5}"#, r#"{"customer":"bob","amount":-1}"#, "no JSON"])?;
//! assert_eq!(output.texts(), [r#"{"customer":"ann","amount":3.0}"#]);
//! assert_eq!(output.codes(), ["negative", "bad-json"]);
//! # Ok::<(), flow_sdk::Failure>(())
//! ```
//!
//! | kind | trait | a record gives |
//! |---|---|---|
//! | `map` | [`Map`] | one record |
//! | `filter` | [`Filter`] | itself or nothing |
//! | `flat_map` | [`FlatMap`] | any number of records |
//! | `process` | [`Process`] | any number of records, with state of its key |
//!
//! # Errors
//!
//! [`reject`] refuses the record at hand: it leaves no output and no state behind, and goes where the pipeline's
//! `on-error` says; the others go on. `?` on an error of serde_json, UTF-8 or number parsing does the same. [`fail`] fails
//! the whole call. A panic stops the instance; its text is in the job's log.
//!
//! # State
//!
//! [`state!`] declares what a keyed operator keeps; [`state`] has the kinds. Fields of the operator itself are no state:
//! instances come and go while a job runs.
//!
//! # Reading less
//!
//! Only the value is passed unless `READS` says otherwise. An operator that counts by key reads nothing else:
//! `const READS: &'static [Column] = &[];`.
//!
//! # Time and log
//!
//! An operator has no clock: [`Record::now`] and [`Record::watermark`] are the call's. Lines for the job's log go through
//! the macros of [`log`].
//!
//! # Building
//!
//! `flowctl build` makes the component. By hand: `cargo rustc --release --crate-type cdylib --target
//! wasm32-unknown-unknown`, then `wasm-tools component new`. [`testing`] runs an operator natively, the crate `flow-sdk-test` the component in the real
//! host.
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
