//! What parts are made of: components, which are fetched by their digest and believed only if they have it, and the stores that jobs
//! have their roots in.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flow_model::cluster::{Deployment, deployment};
use flow_model::ids::{Digest, JobId};
use flow_store::{Place, Store};

use crate::check::{Checked, Components};
use crate::{Error, Worker};

/// What was made, and what it is made of.
pub(super) struct Material {
    worker: Arc<Worker>,
    runtime: tokio::runtime::Handle,
    /// Where components lie, as the leader says.
    components: Mutex<Option<Place>>,
    stores: Mutex<Vec<(Place, Store)>>,
    /// By job: the revision that was checked last.
    checked: Mutex<Vec<(JobId, u64, Arc<Checked>)>>,
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unread(error: &flow_store::Error) -> Error {
    Error::Start(error.to_string())
}

impl Material {
    /// Of a worker; requests are carried out by the caller's runtime.
    pub(super) fn new(worker: Arc<Worker>) -> Material {
        let runtime = tokio::runtime::Handle::current();
        Material { worker, runtime, components: Mutex::default(), stores: Mutex::default(), checked: Mutex::default() }
    }

    /// The leader says where components lie.
    pub(super) fn components_at(&self, place: Place) {
        *lock(&self.components) = Some(place);
    }

    /// A store, opened once.
    pub(super) fn store(&self, place: &Place) -> Result<Store, Error> {
        if let Some((_, store)) = lock(&self.stores).iter().find(|(known, _)| known == place) {
            return Ok(store.clone());
        }
        let store = self.runtime.block_on(place.open()).map_err(|error| unread(&error))?;
        lock(&self.stores).push((place.clone(), store.clone()));
        Ok(store)
    }

    /// A job's pipeline with its code, checked once.
    pub(super) fn checked(&self, deployment: &Deployment) -> Result<Arc<Checked>, Error> {
        let is_it = |known: &&(JobId, u64, Arc<Checked>)| known.0 == deployment.job && known.1 == deployment.revision;
        if let Some((_, _, checked)) = lock(&self.checked).iter().find(is_it) {
            return Ok(checked.clone());
        }
        let checked = Arc::new(self.check(deployment)?);
        let mut all = lock(&self.checked);
        all.retain(|(job, ..)| *job != deployment.job);
        all.push((deployment.job.clone(), deployment.revision, checked.clone()));
        Ok(checked)
    }

    /// Fetches the components of a deployment and checks the whole.
    pub(super) fn check(&self, deployment: &Deployment) -> Result<Checked, Error> {
        let pipeline = deployment.pipeline()?;
        let place = lock(&self.components).clone();
        let place = place.ok_or_else(|| Error::Start("no leader has said where components lie".to_owned()))?;
        let store = self.store(&place)?;
        let (mut fetched, mut components): (Vec<(&Digest, Bytes)>, _) = (Vec::new(), Components::new());
        for (operator, digest) in &deployment.components {
            let bytes = match fetched.iter().find(|(known, _)| *known == digest) {
                Some((_, bytes)) => bytes.clone(),
                None => {
                    let bytes = store.block_on(store.get(&deployment::component(digest)));
                    let bytes = bytes.map_err(|error| unread(&error))?;
                    if crate::digest(&bytes) != *digest {
                        let what = format!("the component {digest} in {} is not what its name says", store.place());
                        return Err(Error::Start(what));
                    }
                    fetched.push((digest, bytes.clone()));
                    bytes
                }
            };
            components.insert(operator.clone(), bytes);
        }
        self.worker.check(pipeline, &components)
    }

    /// A job is over.
    pub(super) fn forget(&self, job: &JobId) {
        lock(&self.checked).retain(|(known, ..)| known != job);
    }
}
