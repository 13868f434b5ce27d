//! Keyed state on disk: one RocksDB a keyed subtask, under the write-back cache. What costs memory or threads is shared by
//! all of a worker.
//!
//! Must never be the only copy of anything: its own log is off, so what a crash leaves in the directory is of no use. Jobs
//! with checkpoints have runs beside it, which are uploaded, and from which it is made again.
//!
//! - [`SharedRocks`]: memory, threads and settings; opens stores
//! - [`RocksStore`]: [`flow_dataflow::state::Store`] over one directory; [`Size`]: how much it holds
//! - [`runs`]: what checkpoints of a store are made of
//! - `writer`: the thread that writes generations; `failure`: what an error means

mod failure;
pub mod runs;
mod shared;
mod size;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use shared::{Settings, SharedRocks};
pub use size::Size;
pub use store::RocksStore;
