//! The stores that jobs keep their checkpoints in: each is opened and held to its promises once in the life of a process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flow_model::spec::{self, Checkpointing};
use flow_store::{Error, Location, Settings, Store};
use tokio::runtime::Handle;

/// The stores that are open.
pub struct Stores {
    /// Where jobs go that name no place.
    default: PathBuf,
    runtime: Handle,
    open: Mutex<Vec<(Location, Settings, Store)>>,
}

impl Stores {
    /// None is open yet. Their requests are carried out by the tokio runtime of the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(default: PathBuf) -> Stores {
        Stores { default, runtime: Handle::current(), open: Mutex::default() }
    }

    /// The store of a job; `directory` is where relative paths begin. It waits for the store to answer.
    ///
    /// # Errors
    /// It is no place, it does not answer, or does not do what jobs need.
    pub fn of(&self, checkpointing: &Checkpointing, directory: &Path) -> Result<Store, Error> {
        let location = match &checkpointing.to {
            None => Location::Directory(self.default.clone()),
            Some(to) => match to.value.parse()? {
                Location::Directory(path) => Location::Directory(directory.join(path)),
                s3 => s3,
            },
        };
        let settings = settings(&checkpointing.s3);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, store)) = open.iter().find(|(at, with, _)| *at == location && *with == settings) {
            return Ok(store.clone());
        }
        let opened = async {
            let store = Store::open(&location, &settings).await?;
            store.probe().await?;
            Ok(store)
        };
        let store: Store = self.runtime.block_on(opened)?;
        open.push((location, settings, store.clone()));
        Ok(store)
    }
}

fn settings(s3: &spec::S3) -> Settings {
    Settings {
        region: s3.region.clone(),
        endpoint: s3.endpoint.clone(),
        path_style: s3.path_style,
        encryption: s3.encryption.as_ref().map(|encryption| match encryption {
            spec::Encryption::Aes256 => flow_store::Encryption::Aes256,
            spec::Encryption::Kms(key) => flow_store::Encryption::Kms(Some(key.clone())),
        }),
        ..Settings::default()
    }
}
