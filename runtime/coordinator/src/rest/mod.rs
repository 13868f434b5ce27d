//! The REST API over [`Jobs`], the metrics and the page. Handlers only translate: bytes to a call, what comes back to JSON.
//!
//! | file | what it holds |
//! |---|---|
//! | `connections.rs`, `body.rs` | how many clients there may be, how slow and how large what they send |
//! | `pieces.rs`, `gathered.rs` | how much of it waits in the parser, and in memory |
//! | `access.rs`, `token.rs` | who is let in |
//! | `jobs.rs`, `submit.rs`, `logs.rs`, `checkpoints.rs`, `savepoints.rs` | the API |
//! | `json.rs` | small JSON that clients send |
//! | `metrics.rs`, `page.rs` | for Prometheus; for people |
//! | `workers.rs`, `of_cluster.rs` | the workers of a cluster, for clients and for Prometheus |
//! | `serving.rs` | whether this process answers, or another one |
//! | `refusal.rs` | which error has which status |
//!
//! Must never hold up a job, whatever clients do.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use flow_model::api::{Health, Refusal, RefusalCode};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::jobs::Jobs;

mod access;
mod body;
mod checkpoints;
mod connections;
mod gathered;
mod jobs;
mod json;
mod logs;
mod metrics;
mod of_cluster;
mod page;
mod pieces;
mod refusal;
mod savepoints;
mod serving;
mod submit;
pub mod token;
mod workers;

use access::Access;
pub use connections::{CONNECTIONS_MAX, Patience};
use refusal::Refused;
pub use serving::{Elected, Serving};
pub use token::Token;

/// The largest body unless it is set otherwise: a dozen components in Python, the largest there are.
pub const BODY_MAX: usize = 256 << 20;

/// So many submissions are held in memory at once, from the first byte until they are checked and started; others wait.
const UPLOADS_AT_ONCE: usize = 4;

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The largest body of a submission, in bytes.
    pub body_max: usize,
    /// What requests have to carry; without it whoever reaches the server is let in.
    pub token: Option<Token>,
    /// How long clients may take.
    pub patience: Patience,
}

impl Default for Options {
    fn default() -> Self {
        Self { body_max: BODY_MAX, token: None, patience: Patience::default() }
    }
}

/// The API, as any number of servers answer it.
#[derive(Clone)]
pub struct Api {
    serving: Serving,
    options: Options,
    uploads: Arc<Semaphore>,
}

impl Api {
    /// Over these jobs.
    pub fn new(serving: impl Into<Serving>, options: Options) -> Api {
        Api { serving: serving.into(), options, uploads: Arc::new(Semaphore::new(UPLOADS_AT_ONCE)) }
    }

    /// Calls what blocks, on a thread that may.
    async fn call<T, E>(&self, work: impl FnOnce(&Jobs) -> Result<T, E> + Send + 'static) -> Result<T, Refused>
    where
        T: Send + 'static,
        E: Into<Refused> + Send + 'static,
    {
        let jobs = self.serving.jobs()?;
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
    api: Api,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let access =
        Arc::new(Access { loopback: listener.local_addr()?.ip().is_loopback(), token: api.options.token.clone() });
    let patience = api.options.patience;
    let guarded = router()
        .layer(middleware::from_fn_with_state(api.clone(), serving::forward))
        .layer(DefaultBodyLimit::max(api.options.body_max))
        .layer(middleware::from_fn_with_state(access.clone(), access::want_token));
    let whole = page::router()
        .route("/healthz", get(healthz))
        .merge(guarded)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(access, access::keep_pages_out))
        .layer(middleware::from_fn(page::with_headers))
        .with_state(api);
    connections::serve(listener, whole, patience, shutdown).await;
    Ok(())
}

/// What other coordinators are asked and hand on to this one, because it leads. They have looked already whether a page of
/// another site sent it, and this process answers itself or nobody does.
pub(crate) fn handed_on(api: Api) -> Router {
    let access = Arc::new(Access { loopback: false, token: api.options.token.clone() });
    router()
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(api.options.body_max))
        .layer(middleware::from_fn_with_state(access, access::want_token))
        .with_state(api)
}

fn router() -> Router<Api> {
    Router::new()
        .route("/jobs", get(jobs::list))
        .route("/jobs/submit", post(submit::submit))
        .route("/jobs/check", post(submit::check))
        .route("/jobs/{job}", get(jobs::describe))
        .route("/jobs/{job}/plan", get(jobs::plan))
        .route("/jobs/{job}/metrics", get(jobs::metrics))
        .route("/jobs/{job}/logs", get(logs::logs))
        .route("/jobs/{job}/cancel", post(jobs::cancel))
        .route("/jobs/{job}/checkpoints", get(checkpoints::list))
        .route("/jobs/{job}/checkpoints", post(checkpoints::take))
        .route("/jobs/{job}/savepoints", get(savepoints::list))
        .route("/jobs/{job}/savepoints", post(savepoints::take))
        .route("/jobs/{job}/savepoints/{name}", get(savepoints::inspect))
        .route("/jobs/{job}/savepoints/{name}", delete(savepoints::remove))
        .route("/jobs/{job}/scale", post(workers::scale))
        .route("/workers", get(workers::list))
        .route("/workers/{worker}/drain", post(workers::drain))
        .route("/metrics", get(metrics::metrics))
        .fallback(|| async { Refused(Refusal::new(RefusalCode::NotFound, "no such path").hint(PATHS)) })
}

async fn other_method() -> Refused {
    Refused(Refusal::new(RefusalCode::MethodNotAllowed, "the path takes another method").hint(PATHS))
}

const PATHS: &str = "there are GET /jobs, POST /jobs/submit, POST /jobs/check, GET /jobs/{job}, GET /jobs/{job}/plan, \
                     GET /jobs/{job}/metrics, GET /jobs/{job}/logs, POST /jobs/{job}/cancel, \
                     GET and POST /jobs/{job}/checkpoints, GET and POST /jobs/{job}/savepoints, \
                     GET and DELETE /jobs/{job}/savepoints/{name}, POST /jobs/{job}/scale, GET /workers, POST /workers/{worker}/drain, \
                     GET /metrics, GET /healthz, and the page at /";

async fn healthz(State(api): State<Api>) -> Json<Health> {
    let cluster = matches!(api.serving, Serving::Leaders(_));
    Json(Health { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into(), cluster })
}
