//! How a value is stored, in a run and in RocksDB alike: version byte 1, a byte of flags, the value.
//!
//! Flag bit 0 says that 8 bytes follow it, the time at which the value expires (milliseconds since the Unix epoch, little
//! endian). This version never sets a flag, and refuses a value that has one: ignoring an expiry would bring back what is
//! gone.

/// The version that is written.
const VERSION: u8 = 1;

/// What is wrong with a stored value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written by another version.
    #[error("a stored value has format version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Written by a version that knows more flags.
    #[error("a stored value has flags {0:#04x} that this program does not know")]
    Flags(u8),
    /// Shorter than its head.
    #[error("a stored value is cut off after {0} bytes")]
    Short(usize),
}

/// Bytes of a stored form before its value.
pub const HEAD: [u8; 2] = [VERSION, 0];

/// The value of a stored form.
pub fn decode(stored: &[u8]) -> Result<&[u8], Error> {
    match stored {
        [VERSION, 0, value @ ..] => Ok(value),
        [VERSION, flags, ..] => Err(Error::Flags(*flags)),
        [] | [VERSION] => Err(Error::Short(stored.len())),
        [version, ..] => Err(Error::Version(*version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_are_fixed() {
        let check = |value: &[u8], expect: &[u8]| {
            let out = [&HEAD, value].concat();
            assert_eq!(out, expect);
            assert_eq!(decode(&out), Ok(value));
        };
        check(b"", &[1, 0]);
        check(b"42", &[1, 0, b'4', b'2']);
    }

    #[test]
    fn others_are_refused() {
        let check = |stored: &[u8], expect: &str| {
            assert_eq!(decode(stored).expect_err("not of this version").to_string(), expect);
        };
        check(&[2, 0, 7], "a stored value has format version 2, and this program reads version 1");
        check(&[1, 1, 0, 0], "a stored value has flags 0x01 that this program does not know");
        check(&[1], "a stored value is cut off after 1 bytes");
        check(&[], "a stored value is cut off after 0 bytes");
    }
}
