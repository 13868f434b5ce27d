//! Connections to coordinators: the question who leads, and the one on which orders come. Must never obey anybody: what is said is only
//! carried.

use std::time::Duration;

use flow_model::cluster::{self, Session};
use flow_rpc::control::control_client::ControlClient;
use flow_rpc::control::{
    FromWorker, Hello, Nothing, PROTOCOL, from_worker::Message as Said, to_worker::Message as Told,
};
use flow_rpc::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::{Error, Hear, Heard, told};
use crate::network::{Tls, endpoint};

/// A coordinator that does not answer for so long is not there.
const PATIENCE: Duration = Duration::from_secs(2);
/// Larger messages are refused.
const MESSAGE_MAX: usize = 256 << 20;

/// A coordinator, or what is said to be one.
#[derive(Clone)]
pub(super) struct Peer {
    address: String,
    endpoint: Endpoint,
}

impl Peer {
    /// At `host:port`.
    ///
    /// # Errors
    /// It is no address.
    pub(super) fn new(address: &str, tls: Option<&Tls>) -> Result<Peer, Error> {
        let wrong = |error: tonic::transport::Error| {
            let cause = crate::network::cause(&error);
            Error::Address { address: address.to_owned(), cause }
        };
        let endpoint = endpoint(address, tls, (PATIENCE, PATIENCE)).map_err(wrong)?;
        Ok(Peer { address: address.to_owned(), endpoint })
    }

    async fn connect(&self) -> Result<ControlClient<Channel>, String> {
        let connected = timeout(PATIENCE, self.endpoint.connect()).await.map_err(|_| SILENT.to_owned())?;
        let channel = connected.map_err(|error| crate::network::cause(&error))?;
        Ok(ControlClient::new(channel).max_decoding_message_size(MESSAGE_MAX))
    }
}

const SILENT: &str = "it does not answer";

/// Asks a coordinator who leads. One that does not answer is asked again later.
pub(super) async fn ask(peer: Peer, hear: Hear) {
    let asked = async {
        let mut client = peer.connect().await?;
        let answered = timeout(PATIENCE, client.who(Nothing {})).await.map_err(|_| SILENT.to_owned())?;
        Ok::<_, String>(answered.map_err(|status| crate::network::cause(&status))?.into_inner())
    };
    let answer = asked.await;
    let answer = answer.map_err(|why| format!("{why}{}", hint(&why)));
    // Nobody hears it when the process ends.
    _ = hear.send(Heard::Asked(peer.address, answer));
}

/// What may be the matter with the address, or the certificates, for people.
fn hint(why: &str) -> &'static str {
    if why.contains("InvalidContentType") {
        return "; it does not speak TLS: is that its --control, and was it started with --tls-ca?";
    }
    if why.contains("frame with invalid size") {
        return "; it may want certificates (--tls-ca, --tls-cert, --tls-key), or be another server than --control of a coordinator";
    }
    ""
}

/// A worker's first message to a leader.
pub(super) fn hello(me: &cluster::Worker, term: u64, parts: Vec<cluster::Part>, draining: bool) -> FromWorker {
    let parts = parts.iter().map(json::write).collect();
    message(Said::Hello(Hello { protocol: PROTOCOL, term, worker: json::write(me), parts, draining }))
}

/// A message of a worker.
pub(super) fn message(said: Said) -> FromWorker {
    FromWorker { message: Some(said) }
}

/// Says to a leader what is `said`, Hello first, and carries what it answers, until the connection is over.
pub(super) async fn run(peer: Peer, term: u64, (said, hear): (UnboundedReceiver<FromWorker>, Hear)) {
    let opened = async {
        let mut client = peer.connect().await?;
        let said = UnboundedReceiverStream::new(said);
        let answered = timeout(PATIENCE, client.attend(said)).await.map_err(|_| SILENT.to_owned())?;
        let mut stream = answered.map_err(|status| crate::network::cause(&status))?.into_inner();
        let first = timeout(PATIENCE, stream.message()).await.map_err(|_| SILENT.to_owned())?;
        let first = first.map_err(|status| crate::network::cause(&status))?;
        Ok::<_, String>((stream, first.ok_or("it has closed the connection")?))
    };
    let not_now = |why: String| _ = hear.send(Heard::NotNow { term, why });
    let (mut stream, first) = match opened.await {
        Ok(opened) => opened,
        Err(why) => return not_now(format!("{}: {why}", peer.address)),
    };
    let session = match told(first) {
        (term, Some(Told::Welcome(welcome))) => {
            let session = Session { term, number: welcome.number };
            _ = hear.send(Heard::Welcome(session, welcome));
            session
        }
        (_, Some(Told::Elsewhere(elsewhere))) if elsewhere.for_ever => {
            _ = hear.send(Heard::Refused(elsewhere.why));
            return;
        }
        (_, Some(Told::Elsewhere(elsewhere))) => return not_now(elsewhere.why),
        _ => return not_now(format!("{}: its first word is no welcome", peer.address)),
    };
    let why = loop {
        match stream.message().await {
            Ok(Some(message)) => {
                if let (_, Some(told)) = told(message) {
                    _ = hear.send(Heard::Told(session, told));
                }
            }
            Ok(None) => break "it has closed the connection".to_owned(),
            Err(status) => break crate::network::cause(&status),
        }
    };
    _ = hear.send(Heard::Over(session, why));
}
