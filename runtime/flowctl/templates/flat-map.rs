//! Makes a record of each item of an order.
//!
//! - config: none
//! - input: `{"order":1,"customer":"c1","items":["pen","ink"],"amount":12.5}`
//! - output: `{"order":1,"item":"pen"}` and `{"order":1,"item":"ink"}`, keyed by the item

use flow_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// The operator.
#[derive(Debug)]
pub struct @Type@;

#[derive(Deserialize)]
struct Order {
    order: u64,
    items: Vec<String>,
}

#[derive(Serialize)]
struct Item<'a> {
    order: u64,
    item: &'a str,
}

impl FlatMap for @Type@ {
    type Config = ();

    fn new(_: (), _: &Context) -> Result<Self> {
        Ok(@Type@)
    }

    fn flat_map(&mut self, record: &Record, out: &mut Emitter) -> Result<()> {
        let Order { order, items } = record.json()?;
        for item in &items {
            out.record().key(item).json(&Item { order, item })?;
        }
        Ok(())
    }
}
flow_sdk::export!(flat_map @Type@);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::Harness;

    #[test]
    fn each_item_is_a_record() {
        let mut harness = Harness::<@Type@>::new(()).expect("no config");
        let output = harness.run([r#"{"order":1,"items":["pen","ink"]}"#, "no JSON"]).expect("no call fails");
        assert_eq!(output.texts(), [r#"{"order":1,"item":"pen"}"#, r#"{"order":1,"item":"ink"}"#]);
        assert_eq!(output.records[1].key.as_deref(), Some(b"ink".as_slice()));
        assert_eq!(output.codes(), ["bad-json"]);
    }
}
