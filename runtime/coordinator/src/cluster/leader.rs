//! Who leads: carries what [`flow_protocol::leadership`] wants to the store, and what comes of it to who has to know. Must never decide
//! anything itself.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use flow_model::cluster::Leader;
use flow_model::cluster::leader::NAME;
use flow_model::ids::ClusterId;
use flow_protocol::head::Answer;
use flow_protocol::leadership::{Action, Event, Leadership, Number, Settings};
use flow_store::{Store, Swap, Version};
use flow_worker::once::Once;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use super::Cluster;

/// How often a leader swaps, and the others look, in milliseconds.
const BEAT: u64 = 500;
/// A leader that has not swapped for so long is replaced.
const SILENCE: u64 = 2000;
/// The others wait up to so long beyond that, by chance.
const SPREAD: u64 = 500;
/// What was not answered is asked again after this.
const AGAIN: Duration = Duration::from_millis(300);
/// A question to the store that is not answered for so long is given up, and its connection with it: a packet that the network has lost
/// for good must not keep a standby from leading.
const ANSWER: Duration = Duration::from_millis(SILENCE);
/// With no deadline it looks at the clock so often.
const IDLE: Duration = Duration::from_secs(60);

const SILENT: &str = "the store does not answer";

enum Standing {
    /// It is to lead in that term, as soon as it knows the jobs.
    Begins(u64),
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

    /// It leads these workers from now on. False if another one is to lead by now.
    pub fn lead(&self, cluster: Arc<Cluster>) -> bool {
        let mut standing = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_due = matches!(*standing, Standing::Begins(term) if term == cluster.term());
        if is_due {
            *standing = Standing::Leads(cluster);
        }
        is_due
    }

    /// The workers that it leads, if it leads.
    pub(super) fn cluster(&self) -> Option<Arc<Cluster>> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Standing::Leads(cluster) => Some(cluster.clone()),
            Standing::Follows(_) | Standing::Begins(_) => None,
        }
    }

    /// The term of the leader that is known, and where workers reach it.
    pub(super) fn leader(&self) -> Option<(u64, String)> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Standing::Leads(cluster) => Some((cluster.term(), cluster.address().to_owned())),
            Standing::Follows(leader) => leader.as_ref().map(|leader| (leader.term, leader.address.clone())),
            Standing::Begins(_) => None,
        }
    }

    /// The term of the leader that is known; 0 if none is.
    pub fn term(&self) -> u64 {
        self.leader().map_or(0, |(term, _)| term)
    }

    /// Where the leader is reached, if it is another one and known.
    pub(crate) fn other_leader(&self) -> Option<String> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Standing::Leads(_) | Standing::Begins(_) => None,
            Standing::Follows(leader) => leader.as_ref().map(|leader| leader.address.clone()),
        }
    }
}

/// What becomes of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This process leads, in that term.
    Elected(u64),
    /// It leads no more in that term.
    Deposed(u64),
}

/// A coordinator that wants to lead.
pub struct Campaign {
    /// The cluster's root.
    pub store: Store,
    /// Where other nodes reach it.
    pub control: String,
    /// What it is.
    pub role: Role,
}

