//! `flowctl test --update`: what came out, written into the test file as what is expected. Everything else in the file,
//! comments too, stays as its author wrote it.

use flow_model::trial::{Blob, Case, Emitted, Outcome, Record};
use serde_json::{Map, Value, json};

use super::compare::readable;

/// The text of the file with what these cases gave in their `expect`; the error is for people.
pub fn updated(text: &str, cases: &[(&Case, &Result<Outcome, String>)]) -> Result<String, String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // From the last one up, so that the places of the others stay right.
    for (case, outcome) in cases.iter().rev() {
        let (first, column) = (case.position.line as usize - 1, case.position.column as usize - 1);
        if !lines.get(first).is_some_and(|line| begins(line, column)) {
            let line = first + 1;
            return Err(format!(
                "line {line}: case \"{}\" is written in braces; write it in lines to have it updated",
                case.name
            ));
        }
        let (from, to, lead) = match case.expect_at {
            Some(at) => {
                let from = at.line as usize - 1;
                (from, end(&lines, from, column), lines[from].chars().take(column).collect())
            }
            None => {
                let to = end_of_case(&lines, first, column);
                (to, to, " ".repeat(column))
            }
        };
        let mut block = expect(case, outcome);
        let indent = " ".repeat(column);
        block[0].insert_str(0, &lead);
        block[1..].iter_mut().for_each(|line| line.insert_str(0, &indent));
        lines.splice(from..to, block);
    }
    Ok(lines.join("\n") + "\n")
}

/// Whether the first field of a case stands at `column`, behind nothing but the list's mark.
fn begins(line: &str, column: usize) -> bool {
    let before_it_is_free = line.chars().take(column).all(|c| matches!(c, ' ' | '-'));
    before_it_is_free && line.chars().nth(column).is_some_and(|c| c != '{')
}

fn indent(line: &str) -> Option<usize> {
    let bare = line.trim_start();
    (!bare.is_empty() && !bare.starts_with('#')).then(|| line.len() - bare.len())
}

/// The first line behind the value of the field on line `from`, which begins at `column`. Comments and empty lines in
/// between belong to what follows.
fn end(lines: &[String], from: usize, column: usize) -> usize {
    let mut to = from + 1;
    for (number, line) in lines.iter().enumerate().skip(from + 1) {
        match indent(line) {
            // A list may stand as far left as its field.
            Some(at) if at > column || at == column && line.trim_start().starts_with("- ") => to = number + 1,
            Some(_) => break,
            None => {}
        }
    }
    to
}

/// The first line behind a case whose fields begin at `column`.
fn end_of_case(lines: &[String], first: usize, column: usize) -> usize {
    let mut to = first + 1;
    for (number, line) in lines.iter().enumerate().skip(first + 1) {
        match indent(line) {
            Some(at) if at >= column => to = number + 1,
            Some(_) => break,
            None => {}
        }
    }
    to
}

/// The lines of the field, each as far left as the field itself.
fn expect(case: &Case, outcome: &Result<Outcome, String>) -> Vec<String> {
    let mut lines = vec!["expect:".to_owned()];
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            lines.push(format!("  error: {}", Value::from(error.as_str())));
            return lines;
        }
    };
    let none = Record::default();
    lines.push(if outcome.output.is_empty() { "  output: []".into() } else { "  output:".into() });
    for record in &outcome.output {
        let input = record.input.and_then(|input| case.input.get(input)).unwrap_or(&none);
        lines.extend(output(record, input));
    }
    if !outcome.rejects.is_empty() || case.expect.rejects.is_some() {
        lines.push(if outcome.rejects.is_empty() { "  rejects: []".into() } else { "  rejects:".into() });
        for reject in &outcome.rejects {
            let (code, message) = (Value::from(reject.code.as_str()), Value::from(reject.message.as_str()));
            lines.push(format!("    - {{input: {}, code: {code}, message: {message}}}", reject.input));
        }
    }
    if !outcome.state.is_empty() {
        lines.push("  state:".into());
        for (key, states) in &outcome.state {
            let states = serde_json::to_string(states).unwrap_or_default();
            lines.push(format!("    {}: {states}", Value::from(key.as_str())));
        }
    }
    lines
}

