//! `GET /jobs/{job}/checkpoints` and `POST /jobs/{job}/checkpoints`.

use axum::Json;
use axum::extract::State;
use flow_model::api::{CheckpointAsked, Checkpoints};

use super::Api;
use super::jobs::Key;
use super::refusal::Refused;

pub async fn list(State(api): State<Api>, Key(job): Key) -> Result<Json<Checkpoints>, Refused> {
    api.call(move |jobs| jobs.checkpoints(&job).map(Json)).await
}

pub async fn take(State(api): State<Api>, Key(job): Key) -> Result<Json<CheckpointAsked>, Refused> {
    api.call(move |jobs| jobs.checkpoint(&job).map(|checkpoint| Json(CheckpointAsked { checkpoint }))).await
}
