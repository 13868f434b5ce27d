//! Adds up the orders of each customer.
//!
//! - config: none
//! - key: the customer (`key: customer` in the pipeline file)
//! - input: `{"order":1,"customer":"c1","items":["pen"],"amount":12.5}`
//! - output: `{"customer":"c1","orders":1,"total":12.5}` after each order
//! - state: `orders` (u64) and `total` (f64) of each customer

use flow_sdk::prelude::*;
use serde::{Deserialize, Serialize};

flow_sdk::state! {
    /// What is kept of each customer.
    pub struct Totals {
        orders: Value<u64>,
        total: Value<f64>,
    }
}

/// The operator.
#[derive(Debug)]
pub struct @Type@;

#[derive(Deserialize)]
struct Order {
    amount: f64,
}

#[derive(Serialize)]
struct Total<'a> {
    customer: &'a str,
    orders: u64,
    total: f64,
}

impl Process for @Type@ {
    type Config = ();
    type State = Totals;

    fn new(_: (), _: &Context) -> Result<Self> {
        Ok(@Type@)
    }

    fn process(&mut self, key: &[u8], record: &Record, state: &mut Totals, out: &mut Emitter) -> Result<()> {
        let customer = std::str::from_utf8(key)?;
        let orders = state.orders.get()?.copied().unwrap_or(0) + 1;
        let total = state.total.get()?.copied().unwrap_or(0.0) + record.json::<Order>()?.amount;
        state.orders.set(orders);
        state.total.set(total);
        out.json(&Total { customer, orders, total })
    }
}
flow_sdk::export!(process @Type@);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::{Harness, Input};

    #[test]
    fn each_customer_has_a_total() {
        let mut harness = Harness::<@Type@>::new(()).expect("no config");
        let orders = [("c1", 1.5), ("c2", 4.0), ("c1", 2.5)];
        let records = orders.map(|(key, amount)| Input::from(format!(r#"{{"amount":{amount}}}"#)).key(key));
        let output = harness.run(records).expect("no call fails");
        assert_eq!(output.texts()[2], r#"{"customer":"c1","orders":2,"total":4.0}"#);
        // What is to be kept is state: another instance goes on with it.
        harness.restart().expect("no config");
        assert_eq!(harness.value::<u64>("orders", "c1"), Some(2));
    }
}
