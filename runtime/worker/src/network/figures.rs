//! What the exchange between workers has done, in plain numbers: by peer since this worker started, by exchange of each attempt while
//! that one is open. Nothing is pushed: they are read when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use flow_model::channel::{AttemptId, ChannelId};
use flow_model::ids::ExchangeId;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent_bytes: AtomicU64,
    pub(super) sent_batches: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) received_batches: AtomicU64,
    pub(super) blocked_nanos: AtomicU64,
}

/// What has gone between this worker and another one. All of it only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of batches that were sent, as they travel.
    pub sent_bytes: u64,
    /// Batches that were sent.
    pub sent_batches: u64,
    /// Bytes of batches that have come, as they travel.
    pub received_bytes: u64,
    /// Batches that have come.
    pub received_batches: u64,
    /// How long channels had a batch to send and no credit for it, summed over channels.
    pub blocked: Duration,
}

impl Counters {
    fn traffic(&self) -> Traffic {
        Traffic {
            sent_bytes: self.sent_bytes.load(Relaxed),
            sent_batches: self.sent_batches.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            received_batches: self.received_batches.load(Relaxed),
            blocked: Duration::from_nanos(self.blocked_nanos.load(Relaxed)),
        }
    }
}

/// The channels of one exchange of one attempt between this worker and another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeFigures {
    /// The attempt.
    pub attempt: AttemptId,
    /// The exchange in its plan.
    pub exchange: ExchangeId,
    /// The other worker.
    pub peer: String,
    /// What has gone.
    pub traffic: Traffic,
    /// Bytes that this worker may send now; below zero if batches were larger than the credit.
    pub credit: i64,
    /// Bytes that the other worker may send now.
    pub granted: i64,
    /// Bytes that have come and were not read.
    pub unread: u64,
}

/// What the network has done and how it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// By the names of the other workers.
    pub peers: BTreeMap<String, Traffic>,
    /// By exchange and peer, of attempts that are not closed.
    pub exchanges: Vec<ExchangeFigures>,
}

type Group = (AttemptId, ExchangeId, String);

/// Who counts what.
#[derive(Debug, Default)]
pub(super) struct Register {
    peers: BTreeMap<String, Arc<Counters>>,
    groups: BTreeMap<Group, Arc<Counters>>,
}

impl Register {
    /// The counters of a channel to or from a peer.
    pub(super) fn of(&mut self, id: &ChannelId, peer: &str) -> [Arc<Counters>; 2] {
        let group = (id.attempt.clone(), id.exchange, peer.to_owned());
        [self.peers.entry(peer.to_owned()).or_default().clone(), self.groups.entry(group).or_default().clone()]
    }

    pub(super) fn close(&mut self, attempt: &AttemptId) {
        self.groups.retain(|(of, ..), _| of != attempt);
    }

    pub(super) fn figures(&self) -> Figures {
        let exchange = |((attempt, exchange, peer), counters): (&Group, &Arc<Counters>)| ExchangeFigures {
            attempt: attempt.clone(),
            exchange: *exchange,
            peer: peer.clone(),
            traffic: counters.traffic(),
            credit: 0,
            granted: 0,
            unread: 0,
        };
        Figures {
            peers: self.peers.iter().map(|(peer, counters)| (peer.clone(), counters.traffic())).collect(),
            exchanges: self.groups.iter().map(exchange).collect(),
        }
    }
}

impl Figures {
    /// The figures of a channel's exchange.
    pub(super) fn exchange_of(&mut self, id: &ChannelId, peer: &str) -> Option<&mut ExchangeFigures> {
        let of =
            |one: &&mut ExchangeFigures| one.exchange == id.exchange && one.attempt == id.attempt && one.peer == peer;
        self.exchanges.iter_mut().find(of)
    }
}
