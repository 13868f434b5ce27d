//! What S3 and the way to it say of a failure, as [`Error`].

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::{S3, skew};
use crate::Error;

impl S3 {
    /// Of a request that failed.
    pub(super) fn failure<E>(&self, name: &str, action: &'static str, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (place, object) = (self.place.clone(), format!("{}/{name}", self.place));
        match &error {
            SdkError::TimeoutError(_) => Error::TimedOut { object, action },
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Error::TimedOut { object, action },
            SdkError::DispatchFailure(failure) if failure.is_io() => Error::Unreachable {
                place,
                cause: failure.as_connector_error().map_or_else(String::new, |error| causes(error)),
            },
            // Whatever precedes the sending: there it is the search for credentials that fails.
            SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
                Error::Credentials { place, cause: causes(&error) }
            }
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                self.refusal(name, action, error.code(), error.message(), Some(status))
            }
            _ => Error::Broken { object, cause: causes(&error) },
        }
    }

    /// Of an answer that says no: its code and message, and the status of its HTTP.
    pub(super) fn refusal(
        &self,
        name: &str,
        action: &'static str,
        code: Option<&str>,
        message: Option<&str>,
        status: Option<u16>,
    ) -> Error {
        let (place, object) = (self.place.clone(), format!("{}/{name}", self.place));
        let code = code.unwrap_or_default();
        let cause = match (code, message.unwrap_or_default()) {
            ("", "") => format!("it answered with status {}", status.unwrap_or_default()),
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{code}: {message}"),
        };
        match (code, status.unwrap_or_default()) {
            ("NoSuchKey" | "NotFound", _) => Error::Missing { object },
            ("NoSuchBucket", _) => Error::NoBucket { place, at: self.at.clone() },
            (
                "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" | "InvalidSecurity",
                _,
            )
            | ("TokenRefreshRequired" | "UnauthorizedAccess", _) => Error::Credentials { place, cause },
            ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed", _)
            | ("IllegalLocationConstraintException", _)
            | (_, 301 | 307) => Error::Region { place, cause },
            (skew::REFUSED, _) => Error::Clock { place, cause },
            ("SlowDown" | "RequestLimitExceeded" | "ThrottlingException" | "Throttling" | "TooManyRequests", _)
            | (_, 429 | 503) => Error::Busy { object, action, cause },
            ("XMinioStorageFull" | "InsufficientStorage" | "QuotaExceeded" | "XMinioAdminBucketQuotaExceeded", _)
            | (_, 507) => Error::Full { object, cause },
            ("BadDigest" | "XAmzContentChecksumMismatch" | "IncompleteBody" | "InvalidDigest", _) => {
                Error::Broken { object, cause }
            }
            ("RequestTimeout", _) => Error::TimedOut { object, action },
            (
                "AccessDenied"
                | "AllAccessDisabled"
                | "AccountProblem"
                | "InvalidObjectState"
                | "KMS.DisabledException",
                _,
            )
            | (_, 401 | 403) => Error::Denied { object, action, cause },
            // An answer to HEAD has no body that says which.
            ("", 404) => Error::Missing { object },
            ("NotImplemented", _) | (_, 501) => Error::Refused { object, action, cause },
            (_, 500..) => Error::Failed { object, action, cause },
            _ => Error::Refused { object, action, cause },
        }
    }
}

/// An error's text with those of what caused it, each once.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
