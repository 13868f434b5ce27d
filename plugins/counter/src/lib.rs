//! Counts records by key.
//!
//! - config: `emit`: `every` update (the default) or `first` (only when a key is new), `format`: `json` (the default) or
//!   `number` (the count alone as decimal digits)
//! - input: any record with a key; the value is not read
//! - output: per record `{"key":"the","count":5}`, or `5`. A key that is not UTF-8 shows its broken parts as U+FFFD; the
//!   record's own key stays as it is
//! - state: `count`, a value (u64)

use flow_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Which counts leave.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Emit {
    /// Each one.
    #[default]
    Every,
    /// The first of each key.
    First,
}

/// How a count is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An object with key and count.
    #[default]
    Json,
    /// Decimal digits.
    Number,
}

flow_sdk::state! {
    /// What is kept of each key.
    pub struct Counts {
        count: Value<u64>,
    }
}

/// The operator, which is its own config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    #[serde(default)]
    emit: Emit,
    #[serde(default)]
    format: Format,
}

#[derive(Serialize)]
struct Update<'a> {
    key: &'a str,
    count: u64,
}

impl Process for Counter {
    type Config = Counter;
    type State = Counts;
    const READS: &'static [Column] = &[];

    fn new(config: Counter, _: &Context) -> Result<Self> {
        Ok(config)
    }

    fn process(&mut self, key: &[u8], _: &Record, state: &mut Counts, out: &mut Emitter) -> Result<()> {
        let count = state.count.get()?.copied().unwrap_or(0) + 1;
        state.count.set(count);
        if self.emit == Emit::First && count > 1 {
            return Ok(());
        }
        match self.format {
            Format::Number => out.json(&count),
            Format::Json => match std::str::from_utf8(key) {
                Ok(key) => out.json(&Update { key, count }),
                Err(_) => out.json(&Update { key: &String::from_utf8_lossy(key), count }),
            },
        }
    }
}
flow_sdk::export!(process Counter);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::{Harness, Input};
    use serde_json::json;

    fn keys<'a>(keys: &'a [&'a str]) -> impl Iterator<Item = Input> + 'a {
        keys.iter().map(|key| Input::default().key(key))
    }

    #[test]
    fn counts_by_key_across_batches_and_instances() {
        let mut harness = Harness::<Counter>::new(json!(null)).expect("a good config");
        harness.batch(2);
        let output = harness.run(keys(&["the", "cat", "the"])).expect("no call fails");
        assert_eq!(
            output.texts(),
            [r#"{"key":"the","count":1}"#, r#"{"key":"cat","count":1}"#, r#"{"key":"the","count":2}"#]
        );
        harness.restart().expect("the same config");
        assert_eq!(harness.run(keys(&["the"])).expect("no call fails").texts(), [r#"{"key":"the","count":3}"#]);
        assert_eq!(harness.value::<u64>("count", "the"), Some(3));
        assert_eq!(harness.value::<u64>("count", "dog"), None);
    }

    #[test]
    fn options_choose_what_leaves() {
        let mut harness = Harness::<Counter>::new(json!({"emit": "first", "format": "number"})).expect("a good config");
        let output = harness.run(keys(&["a", "a", "b", "a"])).expect("no call fails");
        assert_eq!(output.texts(), ["1", "1"]);
        assert_eq!(output.records.iter().map(|r| r.input).collect::<Vec<_>>(), [Some(0), Some(2)]);
        assert_eq!(harness.value::<u64>("count", "a"), Some(3));
    }

    #[test]
    fn any_bytes_are_a_key() {
        let mut harness = Harness::<Counter>::new(json!({})).expect("a good config");
        let output = harness.run([Input::default().key(b"\xffa"), Input::default()]).expect("no call fails");
        assert_eq!(output.texts(), ["{\"key\":\"\u{fffd}a\",\"count\":1}"]);
        assert_eq!(output.records[0].key.as_deref(), Some(b"\xffa".as_slice()));
        assert_eq!(output.codes(), ["no-key"]);
    }
}
