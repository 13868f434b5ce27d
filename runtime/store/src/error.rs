//! What goes wrong with a store. Each variant names the object or place, the cause, and the next step.

use std::fmt::Display;
use std::io::{self, ErrorKind};

/// What goes wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is no place for objects.
    #[error("{text:?} is no place for objects: {cause}")]
    Location {
        /// The text.
        text: String,
        /// Why, and what would be one.
        cause: String,
    },
    /// A name that no object can have.
    #[error("{0:?} can't be the name of an object: parts between slashes, none empty, none that begins with a dot")]
    Name(String),
    /// There is no such object.
    #[error("{object} does not exist")]
    Missing {
        /// The object.
        object: String,
    },
    /// An object has fewer bytes than it should have.
    #[error("{object} has {length} bytes, and those up to {wanted} are to be read: it was cut off")]
    Short {
        /// The object.
        object: String,
        /// How many it has.
        length: u64,
        /// How many it should have at least.
        wanted: u64,
    },
    /// There is no such bucket.
    #[error("the bucket of {place} does not exist{at}: create it, or correct its name or the endpoint")]
    NoBucket {
        /// The location.
        place: String,
        /// ` at ENDPOINT`, where one was given.
        at: String,
    },
    /// Who asks is not known to the store.
    #[error(
        "{place}: no valid credentials: {cause}; give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the role of the machine"
    )]
    Credentials {
        /// The location.
        place: String,
        /// What the store or the search for credentials said.
        cause: String,
    },
    /// Who asks is known, and may not.
    #[error("{object}: not allowed to {action} it: {cause}; grant that on the location to the user or role of flowd")]
    Denied {
        /// The object, or the location.
        object: String,
        /// What was to be done.
        action: &'static str,
        /// What was said.
        cause: String,
    },
    /// The bucket lies elsewhere.
    #[error("{place}: the bucket lies in another region: {cause}; correct the setting region")]
    Region {
        /// The location.
        place: String,
        /// What was said.
        cause: String,
    },
    /// The clock of this machine is wrong.
    #[error("{place}: the store does not take the time of this machine: {cause}; set its clock")]
    Clock {
        /// The location.
        place: String,
        /// What was said.
        cause: String,
    },
    /// Nobody answers.
    #[error("{place} can't be reached: {cause}; look at the network and the setting endpoint")]
    Unreachable {
        /// The location.
        place: String,
        /// What happened to the connection.
        cause: String,
    },
    /// No answer in time.
    #[error("{object}: no answer in time to {action} it; the store or the network is too slow")]
    TimedOut {
        /// The object, or the location.
        object: String,
        /// What was to be done.
        action: &'static str,
    },
    /// The store asks for fewer requests.
    #[error("{object}: the store is too busy to {action} it: {cause}")]
    Busy {
        /// The object, or the location.
        object: String,
        /// What was to be done.
        action: &'static str,
        /// What was said.
        cause: String,
    },
    /// No room is left.
    #[error("{object}: no room is left: {cause}; free some space there")]
    Full {
        /// The object, or the location.
        object: String,
        /// What was said.
        cause: String,
    },
    /// What came is not what was sent.
    #[error("{object}: what came is not what was sent: {cause}")]
    Broken {
        /// The object.
        object: String,
        /// A checksum that does not fit, a body that ends early.
        cause: String,
    },
    /// The store does not keep what compare-and-swap promises.
    #[error(
        "{place} can't hold checkpoints: {cause}. It takes a store that honours conditional writes (If-None-Match, If-Match) under a race: Amazon S3, MinIO, or a directory"
    )]
    Unfit {
        /// The location.
        place: String,
        /// What it did.
        cause: String,
    },
    /// The store failed, and may not next time.
    #[error("{object}: to {action} it failed: {cause}")]
    Failed {
        /// The object, or the location.
        object: String,
        /// What was to be done.
        action: &'static str,
        /// What was said.
        cause: String,
    },
    /// The store refuses, and will next time.
    #[error("{object}: refused to {action} it: {cause}")]
    Refused {
        /// The object, or the location.
        object: String,
        /// What was to be done.
        action: &'static str,
        /// What was said.
        cause: String,
    },
}

impl Error {
    /// What a file system said.
    pub(crate) fn of_io(path: &dyn Display, action: &'static str, error: &io::Error) -> Error {
        let (object, cause) = (path.to_string(), error.to_string());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Error::Full { object, cause }
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::Denied { object, action, cause },
            ErrorKind::NotFound if action == "read" => Error::Missing { object },
            ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidFilename => {
                Error::Refused { object, action, cause }
            }
            _ => Error::Failed { object, action, cause },
        }
    }

    /// The same request may succeed later without a person's doing anything to Flow's settings.
    pub fn is_retryable(&self) -> bool {
        use Error::*;
        match self {
            Unreachable { .. } | TimedOut { .. } | Busy { .. } | Full { .. } | Broken { .. } | Failed { .. } => true,
            Location { .. } | Name(_) | Missing { .. } | Short { .. } | NoBucket { .. } | Credentials { .. } => false,
            Denied { .. } | Region { .. } | Clock { .. } | Unfit { .. } | Refused { .. } => false,
        }
    }
}
