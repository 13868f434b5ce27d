//! The exchange between workers: the queues of a channel whose subtasks run on different workers, and what carries it from one to the
//! other. Each ordered pair of workers has one gRPC stream, which the sender opens and the receiver always drains; credits bound what is
//! on its way and unread ([why so](../../../docs/adr/0021-network-exchange.md)).
//!
//! Must never lose anything silently: when a stream is over, all attempts that use it are told to be failed. Who runs where, and what
//! becomes of a failed attempt, is decided elsewhere.
//!
//! - [`sending`], [`receiving`]: the two ends as plain calls; [`wire`]: elements as messages
//! - [`dial`], [`serve`]: the streams; [`bell`]: how slots wake them
//! - [`tls`]: who is who; [`incoming`]: how many may come; [`figures`]: what was done

mod bell;
mod dial;
mod figures;
mod incoming;
mod receiving;
mod sending;
mod serve;
mod tls;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flow_dataflow::credit::Terms;
use flow_dataflow::exchange::{Reader, Wake, Writer};
use flow_model::channel::{AttemptId, ChannelId};
use flow_rpc::exchange::{Hello, PROTOCOL};
use tokio::runtime::Runtime;

use dial::Dialed;
pub use figures::{ExchangeFigures, Figures, Traffic};
pub use incoming::{breathe, incoming};
use receiving::Receiving;
pub use tls::{Tls, endpoint};

/// How often the pool is dealt out anew.
const TURN: Duration = Duration::from_millis(100);
/// How much a channel may have in front of its reader: what that one takes in a fifth of a turn.
const LEAD: f64 = 0.2;

/// Why the network does not do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't listen.
    #[error("workers can't be served at {address}: {cause}; is another process listening there?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
    /// A certificate or a key is none.
    #[error("the certificates for workers can't be used: {0}")]
    Tls(String),
    /// It can't start.
    #[error("no threads for the exchange between workers: {0}")]
    Threads(std::io::Error),
    /// A channel can't be opened.
    #[error("{0}")]
    Channel(String),
}

/// Another worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its name: it is an error if another one answers.
    pub name: String,
    /// Where it listens, `host:port`.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {:?} at {}", self.name, self.address)
    }
}

/// What has happened to the attempts that exchanged something with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The peer, for people.
    pub peer: String,
    /// What was the matter.
    pub cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exchange with {}: {}", self.peer, self.cause)
    }
}

/// Hears that an attempt can't go on here. Must not wait for anything.
pub type OnFailure = Arc<dyn Fn(&AttemptId, &Failure) + Send + Sync>;

/// How the network works.
#[derive(Debug, Clone)]
pub struct Options {
    /// This worker's name.
    pub name: String,
    /// Plaintext if none.
    pub tls: Option<Tls>,
    /// Bytes of each channel into this worker that are its own; also what a channel out of it holds until it is sent.
    pub minimum: usize,
    /// Bytes that all channels into this worker share beyond that.
    pub pool: usize,
    /// Batches of so many bytes and more are packed with LZ4; none are if it is none.
    pub pack_from: Option<usize>,
    /// A peer that says nothing for so long is asked whether it is there.
    pub keep_alive: Duration,
    /// How long a peer may take to answer.
    pub patience: Duration,
    /// Threads that carry what is sent and what comes.
    pub threads: usize,
}

impl Options {
    /// For a worker of that name, as measured to be good on fast networks.
    pub fn new(name: impl Into<String>) -> Options {
        Options {
            name: name.into(),
            tls: None,
            minimum: 32 << 10,
            pool: 64 << 20,
            pack_from: None,
            keep_alive: Duration::from_secs(2),
            patience: Duration::from_secs(6),
            threads: 2,
        }
    }
}

/// What all streams share.
struct Shared {
    options: Options,
    on_failure: OnFailure,
    receiving: Mutex<Receiving>,
    dialed: Mutex<HashMap<Peer, Arc<Dialed>>>,
    register: Mutex<figures::Register>,
}

impl Shared {
    fn receiving(&self) -> MutexGuard<'_, Receiving> {
        self.receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dialed(&self) -> MutexGuard<'_, HashMap<Peer, Arc<Dialed>>> {
        self.dialed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self) -> MutexGuard<'_, figures::Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream to a peer is over: what comes next begins with a new one.
    fn hang_up(&self, dialed: &Arc<Dialed>) -> BTreeSet<AttemptId> {
        let mut all = self.dialed();
        if all.get(&dialed.peer).is_some_and(|known| Arc::ptr_eq(known, dialed)) {
            all.remove(&dialed.peer);
        }
        dialed.sending().attempts()
    }

    fn fail(&self, attempts: BTreeSet<AttemptId>, peer: &str, cause: &str) {
        let failure = Failure { peer: peer.to_owned(), cause: cause.to_owned() };
        for attempt in attempts {
            tracing::warn!(%attempt, "{failure}");
            (self.on_failure)(&attempt, &failure);
        }
    }

    fn turn(&self) {
        self.receiving().turn();
        let all: Vec<Arc<Dialed>> = self.dialed().values().cloned().collect();
        for dialed in all {
            dialed.sending().turn();
            dialed.wake();
        }
    }
}

