//! `POST /jobs/submit` and `POST /jobs/check`: a multipart form with the pipeline file and its components.

use axum::Json;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use flow_model::api::{Checked, Job, Refusal, RefusalCode, part};
use flow_model::ids::PipelineName;
use flow_model::quantity::ByteSize;
use flow_model::spec::{FILE_MAX, OPERATORS_MAX};
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::body::{self, TooSlow};
use super::gathered::Gathered;
use super::json::{self, JSON_MAX};
use super::pieces::{self, Parsed, Unparsed};
use super::refusal::Refused;
use crate::jobs::Jobs;
use crate::submission::Submission;

/// The longest text of a part that is no file.
const TEXT_MAX: usize = 4096;

pub async fn submit(State(api): State<Api>, request: Request) -> Result<Json<Job>, Refused> {
    take(&api, request, |jobs, submission| jobs.submit(submission).map(Json)).await
}

pub async fn check(State(api): State<Api>, request: Request) -> Result<Json<Checked>, Refused> {
    take(&api, request, |jobs, submission| jobs.check(submission).map(Json)).await
}

/// Reads a submission and does `work` with it. It has its turn until that is over: as long as it is in memory, even if the
/// client goes away meanwhile.
async fn take<T, E>(
    api: &Api,
    request: Request,
    work: impl FnOnce(&Jobs, Submission) -> Result<T, E> + Send + 'static,
) -> Result<T, Refused>
where
    T: Send + 'static,
    E: Into<Refused> + Send + 'static,
{
    let (submission, turn) = receive(api, request).await?;
    let work = move |jobs: &Jobs| {
        let done = work(jobs, submission);
        drop(turn);
        done
    };
    api.call(work).await
}

async fn receive(api: &Api, request: Request) -> Result<(Submission, OwnedSemaphorePermit), Refused> {
    let request = body::patient(request, api.options.patience.body);
    if announced(&request).is_some_and(|length| length > api.options.body_max as u64) {
        return Err(too_large(api));
    }
    let (request, parsed) = pieces::cut(request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| bad(error.body_text()))?;
    let turn = api.uploads.clone().acquire_owned().await.expect("nobody closes it");
    let failed = |error: MultipartError| {
        if let Some(slow) = body::behind::<TooSlow>(&error) {
            Refused(Refusal::new(RefusalCode::TooSlow, slow.to_string()).hint("send it again"))
        } else if let Some(unparsed) = body::behind::<Unparsed>(&error) {
            bad(format!("the form can't be read: {unparsed}"))
        } else if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            too_large(api)
        } else {
            bad(format!("the form can't be read: {}", error.body_text()))
        }
    };
    let mut submission = Submission::default();
    let (mut has_pipeline, mut has_start, mut has_parallelism) = (false, false, false);
    while let Some(field) = form.next_field().await.map_err(failed)? {
        parsed.some();
        let Some(name) = field.name().map(str::to_owned).filter(|name| !name.is_empty()) else {
            return Err(bad("a part of the form has no name"));
        };
        match name.as_str() {
            part::PIPELINE if has_pipeline => return Err(twice(&name)),
            part::PIPELINE => {
                has_pipeline = true;
                submission.file = field.file_name().unwrap_or("pipeline.yaml").to_owned();
                submission.text = content(field, &name, FILE_MAX, &parsed, failed).await?;
            }
            part::NAME if submission.name.is_some() => return Err(twice(&name)),
            part::DIRECTORY if submission.directory.is_some() => return Err(twice(&name)),
            part::NAME => {
                let text = text(field, &name, &parsed, failed).await?;
                submission.name = Some(PipelineName::new(text).map_err(|error| bad(error.to_string()))?);
            }
            part::START if has_start => return Err(twice(&name)),
            part::START => {
                has_start = true;
                let text = content(field, &name, JSON_MAX, &parsed, failed).await?;
                submission.start = json::read(&text).map_err(|wrong| bad(format!("the part \"{name}\": {wrong}")))?;
            }
            part::PARALLELISM if has_parallelism => return Err(twice(&name)),
            part::PARALLELISM => {
                has_parallelism = true;
                let text = content(field, &name, JSON_MAX, &parsed, failed).await?;
                submission.parallelism =
                    json::read(&text).map_err(|wrong| bad(format!("the part \"{name}\": {wrong}")))?;
            }
            part::DIRECTORY => submission.directory = Some(text(field, &name, &parsed, failed).await?.into()),
            _ if submission.components.len() == OPERATORS_MAX => {
                return Err(bad(format!("the form has more than {OPERATORS_MAX} components")));
            }
            _ => {
                let bytes = content(field, &name, usize::MAX, &parsed, failed).await?;
                if submission.components.insert(name.clone(), bytes.into()).is_some() {
                    return Err(twice(&name));
                }
            }
        }
    }
    if !has_pipeline {
        return Err(bad("the form has no part \"pipeline\""));
    }
    Ok((submission, turn))
}

