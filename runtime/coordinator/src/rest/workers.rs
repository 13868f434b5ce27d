//! `GET /workers`, `POST /workers/{worker}/drain`, `POST /jobs/{job}/scale`.

use axum::Json;
use axum::extract::{Request, State};
use flow_model::api::{Job, Refusal, RefusalCode, Scale, WorkerStatus, Workers};

use super::jobs::Key;
use super::refusal::Refused;
use super::{Api, json};

/// For who sends something else.
const LIKE: &str = "{\"parallelism\": {\"totals\": 8}}";

pub async fn list(State(api): State<Api>) -> Result<Json<Workers>, Refused> {
    api.call(|jobs| jobs.workers().map(Json)).await
}

pub async fn scale(State(api): State<Api>, Key(job): Key, request: Request) -> Result<Json<Job>, Refused> {
    let wanted: Scale = json::body(request, api.options.patience.body, LIKE).await?;
    if wanted.parallelism.is_empty() && wanted.all.is_none() {
        let hint = format!("send JSON like {LIKE}");
        return Err(Refused(Refusal::new(RefusalCode::BadRequest, "it says no parallelism").hint(hint)));
    }
    api.call(move |jobs| jobs.scale(&job, &wanted).map(Json)).await
}

pub async fn drain(State(api): State<Api>, Key(worker): Key) -> Result<Json<WorkerStatus>, Refused> {
    api.call(move |jobs| jobs.drain(&worker).map(Json)).await
}
