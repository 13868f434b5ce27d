//! What a case was to give against what it gave, as lines for people: `-` for what is missing, `+` for what came instead.

use flow_model::trial::{
    Blob, Case, Emitted, Expected, ExpectedOutput, ExpectedReject, ExpectedValue, Outcome, Reject,
};
use serde_json::{Map, Value, json};

/// More lines of one list of differences than these are only counted.
const SHOWN_MAX: usize = 20;
/// Longer lists are compared place by place: finding what was left out takes memory for each pair.
const ALIGNED_MAX: usize = 2000;

/// What differs; nothing if the case holds.
pub fn differences(case: &Case, outcome: &Result<Outcome, String>) -> Vec<String> {
    let Expected { output, rejects, state, error } = &case.expect;
    let outcome = match (outcome, error) {
        (Err(text), Some(part)) if text.contains(part.as_str()) => return Vec::new(),
        (Err(text), Some(part)) => return vec!["error".to_owned(), format!("- {part}"), format!("+ {text}")],
        (Err(text), None) => return vec![format!("the operator stopped: {text}")],
        (Ok(_), Some(part)) => return vec![format!("no error came; expected was: {part}")],
        (Ok(outcome), None) => outcome,
    };
    let mut lines = Vec::new();
    if let Some(expected) = output {
        lines.extend(list("output", expected, &outcome.output, output_fits, expected_output, emitted));
    }
    if let Some(expected) = rejects {
        lines.extend(list("rejects", expected, &outcome.rejects, reject_fits, expected_reject, shown_reject));
    }
    for (key, name, expected) in state.iter().flatten() {
        let found = outcome.state.get(key).and_then(|states| states.get(name)).unwrap_or(&Value::Null);
        if !same(expected, found) {
            lines.extend([format!("state {name} of {key}"), format!("- {expected}"), format!("+ {found}")]);
        }
    }
    if let Some(difference) = outcome.soak.as_ref().and_then(|soak| soak.difference.as_ref()) {
        lines.push(format!("soak: {difference}"));
    }
    // Most likely why something is missing.
    if rejects.is_none() && !lines.is_empty() && !outcome.rejects.is_empty() {
        let all = outcome.rejects.len();
        lines.push(format!("rejected, of which the case says nothing: {all}"));
        lines.extend(outcome.rejects.iter().take(SHOWN_MAX).map(|one| format!("+ {}", shown_reject(None, one))));
    }
    lines
}

/// The differences of two lists. `written` shows what was expected, `came` what came in the form of what was expected in
/// its place.
fn list<E, G>(
    name: &str,
    expected: &[E],
    got: &[G],
    fits: fn(&E, &G) -> bool,
    written: fn(&E) -> Value,
    came: fn(Option<&E>, &G) -> Value,
) -> Vec<String> {
    let pairs = aligned(expected, got, fits);
    let mut lines = Vec::new();
    let mut differing = 0;
    for (place, (missing, surplus)) in pairs {
        differing += 1;
        if differing <= SHOWN_MAX {
            lines.push(format!("{name} {place}"));
            lines.extend(missing.map(|missing| format!("- {}", written(missing))));
            lines.extend(surplus.map(|surplus| format!("+ {}", came(missing, surplus))));
        }
    }
    if differing > SHOWN_MAX {
        lines.push(format!("{} more differences in {name}", differing - SHOWN_MAX));
    }
    lines
}

/// An expected item and what came instead; one of them may be missing.
type Pair<'a, E, G> = (Option<&'a E>, Option<&'a G>);

/// What does not fit, with its place among what came: between the items that do fit (as many as can be), missing and
/// surplus ones are paired in order.
fn aligned<'a, E, G>(expected: &'a [E], got: &'a [G], fits: fn(&E, &G) -> bool) -> Vec<(usize, Pair<'a, E, G>)> {
    let mut found = Vec::new();
    let mut gap = |e: std::ops::Range<usize>, g: std::ops::Range<usize>| {
        for step in 0..e.len().max(g.len()) {
            let pair = (expected[e.clone()].get(step), got[g.clone()].get(step));
            // Of longer lists the places that fit are among them.
            if !matches!(pair, (Some(one), Some(other)) if fits(one, other)) {
                found.push((g.start + step.min(g.len()), pair));
            }
        }
    };
    let (mut from_e, mut from_g) = (0, 0);
    if expected.len() <= ALIGNED_MAX && got.len() <= ALIGNED_MAX {
        for (e, g) in common(expected, got, fits) {
            gap(from_e..e, from_g..g);
            (from_e, from_g) = (e + 1, g + 1);
        }
    }
    gap(from_e..expected.len(), from_g..got.len());
    found
}

