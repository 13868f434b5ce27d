//! Copies each value unchanged: what is left is the cost of the boundary. For benchmarks.
//!
//! - config: none
//! - input: any value
//! - output: the same value, written anew
//! - state: none

use flow_sdk::prelude::*;

/// The operator.
#[derive(Debug)]
pub struct Identity;

impl Map for Identity {
    type Config = ();

    fn new(_: (), _: &Context) -> Result<Self> {
        Ok(Identity)
    }

    fn map(&mut self, record: &Record, out: &mut MapOutput) -> Result<()> {
        match record.value() {
            Some(value) => out.bytes(value),
            None => out.null(),
        }
        Ok(())
    }
}
flow_sdk::export!(map Identity);
