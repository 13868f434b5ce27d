//! Running statistics of a number by key: count, sum, extremes, mean and variance (Welford's method, which stays exact where
//! the sum of squares would not).
//!
//! - config: `field` (needed), the path of a number in the JSON value, such as `amount` or `order.amount`
//! - input: JSON objects with a key. A record without that number is refused: `no-field`, or `not-a-number`
//! - output: per record `{"key":…,"count":…,"sum":…,"min":…,"max":…,"mean":…,"variance":…}`; the variance is that of the
//!   population (divided by the count). A key that is not UTF-8 shows its broken parts as U+FFFD
//! - state: `stats`, a value (JSON)

use flow_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// The statistics of one key.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Stats {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
}
impl Stored for Stats {}

impl Stats {
    /// With one more number.
    pub fn with(self, x: f64) -> Stats {
        let count = self.count + 1;
        let distance = x - self.mean;
        let mean = self.mean + distance / count as f64;
        let (min, max) = if self.count == 0 { (x, x) } else { (self.min.min(x), self.max.max(x)) };
        Stats { count, sum: self.sum + x, min, max, mean, squares: self.squares + distance * (x - mean) }
    }
}

flow_sdk::state! {
    /// What is kept of each key.
    pub struct Keyed {
        stats: Value<Stats>,
    }
}

/// The operator's config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    field: String,
}

/// The operator.
#[derive(Debug)]
pub struct RunningStats {
    path: Vec<String>,
}

#[derive(Serialize)]
struct Update<'a> {
    key: &'a str,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    mean: f64,
    variance: f64,
}

impl Process for RunningStats {
    type Config = Config;
    type State = Keyed;

    fn new(config: Config, _: &Context) -> Result<Self> {
        let path: Vec<String> = config.field.split('.').map(Into::into).collect();
        if path.iter().any(String::is_empty) {
            return Err(fail("bad-config", format!("config.field: `{}` has an empty part", config.field)));
        }
        Ok(RunningStats { path })
    }

    fn process(&mut self, key: &[u8], record: &Record, state: &mut Keyed, out: &mut Emitter) -> Result<()> {
        let value: serde_json::Value = record.json()?;
        let mut found = Some(&value);
        for part in &self.path {
            found = found.and_then(|v| v.get(part));
        }
        let path = || self.path.join(".");
        let found = found.ok_or_else(|| reject("no-field", format!("the value has no `{}`", path())))?;
        let number =
            found.as_f64().ok_or_else(|| reject("not-a-number", format!("`{}` is {found}, not a number", path())))?;
        let stats = state.stats.get()?.copied().unwrap_or_default().with(number);
        if !stats.sum.is_finite() || !stats.squares.is_finite() {
            return Err(reject("overflow", format!("with {number} the sum leaves the range of numbers")));
        }
        state.stats.set(stats);
        let Stats { count, sum, min, max, mean, squares } = stats;
        let key = String::from_utf8_lossy(key);
        out.json(&Update { key: &key, count, sum, min, max, mean, variance: squares / count as f64 })
    }
}
flow_sdk::export!(process RunningStats);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::{Harness, Input};
    use serde_json::{Value, json};

    #[test]
    fn statistics_run_by_key() {
        let mut harness = Harness::<RunningStats>::new(json!({"field": "order.amount"})).expect("a good config");
        let amount = |x: f64| Input::json(&json!({"order": {"amount": x}})).key("a");
        let output = harness.run([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].map(amount)).expect("no call fails");
        let last: Value = output.records[7].json();
        let want = json!({"key": "a", "count": 8, "sum": 40.0, "min": 2.0, "max": 9.0, "mean": 5.0, "variance": 4.0});
        assert_eq!(last, want);
        assert_eq!(harness.value::<Stats>("stats", "a").map(|s| s.count), Some(8));
    }

    #[test]
    fn variance_survives_a_large_offset() {
        let stats = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0].into_iter().fold(Stats::default(), Stats::with);
        assert_eq!(stats.squares / 4.0, 22.5);
    }

    #[test]
    fn what_is_refused_leaves_no_trace() {
        let mut harness = Harness::<RunningStats>::new(json!({"field": "x"})).expect("a good config");
        let records = [r#"{"x":1}"#, "{}", r#"{"x":"2"}"#, "no json", r#"{"x":1e308}"#, r#"{"x":3}"#];
        let output = harness.run(records.map(|v| Input::from(v).key("k"))).expect("no call fails");
        assert_eq!(output.codes(), ["no-field", "not-a-number", "bad-json", "overflow"]);
        assert_eq!(output.records[1].json::<Value>()["count"], 2);
        assert_eq!(harness.value::<Stats>("stats", "k"), Some(Stats::default().with(1.0).with(3.0)));
        let empty = Harness::<RunningStats>::new(json!({"field": "a..b"})).expect_err("a wrong config");
        assert_eq!(empty.message, "config.field: `a..b` has an empty part");
    }
}
