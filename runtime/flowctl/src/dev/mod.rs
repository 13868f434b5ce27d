//! The parts of `flowctl dev`: which crates stand behind a pipeline, a flowd of its own, who watches the sources.

pub mod crates;
pub mod daemon;
pub mod watch;
