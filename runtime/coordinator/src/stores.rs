//! The stores that jobs keep their checkpoints in: each is opened and held to its promises once in the life of a process. Which ones
//! there were stands on the local disk, so that what jobs left in them is found after a restart.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use flow_model::spec::{self, Checkpointing};
use flow_store::{Error, Key, Location, Place, Store};
use tokio::runtime::Handle;

/// In the directory for what is remembered.
const FILE: &str = "stores.json";

/// The stores that are open.
pub struct Stores {
    /// Where jobs go that name no place.
    default: Place,
    /// What was used, by this process and by earlier ones; none where nothing is kept on the local disk.
    file: Option<PathBuf>,
    runtime: Handle,
    open: Mutex<Vec<(Place, Store)>>,
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

    /// The same for a process that keeps nothing on its disk; jobs that name no place go to `default`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn elsewhere(default: Place) -> Stores {
        Stores { default, file: None, runtime: Handle::current(), open: Mutex::default() }
    }

    /// Where the store of a job is; `directory` is where relative paths begin.
    ///
    /// # Errors
    /// It is no place.
    pub fn place(&self, checkpointing: &Checkpointing, directory: &Path) -> Result<Place, Error> {
        let Some(to) = &checkpointing.to else { return Ok(self.default.clone()) };
        let location = match to.value.parse()? {
            Location::Directory(path) => Location::Directory(directory.join(path)),
            s3 => s3,
        };
        Ok(place(&location, &checkpointing.s3))
    }

    /// The store of a job; `directory` is where relative paths begin. It waits for the store to answer.
    ///
    /// # Errors
    /// It is no place, it does not answer, or does not do what jobs need.
    pub fn of(&self, checkpointing: &Checkpointing, directory: &Path) -> Result<Store, Error> {
        let place = self.place(checkpointing, directory)?;
        let store = self.probed(&place)?;
        if let Some(file) = &self.file
            && let Err(error) = self.remember(file, &place)
        {
            tracing::warn!("{}: {error}; after a restart, jobs in {} are not found", file.display(), place.to);
        }
        Ok(store)
    }

    /// All that were used and can be reached, that of jobs which name no place first.
    pub fn known(&self) -> Vec<Store> {
        let mut places = vec![self.default.clone()];
        // Nobody has used a directory that is not there.
        places.retain(|place| !matches!(place.to.parse(), Ok(Location::Directory(path)) if !path.exists()));
        let remembered = self.file.as_deref().map_or_else(Vec::new, remembered);
        places.extend(remembered.into_iter().filter(|place| place.to != self.default.to));
        let open = |place: &Place| match self.found(place).map_or_else(|| self.opened(place), Ok) {
            Ok(store) => Some(store),
            Err(error) => {
                tracing::warn!("{}: {error}", place.to);
                None
            }
        };
        places.iter().filter_map(open).collect()
    }

    /// The store of a place, held to its promises.
    fn probed(&self, place: &Place) -> Result<Store, Error> {
        if let Some(store) = self.found(place) {
            return Ok(store);
        }
        let store = self.opened(place)?;
        self.runtime.block_on(store.probe())?;
        self.lock().push((place.clone(), store.clone()));
        Ok(store)
    }

    fn found(&self, place: &Place) -> Option<Store> {
        self.lock().iter().find(|(known, _)| known == place).map(|(_, store)| store.clone())
    }

    fn opened(&self, place: &Place) -> Result<Store, Error> {
        self.runtime.block_on(place.open())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Place, Store)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, file: &Path, place: &Place) -> io::Result<()> {
        // One at a time.
        let _open = self.lock();
        let mut places = remembered(file);
        if places.contains(place) {
            return Ok(());
        }
        places.push(place.clone());
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&places)?)?;
        fs::rename(new, file)
    }
}

/// What was used, as the file says.
fn remembered(file: &Path) -> Vec<Place> {
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
