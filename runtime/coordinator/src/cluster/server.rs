//! The connections of workers: who may stay, and what each says. Must never do anything for a worker that did not say who it is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use flow_model::cluster::{Part, Session, Worker};
use flow_model::ids::WorkerId;
use flow_protocol::cluster::Event;
use flow_rpc::control::control_server::{Control, ControlServer};
use flow_rpc::control::{
    Beat, Elsewhere, FromWorker, Hello, Leads, Nothing, PROTOCOL, ToWorker, event::Event as Wire,
    from_worker::Message as Said, to_worker::Message as Told,
};
use flow_rpc::json;
use flow_worker::network::{Tls, incoming};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, once};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::leader::Role;
use super::{Cluster, wire};
use crate::rest;

/// How often it is looked whether this process still leads.
const LOOK: Duration = Duration::from_millis(500);
/// How long a connection may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
/// A connection that says nothing for so long is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Connections at once: one of each worker, one for each request that a standby hands on, and what is neither.
const CONNECTIONS_MAX: usize = 2048;
/// A worker has one or two on its connection, and a request that is handed on has one.
const STREAMS_MAX: u32 = 16;
/// Larger messages are refused.
const MESSAGE_MAX: usize = 256 << 20;

type Answers = Pin<Box<dyn Stream<Item = Result<ToWorker, Status>> + Send>>;

/// Answers workers on `listener` until `shutdown` is ready, and other coordinators what they hand on; `role` says whether this process
/// leads, and whom.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    (role, tls, api): (Role, Option<Tls>, rest::Api),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), tonic::transport::Error> {
    let service = ControlServer::new(Service { role }).max_decoding_message_size(MESSAGE_MAX);
    let incoming = incoming(listener, CONNECTIONS_MAX);
    let mut server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(HELLO));
    if let Some(tls) = tls {
        server = server.tls_config(tls.server().timeout(HELLO))?;
    }
    let routes = Routes::from(rest::handed_on(api)).add_service(service);
    server.add_routes(routes).serve_with_incoming_shutdown(incoming, shutdown).await
}

struct Service {
    role: Role,
}

fn elsewhere(why: String, for_ever: bool) -> Response<Answers> {
    let told = Told::Elsewhere(Elsewhere { why, for_ever });
    let answer: Answers = Box::pin(once(Ok(ToWorker { term: 0, message: Some(told) })));
    Response::new(answer)
}

#[tonic::async_trait]
impl Control for Service {
    type AttendStream = Answers;

    async fn who(&self, _: Request<Nothing>) -> Result<Response<Leads>, Status> {
        let (term, address) = self.role.leader().unwrap_or_default();
        Ok(Response::new(Leads { term, address }))
    }

    async fn attend(&self, request: Request<Streaming<FromWorker>>) -> Result<Response<Answers>, Status> {
        let mut said = request.into_inner();
        let hello = timeout(HELLO, said.message()).await.map_err(|_| Status::deadline_exceeded("no Hello"))??;
        let Some(FromWorker { message: Some(Said::Hello(hello)) }) = hello else {
            return Err(Status::invalid_argument("the first message has to be a Hello"));
        };
        let (worker, parts) = match known(&hello) {
            Ok(known) => known,
            Err(why) => {
                tracing::warn!("a worker is refused: {why}");
                return Ok(elsewhere(why, true));
            }
        };
        let Some(cluster) = self.role.cluster().filter(|cluster| cluster.term() >= hello.term) else {
            return Ok(elsewhere("it does not lead".to_owned(), false));
        };
        let (say, answers) = unbounded_channel();
        let id = worker.id.clone();
        if let Some(session) = cluster.register(worker, parts, hello.draining, say) {
            let role = self.role.clone();
            tokio::spawn(async move {
                let why = hear(&cluster, &role, &id, session, &mut said).await;
                cluster.handle(&mut cluster.lock(), Event::Left(id, session, why));
            });
        }
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(answers))))
    }
}

/// Takes what a worker says, until its connection ends, or nobody knows it any more: why.
async fn hear(
    cluster: &Arc<Cluster>,
    role: &Role,
    worker: &WorkerId,
    session: Session,
    said: &mut Streaming<FromWorker>,
) -> String {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let received = tokio::select! {
            received = said.message() => received,
            _ = look.tick() => {
                if !role.cluster().is_some_and(|leads| Arc::ptr_eq(&leads, cluster)) {
                    // The worker looks for the next one when this ends.
                    return "this coordinator leads no more".to_owned();
                }
                if !cluster.lock().attends(worker, session) {
                    return "it is not known any more".to_owned();
                }
                continue;
            }
        };
        match received {
            Ok(Some(FromWorker { message: Some(message) })) => cluster.said((worker, session), message),
            Ok(Some(FromWorker { message: None })) => {}
            Ok(None) => return "it has closed the connection".to_owned(),
            Err(status) => return status.message().to_owned(),
        }
    }
}

/// Who says hello, and what it runs. Whether it may stay the machine says.
pub(super) fn known(hello: &Hello) -> Result<(Worker, Vec<Part>), String> {
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "it speaks version {} of the protocol, and this cluster {PROTOCOL}: install the same version of Flow on all nodes",
            hello.protocol
        ));
    }
    let same = "install the same version of Flow on all nodes";
    let worker: Worker =
        json::read(&hello.worker).map_err(|error| format!("who it is can't be read: {error}; {same}"))?;
    worker.check()?;
    // One that was left out would run on, and nobody would know of it.
    let parts = hello.parts.iter().map(|part| json::read(part)).collect::<Result<_, _>>();
    let parts = parts.map_err(|error| format!("what {} runs can't be read: {error}; {same}", worker.name))?;
    Ok((worker, parts))
}

impl Cluster {
    pub(super) fn said(&self, (worker, session): (&WorkerId, Session), said: Said) {
        // What came behind the end of a session is nobody's any more.
        if !self.lock().attends(worker, session) {
            return;
        }
        match said {
            Said::Event(event) => {
                let (Some((job, id)), Some(event)) = (wire::part(event.part), event.event) else { return };
                if let Wire::Stopped(stopped) = &event {
                    self.done(worker, &job, json::read(&stopped.metrics).unwrap_or_default());
                }
                if let Some(event) = wire::event(id.attempt, event) {
                    let told = Event::Told { worker: worker.clone(), session, job, event };
                    self.handle(&mut self.lock(), told);
                }
            }
            Said::Beat(_) => {
                let mut state = self.lock();
                self.handle(&mut state, Event::Heartbeat(worker.clone(), session));
                self.say(&state, worker, Told::Beat(Beat {}));
            }
            Said::Answer(answer) => self.lock().questions.answered(answer.number, worker, answer.answer),
            Said::Lines(lines) => {
                let Some((job, _)) = wire::part(lines.part) else { return };
                let Some(log) = self.lock().jobs.get(&job).map(|known| known.job.log.clone()) else { return };
                for line in lines.lines {
                    let of = (!line.operator.is_empty()).then_some((line.operator.as_str(), line.subtask));
                    log.add(wire::level(line.level), of, line.message);
                }
            }
            // It is drained as if somebody had asked for it.
            Said::Leaving(_) => {
                let mut state = self.lock();
                let number = state.number();
                self.handle(&mut state, Event::Drain(number, worker.clone()));
            }
            Said::Hello(_) => {}
        }
    }
}
