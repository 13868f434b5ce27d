//! Doubles the amount of an order through a typed struct: parse, change, serialize. For benchmarks.
//!
//! - config: none
//! - input: `{"id":1,"customer":"c-1","amount":12.5,"note":"…"}`
//! - output: the same with twice the amount
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

/// The operator.
#[derive(Debug)]
pub struct OrderMap;

impl Map for OrderMap {
    type Config = ();

    fn new(_: (), _: &Context) -> Result<Self> {
        Ok(OrderMap)
    }

    fn map(&mut self, record: &Record, out: &mut MapOutput) -> Result<()> {
        let mut order: Order = record.json()?;
        order.amount *= 2.0;
        out.json(&order)
    }
}
flow_sdk::export!(map OrderMap);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::Harness;

    #[test]
    fn the_amount_doubles_and_the_rest_stays() {
        let orders = [
            r#"{"id":1,"customer":"c-1","amount":12.5,"note":"a"}"#,
            r#"{"id":2,"customer":"c\n2","amount":0.25,"note":""}"#,
            r#"{"id":3}"#,
        ];
        let output = Harness::<OrderMap>::new(()).expect("no config").run(orders).expect("no call fails");
        assert_eq!(
            output.texts(),
            [
                r#"{"id":1,"customer":"c-1","amount":25.0,"note":"a"}"#,
                r#"{"id":2,"customer":"c\n2","amount":0.5,"note":""}"#
            ]
        );
        assert_eq!(output.rejected[0].message, "missing field `customer` at line 1 column 8");
    }
}
