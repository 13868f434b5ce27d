//! What the benchmarks share: made-up numbers that are the same each time.

pub mod random;
