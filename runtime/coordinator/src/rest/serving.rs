//! Whose jobs requests are about: this process's, or the leader's. A coordinator that does not lead hands what it is asked on to the one
//! that does; it must never answer by itself.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flow_model::api::{Refusal, RefusalCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::Api;
use super::refusal::Refused;
use crate::cluster::Role;
use crate::jobs::Jobs;

/// What a request has that was handed on: it is not handed on again.
const HANDED_ON: HeaderName = HeaderName::from_static("flow-handed-on");
/// How often it is looked whether who was asked still leads.
const LOOK: Duration = Duration::from_millis(500);

/// Whose jobs they are.
#[derive(Clone)]
pub enum Serving {
    /// This process's.
    Own(Arc<Jobs>),
    /// The leader's.
    Leaders(Elected),
}

impl From<Arc<Jobs>> for Serving {
    fn from(jobs: Arc<Jobs>) -> Serving {
        Serving::Own(jobs)
    }
}

/// The jobs of a cluster, while this process leads it.
#[derive(Clone)]
pub struct Elected {
    role: Role,
    jobs: Arc<RwLock<Option<Arc<Jobs>>>>,
    client: Arc<Client<HttpConnector, Body>>,
}

impl Elected {
    /// It leads nothing yet.
    pub fn new(role: Role) -> Elected {
        let client = Arc::new(Client::builder(TokioExecutor::new()).build_http());
        Elected { role, jobs: Arc::default(), client }
    }

    /// The term of the leader that is known; 0 if none is.
    pub(super) fn term(&self) -> u64 {
        self.role.term()
    }

    /// It leads these, or none any more; those that it led before.
    pub fn set(&self, jobs: Option<Arc<Jobs>>) -> Option<Arc<Jobs>> {
        std::mem::replace(&mut *self.jobs.write().unwrap_or_else(PoisonError::into_inner), jobs)
    }
}

fn unavailable(message: &str) -> Refused {
    Refused(Refusal::new(RefusalCode::Unavailable, message).hint("try again in a few seconds"))
}

impl Serving {
    /// The jobs of this process.
    pub(super) fn jobs(&self) -> Result<Arc<Jobs>, Refused> {
        match self {
            Serving::Own(jobs) => Ok(jobs.clone()),
            Serving::Leaders(elected) => {
                let jobs = elected.jobs.read().unwrap_or_else(PoisonError::into_inner).clone();
                jobs.ok_or_else(|| unavailable("no coordinator leads the cluster now"))
            }
        }
    }
}

/// Hands a request on to the leader, if that is another process.
pub(super) async fn forward(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Serving::Leaders(elected) = &api.serving else { return next.run(request).await };
    // What each process tells of itself.
    if api.serving.jobs().is_ok() || request.uri().path() == "/metrics" {
        return next.run(request).await;
    }
    let Some(leader) = elected.role.rest_of_leader().filter(|leader| !leader.is_empty()) else {
        return unavailable("no coordinator leads the cluster now").into_response();
    };
    match hand_on(elected, &leader, request).await {
        Ok(response) => response,
        Err(why) => {
            unavailable(&format!("the coordinator that leads, at {leader}, does not answer: {why}")).into_response()
        }
    }
}

async fn hand_on(elected: &Elected, leader: &str, request: Request) -> Result<Response, String> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("http://{leader}{path}").parse::<Uri>().map_err(|error| error.to_string())?;
    // Whether a page of another site sent it was looked at here, where it came to.
    parts.headers.insert(HOST, HeaderValue::from_static("localhost"));
    parts.headers.remove(ORIGIN);
    if parts.headers.insert(HANDED_ON, HeaderValue::from_static("1")).is_some() {
        return Err("it was handed on already: is --advertise of a coordinator the address of another one?".to_owned());
    }
    let mut look = tokio::time::interval(LOOK);
    let answered = elected.client.request(Request::from_parts(parts, body));
    tokio::pin!(answered);
    loop {
        tokio::select! {
            response = &mut answered => return Ok(response.map_err(|error| error.to_string())?.map(Body::new)),
            // One that hangs is replaced after a while, and never answers.
            _ = look.tick() => if elected.role.rest_of_leader().as_deref() != Some(leader) {
                return Err("another one leads now".to_owned());
            }
        }
    }
}
