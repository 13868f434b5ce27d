//! Nouns of `flow-model` in a message: what is larger than a few fields travels as the JSON that its type has.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use serde_json::Error;

/// A noun, as it travels.
///
/// # Panics
/// It has a map whose keys are no texts, which none of `flow-model` has.
pub fn write(noun: &impl Serialize) -> Bytes {
    serde_json::to_vec(noun).expect("all keys are texts").into()
}

/// What travelled so.
///
/// # Errors
/// It is none.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
}
