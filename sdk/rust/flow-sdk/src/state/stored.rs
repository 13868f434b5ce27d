//! How values of states are encoded. An encoding is part of what is stored: it never changes under its name.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, fail};

/// A type that states hold. Numbers, booleans, `String` and `Vec<u8>` have compact encodings; any serde type is stored as
/// JSON with one line: `impl Stored for Profile {}`. Another encoding needs all three items.
///
/// An error of `decode` means that what is stored is not what the operator expects: it fails the call, not the record.
pub trait Stored: Serialize + DeserializeOwned + 'static {
    /// The encoding's name, for people and tools.
    const ENCODING: &'static str = "json";

    /// Whether decoding is so cheap that doing it at once beats keeping the bytes.
    #[doc(hidden)]
    const CHEAP: bool = false;

    /// Appends the encoded value.
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(out, self).map_err(|e| fail("bad-state", format!("a value can't be stored: {e}")))
    }

    /// The value of these bytes.
    fn decode(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|e| fail("bad-state", format!("stored JSON does not fit: {e}")))
    }
}

macro_rules! little_endian {
    ($($number:ty: $name:literal),*) => {$(
        impl Stored for $number {
            const ENCODING: &'static str = $name;
            const CHEAP: bool = true;

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
                out.extend_from_slice(&self.to_le_bytes());
                Ok(())
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self> {
                match bytes.try_into() {
                    Ok(bytes) => Ok(<$number>::from_le_bytes(bytes)),
                    Err(_) => Err(wrong_length($name, bytes)),
                }
            }
        }
    )*};
}
little_endian!(u32: "u32-le", u64: "u64-le", i64: "i64-le", f64: "f64-le");

#[cold]
fn wrong_length(encoding: &str, bytes: &[u8]) -> crate::Error {
    fail("bad-state", format!("{} stored bytes are no {encoding}", bytes.len()))
}

impl Stored for bool {
    const ENCODING: &'static str = "bool";
    const CHEAP: bool = true;

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.push((*self).into());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(wrong_length("bool", bytes)),
        }
    }
}

/// Nothing, for sets: `MapState<String, ()>`.
impl Stored for () {
    const ENCODING: &'static str = "nothing";
    const CHEAP: bool = true;

    fn encode(&self, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn decode(_: &[u8]) -> Result<Self> {
        Ok(())
    }
}

impl Stored for String {
    const ENCODING: &'static str = "utf8";

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        String::from_utf8(bytes.to_vec()).map_err(|e| fail("bad-state", format!("stored text: {e}")))
    }
}

/// Bytes as they are.
impl Stored for Vec<u8> {
    const ENCODING: &'static str = "bytes";

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }
}