/// The places of a longest common subsequence.
fn common<E, G>(expected: &[E], got: &[G], fits: fn(&E, &G) -> bool) -> Vec<(usize, usize)> {
    let width = got.len() + 1;
    let mut longest = vec![0u16; (expected.len() + 1) * width];
    for e in (0..expected.len()).rev() {
        for g in (0..got.len()).rev() {
            longest[e * width + g] = if fits(&expected[e], &got[g]) {
                longest[(e + 1) * width + g + 1] + 1
            } else {
                longest[(e + 1) * width + g].max(longest[e * width + g + 1])
            };
        }
    }
    let (mut e, mut g, mut places) = (0, 0, Vec::new());
    while e < expected.len() && g < got.len() {
        if fits(&expected[e], &got[g]) {
            places.push((e, g));
            (e, g) = (e + 1, g + 1);
        } else if longest[(e + 1) * width + g] >= longest[e * width + g + 1] {
            e += 1;
        } else {
            g += 1;
        }
    }
    places
}

fn output_fits(expected: &ExpectedOutput, got: &Emitted) -> bool {
    let record = &got.record;
    let value = match (&expected.value, &record.value) {
        (None, _) | (Some(ExpectedValue::Null), None) => true,
        (Some(ExpectedValue::Bytes(bytes)), Some(value)) => bytes == value,
        (Some(ExpectedValue::Json(document)), Some(value)) => {
            serde_json::from_slice::<Value>(&value.0).is_ok_and(|value| same(document, &value))
        }
        (Some(_), _) => false,
    };
    value
        && expected.key.as_ref().is_none_or(|key| *key == record.key)
        && expected.timestamp.is_none_or(|time| time == record.timestamp)
        && expected.headers.as_ref().is_none_or(|headers| *headers == record.headers)
        && expected.port.as_ref().is_none_or(|port| *port == got.port)
}

fn reject_fits(expected: &ExpectedReject, got: &Reject) -> bool {
    expected.input == got.input
        && expected.code.as_ref().is_none_or(|code| *code == got.code)
        && expected.message.as_ref().is_none_or(|part| got.message.contains(part))
}

/// Equal as JSON, with numbers compared by what they are: 3 is 3.0.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Bytes for people: a document if they are an object or a list, else text, else base64.
pub fn readable(bytes: &Blob) -> Value {
    match serde_json::from_slice(&bytes.0) {
        Ok(document @ (Value::Object(_) | Value::Array(_))) => document,
        _ => json!(bytes),
    }
}

fn expected_output(expected: &ExpectedOutput) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.map(|value| fields.insert(name.to_owned(), value));
    set(
        "value",
        expected.value.as_ref().map(|value| match value {
            ExpectedValue::Null => Value::Null,
            ExpectedValue::Bytes(bytes) => json!(bytes),
            ExpectedValue::Json(document) => document.clone(),
        }),
    );
    set("key", expected.key.as_ref().map(|key| json!(key)));
    set("timestamp", expected.timestamp.map(|time| json!(time)));
    set("headers", expected.headers.as_ref().map(|headers| json!(headers)));
    set("port", expected.port.as_ref().map(|port| json!(port)));
    Value::Object(fields)
}

/// What came, with the fields that `expected` looks at, or with all that are there.
fn emitted(expected: Option<&ExpectedOutput>, got: &Emitted) -> Value {
    let record = &got.record;
    let any = expected.is_none();
    let is = |looked_at: fn(&ExpectedOutput) -> bool, there: bool| expected.is_some_and(looked_at) || any && there;
    let mut fields = Map::new();
    let mut set = |name: &str, wanted: bool, value: Value| wanted.then(|| fields.insert(name.to_owned(), value));
    let as_json = expected.is_none_or(|expected| !matches!(expected.value, Some(ExpectedValue::Bytes(_))));
    let value = record.value.as_ref().map_or(Value::Null, |bytes| if as_json { readable(bytes) } else { json!(bytes) });
    set("value", any || is(|e| e.value.is_some(), true), value);
    set("key", is(|e| e.key.is_some(), record.key.is_some()), json!(record.key));
    set("timestamp", is(|e| e.timestamp.is_some(), record.timestamp.is_some()), json!(record.timestamp));
    set("headers", is(|e| e.headers.is_some(), !record.headers.is_empty()), json!(record.headers));
    set("port", is(|e| e.port.is_some(), got.port != "main"), json!(got.port));
    Value::Object(fields)
}

fn expected_reject(expected: &ExpectedReject) -> Value {
    let mut fields = Map::from_iter([("input".to_owned(), json!(expected.input))]);
    fields.extend(expected.code.as_ref().map(|code| ("code".to_owned(), json!(code))));
    fields.extend(expected.message.as_ref().map(|message| ("message".to_owned(), json!(message))));
    Value::Object(fields)
}

