//! The coordinator's REST API, as seen from here. Every refusal becomes a [`Failure`] with its exit code.

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flow_model::api::{Health, Refusal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{HeaderValue, Request, Response, header};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Body, Error, SendBody, Timeout};

use crate::contexts::{self, Contexts, Token};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::patience::{self, Pulse};
use crate::upload::Upload;

/// Where `flowd standalone` listens unless it is told otherwise.
pub const DEFAULT: &str = "http://127.0.0.1:8081";

/// Components are compiled while the client waits; one in Python takes 15 s, and a pipeline may have many.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(900);
/// What is there to be asked for is in memory; who says nothing for so long is not well.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where the server asks a store of checkpoints, which it tries again for up to two minutes.
const STORE_PATIENCE: Duration = Duration::from_secs(150);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Waiting is told after so long without a sign of life.
const QUIET: Duration = Duration::from_secs(2);
/// The same where the server has much to do, as compiling, and nobody looks on.
const QUIET_SUBMIT: Duration = Duration::from_secs(10);
/// A server that follows a log says every 15 s that it is still there.
const SILENCE: Duration = Duration::from_secs(60);
/// An answer in memory, at most; a pipeline of the largest size has a description of a few MiB.
const ANSWER_MAX: u64 = 64 << 20;
/// How long a daemon of this machine may take to begin to listen.
const START: Duration = Duration::from_secs(3);
/// A line of an answer that is taken line by line, at most; a log's have some KiB.
const LINE_MAX: u64 = 1 << 20;

const HINT: &str = "start one with `flowd standalone`, or ask another coordinator of the cluster: name it with --server URL or FLOW_SERVER";

/// Which coordinator is meant, and what proves who asks it.
#[derive(Debug)]
pub struct Target {
    url: String,
    token: Option<Token>,
    /// The file with the certificates of those who may vouch for it; those whom the system trusts if absent.
    ca: Option<PathBuf>,
}

impl Target {
    /// A server that wants no token.
    pub fn of(url: &str) -> Self {
        Self { url: url.to_owned(), token: None, ca: None }
    }

    /// The server that is named, else the context that is named, else what the environment says, else the current
    /// context, else this machine.
    pub fn find(server: Option<&str>, context: Option<&str>) -> Result<Self, Failure> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let server = server.map(str::to_owned).or_else(|| context.is_none().then(|| variable("FLOW_SERVER"))?);
        let (url, own) = match server {
            Some(url) => (url, None),
            None => {
                let contexts = Contexts::load()?;
                let name = context.map(str::to_owned).or_else(|| variable(contexts::VARIABLE));
                let name = name.or_else(|| contexts.current.as_ref().map(ToString::to_string));
                match name.map(|name| contexts.get(&name).cloned()).transpose()? {
                    Some(context) => (context.server.clone(), Some(context)),
                    None => (DEFAULT.to_owned(), None),
                }
            }
        };
        let token = match variable("FLOW_TOKEN") {
            Some(token) => Some(Token::new(&token, "FLOW_TOKEN")?),
            None => own.as_ref().map(|context| context.token()).transpose()?.flatten(),
        };
        let ca = variable("FLOW_CA").map(PathBuf::from).or_else(|| own?.ca);
        Ok(Self { url, token, ca })
    }
}

/// The address without a slash at its end, if it is one.
pub fn address(url: &str) -> Result<String, Failure> {
    let bad = |why: &str| {
        Failure::invalid(format!("the server address {url} {why}"))
            .hint(format!("write it like {DEFAULT}: --server URL, or the variable FLOW_SERVER"))
    };
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return Err(bad("is neither http nor https")),
        None => return Err(bad("has no http:// or https:// in front")),
    };
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '?', '#', ' ', '@']) {
        return Err(bad(&format!("is not just {scheme}://host:port")));
    }
    Ok(format!("{scheme}://{authority}"))
}

/// The certificates in a file.
pub fn authorities(path: &Path) -> Result<RootCerts, Failure> {
    let shown = path.display();
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::invalid(format!("can't read the certificates in {shown}: {error}")))?;
    let certificates = parse_pem(&bytes).filter_map(Result::ok).filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        return Err(Failure::invalid(format!("{shown} holds no certificate"))
            .hint("it has to be PEM: -----BEGIN CERTIFICATE-----"));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Puts the token into each request.
struct Bearer(Token);

impl Middleware for Bearer {
    fn handle(&self, mut request: Request<SendBody<'_>>, next: MiddlewareNext<'_>) -> Result<Response<Body>, Error> {
        if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", self.0.reveal())) {
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        next.handle(request)
    }
}

