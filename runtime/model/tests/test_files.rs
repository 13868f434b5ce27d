//! `*.test.yaml`: what a good one says, and what is told of bad ones.

use flow_model::trial::{Component, ExpectedValue, TestFile};
use serde_json::json;

const GOOD: &str = r#"
crate: ./enrich
config: {rate: 2}
now: 5
cases:
  - name: all forms
    input:
      - plain text
      - {value: {a: [1, 2.5]}, key: 7, timestamp: -1, headers: {trace: x, none: null}}
      - {value-base64: "/w==", key-base64: "AA=="}
      - {value: null}
    expect:
      output:
        - plain text
        - {value: {a: 1}, key: null, port: late}
      rejects:
        - {input: 2, code: bad-utf8, message: not text}
      state:
        k: {count: 1}
  - name: another config
    config: null
    watermark: 9
"#;

#[test]
fn a_good_file() {
    let file = TestFile::parse("x.test.yaml", GOOD.as_bytes()).expect("a good file");
    assert_eq!(file.component.value, Component::Crate("./enrich".into()));
    let case = &file.cases[0];
    assert_eq!((&case.config, case.now, case.watermark), (&json!({"rate": 2}), 5, None));
    let bytes = |blob: &Option<flow_model::trial::Blob>| blob.as_ref().map(|blob| blob.0.clone());
    let values: Vec<_> = case.input.iter().map(|record| bytes(&record.value)).collect();
    let expect = [Some(b"plain text".to_vec()), Some(br#"{"a":[1,2.5]}"#.to_vec()), Some(vec![0xff]), None];
    assert_eq!(values, expect);
    assert_eq!((bytes(&case.input[1].key), case.input[1].timestamp), (Some(b"7".to_vec()), Some(-1)));
    assert_eq!(case.input[1].headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["trace", "none"]);
    let output = case.expect.output.as_ref().expect("it is given");
    assert_eq!(output[0].value, Some(ExpectedValue::Bytes("plain text".into())));
    assert_eq!((&output[1].value, &output[1].key), (&Some(ExpectedValue::Json(json!({"a": 1}))), &Some(None)));
    assert_eq!((output[0].key.as_ref(), output[1].port.as_deref()), (None, Some("late")));
    assert_eq!(case.expect.state, Some(vec![("k".into(), "count".into(), json!(1))]));
    let other = &file.cases[1];
    assert_eq!(
        (&other.config, other.now, other.watermark, other.expect.output.is_none()),
        (&json!(null), 5, Some(9), true)
    );
}

#[test]
fn bad_files() {
    let check = |text: &str, expect: &[&str]| {
        let error = TestFile::parse("t", text.as_bytes()).expect_err(text).to_string();
        assert_eq!(error.lines().collect::<Vec<_>>(), expect, "{text}");
    };
    check(
        "{}",
        &[
            "t:1:1: the test file names nothing to try; add for example `crate: .`, or `component: operator.wasm` for a compiled one",
            "t:1:1: the test file has no \"cases\"; add for example `cases: [{name: it works, input: [hello]}]`",
        ],
    );
    check(
        "crate: .\ncomponent: x\ncases: []",
        &["t:1:8: both \"component\" and \"crate\" are given; keep one", "t:3:8: there are no cases"],
    );
    let case = |case: &str| format!("crate: .\ncases:\n  - {case}");
    let one = |text: &str, expect: &str| check(&case(text), &[expect]);
    one("{input: []}", "t:3:5: case 1 has no \"name\"; add for example `name: it works`");
    one("{name: x, inptu: []}", "t:3:15: unknown field \"inptu\" in case 1; did you mean \"input\"?");
    one("{name: x, input: text}", "t:3:22: \"input\" of case 1 must be a list, found the text \"text\"");
    one(
        "{name: x, input: [{key: 1.5}]}",
        "t:3:29: \"key\" of a record of the input must be text, found the number 1.5; put it in quotes",
    );
    one(
        "{name: x, input: [{timestamp: now}]}",
        "t:3:35: \"timestamp\" of a record of the input must be milliseconds since 1970, found the text \"now\"",
    );
    one(
        "{name: x, input: [{value-base64: '?'}]}",
        "t:3:38: \"value-base64\" of a record of the input is no base64: Invalid symbol 63, offset 0.",
    );
    one("{name: x, expect: {rejects: [{code: a}]}}", "t:3:34: a reject has no \"input\"; add for example `input: 0`");
    one(
        "{name: x, expect: {state: {k: 1}}}",
        "t:3:35: the state of key \"k\", from names to contents, must be a map, found the number 1",
    );
    one("{name: x, config: {a: 1, a: 2}}", "t:3:30: field \"a\" given twice in case 1");
}
