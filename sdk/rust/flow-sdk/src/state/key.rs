//! How keys of map states are encoded: so that the order of the bytes is the order of the keys.

use crate::error::{Result, fail};

/// Something that names an entry of a map; also the borrowed forms `str` and `[u8]`.
pub trait KeyBytes {
    /// Appends the key's bytes.
    fn write(&self, out: &mut Vec<u8>);
}

/// A type of keys of [`MapState`](crate::state::MapState): text, bytes, or numbers, which a scan gives in their order.
pub trait StateKey: KeyBytes + Sized + 'static {
    /// The encoding's name, for people and tools.
    const ENCODING: &'static str;

    /// The key of these bytes. An error fails the call.
    fn read(bytes: &[u8]) -> Result<Self>;
}

/// The bytes of a key in one of its forms.
pub(crate) fn bytes_of<Q: KeyBytes + ?Sized>(key: &Q) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.write(&mut bytes);
    bytes
}

impl KeyBytes for str {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl KeyBytes for [u8] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl KeyBytes for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

impl StateKey for String {
    const ENCODING: &'static str = "utf8";

    fn read(bytes: &[u8]) -> Result<Self> {
        String::from_utf8(bytes.to_vec()).map_err(|e| fail("bad-state", format!("stored key: {e}")))
    }
}

impl KeyBytes for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_slice().write(out);
    }
}

impl StateKey for Vec<u8> {
    const ENCODING: &'static str = "bytes";

    fn read(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }
}

macro_rules! big_endian {
    ($($number:ty, $flip:expr, $name:literal);*) => {$(
        impl KeyBytes for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(*self ^ $flip).to_be_bytes());
            }
        }

        impl StateKey for $number {
            const ENCODING: &'static str = $name;

            fn read(bytes: &[u8]) -> Result<Self> {
                match bytes.try_into() {
                    Ok(bytes) => Ok(<$number>::from_be_bytes(bytes) ^ $flip),
                    Err(_) => Err(fail("bad-state", format!("a stored key of {} bytes is no {}", bytes.len(), $name))),
                }
            }
        }
    )*};
}
// A flipped sign bit puts negative numbers in front.
big_endian!(u32, 0, "u32-be"; u64, 0, "u64-be"; i64, i64::MIN, "i64-be-flipped");
