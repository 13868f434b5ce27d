//! What a life of a job begins with: the checkpoint of another one, copied below the job's own root, unless it is claimed.

use std::sync::Arc;

use flow_model::checkpoint::head::Origin;
use flow_model::checkpoint::matching::adopt;
use flow_model::checkpoint::{Incarnation, Manifest, ObjectName};
use flow_model::ids::PipelineName;
use flow_protocol::job::{Event, Failure};
use flow_protocol::restart::Kind;
use flow_store::Store;
use flow_worker::failpoint::{self, Point};
use flow_worker::log::{JobLog, Level};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::documents;
use super::driver::{Driver, unread};

/// So many objects are copied at once.
const AT_ONCE: usize = 16;
/// A line in the log for so many.
const TOLD: usize = 1000;

impl Driver {
    /// Copies it and writes the manifest that names the copies. Whoever does it again does the same.
    pub(super) fn adopt(&self, incarnation: Incarnation, origin: Origin) {
        let (root, pipeline) = (self.root.clone(), self.shared.runner().outline().pipeline().name.clone());
        let log = self.shared.log.clone();
        self.beside(move |store, tell| async move {
            let adopted = adopted(&root, &store, pipeline, &incarnation, &origin, &log).await;
            tell(Event::Adopted(adopted.map(Box::new)));
        });
    }
}

async fn adopted(
    root: &Store,
    store: &Store,
    pipeline: PipelineName,
    incarnation: &Incarnation,
    origin: &Origin,
    log: &JobLog,
) -> Result<Manifest, Failure> {
    let Origin { job, checkpoint, .. } = origin;
    let failed = |error: flow_store::Error| {
        let kind = if error.is_retryable() { Kind::Retryable } else { Kind::Fatal };
        Failure { kind, reason: format!("copying checkpoint {checkpoint} of {job}: {error}") }
    };
    let from = root.below(job.as_str()).map_err(failed)?;
    let name = ObjectName::manifest(&origin.incarnation, *checkpoint);
    let manifest = documents::load(&from, &name).await.map_err(|error| unread(*checkpoint, &error))?;
    let (adopted, copies) = adopt(&manifest, pipeline, incarnation, origin);
    let all = copies.len();
    log.add(Level::Info, None, format!("begins with checkpoint {checkpoint} of {job}: {all} objects to copy"));
    let (room, mut copying, mut done) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new(), 0);
    for (name, to) in copies {
        let (from, store, room) = (from.clone(), store.clone(), room.clone());
        copying.spawn(async move {
            let _place = room.acquire().await;
            failpoint::reach(Point::Adopting);
            store.copy(&from, name.as_str(), to.as_str()).await
        });
    }
    while let Some(copied) = copying.join_next().await {
        copied.map_err(|error| Failure { kind: Kind::Fatal, reason: error.to_string() })?.map_err(failed)?;
        done += 1;
        if done % TOLD == 0 {
            log.add(Level::Info, None, format!("{done} of {all} objects are copied"));
        }
    }
    store.put(adopted.name().as_str(), adopted.to_bytes()).await.map_err(failed)?;
    failpoint::reach(Point::Adopted);
    Ok(adopted)
}
