//! Tokens for OAUTHBEARER: each is looked up again before the last one expires. Flow asks nobody for a token itself; whoever
//! does keeps the file up to date that a pipeline refers to. Nothing of a token is told to anybody.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flow_model::spec::secret::Secret;
use serde::Deserialize;

/// How long a token is used that does not say when it expires, in milliseconds: then it is looked up again.
const LIFETIME: i64 = 300_000;

/// A token and what librdkafka has to know of it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) value: Secret,
    /// When it expires, milliseconds since the Unix epoch.
    pub(super) expires: i64,
    /// Whom it is for.
    pub(super) principal: String,
}

/// Looks the token up as it is now.
type LookUp = Box<dyn Fn() -> Result<Secret, String> + Send + Sync>;

/// Where tokens come from.
pub(super) struct Tokens {
    look_up: LookUp,
    last: Mutex<Option<Token>>,
}

/// What a token says of itself, by RFC 7519.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    sub: Option<String>,
}

impl Tokens {
    pub(super) fn new(look_up: LookUp) -> Tokens {
        Tokens { look_up, last: Mutex::new(None) }
    }

    /// The token to use from now on: the last one, if there is none that is newer and it has not expired.
    pub(super) fn next(&self) -> Result<Token, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        let found = (self.look_up)().and_then(|value| token(value, now));
        match (found, last.as_ref()) {
            (Ok(token), _) => Ok(last.insert(token).clone()),
            (Err(why), Some(token)) if token.expires > now => {
                tracing::warn!("no new token for Kafka, so the last one is used on: {why}");
                Ok(token.clone())
            }
            (Err(why), _) => Err(why),
        }
    }
}

fn token(value: Secret, now: i64) -> Result<Token, String> {
    if value.expose().is_empty() || !value.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it is no token: empty, or with blanks in it".to_owned());
    }
    let claims =
        value.expose().split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
    let claims = claims.and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    let (expires, principal) = claims.map_or((None, None), |claims| (claims.exp, claims.sub));
    let expires = expires.map_or(now + LIFETIME, |seconds| (seconds * 1000.0) as i64);
    if expires <= now {
        let at = jiff::Timestamp::from_millisecond(expires).map_or_else(|_| "long ago".to_owned(), |at| at.to_string());
        return Err(format!("it expired {at}"));
    }
    Ok(Token { value, expires, principal: principal.filter(|p| !p.is_empty()).unwrap_or_else(|| "flow".to_owned()) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn jwt(claims: &str) -> String {
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn tokens_say_when_they_expire() {
        let of = |text: &str| token(Secret::new(text), 1_000_000);
        let good = of(&jwt(r#"{"exp": 2000.5, "sub": "me"}"#)).expect("a good token");
        assert_eq!((good.expires, good.principal.as_str()), (2_000_500, "me"));
        let opaque = of("opaque").expect("any word may be a token");
        assert_eq!((opaque.expires, opaque.principal.as_str()), (1_000_000 + LIFETIME, "flow"));
        assert!(of(&jwt(r#"{"exp": 1000}"#)).expect_err("too late").contains("expired 1970-01-01T00:16:40Z"));
        assert!(of("two words").expect_err("no token").contains("blanks"));
        assert!(of("").is_err());
    }

    #[test]
    fn a_token_is_used_until_it_expires() {
        let file = Arc::new(Mutex::new(Ok(Secret::new(jwt(r#"{"exp": 9999999999, "sub": "first"}"#)))));
        let read = file.clone();
        let tokens = Tokens::new(Box::new(move || read.lock().expect("no panic").clone()));
        let next = |found: Option<Result<Secret, String>>| {
            if let Some(found) = found {
                *file.lock().expect("no panic") = found;
            }
            tokens.next().map(|token| token.principal)
        };
        assert_eq!(next(None).as_deref(), Ok("first"));
        assert_eq!(next(Some(Err("gone".into()))).as_deref(), Ok("first"));
        assert_eq!(
            next(Some(Ok(Secret::new(jwt(r#"{"exp": 9999999999, "sub": "second"}"#))))).as_deref(),
            Ok("second")
        );
    }
}
