//! A body in small pieces for a parser that keeps what it does not understand yet and looks through all of it again with each
//! chunk (multer). Never more than [`UNPARSED_MAX`] bytes wait in it, so neither its memory nor its time depend on what
//! strangers send.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use tokio_stream::Stream;

/// Bytes that the parser gets at once.
const PIECE_MAX: usize = 16 << 10;
/// Bytes without anything that the parser can make use of: more than any honest head of a part.
const UNPARSED_MAX: usize = 2 * PIECE_MAX;

/// The body goes on and on without a boundary, or without the end of a part's head.
#[derive(Debug, thiserror::Error)]
#[error("there is no boundary, or no end of a part's head, in {UNPARSED_MAX} bytes")]
pub struct Unparsed;

/// What the parser has got since it last made something of it; clones share it.
#[derive(Clone, Default)]
pub struct Parsed(Arc<AtomicUsize>);

impl Parsed {
    /// The parser has made something of what it got.
    pub fn some(&self) {
        self.0.store(0, Relaxed);
    }
}

/// The request with its body in pieces. Its reader says when it got something out of the parser; else the body fails with
/// [`Unparsed`].
pub fn cut(request: Request) -> (Request, Parsed) {
    let parsed = Parsed::default();
    let handed = parsed.clone();
    let request = request.map(|body| {
        let chunks = body.into_data_stream();
        Body::from_stream(Pieces { chunks, rest: Bytes::new(), handed, rests: false })
    });
    (request, parsed)
}

struct Pieces {
    chunks: BodyDataStream,
    /// Of the last chunk.
    rest: Bytes,
    handed: Parsed,
    /// The next one who asks is told to come again: the parser takes all that is there before it looks at it.
    rests: bool,
}

impl Stream for Pieces {
    type Item = Result<Bytes, Box<dyn StdError + Send + Sync>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        while this.rest.is_empty() {
            match Pin::new(&mut this.chunks).poll_next(context) {
                Poll::Ready(Some(Ok(chunk))) => this.rest = chunk,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let handed = &this.handed.0;
        if handed.load(Relaxed) >= UNPARSED_MAX {
            return Poll::Ready(Some(Err(Unparsed.into())));
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_MAX));
        handed.fetch_add(piece.len(), Relaxed);
        this.rests = true;
        Poll::Ready(Some(Ok(piece)))
    }
}
