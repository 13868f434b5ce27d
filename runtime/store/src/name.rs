//! Which texts can name an object, in every kind of store.

use crate::Error;

/// The longest key that S3 takes, in bytes.
const LONGEST: usize = 1024;

/// Checks the name of an object.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    if name.len() <= LONGEST && name.split('/').all(is_part) { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

/// Checks what names begin with: a name that may be cut off anywhere.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Error> {
    match prefix.rsplit_once('/') {
        Some((_, last)) if last.starts_with('.') => Err(Error::Name(prefix.to_owned())),
        Some((folder, _)) => check(folder),
        None if prefix.is_empty() => Ok(()),
        None => check(prefix),
    }
}

/// No control characters, which XML can't carry, nothing that leads out of a directory or is hidden in it.
fn is_part(part: &str) -> bool {
    !part.is_empty() && !part.starts_with('.') && !part.chars().any(|c| c.is_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["HEAD", "a/b/c", "a b/ü.json", "00-1_2"] {
            assert!(check(name).is_ok(), "{name}");
        }
        let long = "x".repeat(LONGEST + 1);
        for name in ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a\nb", "a\0", r"a\b", &long] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn prefixes() {
        for prefix in ["", "a", "a/", "a/b", "a/b/"] {
            assert!(check_prefix(prefix).is_ok(), "{prefix}");
        }
        for prefix in ["/", "../", "a/.", ".x", "a//"] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
