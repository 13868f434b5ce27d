//! Lets orders of at least an amount pass.
//!
//! - config: `min`, the least amount that passes
//! - input: `{"order":1,"customer":"c1","items":["pen"],"amount":12.5}`
//! - output: the record as it came, or none

use flow_sdk::prelude::*;
use serde::Deserialize;

/// The operator, which is its own config: the fields of `config:` in the pipeline file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct @Type@ {
    min: f64,
}

/// What is looked at of an order.
#[derive(Deserialize)]
struct Order {
    amount: f64,
}

impl Filter for @Type@ {
    type Config = @Type@;

    fn new(config: @Type@, _: &Context) -> Result<Self> {
        Ok(config)
    }

    fn keep(&mut self, record: &Record) -> Result<bool> {
        Ok(record.json::<Order>()?.amount >= self.min)
    }
}
flow_sdk::export!(filter @Type@);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::Harness;
    use serde_json::json;

    #[test]
    fn large_orders_pass() {
        let mut harness = Harness::<@Type@>::new(json!({"min": 10})).expect("a good config");
        let output = harness.run([r#"{"amount":10}"#, r#"{"amount":9.5}"#, "no JSON"]).expect("no call fails");
        assert_eq!(output.texts(), [r#"{"amount":10}"#]);
        assert_eq!(output.codes(), ["bad-json"]);
    }
}
