//! Converts the amount of an order into another currency.
//!
//! - config: `rate`, what the amount is multiplied by
//! - input: `{"order":1,"customer":"c1","items":["pen"],"amount":12.5}`
//! - output: the same with the other amount; an order with a negative amount is refused (`negative`)

use flow_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// The operator, which is its own config: the fields of `config:` in the pipeline file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct @Type@ {
    rate: f64,
}

#[derive(Deserialize, Serialize)]
struct Order {
    order: u64,
    customer: String,
    items: Vec<String>,
    amount: f64,
}

impl Map for @Type@ {
    type Config = @Type@;

    fn new(config: @Type@, _: &Context) -> Result<Self> {
        Ok(config)
    }

    fn map(&mut self, record: &Record, out: &mut MapOutput) -> Result<()> {
        let mut order: Order = record.json()?;
        if order.amount < 0.0 {
            return Err(reject("negative", format!("order {} has the amount {}", order.order, order.amount)));
        }
        order.amount *= self.rate;
        out.json(&order)
    }
}
flow_sdk::export!(map @Type@);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::Harness;
    use serde_json::json;

    #[test]
    fn the_amount_is_converted() {
        let mut harness = Harness::<@Type@>::new(json!({"rate": 2})).expect("a good config");
        let order = |amount: f64| json!({"order": 1, "customer": "c1", "items": [], "amount": amount});
        let output = harness.run([order(1.5), order(-1.0)]).expect("no call fails");
        assert_eq!(output.texts(), [r#"{"order":1,"customer":"c1","items":[],"amount":3.0}"#]);
        assert_eq!(output.codes(), ["negative"]);
    }
}
