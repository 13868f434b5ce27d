//! That a job is to stop, with a savepoint or without, where the next process finds it: should this one end before that is done, the
//! next one does it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use flow_model::cluster::deployment;
use flow_model::ids::{JobId, SavepointName};
use flow_store::Store;

use crate::whole;

/// What is there once the job is canceled.
const CANCELED: &str = "canceled";
/// The name of the savepoint that it is to stop with.
const STOP: &str = "stop-with-savepoint";

/// What a job's user wanted of it when its process ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// It was canceled.
    pub canceled: bool,
    /// The savepoint that it is to stop with.
    pub stops_with: Option<SavepointName>,
}

impl Wanted {
    /// Of a job of a cluster, in whose folder this lies `beside` its deployments: only what is there is asked for.
    ///
    /// # Errors
    /// The store's.
    pub async fn of_cluster(store: &Store, job: &JobId, beside: &[String]) -> Result<Wanted, flow_store::Error> {
        let is_there = |name: &str| beside.iter().any(|known| known == name);
        let stops_with = match is_there(STOP) {
            true => store.read(&format!("{}{STOP}", deployment::folder(job))).await?,
            false => None,
        };
        let stops_with = stops_with.and_then(|(bytes, _)| savepoint(&String::from_utf8_lossy(&bytes)));
        Ok(Wanted { canceled: is_there(CANCELED), stops_with })
    }
}

/// The savepoint of that name. What is no name was cut off, and had not been answered yet.
fn savepoint(text: &str) -> Option<SavepointName> {
    SavepointName::new(text).ok()
}

/// Where it is remembered what is asked of a job.
#[derive(Clone)]
pub enum Desk {
    /// The job's directory.
    Disk(PathBuf),
    /// The cluster's store, below a prefix of the job's own.
    Store(Store, String),
}

impl Desk {
    /// That of a job of a cluster.
    pub fn of_cluster(store: &Store, job: &JobId) -> Desk {
        Desk::Store(store.clone(), deployment::folder(job))
    }

    /// For people.
    pub fn place(&self) -> PathBuf {
        match self {
            Desk::Disk(directory) => directory.clone(),
            Desk::Store(store, prefix) => format!("{}/{prefix}", store.place()).into(),
        }
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        match self {
            Desk::Disk(directory) => whole::write(&directory.join(name), text.as_bytes()),
            Desk::Store(store, prefix) => {
                let written = store.block_on(store.put(&format!("{prefix}{name}"), text.as_bytes().to_vec()));
                written.map_err(io::Error::other)
            }
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        let read = match self {
            Desk::Disk(directory) => match fs::read_to_string(directory.join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => return None,
                // What is no text was cut off, and had not been answered yet.
                Err(error) if error.kind() == ErrorKind::InvalidData => Ok(String::new()),
                read => read.map_err(|error| error.to_string()),
            },
            Desk::Store(store, prefix) => match store.block_on(store.read(&format!("{prefix}{name}"))) {
                Ok(None) => return None,
                Ok(Some((bytes, _))) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) => Err(error.to_string()),
            },
        };
        read.inspect_err(|error| {
            tracing::warn!("{}: can't tell whether the job is to stop: {error}", self.place().display())
        })
        .ok()
    }

    /// Remembers that the job is canceled, whatever happens to this process.
    pub fn cancel(&self) -> io::Result<()> {
        match self {
            // Two at once write the same: nothing.
            Desk::Disk(directory) => {
                File::create(directory.join(CANCELED))?.sync_all()?;
                File::open(directory)?.sync_all()
            }
            Desk::Store(..) => self.write(CANCELED, ""),
        }
    }

    /// What is remembered.
    pub fn wanted(&self) -> Wanted {
        Wanted { canceled: self.read(CANCELED).is_some(), stops_with: self.stops_with() }
    }

    /// Remembers that the job is to stop with a savepoint, whatever happens to this process. False if one is remembered already: a job
    /// stops with one only.
    pub fn stop_with(&self, name: &SavepointName) -> io::Result<bool> {
        if self.stops_with().is_some() {
            return Ok(false);
        }
        self.write(STOP, name.as_str())?;
        Ok(true)
    }

    /// The savepoint that the job is to stop with.
    fn stops_with(&self) -> Option<SavepointName> {
        savepoint(&self.read(STOP)?)
    }

    /// The job does not stop with it.
    pub fn forget_stop(&self) {
        let removed = match self {
            Desk::Disk(directory) => fs::remove_file(directory.join(STOP)),
            Desk::Store(store, prefix) => {
                store.block_on(store.delete([format!("{prefix}{STOP}")])).map_err(io::Error::other)
            }
        };
        if let Err(error) = removed {
            tracing::warn!("{}: after a restart of flowd the job stops: {error}", self.place().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use flow_store::{Location, Settings};

    use super::*;

    /// Calls it with a desk of each kind.
    fn with_each(check: impl Fn(&Desk)) {
        let directory = tempfile::tempdir().expect("a directory");
        check(&Desk::Disk(directory.path().to_owned()));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let location = Location::Directory(directory.path().join("store"));
        let store = runtime.block_on(Store::open(&location, &Settings::default())).expect("a store");
        check(&Desk::of_cluster(&store, &"orders-3f9a2c".parse().expect("a name")));
    }

    fn name(text: &str) -> SavepointName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_first_one_is_remembered() {
        with_each(|desk| {
            assert_eq!(desk.stops_with(), None);
            assert!(desk.stop_with(&name("a")).expect("it is written"));
            assert!(!desk.stop_with(&name("b")).expect("there is one"));
            assert_eq!(desk.stops_with(), Some(name("a")));
            desk.forget_stop();
            assert_eq!(desk.stops_with(), None);
        });
    }

    #[test]
    fn a_cancel_is_remembered() {
        with_each(|desk| {
            assert_eq!(desk.wanted(), Wanted::default());
            for _ in 0..2 {
                desk.cancel().expect("it is written");
                assert_eq!(desk.wanted(), Wanted { canceled: true, stops_with: None });
            }
        });
    }

    #[test]
    fn what_is_no_name_is_in_nobodys_way() {
        // Of a disk that was full, or of a process that died.
        for left in ["", "No name", "\0\0\0"] {
            with_each(|desk| {
                desk.write(STOP, left).expect("written");
                assert_eq!(desk.stops_with(), None);
                assert!(desk.stop_with(&name("a")).expect("it is written"), "{left:?}");
                assert_eq!(desk.stops_with(), Some(name("a")));
            });
        }
    }
}
