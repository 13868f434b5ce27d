//! The streams from peers. What comes is taken at once, whatever becomes of it: so a slow task never holds up a stream. When a stream is
//! over, whatever the reason, the attempts that read from it have failed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use flow_model::channel::ChannelId;
use flow_rpc::exchange::exchange_server::{Exchange, ExchangeServer};
use flow_rpc::exchange::{Announce, Back, Close, Data, Forward, GiveBack, back, data::Content, forward};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::bell::Bell;
use super::receiving::StreamId;
use super::wire::Incoming;
use super::{Shared, cause, greeting, incoming, receiving, wire};

/// Bytes that the network may hold on its way into this process, by stream and by connection.
const WINDOW: u32 = 4 << 20;
/// Bytes of an HTTP/2 frame.
const FRAME: u32 = 256 << 10;

/// Connections at once: one of each other worker, and what is no worker.
const CONNECTIONS_MAX: usize = 1024;

/// Why a stream from a peer is over.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the connection is broken: {0}")]
    Broken(String),
    #[error("it has ended the stream")]
    Ended,
    #[error("it sends what no worker does")]
    Odd,
    #[error("it sends what no worker does: {0}")]
    Channel(#[from] flow_rpc::Error),
    #[error("it sends what no worker does: {0}")]
    Wire(#[from] wire::Error),
    #[error("it sends what no worker does: {0}")]
    Receiving(#[from] receiving::Error),
}

/// Serves peers until the runtime ends.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>, server: Server) {
    let service = ExchangeServer::new(Service(shared)).max_decoding_message_size(wire::MESSAGE);
    let incoming = incoming(listener, CONNECTIONS_MAX);
    if let Err(error) = server.serve_with_incoming(service, incoming).await {
        tracing::error!("workers can't be served any more: {}", cause(&error));
    }
}

/// A server with what belongs to all its connections.
pub(super) fn server(options: &super::Options) -> Result<Server, tonic::transport::Error> {
    let server = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(16)
        .http2_keepalive_interval(Some(options.keep_alive))
        .http2_keepalive_timeout(Some(options.patience));
    match &options.tls {
        Some(tls) => server.tls_config(tls.server().timeout(options.patience)),
        None => Ok(server),
    }
}

struct Service(Arc<Shared>);

#[tonic::async_trait]
impl Exchange for Service {
    type StreamStream = Credits;

    async fn stream(&self, request: Request<Streaming<Forward>>) -> Result<Response<Credits>, Status> {
        let shared = &self.0;
        let mut forward = request.into_inner();
        let first = timeout(shared.options.patience, forward.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no greeting came"))??;
        let Some(Forward { message: Some(forward::Message::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("a stream between workers begins with a greeting"));
        };
        if let Err(error) = super::check_greeting(&hello, &shared.options.name) {
            tracing::warn!(peer = hello.worker, "a worker is refused: {error}");
            return Err(Status::failed_precondition(error.to_string()));
        }
        let bell = Arc::<Bell>::default();
        let stream = shared.receiving().connect(hello.worker.clone(), bell.clone());
        let answer = back::Message::Hello(greeting(&shared.options.name, &hello.worker));
        let ended = Arc::new(Mutex::new(None));
        let credits = Credits { shared: shared.clone(), stream, bell, greeting: Some(answer), ended };
        let source = Source { shared: shared.clone(), peer: hello.worker, stream, incoming: Incoming::default() };
        tokio::spawn(source.run(forward, credits.bell.clone(), credits.ended.clone()));
        Ok(Response::new(credits))
    }
}

/// What comes on one stream.
struct Source {
    shared: Arc<Shared>,
    peer: String,
    stream: StreamId,
    incoming: Incoming,
}

impl Source {
    async fn run(mut self, forward: Streaming<Forward>, bell: Arc<Bell>, ended: Arc<Mutex<Option<Status>>>) {
        let error = self.take_all(forward).await;
        let attempts = self.shared.receiving().disconnect(self.stream);
        *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Status::aborted(error.to_string()));
        bell.wake();
        self.shared.fail(attempts, &format!("worker {:?}", self.peer), &error.to_string());
    }

    async fn take_all(&mut self, mut forward: Streaming<Forward>) -> Error {
        loop {
            let taken = match forward.message().await {
                Ok(Some(Forward { message: Some(message) })) => self.take(message),
                Ok(Some(Forward { message: None })) => Err(Error::Odd),
                Ok(None) => Err(Error::Ended),
                Err(status) => Err(Error::Broken(cause(&status))),
            };
            if let Err(error) = taken {
                return error;
            }
        }
    }

    fn take(&mut self, message: forward::Message) -> Result<(), Error> {
        match message {
            forward::Message::Hello(_) => return Err(Error::Odd),
            forward::Message::Announce(Announce { number, channel }) => {
                let id = ChannelId::try_from(channel.ok_or(Error::Odd)?)?;
                self.shared.receiving().announce(self.stream, number, id)?;
            }
            forward::Message::Data(data) => self.data(data)?,
            forward::Message::GiveBack(GiveBack { number, bytes }) => {
                self.shared.receiving().gave_back(self.stream, number, bytes)?;
            }
            forward::Message::Close(Close { number }) => {
                self.incoming.close(number);
                self.shared.receiving().ended(self.stream, number)?;
            }
        }
        Ok(())
    }

    fn data(&mut self, data: Data) -> Result<(), Error> {
        let number = data.number;
        let bytes = if let Some(Content::Piece(piece)) = &data.content { piece.bytes.len() } else { 0 };
        self.shared.receiving().count(self.stream, number, bytes)?;
        if let Some(element) = self.incoming.take(data)? {
            let inlet = self.shared.receiving().arrived(self.stream, number, &element)?;
            if let Some(inlet) = inlet {
                inlet.push(element);
            }
        }
        Ok(())
    }
}

/// What goes back on a stream: the greeting, credits, and in the end why it ended.
struct Credits {
    shared: Arc<Shared>,
    stream: StreamId,
    bell: Arc<Bell>,
    greeting: Option<back::Message>,
    ended: Arc<Mutex<Option<Status>>>,
}

impl Stream for Credits {
    type Item = Result<Back, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.bell.listen(context.waker());
        if let Some(greeting) = self.greeting.take() {
            return Poll::Ready(Some(Ok(Back { message: Some(greeting) })));
        }
        if let Some(status) = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Poll::Ready(Some(Err(status)));
        }
        match self.shared.receiving().next(self.stream) {
            Some(credit) => Poll::Ready(Some(Ok(Back { message: Some(back::Message::Credit(credit)) }))),
            None => Poll::Pending,
        }
    }
}
