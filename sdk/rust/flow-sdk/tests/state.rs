//! Typed state through the native harness: what a record sees of earlier ones, and that a refused record leaves nothing.

use flow_sdk::prelude::*;
use flow_sdk::testing::{Harness, Input};
use serde_json::{Value as Json, json};

flow_sdk::state! {
    struct All {
        value: Value<String>,
        map: MapState<i64, String>,
        list: ListState<u64>,
    }
}

/// Does the commands of a record's value, a JSON array, and emits what it read.
struct Commands;

impl Process for Commands {
    type Config = ();
    type State = All;
    const PORTS: &'static [&'static str] = &["main", "side"];

    fn new(_: (), _: &Context) -> Result<Self> {
        Ok(Commands)
    }

    fn process(&mut self, _: &[u8], record: &Record, state: &mut All, out: &mut Emitter) -> Result<()> {
        let commands: Vec<Json> = record.json()?;
        for command in &commands {
            let number = command[1].as_i64().unwrap_or_default();
            let text = command[2].as_str().unwrap_or_default().to_string();
            match command[0].as_str().unwrap_or_default() {
                "set" => state.value.set(text),
                "unset" => state.value.clear(),
                "value" => out.json(&state.value.get()?)?,
                "put" => state.map.insert(&number, &text)?,
                "get" => out.json(&state.map.get(&number)?)?,
                "remove" => state.map.remove(&number),
                "clear-map" => state.map.clear(),
                "scan" => out.json(&state.map.iter().collect::<Result<Vec<_>>>()?)?,
                "scan-after" => out.json(&state.map.iter_after(&number).collect::<Result<Vec<_>>>()?)?,
                "push" => state.list.push(&(number as u64))?,
                "clear-list" => state.list.clear(),
                "list" => out.json(&state.list.iter().collect::<Result<Vec<_>>>()?)?,
                "side" => out.record().key("elsewhere").to("side").bytes(text),
                "fail" => return Err(fail("broken", "as told")),
                _ => return Err(reject("refused", "as told")),
            }
        }
        Ok(())
    }

    fn prefetch(&self, _: &[u8], record: &Record, state: &mut All) {
        let commands: Vec<Json> = record.json().unwrap_or_default();
        commands.iter().filter(|c| c[0] == "get").for_each(|c| state.map.prefetch(&c[1].as_i64().unwrap_or_default()));
    }
}
flow_sdk::export!(process Commands);

fn harness() -> Harness<Commands> {
    Harness::new(()).expect("no config")
}

/// Runs commands for one key, a record each; gives what was read.
fn run(harness: &mut Harness<Commands>, records: &[Json]) -> Vec<String> {
    let output = harness.run(records.iter().map(|r| Input::json(r).key("k"))).expect("no call fails");
    output.texts().into_iter().map(String::from).collect()
}

#[test]
fn a_record_sees_what_earlier_ones_wrote_in_one_call_and_in_many() {
    for batch in [1, 2, 100] {
        let mut h = harness();
        h.batch(batch);
        let records = [
            json!([["value"], ["get", 1], ["scan"], ["list"]]),
            json!([["set", 0, "v"], ["put", 2, "two"], ["put", -1, "minus"], ["push", 7]]),
            json!([["value"], ["get", 2], ["scan"], ["list"], ["put", 1, "one"], ["push", 8], ["scan"], ["list"]]),
            json!([["remove", 2], ["get", 2], ["scan-after", -1], ["unset"], ["value"]]),
            json!([["clear-map"], ["clear-list"], ["put", 9, "nine"], ["push", 9], ["get", 1], ["scan"], ["list"]]),
        ];
        let expect = [
            "null",
            "null",
            "[]",
            "[]",
            r#""v""#,
            r#""two""#,
            r#"[[-1,"minus"],[2,"two"]]"#,
            "[7]",
            r#"[[-1,"minus"],[1,"one"],[2,"two"]]"#,
            "[7,8]",
            "null",
            r#"[[1,"one"]]"#,
            "null",
            "null",
            r#"[[9,"nine"]]"#,
            "[9]",
        ];
        assert_eq!(run(&mut h, &records), expect, "batch {batch}");
        assert_eq!(h.value::<String>("value", "k"), None);
        assert_eq!(h.map::<i64, String>("map", "k"), [(9, "nine".to_string())]);
        assert_eq!(h.list::<u64>("list", "k"), [9]);
    }
}

#[test]
fn a_refused_record_leaves_nothing() {
    for batch in [1, 100] {
        let mut h = harness();
        h.batch(batch);
        let records = [
            json!([["set", 0, "kept"], ["put", 1, "kept"], ["push", 1]]),
            json!([
                ["set", 0, "lost"],
                ["put", 1, "lost"],
                ["put", 2, "lost"],
                ["push", 2],
                ["side", 0, "lost"],
                ["refuse"]
            ]),
            json!([["clear-map"], ["put", 3, "lost"], ["clear-list"], ["push", 3], ["unset"], ["list"], ["refuse"]]),
            json!([["value"], ["scan"], ["list"]]),
        ];
        let output = h.run(records.iter().map(|r| Input::json(r).key("k"))).expect("no call fails");
        assert_eq!(output.texts(), [r#""kept""#, r#"[[1,"kept"]]"#, "[1]"], "batch {batch}");
        assert_eq!(output.rejected.iter().map(|r| r.input).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(h.value::<String>("value", "k").as_deref(), Some("kept"));
        assert_eq!(h.map::<i64, String>("map", "k"), [(1, "kept".to_string())]);
        assert_eq!(h.list::<u64>("list", "k"), [1]);
    }
}

#[test]
fn a_failed_call_leaves_nothing_of_any_record() {
    let mut h = harness();
    let records = [json!([["put", 1, "lost"], ["push", 1], ["set", 0, "lost"]]), json!([["fail"]])];
    let failed = h.run(records.iter().map(|r| Input::json(r).key("k"))).expect_err("told to fail");
    assert_eq!(failed.code, "broken");
    assert_eq!(run(&mut h, &[json!([["value"], ["scan"], ["list"]])]), ["null", "[]", "[]"]);
}

#[test]
fn scans_go_on_behind_a_page() {
    let mut h = harness();
    let puts: Vec<Json> = (0..600).map(|n| json!(["put", n, "x"])).collect();
    let pushes: Vec<Json> = (0..600).map(|n| json!(["push", n])).collect();
    run(&mut h, &[json!(puts), json!(pushes)]);
    let read = run(&mut h, &[json!([["remove", 300], ["scan"], ["list"]])]);
    let entries: Vec<(i64, String)> = serde_json::from_str(&read[0]).expect("JSON");
    assert_eq!(entries.len(), 599);
    assert!(entries.is_sorted() && entries.iter().all(|(n, _)| *n != 300));
    assert_eq!(serde_json::from_str::<Vec<u64>>(&read[1]).expect("JSON").len(), 600);
}

#[test]
fn rows_keep_their_key_unless_they_set_another() {
    let output = harness()
        .run([
            Input::json(&json!([["value"]])).key("a").timestamp(1),
            Input::json(&json!([["side", 0, "x"], ["value"]])).key("b"),
        ])
        .expect("no call fails");
    let seen: Vec<_> = output.records.iter().map(|r| (r.port.as_str(), r.key.as_deref(), r.timestamp)).collect();
    let key = |k: &'static str| Some(k.as_bytes());
    assert_eq!(seen, [("main", key("a"), Some(1)), ("side", key("elsewhere"), None), ("main", key("b"), None)]);
}
