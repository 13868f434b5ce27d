//! `GET /jobs/{job}/logs`: what is there as lines of JSON, or with `follow=true` as server-sent events until the job ends.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use flow_model::api::{Job, Refusal, RefusalCode};
use flow_worker::log::JobLog;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};

use super::Api;
use super::jobs::Key;
use super::refusal::Refused;
use crate::answer;
use crate::handle::Handle;
use crate::jobs::Jobs;

/// How often a follower looks for new lines. It is no thread that waits for them: there may be any number of followers.
const TURN: Duration = Duration::from_millis(100);
/// Events between the log and a slow reader, and lines that are taken from the log at once; a full queue holds the follower
/// back, never the job.
const QUEUED: usize = 64;

/// What a client that was cut off has read last (HTML standard, server-sent events).
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    follow: bool,
    /// The last so many lines; all that are kept if absent.
    tail: Option<usize>,
}

pub async fn logs(
    State(api): State<Api>,
    Key(job): Key,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(wanted) = wanted.map_err(|error| {
        let refusal = Refusal::new(RefusalCode::BadRequest, error.body_text());
        Refused(refusal.hint("write it like /jobs/orders/logs?follow=true&tail=10"))
    })?;
    let tail = wanted.tail.unwrap_or(usize::MAX);
    if wanted.follow {
        let key = job.clone();
        let ((found, handle), numbering) =
            api.call(move |jobs| jobs.handle(&key).map(|found| (found, jobs.numbering()))).await?;
        let log = begins(&found, numbering);
        let from = match headers.get(LAST_EVENT_ID) {
            None => handle.log().tail(tail),
            Some(id) => behind(id.to_str().unwrap_or_default(), &log)?,
        };
        return Ok(follow(api, (found, log), handle, from).into_response());
    }
    let lines = api.call(move |jobs| recent(jobs, &job, tail)).await?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

fn recent(jobs: &Jobs, key: &str, tail: usize) -> Result<String, Refused> {
    let (_, handle) = jobs.handle(key)?;
    let mut text = String::new();
    for line in handle.log().recent(tail) {
        text += &json(&answer::line(line));
        text.push('\n');
    }
    Ok(text)
}

fn follow(
    api: Api,
    (job, log): (Job, String),
    handle: Handle,
    from: u64,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send + 'static> {
    let (sender, receiver) = mpsc::channel(QUEUED);
    tokio::spawn(async move {
        // One that is left goes on elsewhere: who follows it asks there.
        if send_log(&log, handle.log(), from, &sender).await.is_some() && !handle.is_left() {
            let id = job.id.clone();
            // The job has ended: its entry may be gone by now, but then its end is of no more interest than its start.
            let ended = api.call(move |jobs| jobs.handle(id.as_str())).await.map_or(job, |(job, _)| job);
            // The reader may be gone too.
            _ = sender.send(Event::default().event("end").data(json(&ended))).await;
        }
    });
    Sse::new(ReceiverStream::new(receiver).map(Ok)).keep_alive(KeepAlive::default())
}

/// What the ids of a log's events begin with. Numbers of lines count within it: another process, or this one when it leads again, numbers
/// those of a job anew.
fn begins(job: &Job, numbering: u32) -> String {
    format!("{}/{numbering:08x}-", job.id)
}

/// The number of the line behind the one of this event. That of the first if it is of another log: the name of a job may stand for a newer
/// one by now, or another coordinator leads.
fn behind(event: &str, log: &str) -> Result<u64, Refused> {
    let number = event.split_once('/').and_then(|(_, line)| line.rsplit('-').next()?.parse::<u64>().ok());
    match number {
        Some(number) if event.starts_with(log) => Ok(number.saturating_add(1)),
        Some(_) => Ok(0),
        None => {
            let refusal = Refusal::new(RefusalCode::BadRequest, "the Last-Event-ID is not one of a log");
            Err(Refused(refusal.hint("it is JOB/LOG-NUMBER, as the events have it in `id:`")))
        }
    }
}

/// Sends lines until the log is closed; nothing if the reader went away before.
async fn send_log(begins: &str, log: &JobLog, mut next: u64, sender: &Sender<Event>) -> Option<()> {
    while let Some(lines) = log.since(next, QUEUED) {
        if lines.is_empty() {
            tokio::select! {
                () = sender.closed() => return None,
                () = tokio::time::sleep(TURN) => {}
            }
        }
        for line in lines {
            next = line.number + 1;
            let event = Event::default().id(format!("{begins}{}", line.number));
            sender.send(event.data(json(&answer::line(line)))).await.ok()?;
        }
    }
    Some(())
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("the API's types have text keys only, so they have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_cut_off_from_another_log_begins_at_its_first_line() {
        let job = serde_json::json!({"id": "a-b-000001", "name": "a-b", "state": "running", "submitted": 0});
        let log = begins(&serde_json::from_value(job).expect("a job"), 0x2a);
        let check = |event: &str, expect: Option<u64>| assert_eq!(behind(event, &log).ok(), expect, "{event}");
        check("a-b-000001/0000002a-13", Some(14));
        check("a-b-000001/0000002b-13", Some(0));
        check("a-b-000002/0000002a-13", Some(0));
        // Of a former version, whose numbers are nobody knows whose.
        check("a-b-000001/13", Some(0));
        check("a-b-000001/0000002a-", None);
        check("a-b-000001", None);
        check("13", None);
    }
}
