//! A worker as a member of a cluster: it finds the coordinator that leads, does what that orders, and says what happens. Must never
//! decide what runs, which is the leader's, nor whom it obeys, which is [`flow_protocol::following`]'s.
//!
//! - [`join`]: stays with whoever leads, until it is let go; `connection`: to one leader
//! - `parts`: the parts of attempts that run here
//! - `once`: what people were told already
//! - `material`: what they are made of: components by digest, stores
//! - `wire`: what happens, as messages

mod connection;
mod material;
mod parts;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use flow_model::channel::AttemptId;
use flow_model::cluster::{self, Session};
use flow_protocol::following::{Action, Event, Following, Settings};
use flow_rpc::control::{Beat, Leads, Nothing, ToWorker, from_worker::Message as Said, to_worker::Message as Told};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::Worker;
use crate::network::{Failure, Network, Tls};
use crate::once::Once;
use parts::Parts;

/// In milliseconds: what is shorter than a leader's patience with workers, so that a worker knows that it was given up when it was.
const SETTINGS: Settings = Settings { beat: 500, silence: 3000, ask: 3000, alone: 60_000 };
/// A worker that is to leave looks for a leader so long, who could let others go on with what it runs.
const LEAVE: Duration = Duration::from_secs(20);
/// Whoever leads, as what people are told of.
const LEADER: &str = "leader";

/// Why a worker is no member any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No coordinator of the cluster takes it.
    #[error("{0}")]
    Refused(String),
    /// An address is none.
    #[error("{address} is no address of a coordinator: {cause}; --coordinator takes HOST:PORT")]
    Address {
        /// The address.
        address: String,
        /// Why.
        cause: String,
    },
}

/// Who joins, and whom.
pub struct Joining {
    /// Where coordinators are, `host:port`; one of them leads, or knows who does.
    pub coordinators: Vec<String>,
    /// Who it is.
    pub me: cluster::Worker,
    /// Plaintext if none.
    pub tls: Option<Tls>,
    /// Connects it with other workers.
    pub network: Network,
    /// What breaks there.
    pub broken: UnboundedReceiver<(AttemptId, Failure)>,
}

/// What reaches the loop from connections.
enum Heard {
    /// What decides about whom it obeys.
    Event(Event),
    /// A leader has taken it, and says this.
    Welcome(Session, flow_rpc::control::Welcome),
    /// A leader says something else.
    Told(Session, Told),
    /// A coordinator was asked who leads, by its address, and this came of it.
    Asked(String, Result<Leads, String>),
    /// It is not taken, as things are: why.
    NotNow { term: u64, why: String },
    /// No coordinator of the cluster will take it: why.
    Refused(String),
    /// A connection is over: why.
    Over(Session, String),
}

type Hear = UnboundedSender<Heard>;

/// A task that ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Member {
    coordinators: Vec<connection::Peer>,
    joining_as: cluster::Worker,
    parts: Arc<Parts>,
    following: Following,
    hear: Hear,
    /// To the leader that it obeys, or that it has asked to take it.
    connection: Option<Task>,
    tls: Option<Tls>,
    began: Instant,
    /// Since when it is to leave.
    leaves: Option<Instant>,
    /// Why coordinators did not answer, and why none has taken it.
    told: Once,
}

/// Stays with whoever leads until `leave` says true and the leader has let it go, or nobody leads. What it runs is stopped then.
///
/// # Errors
/// It is refused for good, or an address is none.
pub async fn join(worker: Arc<Worker>, joining: Joining, mut leave: watch::Receiver<bool>) -> Result<(), Error> {
    let Joining { coordinators, me, tls, network, mut broken } = joining;
    let peers = coordinators.iter().map(|address| connection::Peer::new(address, tls.as_ref()));
    let coordinators = peers.collect::<Result<Vec<_>, _>>()?;
    let parts = Arc::new(Parts::new(worker, me.id.clone(), network));
    let of_network = parts.clone();
    tokio::spawn(async move {
        while let Some((attempt, failure)) = broken.recv().await {
            of_network.broken(&attempt, failure.to_string());
        }
    });
    let (hear, mut heard) = unbounded_channel();
    let mut member = Member {
        coordinators,
        joining_as: me,
        parts: parts.clone(),
        following: Following::new(SETTINGS, 0),
        hear,
        connection: None,
        tls,
        began: Instant::now(),
        leaves: None,
        told: Once::default(),
    };
    member.handle(Event::Tick);
    while !member.may_go() {
        let due = member.began + Duration::from_millis(member.following.next_deadline());
        let heard = tokio::select! {
            Some(heard) = heard.recv() => heard,
            () = sleep_until(due) => Heard::Event(Event::Tick),
            _ = leave.wait_for(|leave| *leave), if member.leaves.is_none() => {
                member.leave();
                continue;
            }
        };
        if member.heard(heard)? {
            break;
        }
    }
    member.connection = None;
    parts.be_silent();
    parts.stop_all();
    parts.wait().await;
    Ok(())
}

