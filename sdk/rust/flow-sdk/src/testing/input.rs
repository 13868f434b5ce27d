//! Records that go into a test.

use serde::Serialize;

/// A record for a test: a value, and whatever else it is given.
///
/// ```
/// use flow_sdk::testing::Input;
///
/// let plain = Input::from("a value");
/// let full = Input::json(&[1, 2]).key("k").timestamp(5).header("trace", Some("7"));
/// let tombstone = Input::default().key("k");
/// assert_eq!(tombstone.value, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// Headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Input {
    /// A record whose value is something as JSON.
    ///
    /// # Panics
    /// If it can't be written as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Input {
        Input::from(serde_json::to_vec(value).expect("a test's value can be written as JSON"))
    }

    /// With this key.
    pub fn key(self, key: impl AsRef<[u8]>) -> Input {
        Input { key: Some(key.as_ref().to_vec()), ..self }
    }

    /// With this event time.
    pub fn timestamp(self, timestamp: i64) -> Input {
        Input { timestamp: Some(timestamp), ..self }
    }

    /// With one more header.
    pub fn header(mut self, key: &str, value: Option<&str>) -> Input {
        self.headers.push((key.into(), value.map(|v| v.as_bytes().to_vec())));
        self
    }
}

impl From<&str> for Input {
    fn from(value: &str) -> Input {
        value.as_bytes().into()
    }
}

impl From<String> for Input {
    fn from(value: String) -> Input {
        value.into_bytes().into()
    }
}

impl From<&[u8]> for Input {
    fn from(value: &[u8]) -> Input {
        value.to_vec().into()
    }
}

impl From<Vec<u8>> for Input {
    fn from(value: Vec<u8>) -> Input {
        Input { value: Some(value), ..Input::default() }
    }
}

impl From<serde_json::Value> for Input {
    fn from(value: serde_json::Value) -> Input {
        Input::json(&value)
    }
}
