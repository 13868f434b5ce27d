//! The stores that jobs keep their checkpoints in: each is opened and held to its promises once in the life of a process. Which ones
//! there were stands on the local disk, so that what jobs left in them is found after a restart.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{fs, io};

use flow_model::spec::{self, Checkpointing};
use flow_store::{Encryption, Error, Location, Settings, Store};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::whole;

/// In the directory for what is remembered.
const FILE: &str = "stores.json";

/// The stores that are open.
pub struct Stores {
    /// Where jobs go that name no place.
    default: PathBuf,
    /// What was used, by this process and by earlier ones.
    file: PathBuf,
    runtime: Handle,
    open: Mutex<Vec<Named>>,
}

/// A store that may not have answered yet.
#[derive(Clone)]
pub struct Named {
    place: Place,
    /// It does what jobs need.
    proven: Arc<OnceLock<Store>>,
    /// Held by who is finding that out.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// Where a store is, and how it is asked. No secret is part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Place {
    /// As [`Location`] reads it.
    to: String,
    region: Option<String>,
    endpoint: Option<String>,
    path_style: Option<bool>,
    encryption: Option<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Key {
    Aes256,
    Kms(String),
}

impl Named {
    /// Where it is, for people.
    pub fn place(&self) -> &str {
        &self.place.to
    }
}

impl Place {
    fn of(location: &Location, s3: &spec::S3) -> Place {
        let encryption = s3.encryption.as_ref().map(|encryption| match encryption {
            spec::Encryption::Aes256 => Key::Aes256,
            spec::Encryption::Kms(key) => Key::Kms(key.clone()),
        });
        let (region, endpoint) = (s3.region.clone(), s3.endpoint.clone());
        Place { to: location.to_string(), region, endpoint, path_style: s3.path_style, encryption }
    }

    fn settings(&self) -> Settings {
        Settings {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: self.path_style,
            encryption: self.encryption.as_ref().map(|encryption| match encryption {
                Key::Aes256 => Encryption::Aes256,
                Key::Kms(key) => Encryption::Kms(Some(key.clone())),
            }),
            ..Settings::default()
        }
    }
}

impl Stores {
    /// None is open yet. Jobs that name no place go below `data`, where it is remembered what was used, too. Requests are carried out
    /// by the tokio runtime of the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(data: &Path) -> Stores {
        let (default, file) = (data.join("checkpoints"), data.join(FILE));
        Stores { default, file, runtime: Handle::current(), open: Mutex::default() }
    }

    /// The store of a job; `directory` is where relative paths begin. It waits for the store to answer.
    ///
    /// # Errors
    /// It is no place, it does not answer, or does not do what jobs need.
    pub fn of(&self, checkpointing: &Checkpointing, directory: &Path) -> Result<Store, Error> {
        let named = self.named(checkpointing, directory)?;
        self.runtime.block_on(async {
            let _asking = named.asking.lock().await;
            self.prove(&named).await
        })
    }

    /// The same, without asking it anything.
    ///
    /// # Errors
    /// It is no place.
    pub fn named(&self, checkpointing: &Checkpointing, directory: &Path) -> Result<Named, Error> {
        let location = match &checkpointing.to {
            None => Location::Directory(self.default.clone()),
            Some(to) => match to.value.parse()? {
                Location::Directory(path) => Location::Directory(directory.join(path)),
                s3 => s3,
            },
        };
        let place = Place::of(&location, &checkpointing.s3);
        let mut open = self.lock();
        if let Some(named) = open.iter().find(|named| named.place == place) {
            return Ok(named.clone());
        }
        let named = Named { place, proven: Arc::default(), asking: Arc::default() };
        open.push(named.clone());
        Ok(named)
    }

    /// Opens a store and holds it to its promises, if nobody else is doing that: many jobs that wait for one store ask it no more often
    /// than one of them would.
    ///
    /// # Errors
    /// It does not answer, or does not do what jobs need.
    pub async fn try_open(&self, named: &Named) -> Option<Result<Store, Error>> {
        let _asking = named.asking.try_lock().ok()?;
        Some(self.prove(named).await)
    }

    /// All that were used and can be reached, that of jobs which name no place first.
    pub fn known(&self) -> Vec<Store> {
        let default = Location::Directory(self.default.clone());
        let mut places = vec![Place::of(&default, &spec::S3::default())];
        places.retain(|_| self.default.exists());
        places.extend(self.remembered().into_iter().filter(|place| place.to != default.to_string()));
        let proven = |place: &Place| {
            let open = self.lock();
            open.iter().find(|named| named.place == *place).and_then(|named| named.proven.get().cloned())
        };
        let open = |place: &Place| match proven(place).map_or_else(|| self.runtime.block_on(opened(place)), Ok) {
            Ok(store) => Some(store),
            Err(error) => {
                tracing::warn!("{}: {error}", place.to);
                None
            }
        };
        places.iter().filter_map(open).collect()
    }

    /// Requests are carried out by this.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Held to its promises, once. By one at a time.
    async fn prove(&self, Named { place, proven, .. }: &Named) -> Result<Store, Error> {
        if let Some(store) = proven.get() {
            return Ok(store.clone());
        }
        let store = opened(place).await?;
        store.probe().await?;
        if let Err(error) = self.remember(place) {
            tracing::warn!("{}: {error}; after a restart, jobs in {} are not found", self.file.display(), place.to);
        }
        Ok(proven.get_or_init(|| store).clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Named>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self) -> Vec<Place> {
        match fs::read(&self.file).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(places)) => places,
            Ok(Err(error)) => {
                tracing::warn!("{}: {error}", self.file.display());
                Vec::new()
            }
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!("{}: {error}", self.file.display());
                }
                Vec::new()
            }
        }
    }

    fn remember(&self, place: &Place) -> io::Result<()> {
        // One at a time.
        let _open = self.lock();
        let mut places = self.remembered();
        if places.contains(place) {
            return Ok(());
        }
        places.push(place.clone());
        whole::write(&self.file, &serde_json::to_vec_pretty(&places)?)
    }
}

async fn opened(place: &Place) -> Result<Store, Error> {
    let location: Location = place.to.parse()?;
    Store::open(&location, &place.settings()).await
}