/// The exchange between this worker and others. It ends with its last clone: streams break, and the peers hear of it.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Its own, so that a control plane with much to do does not hold up data. None only while it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody waits for its tasks: it may be dropped where waiting is not allowed.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Network {
    /// Listens for other workers; port 0 takes a free one.
    ///
    /// # Errors
    /// The address can't be had, or the certificates are none.
    pub fn listen(address: SocketAddr, options: Options, on_failure: OnFailure) -> Result<Network, Error> {
        let server = serve::server(&options).map_err(|error| Error::Tls(cause(&error)))?;
        if let Some(tls) = &options.tls {
            let of_client = endpoint("worker:1", Some(tls), (options.keep_alive, options.patience));
            of_client.map_err(|error| Error::Tls(cause(&error)))?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("exchange")
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let failed = |cause| Error::Listen { address, cause };
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let terms = Terms { minimum: options.minimum as u64, pool: options.pool as u64, lead: LEAD };
        let shared = Arc::new(Shared {
            options,
            on_failure,
            receiving: Mutex::new(Receiving::new(terms)),
            dialed: Mutex::default(),
            register: Mutex::default(),
        });
        runtime.spawn(serve::run(listener, shared.clone(), server));
        let turning = shared.clone();
        runtime.spawn(async move {
            let mut turns = tokio::time::interval(TURN);
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                turning.turn();
            }
        });
        Ok(Network(Arc::new(Inner { shared, address, runtime: Some(runtime) })))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The end that a subtask of this worker writes to, of a channel to a subtask of another one. The channel is over when the writer is
    /// gone and all that it wrote is sent, or with [`Network::close`].
    ///
    /// # Errors
    /// The channel is open already.
    pub fn open_sender(&self, id: &ChannelId, peer: &Peer, wake_writer: Wake) -> Result<Writer, Error> {
        let shared = &self.0.shared;
        let counters = shared.register().of(id, &peer.name);
        // Held until the channel is in: a stream that ends meanwhile has it among those that failed.
        let mut all = shared.dialed();
        let (dialed, is_new) = match all.get(peer) {
            Some(dialed) => (dialed.clone(), false),
            None => {
                let dialed = Arc::new(Dialed::new(peer.clone(), &shared.options.name, shared.options.pack_from));
                all.insert(peer.clone(), dialed.clone());
                (dialed, true)
            }
        };
        let writer = dialed.sending().open(id.clone(), shared.options.minimum, wake_writer, counters);
        drop(all);
        match &self.0.runtime {
            Some(runtime) if is_new => _ = runtime.spawn(dialed.run(shared.clone())),
            _ => dialed.wake(),
        }
        writer.ok_or_else(|| Error::Channel(format!("{id} is open twice")))
    }

    /// The end that a subtask of this worker reads from, of a channel from a subtask of the worker `peer`. The channel is over when the
    /// reader is gone, or with [`Network::close`].
    ///
    /// # Errors
    /// The channel is open already, or another worker claims to be its sender.
    pub fn open_receiver(&self, id: &ChannelId, peer: &str, wake_reader: Wake) -> Result<Reader, Error> {
        let shared = &self.0.shared;
        let counters = shared.register().of(id, peer);
        let reader = shared.receiving().open(id.clone(), peer.to_owned(), wake_reader, counters);
        reader.map_err(|error| Error::Channel(error.to_string()))
    }

    /// Forgets all channels of an attempt that runs no more, with what is in them.
    pub fn close(&self, attempt: &AttemptId) {
        let shared = &self.0.shared;
        shared.receiving().close(attempt);
        let all: Vec<Arc<Dialed>> = shared.dialed().values().cloned().collect();
        for dialed in all {
            dialed.sending().close(attempt);
            dialed.wake();
        }
        shared.register().close(attempt);
    }

    /// What was done, and how it stands.
    pub fn figures(&self) -> Figures {
        let shared = &self.0.shared;
        let mut figures = shared.register().figures();
        let all: Vec<Arc<Dialed>> = shared.dialed().values().cloned().collect();
        for dialed in all {
            for (id, credit) in dialed.sending().credits() {
                if let Some(exchange) = figures.exchange_of(id, &dialed.peer.name) {
                    exchange.credit += credit;
                }
            }
        }
        for (id, peer, standing) in shared.receiving().standings() {
            if let Some(exchange) = figures.exchange_of(id, peer) {
                exchange.granted += standing.granted;
                exchange.unread += standing.unread;
            }
        }
        figures
    }
}

/// Why a worker is not spoken to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum GreetingError {
    #[error(
        "it runs Flow {version} and speaks protocol {theirs}, this one runs Flow {} and speaks {PROTOCOL}: run the same version on all nodes",
        env!("CARGO_PKG_VERSION")
    )]
    Protocol { version: String, theirs: u32 },
    #[error("worker {0:?} was meant, and this is worker {1:?}")]
    Meant(String, String),
    #[error("worker {0:?} answers there")]
    Other(String),
}

fn greeting(worker: &str, to: &str) -> Hello {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Hello { protocol: PROTOCOL, version, worker: worker.to_owned(), to: to.to_owned() }
}

/// Whether a worker that says this can be spoken to.
fn check_greeting(hello: &Hello, own_name: &str) -> Result<(), GreetingError> {
    if hello.protocol != PROTOCOL {
        return Err(GreetingError::Protocol { version: hello.version.clone(), theirs: hello.protocol });
    }
    if hello.to != own_name {
        return Err(GreetingError::Meant(hello.to.clone(), own_name.to_owned()));
    }
    Ok(())
}

/// Why something failed, with what is behind it, each said once.
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