/// The lines of one record: its value, and what is not as in its input.
fn output(record: &Emitted, input: &Record) -> Vec<String> {
    let Record { key, value, timestamp, headers } = &record.record;
    let mut fields = vec![field("value", value.as_ref(), readable)];
    if *key != input.key {
        fields.push(field("key", key.as_ref(), |key| json!(key)));
    }
    if *timestamp != input.timestamp {
        fields.push(format!("timestamp: {}", json!(timestamp)));
    }
    if *headers != input.headers {
        let map: Map<String, Value> = headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        // A test file can't say that a header comes twice, or that one is no text: then it says nothing of them.
        if map.len() == headers.len() && map.values().all(|value| !value.is_object()) {
            fields.push(format!("headers: {}", Value::Object(map)));
        }
    }
    if record.port != "main" {
        fields.push(format!("port: {}", json!(record.port)));
    }
    let marks = ["    - ", "      "];
    fields.into_iter().enumerate().map(|(number, field)| format!("{}{field}", marks[number.min(1)])).collect()
}

/// A field that holds bytes, as `text` writes them where they are text. JSON is YAML too.
fn field(name: &str, bytes: Option<&Blob>, text: fn(&Blob) -> Value) -> String {
    match bytes {
        None => format!("{name}: null"),
        Some(bytes) if std::str::from_utf8(&bytes.0).is_ok() => format!("{name}: {}", text(bytes)),
        Some(bytes) => format!("{name}-base64: {}", json!(bytes)["base64"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_model::trial::{Reject, TestFile};

    const FILE: &str = "\
# A comment.
crate: .
cases:
  - name: one   # here too
    expect:
      output:
        - old
    # about the input
    input:
      - a

  # about the second
  - name: two
    input: [b]
  - name: three
    expect: {output: [x]}
";

    fn outcome(value: &[u8]) -> Result<Outcome, String> {
        let record = Record { value: Some(Blob(value.to_vec())), key: Some("k".into()), ..Record::default() };
        let output = vec![Emitted { input: Some(0), port: "main".into(), record }];
        let rejects = vec![Reject { input: 1, code: "bad".into(), message: "say \"x\"".into() }];
        let mut outcome = Outcome { output, rejects, ..Outcome::default() };
        outcome.state.entry("k 1".into()).or_default().insert("n".into(), json!(3));
        Ok(outcome)
    }

    #[test]
    fn only_what_is_expected_changes_and_it_reads_back() {
        let file = TestFile::parse("t", FILE.as_bytes()).expect("a good file");
        let outcomes = [outcome(b"{\"a\":1}"), outcome(b"\xff"), Err("it \"stopped\"".to_owned())];
        let cases: Vec<_> = file.cases.iter().zip(&outcomes).collect();
        let text = updated(FILE, &cases).expect("it is in lines");
        let expect = "\
# A comment.
crate: .
cases:
  - name: one   # here too
    expect:
      output:
        - value: {\"a\":1}
          key: \"k\"
      rejects:
        - {input: 1, code: \"bad\", message: \"say \\\"x\\\"\"}
      state:
        \"k 1\": {\"n\":3}
    # about the input
    input:
      - a

  # about the second
  - name: two
    input: [b]
    expect:
      output:
        - value-base64: \"/w==\"
          key: \"k\"
      rejects:
        - {input: 1, code: \"bad\", message: \"say \\\"x\\\"\"}
      state:
        \"k 1\": {\"n\":3}
  - name: three
    expect:
      error: \"it \\\"stopped\\\"\"
";
        assert_eq!(text, expect);
        let again = TestFile::parse("t", text.as_bytes()).expect("it reads back");
        for (case, outcome) in again.cases.iter().zip(&outcomes) {
            assert_eq!(super::super::compare::differences(case, outcome), [""; 0]);
        }
        let cases: Vec<_> = again.cases.iter().zip(&outcomes).collect();
        assert_eq!(updated(&text, &cases).expect("in lines"), text, "a second update changes nothing");
    }

    #[test]
    fn what_is_in_braces_is_left() {
        let text = "crate: .\ncases:\n  - {name: x, input: []}\n";
        let file = TestFile::parse("t", text.as_bytes()).expect("a good file");
        let error = updated(text, &[(&file.cases[0], &outcome(b"x"))]).expect_err("no place for lines");
        assert_eq!(error, "line 3: case \"x\" is written in braces; write it in lines to have it updated");
    }
}
