//! Replaces each value by the result of a CEL expression.
//!
//! - config: `expression` (needed), for example `{"id": value.id, "total": value.price * value.qty}`. It sees `value` (the
//!   value parsed as JSON), `key`, `timestamp` and `headers`; whole numbers and others may be mixed in arithmetic. An
//!   expression that does not compile stops the job with its place. Three more are expressions too, each null where nothing is
//!   to change: `key`, a string; `topic`, the Kafka topic that the record goes to, a string that the sink must allow by its
//!   `topics` or `pattern`; `partition`, the partition of that topic, a whole number
//! - input: JSON values. A record whose value is no JSON is refused with `bad-json`, one that the expression fails on (a
//!   missing field, a division by zero) with `expression`, a result that JSON can't hold with `not-json`
//! - output: the result as JSON; an object that the expression spells out keeps its order. Event time and headers stay
//! - state: none

use cel_json::Expression;
use flow_sdk::prelude::*;
use serde::Deserialize;

/// The operator's config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    expression: String,
    key: Option<String>,
    topic: Option<String>,
    partition: Option<String>,
}

/// The operator.
#[derive(Debug)]
pub struct JsonMap {
    expression: Expression,
    key: Option<Expression>,
    topic: Option<Expression>,
    partition: Option<Expression>,
}

impl Map for JsonMap {
    type Config = Config;
    const READS: &'static [Column] = cel_json::READS;

    fn new(config: Config, _: &Context) -> Result<Self> {
        let compile =
            |field, source: Option<String>| source.map(|source| Expression::compile(field, &source)).transpose();
        Ok(JsonMap {
            expression: Expression::compile("expression", &config.expression)?,
            key: compile("key", config.key)?,
            topic: compile("topic", config.topic)?,
            partition: compile("partition", config.partition)?,
        })
    }

