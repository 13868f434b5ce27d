//! The built `flowd`, as a user or flowctl starts it. Every process here is started with `--die-with-parent`, so that
//! none is left when a test is killed.

mod check;
mod help;
mod process;
mod run;
mod standalone;
