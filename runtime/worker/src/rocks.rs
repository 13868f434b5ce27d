//! Keyed state on disk: one RocksDB a keyed subtask, under the write-back cache. What costs memory or threads is shared by
//! all of a worker.
//!
//! Must never be the only copy of anything: its own log is off, so what a crash leaves in the directory is of no use, and
//! what it holds counts only through generations that were written whole.
//!
//! - [`SharedRocks`]: memory, threads and settings; opens stores
//! - [`RocksStore`]: [`flow_dataflow::state::Store`] over one directory; [`Size`]: how much it holds
//! - `writer`: the thread that writes generations; `value`: how a value is stored; `failure`: what an error means

mod failure;
mod shared;
mod size;
mod store;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use shared::{Settings, SharedRocks};
pub use size::Size;
pub use store::RocksStore;
