//! The operators of `plugins/`, compiled, in the real host: they do there what their own tests say of them natively.

use std::path::PathBuf;

use flow_sdk_test::{Component, Input};
use serde_json::{Value, json};

/// A component that `deployment/plugins.sh` built.
fn built(name: &str) -> PathBuf {
    let cache = || {
        let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::home_dir().map(|h| h.join(".cache")));
        home.map(|h| h.join("flow/plugins"))
    };
    let dir = std::env::var_os("FLOW_PLUGINS").map(PathBuf::from).or_else(cache).expect("a place for components");
    let path = dir.join(name).with_extension("wasm");
    assert!(path.exists(), "{} is not built: deployment/plugins.sh {name}", path.display());
    path
}

fn component(name: &str, config: Value) -> Component {
    Component::load(built(name), config).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn a_map_writes_values_and_refuses_what_is_no_order() {
    let order = r#"{"id":1,"customer":"c-1","amount":12.5,"note":"a"}"#;
    let output = component("order-map", json!(null)).run([order, "{"]).expect("the job goes on");
    assert_eq!(output.texts(), [r#"{"id":1,"customer":"c-1","amount":25.0,"note":"a"}"#]);
    assert_eq!((output.codes(), output.rejected[0].input), (vec!["bad-json"], 1));
}

#[test]
fn expressions_map_and_filter() {
    let mut map = component("json-map", json!({"expression": "{'total': value.price * value.qty, 'key': key}"}));
    let output = map.run([Input::from(r#"{"price":2.5,"qty":3}"#).key("k")]).expect("the job goes on");
    assert_eq!(output.texts(), [r#"{"total":7.5,"key":"k"}"#]);
    let mut filter = component("json-filter", json!({"expression": "value.n > 1 && headers.h == 'x'"}));
    let record = |n: i32| Input::json(&json!({"n": n})).header("h", Some("x"));
    assert_eq!(filter.run([1, 2, 3].map(record)).expect("the job goes on").texts(), [r#"{"n":2}"#, r#"{"n":3}"#]);
}

#[test]
fn a_wrong_config_names_its_field() {
    let wrong = Component::load(built("tokenizer"), json!({"letters": "greek"})).expect_err("a wrong config");
    assert!(wrong.to_string().contains("config.letters: unknown variant `greek`"), "{wrong}");
}

#[test]
fn keyed_state_outlives_instances() {
    let mut counter = component("counter", json!({"format": "number"}));
    let records = || ["a", "b", "a"].map(|key| Input::default().key(key));
    assert_eq!(counter.run(records()).expect("the job goes on").texts(), ["1", "1", "2"]);
    counter.restart().expect("the same config");
    assert_eq!(counter.run(records()).expect("the job goes on").texts(), ["3", "2", "4"]);
    assert_eq!(counter.value::<u64>("count", "a"), Some(4));
}

#[test]
fn words_keep_their_order_and_key() {
    let mut tokenizer = component("tokenizer", json!({"letters": "ascii", "lowercase": true}));
    let output = tokenizer.run([Input::from("The cat's").key("1"), Input::from("hat").key("2")]);
    let output = output.expect("the job goes on");
    assert_eq!(output.texts(), ["the", "cat", "s", "hat"]);
    assert_eq!(output.records[2].key.as_deref(), Some(b"1".as_slice()));
}

#[test]
fn a_panic_is_told_with_its_text_and_costs_one_record() {
    let mut hostile = component("hostile", json!({"mode": "panic", "when": "bad"}));
    let output = hostile.run(["good", "bad", "fine"]).expect("the job goes on");
    assert_eq!(output.texts(), ["good", "fine"]);
    assert_eq!((output.rejected[0].input, output.codes()), (1, vec!["trap"]));
    assert!(output.rejected[0].message.contains("panicked as told"), "{}", output.rejected[0].message);
}