fn shown_reject(_: Option<&ExpectedReject>, got: &Reject) -> Value {
    json!(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_model::trial::{Record, TestFile};

    fn case(expect: &str) -> Case {
        let text = format!("crate: .\ncases:\n  - name: x\n    input: [a, b, c]\n    expect: {expect}\n");
        TestFile::parse("t", text.as_bytes()).expect("a good file").cases.swap_remove(0)
    }

    fn came(values: &[&str]) -> Outcome {
        let emitted = |(input, value): (usize, &&str)| Emitted {
            input: Some(input),
            port: "main".into(),
            record: Record { value: Some((*value).into()), key: Some("k".into()), ..Record::default() },
        };
        Outcome { output: values.iter().enumerate().map(emitted).collect(), ..Outcome::default() }
    }

    #[track_caller]
    fn check(expect: &str, outcome: Outcome, lines: &[&str]) {
        assert_eq!(differences(&case(expect), &Ok(outcome)), lines, "{expect}");
    }

    #[test]
    fn what_was_rejected_unasked_may_be_why() {
        let rejected = Reject { input: 0, code: "trap".into(), message: "it panicked".into() };
        let outcome = Outcome { rejects: vec![rejected], ..came(&[]) };
        check("{output: []}", outcome.clone(), &[]);
        let why = r#"+ {"input":0,"code":"trap","message":"it panicked"}"#;
        check(
            "{output: [a]}",
            outcome,
            &["output 0", r#"- {"value":"a"}"#, "rejected, of which the case says nothing: 1", why],
        );
    }

    #[test]
    fn what_is_the_same() {
        check("{}", came(&["a"]), &[]);
        check("{output: [a, b]}", came(&["a", "b"]), &[]);
        check("{output: [{value: {n: 3, m: [1]}}]}", came(&[r#"{"m":[1.0],"n":3.0}"#]), &[]);
        check("{output: [{key: k}]}", came(&["whatever"]), &[]);
        check("{output: [], rejects: []}", came(&[]), &[]);
    }

    #[test]
    fn outputs_that_differ() {
        check("{output: [a, b]}", came(&["a", "x"]), &["output 1", r#"- {"value":"b"}"#, r#"+ {"value":"x"}"#]);
        check("{output: [a, b, c]}", came(&["a", "c"]), &["output 1", r#"- {"value":"b"}"#]);
        check("{output: [a, c]}", came(&["a", "b", "c"]), &["output 1", r#"+ {"value":"b","key":"k"}"#]);
        check(
            "{output: [{value: {n: 1}, key: j}]}",
            came(&[r#"{"n":1}"#]),
            &["output 0", r#"- {"value":{"n":1},"key":"j"}"#, r#"+ {"value":{"n":1},"key":"k"}"#],
        );
        let many: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let lines = differences(&case("{output: []}"), &Ok(came(&many)));
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (41, Some("5 more differences in output")));
    }

    #[test]
    fn long_lists_go_place_by_place() {
        let values: Vec<String> = (0..=ALIGNED_MAX).map(|n| n.to_string()).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let expect: Vec<String> =
            values.iter().map(|value| format!("'{}'", if *value == "7" { "x" } else { value })).collect();
        let expect = format!("{{output: [{}]}}", expect.join(", "));
        check(&expect, came(&values), &["output 7", r#"- {"value":"x"}"#, r#"+ {"value":"7"}"#]);
    }

    #[test]
    fn rejects_state_and_errors() {
        let reject = |input, code: &str| Reject { input, code: code.into(), message: "the words".into() };
        let outcome = Outcome { rejects: vec![reject(1, "bad"), reject(2, "worse")], ..Outcome::default() };
        check("{rejects: [{input: 1, code: bad, message: word}, {input: 2}]}", outcome.clone(), &[]);
        check(
            "{rejects: [{input: 1}, {input: 2, code: bad}]}",
            outcome,
            &["rejects 1", r#"- {"input":2,"code":"bad"}"#, r#"+ {"input":2,"code":"worse","message":"the words"}"#],
        );
        let mut outcome = Outcome::default();
        outcome.state.entry("k".into()).or_default().insert("n".into(), json!(3));
        check("{state: {k: {n: 3.0}, other: {n: null}}}", outcome.clone(), &[]);
        check("{state: {k: {n: 4}}}", outcome, &["state n of k", "- 4", "+ 3"]);
        let failed = Err("operator: bad config".to_owned());
        assert_eq!(differences(&case("{error: bad config}"), &failed), [""; 0]);
        assert_eq!(differences(&case("{}"), &failed), ["the operator stopped: operator: bad config"]);
        check("{error: bad}", Outcome::default(), &["no error came; expected was: bad"]);
    }
}
