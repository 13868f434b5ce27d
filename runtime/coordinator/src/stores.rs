//! The stores that jobs keep their checkpoints in: each is opened and held to its promises once in the life of a process. Which ones
//! there were stands on the local disk, so that what jobs left in them is found after a restart.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{fs, io};

use flow_model::ids::PipelineName;
use flow_model::spec::{self, Checkpointing};
use flow_store::{Error, Key, Location, Place, Store};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::whole;

/// In the directory for what is remembered.
const FILE: &str = "stores.json";

/// The stores that are open.
pub struct Stores {
    /// Where jobs go that name no place.
    default: Place,
    /// What was used, by this process and by earlier ones; none in a cluster, whose jobs say it.
    file: Option<PathBuf>,
    runtime: Handle,
    open: Mutex<Vec<Named>>,
}

/// A store that may not have answered yet.
#[derive(Clone)]
pub struct Named {
    place: Place,
    store: Arc<OnceLock<Store>>,
    /// Held by who opens it, or finds out whether it does what jobs need: whether that is known.
    proven: Arc<tokio::sync::Mutex<bool>>,
}

/// A place on the local disk.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    place: Place,
    /// Those that were last deployed with their checkpoints there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    jobs: BTreeSet<PipelineName>,
}

impl Named {
    /// Where it is, for people.
    pub fn place(&self) -> &Place {
        &self.place
    }

    async fn opened(&self) -> Result<Store, Error> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        let store = self.place.open().await?;
        Ok(self.store.get_or_init(|| store).clone())
    }
}

/// The place of a location that is asked as a pipeline says.
fn place(location: &Location, s3: &spec::S3) -> Place {
    let encryption = s3.encryption.as_ref().map(|encryption| match encryption {
        spec::Encryption::Aes256 => Key::Aes256,
        spec::Encryption::Kms(key) => Key::Kms(key.clone()),
    });
    let (region, endpoint) = (s3.region.clone(), s3.endpoint.clone());
    Place { to: location.to_string(), region, endpoint, path_style: s3.path_style, encryption }
}

impl Stores {
    /// None is open yet. Jobs that name no place go below `data`, where it is remembered what was used, too. Requests are carried out
    /// by the tokio runtime of the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(data: &Path) -> Stores {
        let default = Place::at(&Location::Directory(data.join("checkpoints")));
        Stores { default, file: Some(data.join(FILE)), runtime: Handle::current(), open: Mutex::default() }
    }

    /// The same of a cluster, where nothing is remembered on this machine's disk; jobs that name no place go to `default`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn of_cluster(default: Place) -> Stores {
        Stores { default, file: None, runtime: Handle::current(), open: Mutex::default() }
    }

    /// The store of a job; `directory` is where relative paths begin. It waits for the store to answer.
    ///
    /// # Errors
    /// It is no place, it does not answer, or does not do what jobs need.
    pub fn of(&self, checkpointing: &Checkpointing, directory: &Path) -> Result<Store, Error> {
        let named = self.named(checkpointing, directory)?;
        self.runtime.block_on(async { self.prove(&named, &mut *named.proven.lock().await).await })
    }

    /// The same, without asking it anything.
    ///
    /// # Errors
    /// It is no place.
    pub fn named(&self, checkpointing: &Checkpointing, directory: &Path) -> Result<Named, Error> {
        let place = match &checkpointing.to {
            None => self.default.clone(),
            Some(to) => match to.value.parse()? {
                Location::Directory(path) => place(&Location::Directory(directory.join(path)), &checkpointing.s3),
                s3 => place(&s3, &checkpointing.s3),
            },
        };
        Ok(self.of_place(place))
    }

    /// Opens a store and holds it to its promises, if nobody else is doing that: of many jobs that wait for one store, one at a time asks
    /// it.
    ///
    /// # Errors
    /// It does not answer, or does not do what jobs need.
    pub async fn try_open(&self, named: &Named) -> Option<Result<Store, Error>> {
        let mut proven = named.proven.try_lock().ok()?;
        Some(self.prove(named, &mut proven).await)
    }

    /// All that were used and can be opened: first that in which a job of this name was deployed last, then that of jobs which name no
    /// place.
    pub fn known(&self, job: &PipelineName) -> Vec<Store> {
        // Nobody has used a directory that is not there.
        let is_there = !matches!(self.default.to.parse(), Ok(Location::Directory(path)) if !path.exists());
        let remembered = self.remembered();
        let (last, others): (Vec<_>, Vec<_>) = remembered.into_iter().partition(|place| place.jobs.contains(job));
        let mut places: Vec<Place> = last.into_iter().map(|last| last.place).collect();
        let others = others.into_iter().map(|other| other.place).filter(|other| other.to != self.default.to);
        places.extend(is_there.then(|| self.default.clone()).into_iter().chain(others));
        let open = |place: Place| {
            let named = self.of_place(place);
            let opened = self.runtime.block_on(named.opened());
            opened.inspect_err(|error| tracing::warn!("{}: {error}", named.place.to)).ok()
        };
        places.into_iter().filter_map(open).collect()
    }

    /// Requests are carried out by this.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn of_place(&self, place: Place) -> Named {
        let mut open = self.lock();
        if let Some(named) = open.iter().find(|named| named.place == place) {
            return named.clone();
        }
        let named = Named { place, store: Arc::default(), proven: Arc::default() };
        open.push(named.clone());
        named
    }

    /// Opened, and held to its promises once.
    async fn prove(&self, named: &Named, is_proven: &mut bool) -> Result<Store, Error> {
        let store = named.opened().await?;
        if !*is_proven {
            store.probe().await?;
            *is_proven = true;
        }
        self.remember(&named.place, None);
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Named>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job of that name was deployed with its checkpoints there.
    pub fn deployed(&self, named: &Named, job: &PipelineName) {
        self.remember(&named.place, Some(job));
    }

    fn remembered(&self) -> Vec<Remembered> {
        let Some(file) = &self.file else { return Vec::new() };
        match fs::read(file).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(places)) => places,
            Ok(Err(error)) => {
                tracing::warn!("{}: {error}", file.display());
                Vec::new()
            }
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!("{}: {error}", file.display());
                }
                Vec::new()
            }
        }
    }

    fn remember(&self, place: &Place, job: Option<&PipelineName>) {
        let Some(file) = &self.file else { return };
        // One at a time.
        let _open = self.lock();
        let mut places = self.remembered();
        if !places.iter().any(|known| known.place == *place) {
            places.push(Remembered { place: place.clone(), jobs: BTreeSet::new() });
        } else if job.is_none_or(|job| places.iter().all(|known| known.jobs.contains(job) == (known.place == *place))) {
            return;
        }
        for known in &mut places {
            match job {
                Some(job) if known.place == *place => _ = known.jobs.insert(job.clone()),
                Some(job) => _ = known.jobs.remove(job),
                None => {}
            }
        }
        let written = serde_json::to_vec_pretty(&places).map_err(io::Error::from);
        if let Err(error) = written.and_then(|text| whole::write(file, &text)) {
            tracing::warn!("{}: {error}; after a restart, jobs in {} are not found", file.display(), place.to);
        }
    }
}