impl Member {
    fn handle(&mut self, event: Event) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        for action in self.following.handle(now, event) {
            match action {
                Action::Ask => {
                    for peer in &self.coordinators {
                        tokio::spawn(connection::ask(peer.clone(), self.hear.clone()));
                    }
                }
                Action::Register { term, address } => self.register(term, &address),
                Action::Heartbeat(_) => self.parts.say(Said::Beat(Beat {})),
                Action::StopAll => {
                    if self.parts.stop_all() {
                        tracing::warn!("nobody leads: what it ran is stopped");
                    }
                }
            }
        }
    }

    /// Asks a leader to take it, in the place of the one that it has obeyed.
    fn register(&mut self, term: u64, address: &str) {
        let hear = self.hear.clone();
        self.connection = match connection::Peer::new(address, self.tls.as_ref()) {
            Ok(peer) => {
                let (say, said) = unbounded_channel();
                self.parts.register(&say, |parts, draining| connection::hello(&self.joining_as, term, parts, draining));
                Some(Task(tokio::spawn(connection::run(peer, term, (said, hear)))))
            }
            Err(error) => {
                _ = hear.send(Heard::NotNow { term, why: error.to_string() });
                None
            }
        };
    }

    /// It is to go as soon as others can go on with what it runs.
    fn leave(&mut self) {
        self.leaves = Some(Instant::now());
        self.parts.drain();
        self.parts.say(Said::Leaving(Nothing {}));
    }

    /// Whether it goes without a leader that lets it.
    fn may_go(&self) -> bool {
        let alone = self.leaves.is_some_and(|since| since.elapsed() > LEAVE || self.parts.is_idle());
        let goes = alone && self.following.session().is_none();
        if goes && !self.parts.is_idle() {
            tracing::warn!("leaves without a coordinator that could let others go on with what it runs");
        }
        goes
    }

    /// True if it was let go.
    fn heard(&mut self, heard: Heard) -> Result<bool, Error> {
        match heard {
            Heard::Event(event) => self.handle(event),
            Heard::Welcome(session, welcome) => {
                self.handle(Event::Welcomed(session));
                if self.following.obeys(session).is_ok() {
                    tracing::info!("is led in term {}", session.term);
                    _ = self.told.is_well(LEADER);
                    self.parts.welcomed(&welcome.store);
                    if self.leaves.is_some() {
                        self.parts.say(Said::Leaving(Nothing {}));
                    }
                }
            }
            Heard::Told(session, told) => {
                if let Err(stale) = self.following.obeys(session) {
                    tracing::warn!("not obeyed: {stale}");
                    return Ok(false);
                }
                match told {
                    Told::Order(order) => self.parts.order(order),
                    Told::Ask(ask) => self.parts.ask(ask),
                    Told::Draining(_) => self.parts.drain(),
                    Told::Released(_) => return Ok(self.leaves.is_some()),
                    Told::Beat(_) => self.handle(Event::Answered(session)),
                    Told::Welcome(_) | Told::Elsewhere(_) => {}
                }
            }
            Heard::Asked(address, Ok(Leads { term, address: leader })) => {
                _ = self.told.is_well(&address);
                if term > 0 {
                    self.handle(Event::Named { term, address: leader });
                }
            }
            Heard::Asked(address, Err(why)) => {
                if self.told.is_new(&address, &why) {
                    tracing::warn!("no coordinator answers at {address}: {why}; asking again");
                }
            }
            Heard::NotNow { term, why } => {
                if self.told.is_new(LEADER, &why) {
                    tracing::warn!("the leader of term {term} does not take it: {why}; asking again");
                }
                self.handle(Event::Rejected { term });
            }
            Heard::Over(session, why) => {
                if self.following.obeys(session).is_ok() {
                    tracing::warn!("the leader of term {} is gone: {why}", session.term);
                    self.parts.be_silent();
                }
                self.handle(Event::Ended(session));
            }
            Heard::Refused(why) => return Err(Error::Refused(why)),
        }
        Ok(false)
    }
}

/// What a leader said, and in which term.
fn told(message: ToWorker) -> (u64, Option<Told>) {
    (message.term, message.message)
}