fn announced(request: &Request) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What a part holds, `max` bytes at most. The limit of the whole body holds too.
async fn content(
    mut field: Field<'_>,
    name: &str,
    max: usize,
    parsed: &Parsed,
    failed: impl Fn(MultipartError) -> Refused,
) -> Result<Vec<u8>, Refused> {
    let mut gathered = Gathered::default();
    while let Some(chunk) = field.chunk().await.map_err(&failed)? {
        parsed.some();
        gathered.add(&chunk);
        if gathered.len() > max {
            return Err(bad(format!("the part \"{name}\" is longer than {max} bytes")));
        }
    }
    Ok(gathered.into_vec())
}

async fn text(
    field: Field<'_>,
    name: &str,
    parsed: &Parsed,
    failed: impl Fn(MultipartError) -> Refused,
) -> Result<String, Refused> {
    let bytes = content(field, name, TEXT_MAX, parsed, failed).await?;
    String::from_utf8(bytes).map_err(|_| bad(format!("the part \"{name}\" is no text")))
}

fn too_large(api: &Api) -> Refused {
    let limit = ByteSize(api.options.body_max as u64);
    let message = format!("pipeline and components together are larger than {limit}");
    Refused(Refusal::new(RefusalCode::TooLarge, message).hint("raise it with --body-max SIZE of flowd"))
}

fn twice(name: &str) -> Refused {
    bad(format!("the form has the part \"{name}\" twice"))
}

fn bad(message: impl Into<String>) -> Refused {
    let hint =
        "send multipart/form-data with a part \"pipeline\" and one part for each component, as `flowctl deploy` does";
    Refused(Refusal::new(RefusalCode::BadRequest, message).hint(hint))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use flow_worker::Worker;
    use tokio::sync::{Semaphore, oneshot};

    use axum::body::Body;

    use super::*;

    fn form() -> Request {
        let body = "--b\r\ncontent-disposition: form-data; name=\"pipeline\"\r\n\r\nkind: Pipeline\r\n--b--\r\n";
        let request = Request::post("/jobs/check").header("content-type", "multipart/form-data; boundary=b");
        request.body(Body::from(body)).expect("a request")
    }

    #[tokio::test]
    async fn a_submission_has_its_turn_until_its_work_is_over() {
        let data = tempfile::tempdir().expect("a directory");
        let worker = flow_worker::Options { data_dir: data.path().to_owned(), component_cache_dir: None };
        let jobs = Jobs::new(Worker::new(worker).expect("a worker"), data.path().to_owned(), "test".into())
            .expect("a registry");
        let uploads = Arc::new(Semaphore::new(1));
        let api = Api { serving: Arc::new(jobs).into(), options: Default::default(), uploads: uploads.clone() };
        let (begun, has_begun) = oneshot::channel();
        let (finish, may_finish) = mpsc::channel();
        let work = move |_: &Jobs, _| {
            begun.send(()).expect("the test waits");
            may_finish.recv().expect("the test says when");
            Ok::<_, Refused>(())
        };
        let request = tokio::spawn(async move { take(&api, form(), work).await.is_ok() });
        has_begun.await.expect("the work begins");
        assert_eq!(uploads.available_permits(), 0, "while it is checked");
        request.abort();
        assert!(request.await.expect_err("the client went away").is_cancelled());
        assert_eq!(uploads.available_permits(), 0, "the work goes on without a client");
        finish.send(()).expect("the work waits");
        let turn = tokio::time::timeout(Duration::from_secs(20), uploads.acquire()).await;
        drop(turn.expect("it ends with the work").expect("nobody closes it"));
    }
}
