//! The connections to S3: hyper's client over the system's OpenSSL, which librdkafka brings to the process in any case. Amazon's
//! own choices would bring a second library for TLS.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper_tls::{HttpsConnector, native_tls};
use hyper_util::client::legacy::{Client, connect};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::skew;

/// How long a connection may take to come about, without TLS.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin, beside the time for what is sent: packets get lost on networks, and who waits for an answer that
/// never comes holds up a checkpoint.
const ANSWER: Duration = Duration::from_secs(5);
/// The same where the store has more to do than to write or read one object.
const WORK: Duration = Duration::from_secs(30);
/// What is sent goes at this pace at least, in bytes a second.
const PACE: f64 = 300e3;
/// How long a connection is kept that nobody uses: less than the stores keep it.
const IDLE: Duration = Duration::from_secs(15);

/// All connections of a store.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    client: Client<HttpsConnector<connect::HttpConnector>, SdkBody>,
    /// The store, for people.
    place: String,
}

impl Connections {
    /// None yet, to a store that people know by `place`.
    pub(super) fn new(place: &str) -> Result<Connections, native_tls::Error> {
        let mut plain = connect::HttpConnector::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT));
        let secure = HttpsConnector::from((plain, native_tls::TlsConnector::new()?.into()));
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Ok(Connections { client: builder.build(secure), place: place.to_owned() })
    }
}

impl HttpClient for Connections {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connections {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Connections { client, place } = self.clone();
        let patience = patience(&request);
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let sent = SystemTime::now();
            let Ok(answered) = tokio::time::timeout(patience, client.request(request)).await else {
                let silent = format!("no answer within {} s", patience.as_secs());
                return Err(ConnectorError::timeout(silent.into()));
            };
            match answered {
                Ok(response) => {
                    let date = response.headers().get("date").and_then(|date| date.to_str().ok());
                    skew::look(&place, date, sent..SystemTime::now());
                    HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                        .map_err(|error| ConnectorError::io(error.into()))
                }
                // It may be tried again: nothing was sent.
                Err(error) if error.is_connect() => Err(ConnectorError::io(error.into()).never_connected()),
                Err(error) => Err(ConnectorError::io(error.into())),
            }
        })
    }
}

/// How long the answer may take to begin.
fn patience(request: &HttpRequest) -> Duration {
    // Uploads are ended and objects deleted by POST, and copied by a PUT that names another object.
    let works = request.method() == "POST" || request.headers().contains_key("x-amz-copy-source");
    let sent = request.body().content_length().unwrap_or(0) as f64;
    if works { WORK } else { ANSWER + Duration::from_secs_f64(sent / PACE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_or_takes_work_may_take_longer() {
        let of = |method: &str, copies: bool, length: usize| {
            let mut request = HttpRequest::new(SdkBody::from(vec![0; length]));
            request.set_method(method).expect("a method");
            if copies {
                request.headers_mut().insert("x-amz-copy-source", "bucket/key");
            }
            patience(&request).as_secs()
        };
        assert_eq!(of("GET", false, 0), 5);
        assert_eq!(of("PUT", false, 8 << 20), 32);
        assert_eq!((of("PUT", true, 0), of("POST", false, 200)), (30, 30));
    }
}
