//! Doubles the amount of an order and lets it pass if that is at least a minimum: the work of order-map and order-filter in
//! one operator, which parses an order once. For benchmarks.
//!
//! - config: `min`, the least doubled amount that passes
//! - input: `{"id":1,"customer":"c-1","amount":12.5,"note":"…"}`
//! - output: the same with twice the amount, or nothing
//! - state: none

use std::borrow::Cow;

use flow_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// An order; its strings are borrowed from the record where they hold no escapes.
#[derive(Debug, Deserialize, Serialize)]
pub struct Order<'a> {
    id: u64,
    #[serde(borrow)]
    customer: Cow<'a, str>,
    amount: f64,
    #[serde(borrow)]
    note: Cow<'a, str>,
}

/// The operator, which is its own config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderMapFilter {
    min: f64,
}

impl FlatMap for OrderMapFilter {
    type Config = OrderMapFilter;

    fn new(config: OrderMapFilter, _: &Context) -> Result<Self> {
        Ok(config)
    }

    fn flat_map(&mut self, record: &Record, out: &mut Emitter) -> Result<()> {
        let mut order: Order = record.json()?;
        order.amount *= 2.0;
        if order.amount >= self.min { out.json(&order) } else { Ok(()) }
    }
}
flow_sdk::export!(flat_map OrderMapFilter);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::Harness;
    use serde_json::json;

    #[test]
    fn large_orders_pass_doubled() {
        let orders = [
            r#"{"id":1,"customer":"c-1","amount":5,"note":""}"#,
            r#"{"id":2,"customer":"c-1","amount":4.99,"note":""}"#,
            r#"{"id":3}"#,
        ];
        let output = Harness::<OrderMapFilter>::new(json!({"min": 10})).expect("a config").run(orders);
        let output = output.expect("no call fails");
        assert_eq!(output.texts(), [r#"{"id":1,"customer":"c-1","amount":10.0,"note":""}"#]);
        assert_eq!(output.codes(), ["bad-json"]);
    }
}
