//! Errors → status and JSON. The only place that knows which error has which status.

use std::io::ErrorKind;

use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flow_model::api::{Refusal, RefusalCode};

use crate::{cluster, jobs, keeper};

/// A refusal on its way out.
pub struct Refused(pub Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            RefusalCode::BadRequest | RefusalCode::InvalidPipeline => StatusCode::BAD_REQUEST,
            RefusalCode::Unauthorized => StatusCode::UNAUTHORIZED,
            RefusalCode::TooSlow => StatusCode::REQUEST_TIMEOUT,
            RefusalCode::Forbidden => StatusCode::FORBIDDEN,
            RefusalCode::NotFound => StatusCode::NOT_FOUND,
            RefusalCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            RefusalCode::Conflict => StatusCode::CONFLICT,
            RefusalCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RefusalCode::Internal | RefusalCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            RefusalCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("{}", self.0.message);
        }
        let mut response = (status, Json(self.0)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flow\""));
        }
        response
    }
}

impl From<jobs::Error> for Refused {
    fn from(error: jobs::Error) -> Self {
        use jobs::Error;
        let message = error.to_string();
        Self(match error {
            Error::Submission(error) => error.into(),
            Error::Running(name) => Refusal::new(RefusalCode::Conflict, message)
                .hint(format!("stop it with `flowctl cancel {name}`, or take another name with --name")),
            Error::Canceling { name, .. } => Refusal::new(RefusalCode::Conflict, message)
                .hint(format!("wait for it with `flowctl cancel {name} --wait`, or take another name with --name")),
            Error::Unknown(_) => {
                Refusal::new(RefusalCode::NotFound, message).hint("`flowctl list` shows the jobs that there are")
            }
            Error::Store(error) => Refusal::new(
                if error.is_retryable() { RefusalCode::Unavailable } else { RefusalCode::BadRequest },
                format!("checkpoints: {message}"),
            ),
            Error::Keep(keeper::Error::Refused(_)) => Refusal::new(RefusalCode::Conflict, message),
            Error::Keep(error) => unkept(&error, message),
            Error::Ended(_) => Refusal::new(RefusalCode::Conflict, message),
            Error::NoCheckpoints(_) => Refusal::new(RefusalCode::Conflict, message)
                .hint("write `checkpoint: {interval: 10s}` into its pipeline file and deploy it again"),
            Error::NotNow(..) => Refusal::new(RefusalCode::Conflict, message),
            Error::NoSavepoint { names, .. } if names.is_empty() => {
                Refusal::new(RefusalCode::NotFound, message).hint("it has none; `flowctl savepoint create` makes one")
            }
            Error::NoSavepoint { names, .. } => {
                Refusal::new(RefusalCode::NotFound, message).hint(format!("those that it has: {}", names.join(", ")))
            }
            Error::Beginning(error) => {
                use jobs::BeginningError as Beginning;
                let code = match &error {
                    Beginning::Keep(error) => return Self(unkept(error, message)),
                    Beginning::Unknown(_) => RefusalCode::NotFound,
                    Beginning::Unfit { .. } | Beginning::Refused(_) => RefusalCode::Conflict,
                    // As where the pipeline has no checkpoints: a line of its file is to be changed.
                    Beginning::Output { .. } => RefusalCode::InvalidPipeline,
                    Beginning::Start(_) | Beginning::NoCheckpoints | Beginning::WithoutCheckpoints => {
                        RefusalCode::BadRequest
                    }
                };
                Refusal::new(code, message)
            }
            Error::Alone => Refusal::new(RefusalCode::Conflict, message)
                .hint("`flowd coordinator` and `flowd worker` make a cluster"),
            Error::Cluster(cluster::Error::Unknown(_)) => {
                Refusal::new(RefusalCode::NotFound, message).hint("`flowctl workers` shows those that there are")
            }
            Error::Cluster(cluster::Error::Lost(_)) => Refusal::new(RefusalCode::Conflict, message)
                .hint("what it ran is elsewhere already; when it is back under its name, it can be drained again"),
            Error::Cluster(_) => Refusal::new(RefusalCode::Unavailable, message),
            Error::Stopping => Refusal::new(RefusalCode::Unavailable, message),
            Error::Directory { error, .. } => {
                let hint = match error.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space there, then try again",
                    _ => "let the user that flowd runs as write there, then try again",
                };
                Refusal::new(RefusalCode::Internal, message).hint(hint)
            }
        })
    }
}

/// What there is of a job in its store can't be used.
fn unkept(error: &keeper::Error, message: String) -> Refusal {
    let code = if error.is_retryable() { RefusalCode::Unavailable } else { RefusalCode::Internal };
    Refusal { hint: error.hint().map(str::to_owned), ..Refusal::new(code, message) }
}
