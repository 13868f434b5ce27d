//! Holds documents against a schema: as much of JSON Schema (draft 7) as ours uses, and it fails on a keyword that it does
//! not know. The crates for it turn on features of others that the engine is built without, so that a build of the tests
//! would compile most of its dependencies a second time.

use regex::Regex;
use serde_json::Value;

/// What of `document` does not fit the schema, each with its place.
pub fn errors(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, document, "", &mut found);
    found
}

fn fits(schema: &Value, document: &Value) -> bool {
    errors(schema, document).is_empty()
}

fn check(schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let fine = match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is_of(document, one)),
                one => is_of(document, one),
            },
            "enum" => rule.as_array().expect("a list").contains(document),
            "pattern" => document.as_str().is_none_or(|text| pattern(rule).is_match(text)),
            "minimum" => document.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number")),
            "maximum" => document.as_f64().is_none_or(|number| number <= rule.as_f64().expect("a number")),
            "minItems" => {
                document.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().expect("a number"))
            }
            "items" => {
                for (place, item) in document.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{at}/{place}"), found);
                }
                true
            }
            "required" => document.as_object().is_none_or(|map| {
                rule.as_array().expect("a list").iter().all(|name| map.contains_key(name.as_str().expect("a name")))
            }),
            "properties" => {
                for (name, value) in document.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(name) {
                        check(rule, value, &format!("{at}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                let others = document.as_object().into_iter().flatten().filter(|(name, _)| known.get(*name).is_none());
                let mut fine = true;
                for (name, value) in others {
                    match rule {
                        Value::Bool(allowed) => fine &= allowed,
                        rule => check(rule, value, &format!("{at}/{name}"), found),
                    }
                }
                fine
            }
            "propertyNames" => {
                let mut names = document.as_object().into_iter().flat_map(|map| map.keys());
                names.all(|name| fits(rule, &Value::from(name.as_str())))
            }
            "anyOf" => rule.as_array().expect("a list").iter().any(|form| fits(form, document)),
            "oneOf" => rule.as_array().expect("a list").iter().filter(|form| fits(form, document)).count() == 1,
            other => panic!("the schema uses \"{other}\", which is not checked here"),
        };
        if !fine {
            found.push(format!("{at}: {keyword} {rule}"));
        }
    }
}

fn is_of(document: &Value, kind: &Value) -> bool {
    match kind.as_str().expect("a word") {
        "null" => document.is_null(),
        "boolean" => document.is_boolean(),
        "integer" => document.is_u64() || document.is_i64(),
        "number" => document.is_number(),
        "string" => document.is_string(),
        "array" => document.is_array(),
        "object" => document.is_object(),
        other => panic!("no type {other}"),
    }
}

fn pattern(rule: &Value) -> Regex {
    Regex::new(rule.as_str().expect("a text")).expect("a pattern")
}
