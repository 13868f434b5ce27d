//! Rust crate → Wasm component: find a compiler, run cargo, wrap the module, check what came out.

pub mod cargo;
pub mod component;
mod linker;
pub mod toolchain;
pub mod world;

/// What operators are compiled to: no system interface at all, so there is nothing to take away from them.
pub const TARGET: &str = "wasm32-unknown-unknown";
