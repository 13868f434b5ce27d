//! A record as a line of text, for files and the terminal.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flow_dataflow::{Batch, dead_letter};
use flow_frame::headers;
use flow_frame::layout::id;
use flow_model::spec::RecordFormat;

/// What is told of a dead letter in numbers.
const NUMBERS: [&str; 6] = ["attempts", "time", "subtask", "partition", "offset", "line"];

/// Appends all rows of a batch to `out`, a line each.
///
/// - `lines`: the value and `\n`. A null value is an empty line; a value that holds `\n` is several lines, which `records`
///   avoids.
/// - `records`: an object with the fields `key`, `value`, `timestamp` (milliseconds since the Unix epoch) and `headers` (a
///   list of objects with `key` and `value`), null where there is none. What is not UTF-8 stands in base64 under
///   `key_base64` or `value_base64` in place of the plain name. A dead letter has the field `error` besides, an object of
///   what [`dead_letter`] tells of it in headers.
pub(crate) fn append(format: RecordFormat, batch: &Batch, out: &mut Vec<u8>) {
    match format {
        RecordFormat::Lines => lines(batch, out),
        RecordFormat::Records => (0..batch.rows()).for_each(|row| record(batch, row, out)),
    }
}

fn lines(batch: &Batch, out: &mut Vec<u8>) {
    let values = batch.bytes(id::VALUE);
    out.reserve(batch.column(id::VALUE).map_or(0, |c| c.data.len()) + batch.rows());
    for row in 0..batch.rows() {
        if let Some(value) = values.and_then(|v| v.get(row)) {
            out.extend_from_slice(value);
        }
        out.push(b'\n');
    }
}

fn record(batch: &Batch, row: usize, out: &mut Vec<u8>) {
    let of = |id| batch.bytes(id).and_then(|column| column.get(row));
    out.push(b'{');
    bytes("key", of(id::KEY), out);
    out.push(b',');
    bytes("value", of(id::VALUE), out);
    out.extend_from_slice(b",\"timestamp\":");
    match batch.i64(id::TIMESTAMP, row) {
        Some(time) => write!(out, "{time}").expect("a vector takes every write"),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"headers\":[");
    let blob = of(id::HEADERS).unwrap_or_default();
    let told = |key: &[u8]| key.starts_with(dead_letter::PREFIX.as_bytes());
    for (n, (key, value)) in headers::decode(blob).filter(|(key, _)| !told(key)).enumerate() {
        out.extend_from_slice(if n == 0 { b"{" } else { b",{" });
        bytes("key", Some(key), out);
        out.push(b',');
        bytes("value", value, out);
        out.push(b'}');
    }
    out.push(b']');
    for (n, (key, value)) in headers::decode(blob).filter(|(key, _)| told(key)).enumerate() {
        out.extend_from_slice(if n == 0 { b",\"error\":{" } else { b"," });
        error(&String::from_utf8_lossy(&key[dead_letter::PREFIX.len()..]), value, out);
    }
    let is_dead_letter = headers::decode(blob).any(|(key, _)| told(key));
    out.extend_from_slice(if is_dead_letter { b"}}\n" } else { b"}\n" });
}

/// A field of what is told of a dead letter; numbers are numbers.
fn error(name: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    let text = value.map(String::from_utf8_lossy);
    let number = text.as_ref().filter(|_| NUMBERS.contains(&name)).and_then(|text| text.parse::<i64>().ok());
    let name = serde_json::Value::from(name);
    let value = number.map_or_else(|| serde_json::Value::from(text), serde_json::Value::from);
    write!(out, "{name}:{value}").expect("a vector takes every write");
}

/// A field of bytes: text where it is text.
fn bytes(name: &str, content: Option<&[u8]>, out: &mut Vec<u8>) {
    let text = content.map(std::str::from_utf8);
    let suffix = if let Some(Err(_)) = text { "_base64" } else { "" };
    write!(out, "\"{name}{suffix}\":").expect("a vector takes every write");
    match (text, content) {
        (Some(Ok(text)), _) => serde_json::to_writer(out, text).expect("text is always JSON, and a vector takes it"),
        (_, Some(content)) => {
            write!(out, "\"{}\"", STANDARD.encode(content)).expect("a vector takes every write");
        }
        (_, None) => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use flow_dataflow::BatchBuilder;
    use flow_dataflow::build::Row;

    use super::*;

    fn shown(format: RecordFormat, rows: &[Row<'_>]) -> String {
        let mut batch = BatchBuilder::default();
        rows.iter().for_each(|row| batch.push(*row));
        let mut out = b"> ".to_vec();
        append(format, &batch.finish(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn values_are_lines() {
        let value = |value| Row { key: Some(b"k"), value, ..Row::default() };
        let rows = [value(Some(b"one")), value(None), value(Some(b"")), value(Some(b"two\nlines"))];
        assert_eq!(shown(RecordFormat::Lines, &rows), "> one\n\n\ntwo\nlines\n");
    }

    #[test]
    fn records_are_objects() {
        let check = |row: Row<'_>, expect: &str| {
            let text = shown(RecordFormat::Records, &[row]);
            assert_eq!(text, format!("> {expect}\n"));
            serde_json::from_str::<serde_json::Value>(expect).expect("JSON");
        };
        check(Row::default(), r#"{"key":null,"value":null,"timestamp":null,"headers":[]}"#);
        check(
            Row { key: Some(b"a\"b"), value: Some(b"x\ny\x01"), timestamp: Some(-5), ..Row::default() },
            r#"{"key":"a\"b","value":"x\ny\u0001","timestamp":-5,"headers":[]}"#,
        );
        check(
            Row { key: Some(b"\xff"), value: Some(b"\x00\xfe"), ..Row::default() },
            r#"{"key_base64":"/w==","value_base64":"AP4=","timestamp":null,"headers":[]}"#,
        );
        let mut blob = Vec::new();
        let pairs: [(&[u8], Option<&[u8]>); 3] = [(b"h", Some(b"1")), (b"h", None), (b"", Some(b"\xff"))];
        headers::encode(pairs.into_iter(), &mut blob);
        check(
            Row { value: Some("ä".as_bytes()), headers: &blob, ..Row::default() },
            concat!(
                r#"{"key":null,"value":"ä","timestamp":null,"headers":[{"key":"h","value":"1"},"#,
                r#"{"key":"h","value":null},{"key":"","value_base64":"/w=="}]}"#
            ),
        );
    }

    #[test]
    fn what_is_told_of_a_dead_letter_is_an_object() {
        let mut blob = Vec::new();
        let pairs: [(&[u8], Option<&[u8]>); 5] = [
            (b"flow.error.reason", Some(b"a \"bad\" one\n")),
            (b"h", Some(b"1")),
            (b"flow.error.line", Some(b"17")),
            (b"flow.error.time", Some(b"soon")),
            (b"flow.error.code", None),
        ];
        headers::encode(pairs.into_iter(), &mut blob);
        let text = shown(RecordFormat::Records, &[Row { value: Some(b"v"), headers: &blob, ..Row::default() }]);
        let expect = concat!(
            r#"> {"key":null,"value":"v","timestamp":null,"headers":[{"key":"h","value":"1"}],"#,
            r#""error":{"reason":"a \"bad\" one\n","line":17,"time":"soon","code":null}}"#,
            "\n"
        );
        assert_eq!(text, expect);
    }

    #[test]
    fn a_batch_without_values_has_lines_all_the_same() {
        let mut out = Vec::new();
        append(RecordFormat::Lines, &Batch::new(2), &mut out);
        assert_eq!(out, b"\n\n");
    }
}
