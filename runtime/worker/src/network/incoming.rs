//! Connections that come from other nodes: so many and no more, and none that says nothing. Files and sockets are what jobs need too.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;

/// A connection that says nothing for so long is gone: nodes ask each other more often whether they are there.
const SILENCE: Duration = Duration::from_secs(15);

/// Before the next try when there are no more sockets.
const BREATH: Duration = Duration::from_millis(500);

/// The connections of a listener, `most` at once; those beyond are closed as they come.
pub fn incoming(listener: TcpListener, most: usize) -> impl Stream<Item = io::Result<Connection>> {
    within(listener, most, SILENCE)
}

fn within(listener: TcpListener, most: usize, silence: Duration) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(most));
    let accepted = TcpListenerStream::new(listener).then(|accepted| async {
        if let Err(error) = &accepted {
            breathe(error).await;
        }
        accepted
    });
    accepted.filter_map(move |accepted| {
        let stream = accepted.ok()?;
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::debug!("a connection is refused: there are {most}");
            return None;
        };
        // Messages are short and whole. It is no harm if it is refused.
        _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(silence));
        Some(Ok(Connection { stream: Box::pin(stream), _place: place }))
    })
}

/// A connection that went away before it was taken is nothing; else there are no more sockets, or no memory.
pub async fn breathe(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!("can't take a connection: {error}");
        tokio::time::sleep(BREATH).await;
    }
}

/// One of them.
pub struct Connection {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Reads what comes on connections and says it again, until they end.
    async fn echo(connections: impl Stream<Item = io::Result<Connection>>) {
        tokio::pin!(connections);
        while let Some(Ok(mut connection)) = connections.next().await {
            tokio::spawn(async move {
                let mut byte = [0];
                while connection.read_exact(&mut byte).await.is_ok() && connection.write_all(&byte).await.is_ok() {}
            });
        }
    }

    async fn is_taken(client: &mut TcpStream) -> bool {
        let mut byte = [0];
        client.write_all(b"x").await.is_ok() && client.read_exact(&mut byte).await.is_ok()
    }

    #[tokio::test]
    async fn so_many_and_none_that_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let silence = Duration::from_millis(1500);
        tokio::spawn(echo(within(listener, 2, silence)));
        let connect = || async { TcpStream::connect(address).await.expect("it listens") };
        let (mut talks, mut silent) = (connect().await, connect().await);
        assert!(is_taken(&mut talks).await && is_taken(&mut silent).await);
        assert!(!is_taken(&mut connect().await).await, "there are two");
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < 2 * silence {
            assert!(is_taken(&mut talks).await, "it says something now and then");
            tokio::time::sleep(silence / 10).await;
        }
        let mut byte = [0];
        assert_eq!(silent.read(&mut byte).await.expect("it was ended"), 0);
        assert!(is_taken(&mut connect().await).await, "there is room again");
    }
}
