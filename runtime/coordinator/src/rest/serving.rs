//! Whose jobs requests are about: this process's, or the leader's. A coordinator that does not lead hands what it is asked on to the one
//! that does, where workers connect too and by the same certificates; it must never answer by itself.

use std::future::poll_fn;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flow_model::api::{Refusal, RefusalCode};
use flow_worker::network::{self, Tls};
use tonic::client::GrpcService;
use tonic::transport::Channel;

use super::refusal::Refused;
use super::{Api, body};
use crate::cluster::Role;
use crate::jobs::Jobs;

/// What is about one connection, and not about what is asked on it.
const HOP: [&str; 7] = ["connection", "expect", "host", "keep-alive", "te", "transfer-encoding", "upgrade"];
/// A leader that does not answer a connection for so long is not there.
const PATIENCE: Duration = Duration::from_secs(2);
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
    tls: Option<Tls>,
}

impl Elected {
    /// It leads nothing yet. The certificates are those by which it connects to the leader.
    pub fn new(role: Role, tls: Option<Tls>) -> Elected {
        Elected { role, jobs: Arc::default(), tls }
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
    let Some(leader) = elected.role.other_leader() else {
        body::dismiss(request);
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
    // Where it is refused before all of it was sent, what is left is read, or the client would not hear of it.
    let request = body::patient(request, body::DRAIN_PATIENCE);
    // A connection for each: what one client does not read holds up nobody else.
    let endpoint = network::endpoint(leader, elected.tls.as_ref(), (PATIENCE, PATIENCE));
    let connected = async { endpoint?.connect().await };
    let channel = connected.await.map_err(|error: tonic::transport::Error| network::cause(&error))?;
    let mut look = tokio::time::interval(LOOK);
    let answered = ask(channel, request);
    tokio::pin!(answered);
    loop {
        tokio::select! {
            response = &mut answered => return response,
            // One that hangs is replaced after a while, and never answers.
            _ = look.tick() => if elected.role.other_leader().as_deref() != Some(leader) {
                return Err("another one leads now".to_owned());
            }
        }
    }
}

async fn ask(mut channel: Channel, request: Request) -> Result<Response, String> {
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_2;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>().map_err(|error| error.to_string())?;
    HOP.iter().for_each(|name| _ = parts.headers.remove(*name));
    let request = Request::from_parts(parts, tonic::body::Body::new(body));
    poll_fn(|context| channel.poll_ready(context)).await.map_err(|error| network::cause(&error))?;
    let response = channel.call(request).await.map_err(|error| network::cause(&error))?;
    Ok(response.map(Body::new))
}
