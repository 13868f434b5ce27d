//! Small JSON that clients send: read whole, unknown fields refused, and what is wrong named by its field.

use std::time::Duration;

use axum::extract::Request;
use flow_model::api::{Refusal, RefusalCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_stream::StreamExt;

use super::body::{self, TooSlow};
use super::refusal::Refused;

/// The longest JSON of a request, in bytes.
pub const JSON_MAX: usize = 64 << 10;

/// What is read of it. Says what is wrong, and with which field.
pub fn read<T: DeserializeOwned + Serialize>(text: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let read: T = serde_path_to_error::deserialize(&mut json).map_err(|error| match error.path().to_string() {
        path if path == "." || path == "?" => error.inner().to_string(),
        path => format!("{path}: {}", error.inner()),
    })?;
    json.end().map_err(|error| error.to_string())?;
    let (sent, meant) = serde_json::from_slice(text)
        .and_then(|sent| Ok((sent, serde_json::to_value(&read)?)))
        .map_err(|error| error.to_string())?;
    match array_for_object(&sent, &meant) {
        Some(path) if path.is_empty() => Err("invalid type: array, expected an object".to_owned()),
        Some(path) => Err(format!("{path}: invalid type: array, expected an object")),
        None => Ok(read),
    }
}

/// The path of an array in the place of an object, whose fields serde takes from it in their order: who leaves a name out would be
/// understood by where a value happens to stand. `meant` is what was read, as it is written.
fn array_for_object(sent: &Value, meant: &Value) -> Option<String> {
    match (sent, meant) {
        (Value::Array(_), Value::Object(_)) => Some(String::new()),
        (Value::Array(sent), Value::Array(meant)) => {
            let of = |(number, (sent, meant))| Some(format!("[{number}]{}", array_for_object(sent, meant)?));
            sent.iter().zip(meant).enumerate().find_map(of)
        }
        (Value::Object(sent), Value::Object(meant)) => sent.iter().find_map(|(name, sent)| {
            let path = array_for_object(sent, meant.get(name)?)?;
            Some(if path.is_empty() || path.starts_with('[') {
                format!("{name}{path}")
            } else {
                format!("{name}.{path}")
            })
        }),
        _ => None,
    }
}

/// What the body of a request says; the default if it is empty. `like` is an example, for who got it wrong.
pub async fn body<T>(request: Request, patience: Duration, like: &str) -> Result<T, Refused>
where
    T: DeserializeOwned + Serialize + Default,
{
    let bad = |message: String| {
        let hint = format!("send no body, or JSON like {like}");
        Refused(Refusal::new(RefusalCode::BadRequest, message).hint(hint))
    };
    let mut chunks = body::patient(request, patience).into_body().into_data_stream();
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| match body::behind::<TooSlow>(&error) {
            Some(slow) => Refused(Refusal::new(RefusalCode::TooSlow, slow.to_string()).hint("send it again")),
            None => bad(format!("the body can't be read: {error}")),
        })?;
        text.extend_from_slice(&chunk);
        if text.len() > JSON_MAX {
            return Err(bad(format!("the body is longer than {JSON_MAX} bytes")));
        }
    }
    if text.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    read(&text).map_err(|wrong| bad(format!("the body: {wrong}")))
}

#[cfg(test)]
mod tests {
    use flow_model::api::SavepointWanted;
    use flow_model::start::Start;

    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let check = |wrong: Result<(), String>, parts: &[&str]| {
            let wrong = wrong.expect_err("it is wrong");
            assert!(parts.iter().all(|part| wrong.contains(part)), "{wrong}");
        };
        let wanted = |text: &str| read::<SavepointWanted>(text.as_bytes()).map(|_| ());
        let start = |text: &str| read::<Start>(text.as_bytes()).map(|_| ());
        assert_eq!(wanted("{\"name\": \"a\", \"stop\": true}"), Ok(()));
        check(wanted("{\"nam\": \"a\"}"), &["unknown field `nam`", "`name`", "`stop`"]);
        check(wanted("{\"stop\": 1}"), &["stop: invalid type: integer `1`, expected a boolean"]);
        check(wanted("{\"name\": \"No name\"}"), &["name: \"No name\" is no valid name"]);
        check(wanted("{} {}"), &["trailing characters"]);
        check(wanted("{"), &["EOF"]);
        check(start("{\"from\": {\"savepoint\": {\"name\": \"a\", \"of\": 1}}}"), &["unknown field `of`"]);
        check(start("{\"drop-state\": [\"a\", 2]}"), &["drop-state[1]: invalid type"]);
    }

    #[test]
    fn an_array_is_no_object() {
        let check = |wrong: Option<String>, field: &str| {
            assert_eq!(wrong, Some(format!("{field}invalid type: array, expected an object")));
        };
        for text in ["[]", "[\"q9\", true]"] {
            check(read::<SavepointWanted>(text.as_bytes()).err(), "");
        }
        let start = |text: &str| read::<Start>(text.as_bytes()).err();
        check(start("[]"), "");
        check(start("[null, true]"), "");
        check(start("{\"settle\": []}"), "settle: ");
        check(start("{\"settle\": [\"topic\"]}"), "settle: ");
        check(start("{\"from\": {\"savepoint\": [null, \"a\"]}}"), "from.savepoint: ");
        check(start("{\"from\": {\"checkpoint\": []}}"), "from.checkpoint: ");
        assert_eq!(start("{\"drop-state\": [], \"new-state\": [\"a\"], \"from\": {\"checkpoint\": {}}}"), None);
    }
}
