//! `64Mi`, `500ms` and `100/s`: amounts with their unit, as a pipeline file writes them.
//!
//! A byte size is a whole number with `Ki`, `Mi`, `Gi` or `Ti`, or plain bytes; a duration is a whole number with `ms`,
//! `s`, `m`, `h` or `d`. No crate reads exactly these: the usual ones also take `64MB` for 64,000,000 bytes or
//! `1h 30min`, and a pipeline file has one spelling for each amount.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nearest::quoted;

const SIZES: [(&str, u64); 5] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a byte size.
    #[error("{} is no byte size; write a whole number with Ki, Mi, Gi or Ti, such as 64Mi", quoted(_0))]
    Size(String),
    /// Not a duration.
    #[error("{} is no duration; write a whole number with ms, s, m, h or d, such as 500ms", quoted(_0))]
    Time(String),
    /// Not a rate.
    #[error("{} is no rate; write a whole number a second, such as 100/s", quoted(_0))]
    Rate(String),
    /// More than fits into 64 bits of bytes or milliseconds, or 32 bits of a rate.
    #[error("{} is too large", quoted(_0))]
    TooLarge(String),
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` · 2²⁰ bytes.
    pub const fn mebibytes(n: u64) -> Self {
        Self(n << 20)
    }

    /// As a number that can index memory; saturates where memory is smaller.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        amount(text, &SIZES, Error::Size).map(Self)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, factor): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = SIZES.iter().find(whole).unwrap_or(&("", 1));
        f.pad(&format!("{}{unit}", self.0 / factor))
    }
}

/// How often something may happen in a second: `100/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u32);

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Rate(text.into());
        let number = text.strip_suffix("/s").filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        number.ok_or_else(wrong)?.parse().map(Self).map_err(|_| Error::TooLarge(text.into()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/s", self.0))
    }
}

/// Reads a duration such as `500ms`, `5s`, `1m`, `2h` or `7d`.
///
/// # Errors
/// [`Error::Time`] for another form, [`Error::TooLarge`] above 2⁶⁴ milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    amount(text, &TIMES, Error::Time).map(Duration::from_millis)
}

fn amount(text: &str, units: &[(&str, u64)], wrong: fn(String) -> Error) -> Result<u64, Error> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit).filter(|_| digits > 0) else {
        return Err(wrong(text.into()));
    };
    let number = number.parse::<u64>().map_err(|_| Error::TooLarge(text.into()))?;
    number.checked_mul(*factor).ok_or_else(|| Error::TooLarge(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes() {
        let check = |text: &str, expect: Result<u64, Error>| assert_eq!(text.parse().map(|ByteSize(n)| n), expect);
        check("64Mi", Ok(64 << 20));
        check("1Ki", Ok(1024));
        check("3Gi", Ok(3 << 30));
        check("1Ti", Ok(1 << 40));
        check("1000", Ok(1000));
        check("0", Ok(0));
        for text in ["", "Mi", "64MB", "64 Mi", "64mi", "-1Mi", "1.5Gi", "64MiB", "５Mi"] {
            check(text, Err(Error::Size(text.into())));
        }
        for text in ["16777216Ti", "99999999999999999999"] {
            check(text, Err(Error::TooLarge(text.into())));
        }
        assert_eq!(ByteSize(64 << 20).to_string(), "64Mi");
        assert_eq!(ByteSize(1536).to_string(), "1536");
        assert_eq!(ByteSize(0).to_string(), "0");
    }

    #[test]
    fn rates() {
        let check = |text: &str, expect: Result<u32, Error>| assert_eq!(text.parse().map(|Rate(n)| n), expect);
        check("100/s", Ok(100));
        check("0/s", Ok(0));
        for text in ["", "/s", "100", "100/m", "-1/s", "+1/s", "1.5/s", "100 /s"] {
            check(text, Err(Error::Rate(text.into())));
        }
        check("4294967296/s", Err(Error::TooLarge("4294967296/s".into())));
        assert_eq!(Rate(7).to_string(), "7/s");
    }

    #[test]
    fn durations() {
        let check = |text: &str, millis: u64| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        };
        check("500ms", 500);
        check("5s", 5000);
        check("1m", 60_000);
        check("2h", 7_200_000);
        check("7d", 604_800_000);
        check("0ms", 0);
        for text in ["", "5", "ms", "1.5s", "5 s", "5sec", "-1s"] {
            assert_eq!(parse_duration(text), Err(Error::Time(text.into())));
        }
        assert_eq!(parse_duration("9999999999999999d"), Err(Error::TooLarge("9999999999999999d".into())));
    }
}
