//! A request's body as it may come: not too slowly, and what nobody wants of it is thrown away, so that a client that
//! listens only when it has said everything gets to the answer instead of a broken connection.

use std::error::Error as StdError;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::header::EXPECT;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream::{Stream, StreamExt};

/// Bytes that earn a client another second.
const BYTES_A_SECOND: u64 = 64 << 10;
/// The most seconds that it earns: others wait for their turn meanwhile.
const EARNED_MAX: u64 = 300;
/// How long what nobody wants is read.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(30);

/// The client is slower than anybody should be.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly: {received} bytes in {} s", waited.as_secs())]
pub struct TooSlow {
    received: u64,
    waited: Duration,
}

/// The error of that type behind another one, if there is one.
pub fn behind<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The request, with a body that fails with [`TooSlow`] when the client has let us wait for longer than `patience` in all,
/// and longer by what it has sent; it is drained when it is dropped.
pub fn patient(request: Request, patience: Duration) -> Request {
    let expects = request.headers().contains_key(EXPECT);
    request.map(|body| {
        let timer = Box::pin(sleep(patience));
        let chunks = body.into_data_stream();
        let counted = Counted { patience, received: 0, waited: Duration::ZERO, waits_since: None };
        Body::from_stream(Patient { chunks, timer, counted, is_open: !expects })
    })
}

/// Answers without the body.
pub fn dismiss(request: Request) {
    drop(patient(request, DRAIN_PATIENCE));
}

struct Patient {
    chunks: BodyDataStream,
    timer: Pin<Box<Sleep>>,
    counted: Counted,
    /// The client sends, or may send: it was not told to wait, and has not come to its end.
    is_open: bool,
}

struct Counted {
    patience: Duration,
    received: u64,
    /// Time in which we waited for the client.
    waited: Duration,
    waits_since: Option<Instant>,
}

impl Counted {
    fn allowed(&self) -> Duration {
        self.patience + Duration::from_secs((self.received / BYTES_A_SECOND).min(EARNED_MAX))
    }
}

impl Stream for Patient {
    type Item = Result<Bytes, Box<dyn StdError + Send + Sync>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.is_open = true;
        let counted = &mut this.counted;
        if let Poll::Ready(chunk) = Pin::new(&mut this.chunks).poll_next(context) {
            counted.waited += counted.waits_since.take().map_or(Duration::ZERO, |since| since.elapsed());
            this.is_open = matches!(chunk, Some(Ok(_)));
            counted.received += chunk.iter().flatten().map(|bytes| bytes.len() as u64).sum::<u64>();
            return Poll::Ready(chunk.map(|chunk| chunk.map_err(Into::into)));
        }
        if counted.waits_since.is_none() {
            let since = Instant::now();
            counted.waits_since = Some(since);
            this.timer.as_mut().reset(since + counted.allowed().saturating_sub(counted.waited));
        }
        this.timer.as_mut().poll(context).map(|()| {
            this.is_open = false;
            Some(Err(TooSlow { received: counted.received, waited: counted.allowed() }.into()))
        })
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        // Outside of a runtime there is no connection either.
        if self.is_open
            && let Ok(runtime) = Handle::try_current()
        {
            let mut chunks = mem::replace(&mut self.chunks, Body::empty().into_data_stream());
            let all = async move { while let Some(Ok(_)) = chunks.next().await {} };
            runtime.spawn(tokio::time::timeout(DRAIN_PATIENCE, all));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_earns_time_and_not_for_ever() {
        let allowed = |received| {
            let patience = Duration::from_secs(10);
            Counted { patience, received, waited: Duration::ZERO, waits_since: None }.allowed().as_secs()
        };
        assert_eq!([allowed(0), allowed(1 << 20), allowed(1 << 30)], [10, 26, 310]);
    }
}
