//! The REST API over [`Jobs`]. Handlers only translate: bytes to a call, what comes back to JSON.
//!
//! There is no authentication yet, so it must never listen beyond the own machine unless someone asks for it, and a web
//! page of another origin gets nothing: see [`origin`].

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use flow_model::api::{Health, Refusal, RefusalCode};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::jobs::Jobs;

mod jobs;
mod logs;
mod origin;
mod refusal;
mod submit;

use refusal::Refused;

/// The largest body unless it is set otherwise: a dozen components in Python, the largest there are.
pub const BODY_MAX: usize = 256 << 20;

/// So many submissions are held in memory at once, from the first byte until they are checked and started; others wait.
const UPLOADS_AT_ONCE: usize = 4;

/// How the API behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The largest body of a submission, in bytes.
    pub body_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { body_max: BODY_MAX }
    }
}

/// What handlers share.
#[derive(Clone)]
struct Api {
    jobs: Arc<Jobs>,
    options: Options,
    uploads: Arc<Semaphore>,
}

impl Api {
    /// Calls what blocks, on a thread that may.
    async fn call<T, E>(&self, work: impl FnOnce(&Jobs) -> Result<T, E> + Send + 'static) -> Result<T, Refused>
    where
        T: Send + 'static,
        E: Into<Refused> + Send + 'static,
    {
        let jobs = self.jobs.clone();
        match tokio::task::spawn_blocking(move || work(&jobs)).await {
            Ok(done) => done.map_err(Into::into),
            // It panicked or the runtime is going down.
            Err(error) => Err(Refused(Refusal::new(RefusalCode::Internal, error.to_string()))),
        }
    }
}

/// Answers requests on `listener` until `shutdown` is ready, then those that are under way.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    jobs: Arc<Jobs>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let loopback = listener.local_addr()?.ip().is_loopback();
    axum::serve(listener, router(jobs, options, loopback)).with_graceful_shutdown(shutdown).await
}

fn router(jobs: Arc<Jobs>, options: Options, loopback: bool) -> Router {
    let api = Api { jobs, options, uploads: Arc::new(Semaphore::new(UPLOADS_AT_ONCE)) };
    Router::new()
        .route("/jobs", get(jobs::list))
        .route("/jobs/submit", post(submit::submit))
        .route("/jobs/check", post(submit::check))
        .route("/jobs/{job}", get(jobs::describe))
        .route("/jobs/{job}/plan", get(jobs::plan))
        .route("/jobs/{job}/metrics", get(jobs::metrics))
        .route("/jobs/{job}/logs", get(logs::logs))
        .route("/jobs/{job}/cancel", post(jobs::cancel))
        .route("/healthz", get(healthz))
        .fallback(|| async { Refused(Refusal::new(RefusalCode::NotFound, "no such path").hint(PATHS)) })
        .method_not_allowed_fallback(|| async {
            Refused(Refusal::new(RefusalCode::MethodNotAllowed, "the path takes another method").hint(PATHS))
        })
        .layer(DefaultBodyLimit::max(options.body_max))
        .layer(middleware::from_fn(move |request, next| origin::guard(loopback, request, next)))
        .with_state(api)
}

const PATHS: &str = "there are GET /jobs, POST /jobs/submit, POST /jobs/check, GET /jobs/{job}, GET /jobs/{job}/plan, \
                     GET /jobs/{job}/metrics, GET /jobs/{job}/logs, POST /jobs/{job}/cancel, GET /healthz";

async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into() })
}
