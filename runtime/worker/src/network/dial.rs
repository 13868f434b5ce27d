//! The stream to one peer: connects, greets, sends what [`Sending`] has, takes the credits that come back. When it is over, whatever
//! the reason, the attempts that use it have failed: it is never taken up again.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use flow_rpc::exchange::exchange_client::ExchangeClient;
use flow_rpc::exchange::{Back, Forward, Hello, back, forward};
use tokio::time::timeout;
use tokio_stream::Stream;

use super::bell::Bell;
use super::sending::Sending;
use super::{Peer, Shared, cause, endpoint, greeting, wire};

/// Why a stream to a peer is over.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} is no address of a worker: {1}")]
    Address(String, String),
    #[error("it can't be reached: {0}")]
    Connect(String),
    #[error("it does not answer")]
    Silent,
    #[error("{0}")]
    Refused(String),
    #[error("the connection is broken: {0}")]
    Broken(String),
    #[error("it has ended the stream")]
    Ended,
    #[error("{0}")]
    Greeting(#[from] super::GreetingError),
    #[error("it answers what no worker does")]
    Odd,
    #[error("what is to be sent can't be: {0}")]
    Unsendable(wire::Error),
}

/// A peer that this worker sends to.
pub(super) struct Dialed {
    pub(super) peer: Peer,
    sending: Mutex<Sending>,
    bell: Arc<Bell>,
    /// Why the outgoing half has ended.
    unsendable: Mutex<Option<wire::Error>>,
}

impl Dialed {
    pub(super) fn new(peer: Peer, own_name: &str, pack_from: Option<usize>) -> Dialed {
        let bell = Arc::<Bell>::default();
        let hello = forward::Message::Hello(greeting(own_name, &peer.name));
        let sending = Mutex::new(Sending::new(bell.clone(), hello, pack_from));
        Dialed { peer, sending, bell, unsendable: Mutex::new(None) }
    }

    pub(super) fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to send.
    pub(super) fn wake(&self) {
        self.bell.wake();
    }

    /// Carries all channels to the peer until that is over; tells those that depend on it.
    pub(super) async fn run(self: Arc<Dialed>, shared: Arc<Shared>) {
        let Err(error) = self.talk(&shared).await;
        let error = match self.unsendable.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(cause) => Error::Unsendable(cause),
            None => error,
        };
        let attempts = shared.hang_up(&self);
        shared.fail(attempts, &self.peer.to_string(), &error.to_string());
    }

    async fn talk(self: &Arc<Dialed>, shared: &Shared) -> Result<Infallible, Error> {
        let options = &shared.options;
        let address = |error: tonic::transport::Error| Error::Address(self.peer.address.clone(), cause(&error));
        let patience = (options.keep_alive, options.patience);
        let endpoint = endpoint(&self.peer.address, options.tls.as_ref(), patience).map_err(address)?;
        let connected = timeout(options.patience, endpoint.connect()).await.map_err(|_| Error::Silent)?;
        let connection = connected.map_err(|error| Error::Connect(cause(&error)))?;
        let mut client = ExchangeClient::new(connection).max_encoding_message_size(wire::MESSAGE);
        let answered = timeout(options.patience, client.stream(Out(self.clone()))).await.map_err(|_| Error::Silent)?;
        let mut back = answered.map_err(refused)?.into_inner();
        let first = timeout(options.patience, back.message()).await.map_err(|_| Error::Silent)?;
        match first.map_err(refused)? {
            Some(Back { message: Some(back::Message::Hello(hello)) }) => self.greeted(&hello, shared)?,
            Some(_) => return Err(Error::Odd),
            None => return Err(Error::Ended),
        }
        loop {
            match back.message().await.map_err(refused)? {
                Some(Back { message: Some(back::Message::Credit(credit)) }) => {
                    self.sending().credit(credit.number, credit.bytes, Instant::now());
                    self.wake();
                }
                Some(_) => return Err(Error::Odd),
                None => return Err(Error::Ended),
            }
        }
    }

    fn greeted(&self, hello: &Hello, shared: &Shared) -> Result<(), Error> {
        super::check_greeting(hello, &shared.options.name)?;
        if hello.worker != self.peer.name {
            return Err(super::GreetingError::Other(hello.worker.clone()).into());
        }
        Ok(())
    }
}

/// What a peer says when it ends a stream, or what the connection died of.
fn refused(status: tonic::Status) -> Error {
    match std::error::Error::source(&status) {
        None => Error::Refused(status.message().to_owned()),
        Some(_) => Error::Broken(cause(&status)),
    }
}

/// What goes out, when the connection wants more.
struct Out(Arc<Dialed>);

impl Stream for Out {
    type Item = Forward;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Forward>> {
        self.0.bell.listen(context.waker());
        match self.0.sending().next(Instant::now()) {
            Ok(Some(message)) => Poll::Ready(Some(message)),
            Ok(None) => Poll::Pending,
            Err(error) => {
                *self.0.unsendable.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Poll::Ready(None)
            }
        }
    }
}
