//! HEAD and manifests in the store: bytes from and to documents.

use std::time::Duration;

use flow_model::checkpoint::{Head, Manifest, ObjectName, head};
use flow_protocol::head::Answer;
use flow_store::{Store, Swap, Version};
use flow_worker::failpoint::{self, Point};

use crate::cluster;

/// A user who asks is told after this that the store has not answered.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why a job can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not do what is asked of it.
    #[error(transparent)]
    Store(#[from] flow_store::Error),
    /// What is in the store is not what it should be.
    #[error("{place}: {error}")]
    Document {
        /// Which sort of document.
        document: Document,
        /// Where it is.
        place: String,
        /// What is wrong with it.
        error: flow_model::checkpoint::Error,
    },
    /// What HEAD says runs can't be had.
    #[error(transparent)]
    Deployment(cluster::Error),
    /// HEAD names a revision that was not deployed.
    #[error("HEAD names revision {revision} of the job, and there is no {place}")]
    Revision {
        /// The revision.
        revision: u64,
        /// Where it should be.
        place: String,
    },
    /// The store lets a user wait.
    #[error("{place} has not answered for {} s; see whether it can be reached, and try again", PATIENCE.as_secs())]
    Away {
        /// Where it is.
        place: String,
    },
    /// The job is another process's.
    #[error("{0}")]
    Refused(String),
    /// The process has no room for a thread.
    #[error("no thread that keeps the job: {0}")]
    Thread(String),
}

/// What stands in the store of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The one that changes.
    Head,
    /// A checkpoint.
    Manifest,
}

impl From<cluster::Error> for Error {
    fn from(error: cluster::Error) -> Error {
        match error {
            cluster::Error::Store(error) => Error::Store(error),
            other => Error::Deployment(other),
        }
    }
}

impl Error {
    /// What to do next for who wants to begin with what is in the store, where the error does not say it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Document { error: flow_model::checkpoint::Error::Format { .. }, .. } => None,
            Error::Document { document: Document::Head, .. } => Some(
                "put back the HEAD that was there; if that is lost, remove this one and deploy the job again: it begins with nothing",
            ),
            Error::Document { document: Document::Manifest, .. } => Some(
                "begin with another checkpoint or savepoint: `flowctl checkpoint ls JOB` and `flowctl savepoint ls JOB` list them",
            ),
            Error::Store(flow_store::Error::Missing { .. }) => Some(
                "HEAD names what is not there: it may be an older HEAD that was put back, or another job's; put the last one back; if that \
                 is lost, remove HEAD and deploy the job again: it begins with nothing",
            ),
            Error::Revision { .. } => Some(
                "put back the HEAD or the document that was there; or deploy the job again with --take-over: it goes on where HEAD stands",
            ),
            Error::Store(_) | Error::Deployment(_) | Error::Away { .. } | Error::Refused(_) | Error::Thread(_) => None,
        }
    }

    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Store(error) => error.is_retryable(),
            Error::Away { .. } => true,
            Error::Document { .. } | Error::Deployment(_) | Error::Revision { .. } => false,
            Error::Refused(_) | Error::Thread(_) => false,
        }
    }
}

/// What a user asks a store, who does not wait long for the answer.
///
/// # Errors
/// [`Error::Away`], and those of the question.
pub fn in_time<T, E: Into<Error>>(store: &Store, question: impl Future<Output = Result<T, E>>) -> Result<T, Error> {
    let answer = store.block_on(async { tokio::time::timeout(PATIENCE, question).await });
    answer.map_err(|_| Error::Away { place: store.place() })?.map_err(Into::into)
}

/// Where the HEAD of a job is that has this root, for people.
pub fn head_place(store: &Store) -> String {
    format!("{}/{}", store.place(), head::NAME)
}

/// HEAD with its version, or none if there is none.
pub async fn read_head(store: &Store) -> Result<Option<(Head, String)>, Error> {
    let Some((bytes, version)) = store.read(head::NAME).await? else { return Ok(None) };
    let head = Head::from_bytes(&bytes).map_err(|error| Error::Document {
        document: Document::Head,
        place: head_place(store),
        error,
    })?;
    Ok(Some((head, version.into())))
}

/// Asks for one swap of HEAD. With what to tell people, if it was not answered.
pub async fn swap(store: &Store, head: &Head, expected: Option<String>) -> (Answer, Option<flow_store::Error>) {
    let expected = expected.map(Version::from);
    failpoint::reach(Point::HeadSwap);
    let swapped = store.swap(head::NAME, expected.as_ref(), head.to_bytes()).await;
    if failpoint::fails(Point::HeadSwapped) {
        return (Answer::Again, None);
    }
    match swapped {
        Ok(Swap::Done(version)) => (Answer::Done(version.into()), None),
        Ok(Swap::Conflict) => (Answer::Conflict, None),
        Ok(Swap::Retry) => (Answer::Again, None),
        Ok(Swap::Unknown(error)) | Err(error) => (Answer::Again, Some(error)),
    }
}

/// A manifest by its name.
pub async fn load(store: &Store, name: &ObjectName) -> Result<Manifest, Error> {
    let bytes = store.get(name.as_str()).await?;
    Manifest::from_bytes(&bytes).map_err(|error| Error::Document {
        document: Document::Manifest,
        place: format!("{}/{name}", store.place()),
        error,
    })
}
