//! The stores that jobs keep their checkpoints in: each is opened and held to its promises once in the life of a process. Which ones
//! there were stands on the local disk, so that what jobs left in them is found after a restart.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use flow_model::spec::{self, Checkpointing};
use flow_store::{Encryption, Error, Location, Settings, Store};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

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
    /// The store.
    pub store: Store,
    /// It does what jobs need.
    proven: Arc<OnceCell<()>>,
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
        self.runtime.block_on(self.prove(&named))?;
        Ok(named.store)
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
        self.opened(&Place::of(&location, &checkpointing.s3))
    }

    /// Holds a store to its promises, once; who comes meanwhile waits for that.
    ///
    /// # Errors
    /// It does not answer, or does not do what jobs need.
    pub async fn prove(&self, Named { place, store, proven }: &Named) -> Result<(), Error> {
        proven.get_or_try_init(|| store.probe()).await?;
        if let Err(error) = self.remember(place) {
            tracing::warn!("{}: {error}; after a restart, jobs in {} are not found", self.file.display(), place.to);
        }
        Ok(())
    }

    /// All that were used and can be reached, that of jobs which name no place first.
    pub fn known(&self) -> Vec<Store> {
        let default = Location::Directory(self.default.clone());
        let mut places = vec![Place::of(&default, &spec::S3::default())];
        places.retain(|_| self.default.exists());
        places.extend(self.remembered().into_iter().filter(|place| place.to != default.to_string()));
        let open = |place: &Place| match self.opened(place) {
            Ok(named) => Some(named.store),
            Err(error) => {
                tracing::warn!("{}: {error}", place.to);
                None
            }
        };
        places.iter().filter_map(open).collect()
    }

    fn opened(&self, place: &Place) -> Result<Named, Error> {
        let found = self.lock().iter().find(|known| known.place == *place).cloned();
        if let Some(named) = found {
            return Ok(named);
        }
        let location: Location = place.to.parse()?;
        let store = self.runtime.block_on(Store::open(&location, &place.settings()))?;
        let named = Named { place: place.clone(), store, proven: Arc::default() };
        self.lock().push(named.clone());
        Ok(named)
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
