//! A worker as a member of a cluster: it finds the coordinator that leads, does what that orders, and says what happens. Must never
//! decide what runs: that is the leader's; and never do what a leader of a lower term orders.
//!
//! - [`join`]: stays with whoever leads, until it is let go; `session`: one connection
//! - `parts`: the parts of attempts that run here
//! - `material`: what they are made of: components by digest, stores
//! - `wire`: what happens, as messages

mod material;
mod parts;
mod session;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use flow_model::channel::AttemptId;
use flow_model::cluster;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::Worker;
use crate::network::{Failure, Network};
use parts::Parts;
use session::End;

/// How long it waits before it looks for the leader again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// A worker that nobody leads for so long stops what it runs: it would repeat at-least-once output for ever.
const LONELY: Duration = Duration::from_secs(60);

/// Why a worker is no member any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No coordinator of the cluster takes it.
    #[error("{0}")]
    Refused(String),
    /// An address is none.
    #[error("{address} is no address of a coordinator: {cause}")]
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
    /// Connects it with other workers.
    pub network: Network,
    /// What breaks there.
    pub broken: UnboundedReceiver<(AttemptId, Failure)>,
}

/// Stays with whoever leads until `leave` says true and the leader has let it go, or nobody leads. What it runs is stopped then.
///
/// # Errors
/// It is refused for good.
pub async fn join(worker: Arc<Worker>, joining: Joining, mut leave: watch::Receiver<bool>) -> Result<(), Error> {
    let Joining { coordinators, me, network, mut broken } = joining;
    let parts = Arc::new(Parts::new(worker, me.id.clone(), network));
    let of_network = parts.clone();
    tokio::spawn(async move {
        while let Some((attempt, failure)) = broken.recv().await {
            of_network.broken(&attempt, failure.to_string());
        }
    });
    let (mut term, mut hint, mut pause, mut led) = (0, None, PAUSES.0, Instant::now());
    let mut next = 0;
    loop {
        let address = hint.take().unwrap_or_else(|| {
            next += 1;
            coordinators[(next - 1) % coordinators.len()].clone()
        });
        match session::run(&address, &me, &parts, &mut term, &mut leave).await? {
            End::Released => break,
            End::Refused(why) => return Err(Error::Refused(why)),
            End::Elsewhere(leader) => hint = leader,
            End::Lost { welcomed, why } => {
                if welcomed {
                    tracing::warn!("the coordinator at {address} is gone: {why}");
                    (pause, led) = (PAUSES.0, Instant::now());
                } else {
                    tracing::debug!("no coordinator at {address}: {why}");
                }
            }
        }
        if *leave.borrow() {
            tracing::warn!("leaves without a coordinator that could let others go on with what it runs");
            break;
        }
        if led.elapsed() > LONELY && parts.stop_all() {
            tracing::warn!("nobody leads: what it ran is stopped");
        }
        if hint.is_none() {
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
    parts.stop_all();
    parts.wait().await;
    Ok(())
}