/// A coordinator to talk to.
pub struct Server {
    agent: Agent,
    url: String,
    /// A person looks on.
    tells: bool,
    /// How long an answer may take.
    patience: Duration,
}

impl Server {
    /// That server. Nothing is sent yet. `tells` on stderr when it takes long.
    pub fn new(target: Target, tells: bool) -> Result<Self, Failure> {
        let url = address(&target.url)?;
        let roots = target.ca.as_deref().filter(|_| url.starts_with("https:")).map(authorities).transpose()?;
        // The TLS that the system has, as librdkafka in flowd uses it, with the authorities that the system trusts.
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls);
        let tls = tls.root_certs(roots.unwrap_or(RootCerts::PlatformVerifier)).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // The environment's proxy is for the internet; the coordinator is near.
            .proxy(None)
            .timeout_connect(Some(CONNECT_PATIENCE))
            .max_redirects(0)
            .user_agent(concat!("flowctl/", env!("CARGO_PKG_VERSION")));
        let agent = match target.token {
            Some(token) => agent.middleware(Bearer(token)),
            None => agent,
        };
        Ok(Self { agent: agent.build().new_agent(), url, tells, patience: PATIENCE })
    }

    /// The same where it has to ask the store of checkpoints itself.
    pub fn patient(self) -> Self {
        Self { patience: STORE_PATIENCE, ..self }
    }

    /// The same, when it listens: one of this machine that was started a moment ago does not yet. What is wrong after that
    /// is told by who asks it.
    pub fn awaited(self) -> Self {
        let address = self.url.strip_prefix("http://").unwrap_or_default();
        let is_here = ["localhost:", "127.0.0.1:", "[::1]:"].iter().any(|here| address.starts_with(here));
        let begun = Instant::now();
        let is_refused =
            || TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        while is_here && begun.elapsed() < START && is_refused() {
            thread::sleep(Duration::from_millis(50));
        }
        self
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for `path`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.agent.get(self.at(path)).config().timeout_recv_response(Some(self.patience));
        let request = request.timeout_recv_body(Some(self.patience)).build();
        self.waiting(&Pulse::new(), QUIET, || self.answer(request.call()))
    }

    /// Whether it is a coordinator of a cluster; none if it does not say.
    pub fn is_cluster(&self) -> Option<bool> {
        self.get::<Health>("/healthz").ok().map(|health| health.cluster)
    }

    /// Has what is at `path` removed.
    pub fn delete(&self, path: &str) -> Result<(), Failure> {
        let request = self.agent.delete(self.at(path)).config().timeout_recv_response(Some(self.patience)).build();
        self.waiting(&Pulse::new(), QUIET, || self.accepted(request.call())).map(|_| ())
    }

    /// Posts to `path` with nothing to say.
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(path, &[])
    }

    /// Posts `said` to `path`, as JSON.
    pub fn post_json<T: DeserializeOwned>(&self, path: &str, said: &impl Serialize) -> Result<T, Failure> {
        self.send(path, &serde_json::to_vec(said).map_err(Failure::failed)?)
    }

    fn send<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Failure> {
        let mut request = self.agent.post(self.at(path));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.config().timeout_recv_response(Some(self.patience));
        let request = request.timeout_recv_body(Some(self.patience)).build();
        self.waiting(&Pulse::new(), QUIET, || self.answer(request.send(body)))
    }

    /// Posts a pipeline with its components to `path`.
    pub fn upload<T: DeserializeOwned>(&self, path: &str, mut upload: Upload) -> Result<T, Failure> {
        let request = self
            .agent
            .post(self.at(path))
            .header("content-type", upload.content_type())
            .header("content-length", upload.len().to_string())
            // So that a server that takes less says so before it gets all of it.
            .header("expect", "100-continue")
            .config()
            .timeout_send_body(Some(SUBMIT_PATIENCE))
            .timeout_recv_response(Some(SUBMIT_PATIENCE))
            .build();
        let (pulse, quiet) = (upload.pulse(), if upload.is_watched() { QUIET } else { QUIET_SUBMIT });
        self.waiting(&pulse, quiet, || self.answer(request.send(SendBody::from_reader(&mut upload))))
    }

    /// Asks for `path` and hands each line of the answer to `line` as it comes, until it says stop.
    pub fn lines(&self, path: &str, line: impl FnMut(&str) -> Result<bool, Failure>) -> Result<(), Failure> {
        self.events(path, None, line)
    }

    /// The same for server-sent events, which go on behind the one with the id `last`.
    pub fn events(
        &self,
        path: &str,
        last: Option<&str>,
        mut line: impl FnMut(&str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut request = self.agent.get(self.at(path));
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let request = request.config();
        let request = request.timeout_recv_response(Some(PATIENCE)).timeout_per_read(Some(SILENCE)).build();
        let response = self.waiting(&Pulse::new(), QUIET, || self.accepted(request.call()))?;
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut reader = BufReader::new(reader);
        loop {
            let mut text = Vec::new();
            let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut text).map_err(|error| {
                Failure::new(Exit::Unreachable, "connection-lost", format!("{} went away: {error}", self.url))
            })?;
            if read as u64 == LINE_MAX {
                return Err(self.stranger("a line without end"));
            }
            if read == 0 || !line(&String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(&text)))? {
                return Ok(());
            }
        }
    }

    /// Does `work`, which asks the server; a person is told if nothing goes on for as long as `quiet`.
    fn waiting<T>(&self, pulse: &Pulse, quiet: Duration, work: impl FnOnce() -> T) -> T {
        let tell = || {
            if self.tells {
                output::to_stderr(&format!("no answer from {} yet; waiting", self.url));
            }
        };
        patience::during(pulse, quiet, tell, work)
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn answer<T: DeserializeOwned>(&self, result: Result<Response<Body>, Error>) -> Result<T, Failure> {
        let mut response = self.accepted(result)?;
        let body = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|_| self.stranger("something that is no answer of a coordinator"))
    }

    /// The response if it is a success, else what the server says.
    fn accepted(&self, result: Result<Response<Body>, Error>) -> Result<Response<Body>, Failure> {
        let mut response = result.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec().unwrap_or_default();
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => Err(refusal.into()),
            Err(_) => Err(self.stranger(&format!("status {status} without a reason"))),
        }
    }

    fn unreachable(&self, error: &Error) -> Failure {
        let why = match error {
            Error::Io(error) => match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
                _ => error.to_string(),
            },
            Error::HostNotFound => "no such host".to_owned(),
            Error::NativeTls(error) => return self.untrusted(&error.to_string()),
            Error::Timeout(Timeout::Connect) => format!("no connection in {} s", CONNECT_PATIENCE.as_secs()),
            Error::Timeout(of) => {
                let patience = if *of == Timeout::SendBody { SUBMIT_PATIENCE } else { self.patience }.as_secs();
                let message =
                    format!("the server at {} takes connections and does not answer within {patience} s", self.url);
                return Failure::new(Exit::Unreachable, "no-answer", message)
                    .hint("it is stopped, or has too much to do: look at its log, and at its state with `ps`");
            }
            other => other.to_string(),
        };
        Failure::new(Exit::Unreachable, "unreachable", format!("can't reach the server at {}: {why}", self.url))
            .hint(HINT)
    }

    fn untrusted(&self, why: &str) -> Failure {
        let hint = if why.contains("wrong version number") {
            format!("it may speak no TLS: try {}", self.url.replacen("https:", "http:", 1))
        } else {
            "name the authority that signed its certificate: `flowctl context add NAME --server URL --ca FILE`, or FLOW_CA=FILE"
                .to_owned()
        };
        let message = format!("no TLS with the server at {}: {why}", self.url);
        Failure::new(Exit::Unreachable, "untrusted", message).hint(hint)
    }

    fn stranger(&self, what: &str) -> Failure {
        Failure::new(Exit::Unreachable, "no-coordinator", format!("{} answers {what}", self.url))
            .hint("is it another program? name the coordinator with --server URL or FLOW_SERVER")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |url: &str, expect: Result<&str, &str>| {
            let found = address(url).map_err(|failure| failure.message);
            assert_eq!(found.as_deref().map_err(String::as_str), expect);
        };
        check("http://127.0.0.1:8081", Ok("http://127.0.0.1:8081"));
        check("http://flow.example:80/", Ok("http://flow.example:80"));
        check("https://flow.example/", Ok("https://flow.example"));
        check("127.0.0.1:8081", Err("the server address 127.0.0.1:8081 has no http:// or https:// in front"));
        check("ftp://x", Err("the server address ftp://x is neither http nor https"));
        check("https://x/jobs", Err("the server address https://x/jobs is not just https://host:port"));
        check("http://", Err("the server address http:// is not just http://host:port"));
        check("http://x/jobs", Err("the server address http://x/jobs is not just http://host:port"));
    }
}