    fn map(&mut self, record: &Record, out: &mut MapOutput) -> Result<()> {
        if let Some(key) = &self.key
            && let Some(key) = key.text(record)?
        {
            out.key(key);
        }
        if let Some(topic) = &self.topic
            && let Some(topic) = topic.text(record)?
        {
            out.topic(&topic);
        }
        if let Some(partition) = &self.partition
            && let Some(partition) = partition.number(record)?
        {
            out.partition(partition);
        }
        self.expression.write(record, &mut out.begin())
    }
}
flow_sdk::export!(map JsonMap);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_sdk::testing::{Harness, Input};
    use serde_json::json;

    fn map(expression: &str, input: impl Into<Input>) -> String {
        let output = Harness::<JsonMap>::new(json!({"expression": expression})).expect("it compiles").run([input]);
        let output = output.expect("no call fails");
        match output.rejected.first() {
            Some(r) => format!("{}: {}", r.code, r.message),
            None => output.texts()[0].to_owned(),
        }
    }

    #[test]
    fn fields_are_computed() {
        let order = r#"{"price": 2.5, "qty": 3, "tags": ["a","b"], "note": "x\ny", "id": 9007199254740993}"#;
        let check = |expression, expect: &str| assert_eq!(map(expression, order), expect, "{expression}");
        check(r#"{"total": value.price * value.qty}"#, r#"{"total":7.5}"#);
        check(
            r#"{"z": 1, "id": value.id, "a": {"c": value.tags, "b": null}}"#,
            concat!(r#"{"z":1,"id":9007199254740993,"#, r#""a":{"c":["a","b"],"b":null}}"#),
        );
        check("value.qty + 1", "4");
        check("value.qty / 2.0 - 1", "0.5");
        check("value.qty % 2", "1");
        check("value.tags + ['c']", r#"["a","b","c"]"#);
        check("value.note + '!'", r#""x\ny!""#);
        check("value", order);
        check("value.tags.map(t, t + t)", r#"["aa","bb"]"#);
        check("[1, 2].map(n, n * value.price)", "[2.5,5.0]");
        check("value.tags.filter(t, t != 'a')", r#"["b"]"#);
        check("has(value.missing) ? 1 : size(value.tags)", "2");
        check("{'b': 1, 'a': 2}.map(k, k).size()", "2");
        check("type(value.qty) == int", "true");
        check("value.note.matches('^x')", "true");
    }

    #[test]
    fn maps_that_are_not_spelled_out_go_by_name() {
        assert_eq!(map("{value.k: 1, 'a': value}", r#"{"k":"b","c":1,"a":2}"#), r#"{"a":{"a":2,"c":1,"k":"b"},"b":1}"#);
    }

    #[test]
    fn key_timestamp_and_headers_are_there() {
        let record = Input::from("1").key("k").timestamp(5).header("h", Some("1")).header("h", Some("2"));
        assert_eq!(map("[key, timestamp, headers.h, value]", record), r#"["k",5,"2",1]"#);
        assert_eq!(map("[key, timestamp, headers, value]", Input::default()), "[null,null,{},null]");
        assert_eq!(map("type(key) == bytes", Input::default().key(b"\xff")), "true");
    }

    #[test]
    fn records_go_where_expressions_say() {
        let config = json!({
            "expression": "value",
            "key": "value.id",
            "topic": "has(value.region) ? 'orders.' + value.region : null",
            "partition": "value.n",
        });
        let mut harness = Harness::<JsonMap>::new(config).expect("they compile");
        let inputs = [
            r#"{"id":"a","region":"eu","n":3}"#,
            r#"{"id":null,"n":null}"#,
            r#"{"id":7,"n":0}"#,
            r#"{"id":"b","n":-1}"#,
            r#"{"id":"c","region":1,"n":0}"#,
        ];
        let output = harness.run(inputs.map(|input| Input::from(input).key("own"))).expect("no call fails");
        let places: Vec<_> =
            output.records.iter().map(|r| (r.key.as_deref(), r.topic.as_deref(), r.partition)).collect();
        assert_eq!(places, [(Some(&b"a"[..]), Some("orders.eu"), Some(3)), (Some(b"own"), None, None)]);
        assert_eq!(output.codes(), ["not-a-string", "not-a-number", "expression"]);
    }

    #[test]
    fn what_fails_refuses_the_record() {
        assert_eq!(map("value.a", "{}"), "expression: No such key: a");
        assert_eq!(map("value", "{"), "bad-json: EOF while parsing an object at line 1 column 1");
        assert_eq!(map("1.0 / value", "0"), "not-json: inf is no JSON number");
        assert!(map("1 / value", "0").starts_with("expression: Division by zero"));
        assert!(map("value + 1", "true").starts_with("expression: found no matching overload for 'add'"));
        assert_eq!(map("b'x'", "1"), "not-json: a result of type bytes has no form in JSON");
    }

    #[test]
    fn arithmetic_out_of_range_refuses_the_record() {
        let refused = |expression: &str, value: &str| {
            let told = map(expression, value);
            assert!(told.starts_with("expression: "), "{expression} of {value}: {told}");
        };
        let (least, most) = ("-9223372036854775808", "9223372036854775807");
        refused("value + 1", most);
        refused("value - 1", least);
        refused("value * 2", most);
        refused("-value", least);
        refused("value / -1", least);
        refused("value % -1", least);
        refused("value / 0", "1");
        refused("value % 0", "1");
        refused("int(value)", "1e300");
        refused("uint(value)", "-1");
        refused("[1][value]", "1");
        refused("[1][value]", "-1");
        refused("value.matches('(')", r#""x""#);
        refused("value + 1", "18446744073709551615");
        refused("timestamp(value)", r#""x""#);
        refused("duration(value)", r#""9223372036854775807h""#);
    }

    #[test]
    fn an_expression_that_does_not_compile_is_an_error_at_the_start() {
        let message = |expression: &str| {
            Harness::<JsonMap>::new(json!({"expression": expression})).expect_err("a wrong expression").message
        };
        assert!(
            message("value.\n  ==").starts_with("config.expression: line 2, column "),
            "{}",
            message("value.\n  ==")
        );
        assert_eq!(
            message("valeu.x + 1"),
            "config.expression: there is no variable `valeu`; a record is value, key, timestamp, headers"
        );
        let none = Harness::<JsonMap>::new(json!({})).expect_err("an expression is needed").message;
        assert_eq!(none, "config: missing field `expression`");
    }
}
