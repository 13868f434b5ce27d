//! Wasm components as [`flow_dataflow::Function`]s.
//!
//! Must never let a guest reach anything but what `wit/` gives it, never trust a byte that a guest returned, and never keep
//! an instance after a call that failed.
//!
//! - [`engine`]: [`Engine`], one per process; owns the watch that interrupts guests
//! - [`load`]: bytes → [`Component`]: what is checked before anything runs; [`describe`]: what a description may say
//! - [`cache`]: compiled code on disk
//! - [`bindings`]: the types of `flow:operator@0.1.0`; [`imports`]: what guests may call
//! - [`function`]: the [`Function`](flow_dataflow::Function) of a component; [`instance`]: one store and what runs in it
//! - [`limits`], [`interrupt`], [`log`]: what a guest may use up: memory, bytes; CPU time; lines
//! - [`fault`]: what an error of wasmtime means; [`error`]: what users are told
#![deny(missing_docs)]

mod bindings;
mod cache;
mod describe;
mod engine;
mod error;
mod fault;
mod function;
mod imports;
mod instance;
mod interrupt;
mod limits;
mod load;
mod log;

pub use engine::{Engine, Options};
pub use error::Error;
pub use interrupt::ThreadClock;
pub use limits::Limits;
pub use load::{Component, Digest, Setup};
