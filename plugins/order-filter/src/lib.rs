//! Lets orders of at least an amount pass, through a typed struct that holds only what is looked at. For benchmarks.
//!
//! - config: `min`, the least amount that passes
//! - input: `{"amount":12.5,…}`
//! - output: the record as it came
//! - state: none

use flow_sdk::prelude::*;
use serde::Deserialize;

/// The operator, which is its own config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderFilter {
    min: f64,
}

#[derive(Deserialize)]
struct Order {
    amount: f64,
}

impl Filter for OrderFilter {
    type Config = OrderFilter;

    fn new(config: OrderFilter, _: &Context) -> Result<Self> {
        Ok(config)
    }

    fn keep(&mut self, record: &Record) -> Result<bool> {
        Ok(record.json::<Order>()?.amount >= self.min)
    }
}
flow_sdk::export!(filter OrderFilter);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::Harness;
    use serde_json::json;

    #[test]
    fn large_orders_pass_as_they_came() {
        let orders = [r#"{"amount":10,"id":1}"#, r#"{"id":2,"amount":9.99}"#, "{}"];
        let output = Harness::<OrderFilter>::new(json!({"min": 10})).expect("a config").run(orders);
        let output = output.expect("no call fails");
        assert_eq!(output.texts(), [orders[0]]);
        assert_eq!(output.codes(), ["bad-json"]);
        let none = Harness::<OrderFilter>::new(json!(null)).expect_err("a limit is needed");
        assert_eq!(none.message, "config: missing field `min`");
    }
}
