//! `GET /jobs`, `GET /jobs/{job}`, its plan and metrics, `POST /jobs/{job}/cancel`.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use flow_model::api::{Description, Job, Jobs, Metrics, Refusal, RefusalCode};
use flow_model::plan::Plan;

use super::Api;
use super::refusal::Refused;

/// The id or name of a job in a path.
pub struct Key(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(key)) => Ok(Self(key)),
            Err(error) => Err(Refused(Refusal::new(RefusalCode::BadRequest, error.body_text()))),
        }
    }
}

pub async fn list(State(api): State<Api>) -> Result<Json<Jobs>, Refused> {
    api.call(|jobs| Ok::<_, Refused>(Json(jobs.list()))).await
}

pub async fn describe(State(api): State<Api>, Key(job): Key) -> Result<Json<Description>, Refused> {
    api.call(move |jobs| jobs.describe(&job).map(Json)).await
}

pub async fn plan(State(api): State<Api>, Key(job): Key) -> Result<Json<Plan>, Refused> {
    api.call(move |jobs| jobs.plan(&job).map(Json)).await
}

pub async fn metrics(State(api): State<Api>, Key(job): Key) -> Result<Json<Metrics>, Refused> {
    api.call(move |jobs| jobs.metrics(&job).map(Json)).await
}

pub async fn cancel(State(api): State<Api>, Key(job): Key) -> Result<Json<Job>, Refused> {
    api.call(move |jobs| jobs.cancel(&job).map(Json)).await
}
