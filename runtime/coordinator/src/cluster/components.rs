//! Components in the cluster's store, by their digests: put there before a job is deployed, and deleted when no job needs them. Must
//! never delete one that somebody is about to deploy.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use flow_model::cluster::deployment::{self, component};
use flow_model::ids::Digest;

use super::Cluster;

/// Components that are needed, though no job that is known does so yet. Those that none does when it goes are deleted.
pub struct Held {
    cluster: Arc<Cluster>,
    digests: BTreeSet<Digest>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.cluster.held();
        for digest in &self.digests {
            if let Some(at) = held.iter().position(|known| known == digest) {
                held.swap_remove(at);
            }
        }
        drop(held);
        self.cluster.collect(&self.digests);
    }
}

impl Cluster {
    /// Puts components where workers find them. They stay as long as what is answered, or a job that needs them.
    ///
    /// # Errors
    /// The store's.
    pub fn put(self: &Arc<Cluster>, components: &[(Digest, Bytes)]) -> Result<Held, flow_store::Error> {
        let digests: BTreeSet<Digest> = components.iter().map(|(digest, _)| digest.clone()).collect();
        // Nobody is deleting them from then on.
        self.held().extend(digests.iter().cloned());
        let held = Held { cluster: self.clone(), digests };
        for (digest, bytes) in components {
            self.store.block_on(self.store.put(&component(digest), bytes.clone()))?;
        }
        Ok(held)
    }

    /// Deletes those of these that nobody needs; none where that is not known: another process leads, or a job could not be read.
    pub fn collect<'a>(&self, candidates: impl IntoIterator<Item = &'a Digest>) {
        // Who puts one there waits until it is gone.
        let held = self.held();
        let needed = self.needed();
        let garbage: BTreeSet<&Digest> =
            candidates.into_iter().filter(|digest| !needed.contains(*digest) && !held.contains(digest)).collect();
        if garbage.is_empty() || !self.knows_all.load(SeqCst) || !self.is_last() {
            return;
        }
        let deleted = self.store.block_on(self.store.delete(garbage.iter().map(|digest| component(digest))));
        if let Err(error) = deleted {
            tracing::warn!("components that no job needs stay behind: {error}");
        }
    }

    /// Deletes all that no job needs which is known: before anybody may deploy another one.
    ///
    /// # Errors
    /// The store's.
    pub fn collect_all(&self) -> Result<(), flow_store::Error> {
        let names = self.store.block_on(self.store.names(deployment::COMPONENTS))?;
        let found: Vec<Digest> = names.iter().filter_map(|name| deployment::of_component(name)).collect();
        self.collect(&found);
        Ok(())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<Digest>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn needed(&self) -> BTreeSet<Digest> {
        let state = self.lock();
        state.jobs.values().flat_map(|known| known.job.deployment.components.values().cloned()).collect()
    }
}
