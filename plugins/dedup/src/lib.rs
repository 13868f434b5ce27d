//! Lets the first record of each key pass and drops the others.
//!
//! - config: `within`, in milliseconds of processing time: a key that was last let pass longer ago counts as new again;
//!   without it, a key passes once
//! - input: any record with a key
//! - output: the record as it came
//! - state: `passed`, a value (i64): when the key's record was let pass, milliseconds since the Unix epoch

use flow_sdk::prelude::*;
use serde::Deserialize;

flow_sdk::state! {
    /// What is kept of each key.
    pub struct Seen {
        passed: Value<i64>,
    }
}

/// The operator, which is its own config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dedup {
    within: Option<u64>,
}

impl Process for Dedup {
    type Config = Dedup;
    type State = Seen;

    fn new(config: Dedup, _: &Context) -> Result<Self> {
        Ok(config)
    }

    fn process(&mut self, _key: &[u8], record: &Record, state: &mut Seen, out: &mut Emitter) -> Result<()> {
        let passes = match (state.passed.get()?, self.within) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(passed), Some(within)) => record.now().saturating_sub(*passed) >= within.min(i64::MAX as u64) as i64,
        };
        if passes {
            state.passed.set(record.now());
            match record.value() {
                Some(value) => out.emit(value),
                None => out.record().null(),
            }
        }
        Ok(())
    }
}
flow_sdk::export!(process Dedup);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::{Harness, Input};
    use serde_json::json;

    fn record(key: &str, value: &str) -> Input {
        Input::from(value).key(key).header("h", Some(value))
    }

    #[test]
    fn the_first_of_each_key_passes_whole() {
        let mut harness = Harness::<Dedup>::new(json!(null)).expect("a good config");
        harness.batch(2);
        let records = [record("a", "1"), record("a", "2"), record("b", "3"), record("a", "4")];
        let output = harness.run(records).expect("no call fails");
        assert_eq!(output.texts(), ["1", "3"]);
        assert_eq!(output.records[1].key.as_deref(), Some(b"b".as_slice()));
        assert_eq!(output.records[1].headers, [("h".to_string(), Some(b"3".to_vec()))]);
    }

    #[test]
    fn a_null_value_passes_as_null() {
        let output = Harness::<Dedup>::new(json!({})).expect("a good config").run([Input::default().key("k")]);
        assert_eq!(output.expect("no call fails").records[0].value, None);
    }

    #[test]
    fn after_a_while_a_key_is_new_again() {
        let mut harness = Harness::<Dedup>::new(json!({"within": 100})).expect("a good config");
        let mut passes = |now| harness.now(now).run([record("a", "x")]).expect("no call fails").records.len();
        assert_eq!([passes(1000), passes(1099), passes(1100), passes(1199), passes(1200)], [1, 0, 1, 0, 1]);
    }
}
