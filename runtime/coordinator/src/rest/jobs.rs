//! `GET /jobs`, `GET /jobs/{job}`, its plan, `POST /jobs/{job}/cancel`.

use axum::Json;
use axum::extract::{Path, State};
use flow_model::api::{Description, Job, Jobs};
use flow_model::plan::Plan;

use super::Api;
use super::refusal::Refused;

pub async fn list(State(api): State<Api>) -> Result<Json<Jobs>, Refused> {
    api.call(|jobs| Ok::<_, Refused>(Json(Jobs { jobs: jobs.list() }))).await
}

pub async fn describe(State(api): State<Api>, Path(job): Path<String>) -> Result<Json<Description>, Refused> {
    api.call(move |jobs| jobs.describe(&job).map(Json)).await
}

pub async fn plan(State(api): State<Api>, Path(job): Path<String>) -> Result<Json<Plan>, Refused> {
    api.call(move |jobs| jobs.plan(&job).map(Json)).await
}

pub async fn cancel(State(api): State<Api>, Path(job): Path<String>) -> Result<Json<Job>, Refused> {
    api.call(move |jobs| jobs.cancel(&job).map(Json)).await
}
