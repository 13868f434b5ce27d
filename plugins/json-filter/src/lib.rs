//! Lets the records pass for which a CEL expression is true.
//!
//! - config: `expression` (needed), for example `value.amount >= 10 && key != null`. It sees `value` (the value parsed as
//!   JSON), `key`, `timestamp` and `headers`; whole numbers and others may be mixed. An expression that does not compile
//!   stops the job with its place
//! - input: JSON values. A record whose value is no JSON is refused with `bad-json`, one that the expression fails on (a
//!   missing field: guard it with `has(value.field)`) with `expression`, a result that is no boolean with `not-a-bool`
//! - output: the record as it came
//! - state: none

use cel_json::Expression;
use flow_sdk::prelude::*;
use serde::Deserialize;

/// The operator's config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    expression: String,
}

/// The operator.
#[derive(Debug)]
pub struct JsonFilter {
    expression: Expression,
}

impl Filter for JsonFilter {
    type Config = Config;
    const READS: &'static [Column] = cel_json::READS;

    fn new(config: Config, _: &Context) -> Result<Self> {
        Ok(JsonFilter { expression: Expression::compile("expression", &config.expression)? })
    }

    fn keep(&mut self, record: &Record) -> Result<bool> {
        self.expression.test(record)
    }
}
flow_sdk::export!(filter JsonFilter);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::{Harness, Input, Output};
    use serde_json::json;

    fn filter<I: Into<Input>>(expression: &str, inputs: impl IntoIterator<Item = I>) -> Output {
        let mut harness = Harness::<JsonFilter>::new(json!({"expression": expression})).expect("it compiles");
        harness.run(inputs).expect("no call fails")
    }

    #[test]
    fn records_pass_for_which_it_is_true() {
        let orders = [r#"{"amount": 10}"#, r#"{"amount": 9.99}"#, r#"{"amount":11.5,"late":true}"#];
        assert_eq!(filter("value.amount >= 10", orders).texts(), [orders[0], orders[2]]);
        assert_eq!(filter("value.amount >= 10 && !has(value.late)", orders).texts(), [orders[0]]);
        assert_eq!(filter("key == 'a'", [Input::from("1").key("a"), Input::from("2")]).texts(), ["1"]);
    }

    #[test]
    fn what_is_neither_true_nor_false_is_refused() {
        let output = filter("value.late", [r#"{"late":true}"#, "{}", r#"{"late":1}"#, "{"]);
        assert_eq!(output.texts(), [r#"{"late":true}"#]);
        assert_eq!(output.codes(), ["expression", "not-a-bool", "bad-json"]);
    }

    #[test]
    fn a_wrong_expression_is_an_error_at_the_start() {
        let wrong = Harness::<JsonFilter>::new(json!({"expression": "1 +"})).expect_err("a wrong expression");
        assert!(wrong.message.starts_with("config.expression: line 1, column "), "{}", wrong.message);
    }
}
