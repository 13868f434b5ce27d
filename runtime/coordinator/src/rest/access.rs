//! Who is let in.
//!
//! Web pages of others are not: any page that a user of this machine looks at can send requests to a local address, and
//! without this it could start jobs, which read and write files. A browser says where a request comes from (`Origin`), and
//! that must be the address that the request went to. Without a token the host must be one that nobody else can give a
//! meaning to, or a page could point its own name at this machine (DNS rebinding). There is no CORS: what is not allowed
//! here, no browser allows.
//!
//! With a token, everything but the page and the health check wants it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flow_model::api::{Refusal, RefusalCode};

use super::body;
use super::connections::Peer;
use super::refusal::Refused;
use super::token::Token;

/// What is let in.
pub struct Access {
    /// The server listens for the own machine only.
    pub loopback: bool,
    /// What a request has to carry; without one anybody is let in who reaches the server.
    pub token: Option<Token>,
}

/// Passes the request on unless a web page of another origin sends it.
pub async fn keep_pages_out(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.foreign(request.headers()) {
        Some(why) => refuse(request, Refusal::new(RefusalCode::Forbidden, why)),
        None => next.run(request).await,
    }
}

/// Passes the request on if it carries the token.
pub async fn want_token(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match &access.token {
        Some(token) if !token.is_in(request.headers()) => {
            let refusal = Refusal::new(RefusalCode::Unauthorized, "the request does not carry this server's token");
            refuse(
                request,
                refusal.hint("set the variable FLOW_TOKEN, or send the header `Authorization: Bearer TOKEN`"),
            )
        }
        _ => next.run(request).await,
    }
}

fn refuse(request: Request, refusal: Refusal) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    tracing::debug!(?peer, "refused {} {}: {}", request.method(), request.uri().path(), refusal.message);
    body::dismiss(request);
    Refused(refusal).into_response()
}

impl Access {
    fn foreign(&self, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = text(HOST).unwrap_or_default();
        match (&self.token, self.loopback) {
            (None, true) if !is_local(host) => {
                return Some("this address is for the own machine; use localhost or 127.0.0.1 as the host");
            }
            (None, false) if !is_local(host) && !is_address_or_word(host) => {
                return Some(
                    "without a token this server goes by its address only; use that, or start it with a token",
                );
            }
            _ => {}
        }
        let origin = text(ORIGIN)?;
        let from = origin.split_once("://").map_or(origin, |(_, authority)| authority);
        (!from.eq_ignore_ascii_case(host)).then_some("web pages of other origins get nothing here")
    }
}

/// The host without its port.
fn name(host: &str) -> &str {
    let inside = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match inside.filter(|(_, port)| port.is_empty() || port.starts_with(':')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// A host with or without port that always means the own machine.
fn is_local(host: &str) -> bool {
    let name = name(host);
    let address = name.parse::<std::net::IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
        || name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
}

/// A host that no domain on the internet can be: nobody points it here but who rules this network.
fn is_address_or_word(host: &str) -> bool {
    let name = name(host);
    name.parse::<std::net::IpAddr>().is_ok() || (!name.is_empty() && !name.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, host: &str, origin: Option<&str>, passes: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().expect("a header"));
        }
        assert_eq!(access.foreign(&headers).is_none(), passes, "{host} {origin:?}");
    }

    #[test]
    fn on_the_own_machine_programs_pass_and_pages_do_not() {
        let access = Access { loopback: true, token: None };
        let check = |host: &str, origin, passes| check(&access, host, origin, passes);
        check("127.0.0.1:8081", None, true);
        check("localhost:8081", None, true);
        check("[::1]:8081", None, true);
        check("flow.localhost", None, true);
        check("localhost:8081", Some("http://localhost:8081"), true);
        check("localhost:8081", Some("http://localhost:9000"), false);
        check("127.0.0.1:8081", Some("https://evil.example"), false);
        check("127.0.0.1:8081", Some("null"), false);
        check("evil.example:8081", Some("http://evil.example:8081"), false);
        check("localhost.evil.example", None, false);
        check("[::1]:8081", None, true);
        check("[::1]evil.example:8081", None, false);
        check("", None, false);
    }

    #[test]
    fn on_a_network_without_a_token_names_of_the_internet_do_not_pass() {
        let access = Access { loopback: false, token: None };
        let check = |host: &str, origin, passes| check(&access, host, origin, passes);
        check("10.0.0.5:8081", None, true);
        check("[2001:db8::1]:8081", Some("http://[2001:db8::1]:8081"), true);
        check("flowd:8081", None, true);
        check("localhost:8081", None, true);
        check("flowd:8081", Some("http://evil.example"), false);
        check("evil.example:8081", Some("http://evil.example:8081"), false);
        check("", None, false);
    }

    #[test]
    fn with_a_token_any_name_passes_and_other_origins_do_not() {
        let token = Token::new("0123456789abcdef").expect("long enough");
        for loopback in [true, false] {
            let access = Access { loopback, token: Some(token.clone()) };
            check(&access, "flow.example:8081", None, true);
            check(&access, "flow.example:8081", Some("http://flow.example:8081"), true);
            check(&access, "flow.example", Some("https://flow.example"), true);
            check(&access, "flow.example:8081", Some("http://evil.example"), false);
        }
    }
}
