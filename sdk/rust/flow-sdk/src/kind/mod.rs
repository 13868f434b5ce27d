//! The kinds of operators: a trait for authors and a runner over frames for each.

pub mod filter;
pub mod flat_map;
pub mod map;
pub mod process;

pub use filter::Filter;
pub use flat_map::FlatMap;
pub use map::{Map, MapOutput};
pub use process::Process;
