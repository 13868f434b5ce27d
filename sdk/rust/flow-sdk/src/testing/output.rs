//! What a test gets back.

use serde::de::DeserializeOwned;

use crate::log::Level;

/// A record that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Name of the output port.
    pub port: String,
    /// Which of the inputs of this run it belongs to; none if a hook emitted it.
    pub input: Option<usize>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// Headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The topic that a Kafka sink is to send it to; none for the sink's own.
    pub topic: Option<String>,
    /// The partition that a Kafka sink is to send it to; none for that of its key.
    pub partition: Option<u32>,
}

impl Emitted {
    /// The value as text; empty where it is null.
    ///
    /// # Panics
    /// If it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).expect("the value is UTF-8")
    }

    /// The value parsed as JSON.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(self.text()).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }
}

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which of the inputs of this run.
    pub input: usize,
    /// The operator's short word.
    pub code: String,
    /// Its sentence.
    pub message: String,
}

/// What a run gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What came out, in order.
    pub records: Vec<Emitted>,
    /// What was refused, in the order of the calls.
    pub rejected: Vec<Rejected>,
    /// What the operator logged.
    pub logs: Vec<(Level, String)>,
}

impl Output {
    /// The values as text.
    ///
    /// # Panics
    /// If one is not UTF-8.
    pub fn texts(&self) -> Vec<&str> {
        self.records.iter().map(Emitted::text).collect()
    }

    /// The values parsed as JSON.
    ///
    /// # Panics
    /// If one does not fit.
    pub fn jsons<T: DeserializeOwned>(&self) -> Vec<T> {
        self.records.iter().map(Emitted::json).collect()
    }

    /// Codes of the refusals.
    pub fn codes(&self) -> Vec<&str> {
        self.rejected.iter().map(|r| r.code.as_str()).collect()
    }
}
