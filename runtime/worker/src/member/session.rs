//! One connection to a coordinator, from Hello to its end.

use std::sync::Arc;
use std::time::Duration;

use flow_model::cluster;
use flow_rpc::control::control_client::ControlClient;
use flow_rpc::control::{
    Beat, FromWorker, Hello, Nothing, PROTOCOL, ToWorker, from_worker::Message as Said, to_worker::Message as Told,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;

use super::Error;
use super::parts::Parts;
use super::wire::json;

/// How often it says that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// A coordinator that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(3);
/// Larger messages are refused.
const MESSAGE_MAX: usize = 256 << 20;

/// How a connection ended.
pub(super) enum End {
    /// The leader has let it go.
    Released,
    /// No coordinator of the cluster will take it: why.
    Refused(String),
    /// Another one leads, or nobody that is known.
    Elsewhere(Option<String>),
    /// It broke, after or before the coordinator had taken it.
    Lost { welcomed: bool, why: String },
}

/// Talks to the coordinator at an address as long as that leads and is there.
pub(super) async fn run(
    address: &str,
    me: &cluster::Worker,
    parts: &Arc<Parts>,
    term: &mut u64,
    leave: &mut watch::Receiver<bool>,
) -> Result<End, Error> {
    let end = talk(address, me, parts, term, leave).await;
    parts.be_silent();
    end
}

async fn talk(
    address: &str,
    me: &cluster::Worker,
    parts: &Arc<Parts>,
    term: &mut u64,
    leave: &mut watch::Receiver<bool>,
) -> Result<End, Error> {
    let wrong = |cause: String| Error::Address { address: address.to_owned(), cause };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| wrong(error.to_string()))?;
    let lost = |welcomed: bool, why: String| Ok(End::Lost { welcomed, why });
    let (say, said) = unbounded_channel();
    parts.register(&say, |parts, draining| {
        let parts = parts.iter().map(json).collect();
        message(Said::Hello(Hello { protocol: PROTOCOL, term: *term, worker: json(me), parts, draining }))
    });
    let opened = timeout(SILENCE, async {
        let channel = endpoint.connect_timeout(SILENCE).tcp_nodelay(true).connect().await.map_err(|e| cause(&e))?;
        let mut client = ControlClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
        let stream = client.attend(UnboundedReceiverStream::new(said)).await.map_err(|status| cause(&status))?;
        Ok::<_, String>(stream.into_inner())
    });
    let mut stream = match opened.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(why)) => return lost(false, why),
        Err(_) => return lost(false, "it does not answer".to_owned()),
    };
    let (mut welcomed, mut heard, mut asked_to_leave) = (false, Instant::now(), false);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let received = tokio::select! {
            received = stream.message() => received,
            _ = beat.tick() => {
                _ = say.send(message(Said::Beat(Beat {})));
                continue;
            }
            () = sleep_until(heard + SILENCE) => return lost(welcomed, "it is silent".to_owned()),
            _ = leave.wait_for(|leave| *leave), if welcomed && !asked_to_leave => {
                asked_to_leave = true;
                _ = say.send(message(Said::Leaving(Nothing {})));
                continue;
            }
        };
        heard = Instant::now();
        let ToWorker { term: of, message: told } = match received {
            Ok(Some(told)) => told,
            Ok(None) => return lost(welcomed, "it has closed the connection".to_owned()),
            Err(status) => return lost(welcomed, cause(&status)),
        };
        match told {
            Some(Told::Elsewhere(elsewhere)) if elsewhere.for_ever => return Ok(End::Refused(elsewhere.why)),
            Some(Told::Elsewhere(elsewhere)) => {
                tracing::debug!("not led by {address}: {}", elsewhere.why);
                return Ok(End::Elsewhere(Some(elsewhere.leader).filter(|leader| !leader.is_empty())));
            }
            _ if of < *term => {
                return lost(welcomed, format!("it leads in term {of}, and {term} has begun"));
            }
            Some(Told::Welcome(welcome)) => {
                *term = of;
                welcomed = true;
                parts.welcomed(&welcome.store);
                tracing::info!("is led by {address}, in term {of}");
            }
            Some(Told::Order(order)) if welcomed => parts.order(order),
            Some(Told::Ask(ask)) if welcomed => parts.ask(ask),
            Some(Told::Draining(_)) => parts.drain(),
            Some(Told::Released(_)) => return Ok(End::Released),
            Some(Told::Beat(_) | Told::Order(_) | Told::Ask(_)) | None => {}
        }
    }
}

/// A message of a worker.
pub(super) fn message(said: Said) -> FromWorker {
    FromWorker { message: Some(said) }
}

/// Where messages of a session go.
pub(super) type Say = UnboundedSender<FromWorker>;

/// The innermost cause, which says what happened.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
