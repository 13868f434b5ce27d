//! Who leads: coordinators compete for one object in the store, the leader renews it, and the others watch. A leader that can't renew it
//! acts no more after a while, and one that finds another in its place at once. What makes that safe is HEAD of each job, not a clock:
//! who was replaced can complete nothing (`flow_protocol::head`).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use flow_model::cluster::leader::NAME;
use flow_model::cluster::Leader;
use flow_model::ids::ClusterId;
use flow_store::{Store, Swap, Version};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::Cluster;

/// How often a leader renews, and the others look.
const BEAT: Duration = Duration::from_millis(500);
/// A leader that has not renewed for so long is replaced, after a random while up to as much as a beat.
const SILENCE: Duration = Duration::from_millis(2500);
/// A leader that could not renew for so long stops to act.
const LEASE: Duration = Duration::from_secs(2);

enum Standing {
    Leads(Arc<Cluster>),
    Follows(Option<Leader>),
}

/// What this process is in its cluster, shared with all who have to know.
#[derive(Clone)]
pub struct Role(Arc<RwLock<Standing>>);

impl Default for Role {
    /// It follows, and knows nobody.
    fn default() -> Role {
        Role(Arc::new(RwLock::new(Standing::Follows(None))))
    }
}

impl Role {
    fn set(&self, standing: Standing) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// It leads these workers from now on.
    pub fn lead(&self, cluster: Arc<Cluster>) {
        self.set(Standing::Leads(cluster));
    }

    /// The workers that it leads; where the leader takes workers, as far as that is known, if it is another one.
    pub(super) fn cluster(&self) -> Result<Arc<Cluster>, Option<String>> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Standing::Leads(cluster) => Ok(cluster.clone()),
            Standing::Follows(leader) => Err(leader.as_ref().map(|leader| leader.address.clone())),
        }
    }

    /// Where the leader answers REST, if it is another one and known.
    pub fn rest_of_leader(&self) -> Option<String> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Standing::Leads(_) => None,
            Standing::Follows(leader) => leader.as_ref().map(|leader| leader.rest.clone()),
        }
    }
}

/// What becomes of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This process leads, in that term.
    Elected(u64),
    /// It leads no more.
    Deposed,
}

/// A coordinator that wants to lead.
pub struct Campaign {
    /// The cluster's root.
    pub store: Store,
    /// Where workers reach it.
    pub control: String,
    /// Where it answers REST.
    pub rest: String,
    /// What it is.
    pub role: Role,
}

fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}

impl Campaign {
    async fn read(&self) -> Result<Option<(Leader, Version)>, String> {
        let found = self.store.read(NAME).await.map_err(|error| error.to_string())?;
        let Some((bytes, version)) = found else { return Ok(None) };
        let leader = Leader::from_bytes(&bytes).map_err(|error| format!("{}/{NAME}: {error}", self.store.place()))?;
        Ok(Some((leader, version)))
    }

    /// Puts a document in the place of another one: its version then, or none if another one was faster.
    async fn swap(&self, leader: &Leader, from: Option<&Version>) -> Result<Option<Version>, String> {
        match self.store.swap(NAME, from, leader.to_bytes()).await {
            Ok(Swap::Done(version)) => Ok(Some(version)),
            Ok(Swap::Conflict) => {
                // It may be the echo of an own swap that was not answered.
                let found = self.read().await?;
                Ok(found.filter(|(found, _)| found.nonce == leader.nonce).map(|(_, version)| version))
            }
            Ok(Swap::Retry) => Err("the store is busy".to_owned()),
            Ok(Swap::Unknown(error)) | Err(error) => Err(error.to_string()),
        }
    }

    /// Competes for ever, and tells what comes of it.
    pub async fn run(self, outcomes: UnboundedSender<Outcome>) {
        loop {
            let (leader, version) = self.elected().await;
            tracing::info!("leads in term {}", leader.term);
            if outcomes.send(Outcome::Elected(leader.term)).is_err() {
                return;
            }
            let why = self.renew(leader, version).await;
            tracing::warn!("leads no more: {why}");
            self.role.set(Standing::Follows(None));
            if outcomes.send(Outcome::Deposed).is_err() {
                return;
            }
        }
    }

    /// Waits until it is its turn.
    async fn elected(&self) -> (Leader, Version) {
        let mut seen: Option<(u64, u64, Instant)> = None;
        loop {
            let found = match self.read().await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!("who leads can't be read: {error}");
                    sleep(BEAT).await;
                    continue;
                }
            };
            let is_free = match &found {
                None => true,
                Some((leader, _)) => {
                    let (term, beat, since) = *seen.get_or_insert((leader.term, leader.beat, Instant::now()));
                    if (term, beat) != (leader.term, leader.beat) {
                        seen = Some((leader.term, leader.beat, Instant::now()));
                    }
                    let silent = (term, beat) == (leader.term, leader.beat) && since.elapsed() > SILENCE;
                    leader.resigned || silent
                }
            };
            if is_free {
                sleep(BEAT.mul_f64(fastrand::f64())).await;
                let (cluster, term) = match &found {
                    Some((leader, _)) => (leader.cluster.clone(), leader.term + 1),
                    None => (ClusterId::of(fastrand::u128(..)), 1),
                };
                let mut mine = Leader::new(cluster, term, self.control.clone());
                (mine.rest, mine.nonce) = (self.rest.clone(), nonce());
                match self.swap(&mine, found.as_ref().map(|(_, version)| version)).await {
                    Ok(Some(version)) => return (mine, version),
                    Ok(None) => {}
                    Err(error) => tracing::warn!("can't be elected now: {error}"),
                }
                continue;
            }
            self.role.set(Standing::Follows(found.map(|(leader, _)| leader)));
            sleep(BEAT).await;
        }
    }

    /// Renews until another one leads, or it can't: why.
    async fn renew(&self, mut leader: Leader, mut version: Version) -> String {
        let mut renewed = Instant::now();
        let mut again = false;
        loop {
            sleep(BEAT).await;
            // What was not answered is settled by the same swap alone.
            if !again {
                leader.beat += 1;
                leader.nonce = nonce();
            }
            match self.swap(&leader, Some(&version)).await {
                Ok(Some(new)) => (version, renewed, again) = (new, Instant::now(), false),
                Ok(None) => return "another coordinator has taken over".to_owned(),
                Err(error) if renewed.elapsed() > LEASE => return format!("it can't renew that: {error}"),
                Err(_) => again = true,
            }
        }
    }

    /// Says that it leads no more, so that nobody has to wait for its silence.
    pub async fn resign(store: &Store, control: &str) {
        let Ok(Some((bytes, version))) = store.read(NAME).await else { return };
        if let Ok(mut leader) = Leader::from_bytes(&bytes)
            && leader.address == control
        {
            (leader.resigned, leader.nonce) = (true, nonce());
            _ = store.swap(NAME, Some(&version), leader.to_bytes()).await;
        }
    }
}
