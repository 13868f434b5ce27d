//! The page at `/` and what it is made of: files that lie in `web/` and become part of the program. They hold no data, so
//! they are there without a token; what the page shows it asks the API for.

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;

/// Path, type and content.
const FILES: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("../../web/index.html")),
    ("/web/style.css", "text/css; charset=utf-8", include_str!("../../web/style.css")),
    ("/web/icon.svg", "image/svg+xml", include_str!("../../web/icon.svg")),
    ("/web/app.js", SCRIPT, include_str!("../../web/app.js")),
    ("/web/api.js", SCRIPT, include_str!("../../web/api.js")),
    ("/web/checkpoints.js", SCRIPT, include_str!("../../web/checkpoints.js")),
    ("/web/element.js", SCRIPT, include_str!("../../web/element.js")),
    ("/web/format.js", SCRIPT, include_str!("../../web/format.js")),
    ("/web/graph.js", SCRIPT, include_str!("../../web/graph.js")),
    ("/web/rates.js", SCRIPT, include_str!("../../web/rates.js")),
    ("/web/workers.js", SCRIPT, include_str!("../../web/workers.js")),
];
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// For every answer: nothing of it runs, is framed or kept, and the page may use what comes from here alone.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// The page's paths.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, content)| {
        router.route(path, get(move || async move { ([(CONTENT_TYPE, kind)], content) }))
    })
}

/// Puts on every answer what browsers are to keep to.
pub async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
