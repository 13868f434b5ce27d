//! Keeps every record of a key for good, for tests of the limit on what the states of a key may hold.
//!
//! - config: none
//! - input: any value, with a key
//! - output: the record as it came
//! - state: `all`, a list of the values; `last`, a value: the last one

use flow_sdk::prelude::*;

flow_sdk::state! {
    /// What is kept of each key.
    pub struct Kept {
        all: ListState<Vec<u8>>,
        last: Value<Vec<u8>>,
    }
}

/// The operator.
#[derive(Debug)]
pub struct Hoard;

impl Process for Hoard {
    type Config = ();
    type State = Kept;

    fn new(_: (), _: &Context) -> Result<Self> {
        Ok(Hoard)
    }

    fn process(&mut self, _key: &[u8], record: &Record, state: &mut Kept, out: &mut Emitter) -> Result<()> {
        let value = record.value().unwrap_or_default().to_vec();
        out.emit(&value);
        state.all.push(&value)?;
        state.last.set(value);
        Ok(())
    }
}
flow_sdk::export!(process Hoard);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::{Harness, Input};

    #[test]
    fn everything_passes() {
        let mut harness = Harness::<Hoard>::new(()).expect("no config");
        let record = |value: &str| Input::from(value).key("k");
        let output = harness.run([record("a"), record("b")]).expect("no call fails");
        assert_eq!(output.texts(), ["a", "b"]);
    }
}
