//! The token that requests have to carry: `Authorization: Bearer TOKEN` (RFC 6750).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// Shorter ones could be guessed.
pub const TOKEN_MIN: usize = 16;

/// Why a text can't be a token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Too short to be a secret.
    #[error("it has {0} characters; it must have at least {TOKEN_MIN}")]
    Short(usize),
    /// Spaces, control characters, or letters beyond ASCII: they don't go into a header.
    #[error("it has other characters than visible ASCII ones, or more than one line")]
    Characters,
}

/// A secret that lets requests in. Not shown by `Debug`.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

impl Token {
    /// The token of a text, without the white space around it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Characters);
        }
        if text.len() < TOKEN_MIN {
            return Err(Error::Short(text.len()));
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// Whether a request carries it. Takes as long for a nearly right one as for any other of its length.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| value.split_at_checked("Bearer ".len()));
        given.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(self.0.ct_eq(token.trim_ascii()))
        })
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let check = |text: &str, expect: Result<(), Error>| assert_eq!(Token::new(text).map(drop), expect, "{text:?}");
        check("0123456789abcdef", Ok(()));
        check(" 0123456789abcdef\n", Ok(()));
        check("", Err(Error::Short(0)));
        check("0123456789abcde\n", Err(Error::Short(15)));
        check("0123456789 abcdef", Err(Error::Characters));
        check("0123456789abcdef\n0123456789abcdef", Err(Error::Characters));
        check("0123456789abcdeä", Err(Error::Characters));
    }

    #[test]
    fn who_carries_it() {
        let token = Token::new("0123456789abcdef").expect("long enough");
        let check = |header: Option<&str>, expect: bool| {
            let mut headers = HeaderMap::new();
            header.map(|value| headers.insert(AUTHORIZATION, value.parse().expect("a header")));
            assert_eq!(token.is_in(&headers), expect, "{header:?}");
        };
        check(Some("Bearer 0123456789abcdef"), true);
        check(Some("bearer  0123456789abcdef "), true);
        check(Some("Bearer 0123456789abcdeF"), false);
        check(Some("Bearer 0123456789abcde"), false);
        check(Some("Bearer 0123456789abcdef0"), false);
        check(Some("Bearer "), false);
        check(Some("Basic 0123456789abcdef"), false);
        check(Some("0123456789abcdef"), false);
        check(Some(""), false);
        check(None, false);
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