impl Campaign {
    /// Competes until `resign` is ready, and tells what comes of it. It ends when others know that it leads no more, or when the store
    /// does not answer for long.
    pub async fn run(self, outcomes: UnboundedSender<Outcome>, mut resign: oneshot::Receiver<()>) {
        let Campaign { store, control, role } = self;
        let cluster = ClusterId::of(fastrand::u128(..));
        let settings = Settings { cluster, address: control, beat: BEAT, silence: SILENCE, spread: SPREAD };
        let began = Instant::now();
        let now = || (began.elapsed().as_millis() as u64, fastrand::u64(..));
        let (answers, mut answered): (_, UnboundedReceiver<Event>) = unbounded_channel();
        let (mut leadership, mut actions) = Leadership::new(settings, fastrand::u128(..));
        let told = Arc::new(Mutex::new(Once::default()));
        let mut resigns = false;
        loop {
            for action in actions {
                match action {
                    Action::Read(number) => {
                        drop(tokio::spawn(read(store.clone(), number, answers.clone(), told.clone())))
                    }
                    Action::Swap(number, leader, expected) => {
                        let swapped = swap(store.clone(), (number, leader, expected), answers.clone(), told.clone());
                        drop(tokio::spawn(swapped));
                    }
                    Action::Lead(term) => {
                        tracing::info!("leads in term {term}");
                        role.set(Standing::Begins(term));
                        _ = outcomes.send(Outcome::Elected(term));
                    }
                    Action::Follow(leader) => {
                        tracing::info!("{} leads in term {}", leader.address, leader.term);
                        role.set(Standing::Follows(Some(leader)));
                    }
                    Action::Twin(leader) => {
                        tracing::warn!(
                            "another process leads in term {} and says that it is reached at {} too: give each coordinator an \
                             --advertise of its own, by which the other nodes reach it and nobody else",
                            leader.term,
                            leader.address
                        );
                        role.set(Standing::Follows(None));
                    }
                    Action::StepDown(term) => {
                        tracing::warn!("leads no more in term {term}");
                        role.set(Standing::Follows(None));
                        _ = outcomes.send(Outcome::Deposed(term));
                    }
                    Action::Resigned => return,
                }
            }
            let due =
                leadership.next_deadline().map_or(Instant::now() + IDLE, |due| began + Duration::from_millis(due));
            let event = tokio::select! {
                Some(event) = answered.recv() => event,
                () = sleep_until(due.into()) => Event::Tick,
                _ = &mut resign, if !resigns => {
                    resigns = true;
                    Event::Resign
                }
            };
            actions = leadership.handle(now(), event);
        }
    }
}

/// What was told of the store.
type Spoken = Arc<Mutex<Once>>;

/// Tells that the store does not do what it should, or does so again.
fn tell(told: &Spoken, store: &Store, wrong: Option<&str>) {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    match wrong {
        Some(cause) if told.is_new(&store.place(), cause) => tracing::warn!("{}/{NAME}: {cause}", store.place()),
        None if told.is_well(&store.place()) => tracing::info!("{} answers again", store.place()),
        _ => {}
    }
}

async fn read(store: Store, number: Number, answers: UnboundedSender<Event>, told: Spoken) {
    let found = found(&store).await;
    tell(&told, &store, found.as_ref().err().map(String::as_str));
    if found.is_err() {
        sleep(AGAIN).await;
    }
    _ = answers.send(Event::Read(number, found.ok()));
}

/// The term that stands in a cluster's root; it asks until it is answered.
pub(super) async fn term(store: &Store) -> u64 {
    loop {
        match found(store).await {
            Ok(found) => return found.map_or(0, |(leader, _)| leader.term),
            Err(error) => tracing::warn!("who leads can't be read: {error}"),
        }
        sleep(AGAIN).await;
    }
}

/// Whether a term is the last one that stands in a cluster's root; not where that is not known.
pub(super) async fn is_last(store: &Store, term: u64) -> bool {
    found(store).await.is_ok_and(|found| found.is_some_and(|(leader, _)| leader.term == term))
}

async fn found(store: &Store) -> Result<Option<(Leader, String)>, String> {
    let found = timeout(ANSWER, store.read(NAME)).await.map_err(|_| SILENT.to_owned())?;
    let found = found.map_err(|error| error.to_string())?;
    let Some((bytes, version)) = found else { return Ok(None) };
    let leader = Leader::from_bytes(&bytes).map_err(|error| format!("{}/{NAME}: {error}", store.place()))?;
    Ok(Some((leader, version.into())))
}

async fn swap(
    store: Store,
    (number, leader, expected): (Number, Box<Leader>, Option<String>),
    answers: UnboundedSender<Event>,
    told: Spoken,
) {
    let expected = expected.map(Version::from);
    let swapped = timeout(ANSWER, store.swap(NAME, expected.as_ref(), leader.to_bytes())).await;
    let (answer, wrong) = match swapped {
        Ok(Ok(Swap::Done(version))) => (Answer::Done(version.into()), None),
        Ok(Ok(Swap::Conflict)) => (Answer::Conflict, None),
        Ok(Ok(Swap::Retry)) => (Answer::Again, None),
        // It may have been carried out: the same swap is sent again until that is known.
        Err(_) => (Answer::Again, Some(SILENT.to_owned())),
        Ok(Ok(Swap::Unknown(error)) | Err(error)) => (Answer::Again, Some(error.to_string())),
    };
    tell(&told, &store, wrong.as_deref());
    if answer == Answer::Again {
        sleep(AGAIN).await;
    }
    _ = answers.send(Event::Swapped(number, answer));
}
