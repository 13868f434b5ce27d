//! Keeps web pages out. Any page that a user of this machine looks at can send requests to a local address; without this
//! it could start jobs, which read and write files.
//!
//! A browser says where a request comes from (`Origin`), and that must be the address that the request went to. On a
//! loopback address the host must be a local name too, or a page could point its own name at this machine.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flow_model::api::{Refusal, RefusalCode};

use super::refusal::Refused;

/// Passes the request on unless a web page of another origin sends it.
pub async fn guard(loopback: bool, request: Request, next: Next) -> Response {
    match foreign(loopback, request.headers()) {
        Some(why) => Refused(Refusal::new(RefusalCode::Forbidden, why)).into_response(),
        None => next.run(request).await,
    }
}

fn foreign(loopback: bool, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST).unwrap_or_default();
    if loopback && !is_local(host) {
        return Some("this address is for the own machine; use localhost or 127.0.0.1 as the host");
    }
    let origin = text(ORIGIN)?;
    let from = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    (!from.eq_ignore_ascii_case(host)).then_some("web pages of other origins get nothing here")
}

/// A host with or without port that always means the own machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let address = name.parse::<std::net::IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
        || name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(loopback: bool, host: &str, origin: Option<&str>, passes: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().expect("a header"));
        }
        assert_eq!(foreign(loopback, &headers).is_none(), passes, "{host} {origin:?}");
    }

    #[test]
    fn programs_pass_and_pages_do_not() {
        check(true, "127.0.0.1:8081", None, true);
        check(true, "localhost:8081", None, true);
        check(true, "[::1]:8081", None, true);
        check(true, "flow.localhost", None, true);
        check(true, "localhost:8081", Some("http://localhost:8081"), true);
        check(true, "localhost:8081", Some("http://localhost:9000"), false);
        check(true, "127.0.0.1:8081", Some("https://evil.example"), false);
        check(true, "127.0.0.1:8081", Some("null"), false);
        check(true, "evil.example:8081", Some("http://evil.example:8081"), false);
        check(true, "localhost.evil.example", None, false);
        check(true, "", None, false);
        check(false, "flow.example:8081", None, true);
        check(false, "flow.example:8081", Some("http://flow.example:8081"), true);
        check(false, "flow.example:8081", Some("http://evil.example"), false);
    }
}
