//! `/jobs/{job}/savepoints`: the savepoints of a job, whether it runs or not.

use axum::Json;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use flow_model::api::{Refusal, RefusalCode, Savepoint, SavepointDetail, SavepointWanted, Savepoints};
use flow_model::ids::SavepointName;

use super::jobs::Key;
use super::refusal::Refused;
use super::{Api, json};

/// For who sends something else.
const LIKE: &str = "{\"name\": \"before-v2\", \"stop\": false}";

/// The id or name of a job in a path, and the name of a savepoint of it.
pub struct Keys(String, SavepointName);

impl<S: Send + Sync> FromRequestParts<S> for Keys {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let bad = |message: String| Refused(Refusal::new(RefusalCode::BadRequest, message));
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((job, name))) => match SavepointName::new(name) {
                Ok(name) => Ok(Self(job, name)),
                Err(error) => Err(bad(error.to_string())),
            },
            Err(error) => Err(bad(error.body_text())),
        }
    }
}

pub async fn list(State(api): State<Api>, Key(job): Key) -> Result<Json<Savepoints>, Refused> {
    api.call(move |jobs| jobs.savepoints(&job).map(Json)).await
}

pub async fn take(State(api): State<Api>, Key(job): Key, request: Request) -> Result<Json<Savepoint>, Refused> {
    let SavepointWanted { name, stop } = json::body(request, api.options.patience.body, LIKE).await?;
    api.call(move |jobs| jobs.savepoint(&job, name, stop).map(Json)).await
}

pub async fn inspect(State(api): State<Api>, Keys(job, name): Keys) -> Result<Json<SavepointDetail>, Refused> {
    api.call(move |jobs| jobs.savepoint_inspect(&job, &name).map(Json)).await
}

pub async fn remove(State(api): State<Api>, Keys(job, name): Keys) -> Result<StatusCode, Refused> {
    api.call(move |jobs| jobs.savepoint_remove(&job, &name).map(|()| StatusCode::NO_CONTENT)).await
}
