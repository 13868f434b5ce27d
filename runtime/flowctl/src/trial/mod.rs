//! What `flowctl test` does with a test file: finds it, has flowd run it, compares, writes what came out into it.

pub mod ask;
pub mod compare;
pub mod find;
pub mod update;
