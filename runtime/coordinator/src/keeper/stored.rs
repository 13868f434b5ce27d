//! The checkpoints and savepoints of a job that nobody runs: what its HEAD in the store says, and giving a savepoint up.

use flow_model::api::{Checkpoint, CheckpointSummary, Savepoint};
use flow_model::checkpoint::{CheckpointId, Head, Incarnation, ObjectName};
use flow_model::ids::{PipelineName, SavepointName};
use flow_protocol::head::Answer;
use flow_protocol::retention::{self, Retention};
use flow_store::Store;

use super::documents::{self, Error};
use super::history::History;
use super::savepoints::completed;
use crate::clock;

/// Its checkpoints that are retained, in short and newest first.
///
/// # Errors
/// [`Error::Away`]; what else is wrong with one is told with it.
pub fn checkpoints(store: &Store, head: &Head) -> Result<(CheckpointSummary, Vec<Checkpoint>), Error> {
    let mut history = History::default();
    documents::in_time(store, async {
        for checkpoint in &head.retained {
            match documents::load(store, &ObjectName::manifest(&head.incarnation, *checkpoint)).await {
                Ok(manifest) => history.found(&manifest, clock::now()),
                Err(error) => history.unread(*checkpoint, format!("its manifest can't be read: {error}")),
            }
        }
        Ok::<_, Error>(())
    })?;
    history.retained(head);
    Ok((history.summary(), history.newest_first()))
}

/// Its savepoints, newest first.
///
/// # Errors
/// [`Error::Away`]; of one whose manifest can't be read its size is not known.
pub fn savepoints(store: &Store, job: &PipelineName, head: &Head) -> Result<Vec<Savepoint>, Error> {
    documents::in_time(store, async {
        let mut all = Vec::new();
        for kept in head.savepoints.iter().rev() {
            let manifest = documents::load(store, &ObjectName::manifest(&kept.incarnation, kept.checkpoint)).await;
            all.push(completed(job, kept, manifest.ok().map(|manifest| manifest.state_bytes())));
        }
        Ok::<_, Error>(all)
    })
}

/// Gives one up: HEAD says so first, then what only it needs is deleted. Or says why that can't be.
///
/// # Errors
/// The store's; what is there can't be read.
pub fn give_up(
    store: &Store,
    (head, version): (Head, String),
    name: &SavepointName,
) -> Result<Result<(), String>, Error> {
    // Before anything changes: what can't be read could not be kept either.
    let mut known = Retention::new(usize::MAX);
    let named: Vec<(Incarnation, CheckpointId)> = retention::named(&head).collect();
    documents::in_time(store, async {
        for (incarnation, checkpoint) in named {
            known.add(&documents::load(store, &ObjectName::manifest(&incarnation, checkpoint)).await?);
        }
        Ok::<_, Error>(())
    })?;
    let mut without = head;
    without.savepoints.retain(|savepoint| savepoint.name != *name);
    without.nonce = format!("{:032x}", fastrand::u128(..));
    let (answer, error) = store.block_on(documents::swap(store, &without, Some(version)));
    match (answer, error) {
        (Answer::Done(_), _) => {}
        (Answer::Conflict, _) => return Ok(Err("somebody else has just changed the job; look at it again".to_owned())),
        (Answer::Again, Some(error)) => return Err(error.into()),
        (Answer::Again, None) => return Ok(Err("the store gave no answer; look whether it is there still".to_owned())),
    }
    let garbage = known.garbage(&without).unwrap_or_default();
    store.block_on(store.delete(garbage.iter().map(ObjectName::as_str)))?;
    Ok(Ok(()))
}
