//! State as people read it: by key and by name, each value by the name of its encoding. What is no value of its encoding,
//! or of one that is not known here, is shown as bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flow_sdk_test::{StateEntry, StateKind};
use serde_json::{Map, Value, json};

/// All entries, by the record's key and the state's name.
pub fn states(entries: Vec<StateEntry>) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut all: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for StateEntry { key, state, kind, encoding, entry, value } in entries {
        let states = all.entry(text(&key)).or_default();
        match kind {
            StateKind::Value => _ = states.insert(state, decoded(&encoding, &value)),
            StateKind::List => {
                if let Value::Array(items) = states.entry(state).or_insert_with(|| Value::Array(Vec::new())) {
                    items.push(decoded(&encoding, &value));
                }
            }
            StateKind::Map => {
                let (of_key, of_value) = encoding.split_once(" -> ").unwrap_or(("bytes", encoding.as_str()));
                if let Value::Object(map) = states.entry(state).or_insert_with(|| Value::Object(Map::new())) {
                    map.insert(map_key(of_key, &entry), decoded(of_value, &value));
                }
            }
        }
    }
    all
}

fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| format!("base64:{}", STANDARD.encode(bytes)), str::to_owned)
}

fn decoded(encoding: &str, bytes: &[u8]) -> Value {
    let known = match encoding {
        "json" => serde_json::from_slice(bytes).ok(),
        "u32-le" => bytes.try_into().ok().map(|bytes| json!(u32::from_le_bytes(bytes))),
        "u64-le" => bytes.try_into().ok().map(|bytes| json!(u64::from_le_bytes(bytes))),
        "i64-le" => bytes.try_into().ok().map(|bytes| json!(i64::from_le_bytes(bytes))),
        "f64-le" => bytes.try_into().ok().map(|bytes| json!(f64::from_le_bytes(bytes))),
        "bool" => (bytes.len() == 1).then(|| json!(bytes[0] != 0)),
        "nothing" => bytes.is_empty().then_some(Value::Null),
        "utf8" | "bytes" => std::str::from_utf8(bytes).ok().map(Value::from),
        _ => None,
    };
    known.unwrap_or_else(|| json!({"base64": STANDARD.encode(bytes)}))
}

fn map_key(encoding: &str, bytes: &[u8]) -> String {
    let known = match encoding {
        "u32-be" => bytes.try_into().ok().map(|bytes| u32::from_be_bytes(bytes).to_string()),
        "u64-be" => bytes.try_into().ok().map(|bytes| u64::from_be_bytes(bytes).to_string()),
        // A flipped sign bit puts negative numbers in front.
        "i64-be-flipped" => bytes.try_into().ok().map(|bytes| (i64::from_be_bytes(bytes) ^ i64::MIN).to_string()),
        _ => None,
    };
    known.unwrap_or_else(|| text(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let check = |encoding: &str, bytes: &[u8], expect: Value| assert_eq!(decoded(encoding, bytes), expect);
        check("u64-le", &7u64.to_le_bytes(), json!(7));
        check("i64-le", &(-7i64).to_le_bytes(), json!(-7));
        check("f64-le", &1.5f64.to_le_bytes(), json!(1.5));
        check("bool", &[1], json!(true));
        check("json", b"{\"a\":1}", json!({"a": 1}));
        check("json", b"{", json!({"base64": "ew=="}));
        check("u64-le", b"short", json!({"base64": "c2hvcnQ="}));
        check("of-another", b"x", json!({"base64": "eA=="}));
        assert_eq!(map_key("i64-be-flipped", &(i64::MIN ^ -3).to_be_bytes()), "-3");
    }
}
