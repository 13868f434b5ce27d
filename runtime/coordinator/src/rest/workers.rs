//! `GET /workers`, `POST /workers/{worker}/drain`.

use axum::Json;
use axum::extract::State;
use flow_model::api::{WorkerStatus, Workers};

use super::Api;
use super::jobs::Key;
use super::refusal::Refused;

pub async fn list(State(api): State<Api>) -> Result<Json<Workers>, Refused> {
    api.call(|jobs| jobs.workers().map(Json)).await
}

pub async fn drain(State(api): State<Api>, Key(worker): Key) -> Result<Json<WorkerStatus>, Refused> {
    api.call(move |jobs| jobs.drain(&worker).map(Json)).await
}
