//! Connections: taken, bounded in number and in time, and ended when the server stops. What is said on them is the
//! router's.
//!
//! Nobody may hold the server up: a head of a request, the silence between two requests and an answer that is not read
//! each have a time-out, and past [`CONNECTIONS_MAX`] a client is told so and let go. Files and sockets are what the jobs
//! beside this need too.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use flow_worker::network::breathe;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

/// Connections at once.
pub const CONNECTIONS_MAX: u32 = 256;
/// So many more are told that there are too many, at once; what comes beyond that is only closed.
const TOLD_MAX: usize = 32;
/// How long one is told.
const TELLING: Duration = Duration::from_secs(1);
/// The longest head of a request.
const HEAD_MAX: usize = 64 << 10;
/// Says the refusal of a server that has too many connections, as it stands on the wire.
const TOO_MANY: &str = "{\"code\":\"unavailable\",\"message\":\"too many connections\",\
                        \"hint\":\"close some, such as `flowctl logs -f` and open pages, and try again\"}";

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the head of a request, and between two requests.
    pub head: Duration,
    /// For the pauses in a body, all together; what it has sent earns it more.
    pub body: Duration,
    /// For the pauses in taking an answer, each.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(15), body: Duration::from_secs(10), answer: Duration::from_secs(30) }
    }
}

/// Serves `router` on `listener` until `shutdown` is ready, then ends what is idle and waits for what is not.
pub async fn serve(listener: TcpListener, router: Router, patience: Patience, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let told = Arc::new(Semaphore::new(TOLD_MAX));
    let (stop, stopped) = watch::channel(());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                breathe(&error).await;
                continue;
            }
        };
        if let Ok(place) = places.clone().try_acquire_owned() {
            let connection = connection(stream, peer, router.clone(), patience, stopped.clone());
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        } else {
            tracing::debug!(%peer, "refused: there are {CONNECTIONS_MAX} connections");
            if let Ok(place) = told.clone().try_acquire_owned() {
                tokio::spawn(async move {
                    // It may not listen.
                    _ = tokio::time::timeout(TELLING, tell(stream)).await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    // Nobody listens to it if there are no connections.
    _ = stop.send(());
    _ = places.acquire_many(CONNECTIONS_MAX).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    patience: Patience,
    mut stopped: watch::Receiver<()>,
) {
    // Answers are short and whole; waiting for more to send only makes them late. It is no harm if it is refused.
    _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.answer));
    let service = router.layer(axum::Extension(Peer(peer)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(HEAD_MAX);
    let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "connection: {error}");
    }
}

async fn tell(mut stream: TcpStream) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n",
        TOO_MANY.len()
    );
    stream.write_all(format!("{head}{TOO_MANY}").as_bytes()).await?;
    stream.shutdown().await?;
    // Its request has to be read, or the connection breaks before it has read the answer.
    let mut thrown_away = [0; 4096];
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);
