//! What a kind of store has to be able to do. Names and contents have been checked by [`Store`](crate::Store) when they come here.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Error;
use crate::content::{Content, OfFile};
use crate::s3::Address;

/// What tells one content of an object from another: S3's ETag, a digest in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub(crate) String);

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.0
    }
}

impl From<String> for Version {
    /// One that was a version before.
    fn from(text: String) -> Version {
        Version(text)
    }
}

/// What came of a compare-and-swap.
#[derive(Debug)]
pub enum Swap {
    /// The new content stands, under this version.
    Done(Version),
    /// The object has another version than the caller thinks, or it exists where none should: read it. After an
    /// [`Unknown`](Swap::Unknown) it may be the caller's own.
    Conflict,
    /// It was not done, since another swap was under way: the same may be sent again.
    Retry,
    /// Nobody knows whether it was done or will be: there was no answer, or one that says nothing. Reading the object proves
    /// nothing, since the request may arrive later. Only an answer to *the same swap sent again* settles it: `Done`, or
    /// `Conflict` and then a nonce of the caller's in the content tells whose it is.
    Unknown(Error),
}

/// An object of a [`Page`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// At most 1,000, by the order of their names' bytes.
    pub objects: Vec<Listed>,
    /// There are more: go on after the last of these.
    pub more: bool,
}

/// Where an object lies, for a store that may be able to copy it from there by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An object of S3.
    S3(Address),
    /// A file of this machine.
    File(PathBuf),
}

/// A kind of store. What it answers is durable: once `Ok`, a power cut of this machine takes nothing back. All but
/// [`swap`](Objects::swap) try again by themselves, for a bounded time, when that may help.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Writes an object, over what has the name. Never half: others see the old content or the new one.
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error>;

    /// The same with the content of a file, in bounded memory. Returns its length.
    async fn put_file(&self, name: &str, file: &Path) -> Result<u64, Error> {
        self.put_content(name, Arc::new(OfFile::open(file)?)).await
    }

    /// The same with a content that may be large, in bounded memory. Returns its length.
    async fn put_content(&self, name: &str, content: Arc<dyn Content>) -> Result<u64, Error>;

    /// Where an object of that name lies.
    fn origin(&self, name: &str) -> Origin;

    /// Writes an object that is like one elsewhere, which has that length and does not change, without its bytes passing through
    /// this process, over what has the name. `false`, and nothing done, where that can't be.
    async fn copy(&self, from: &Origin, name: &str, length: u64) -> Result<bool, Error>;

    /// A whole object.
    async fn get(&self, name: &str) -> Result<Bytes, Error>;

    /// Bytes of an object: exactly that many. [`Error::Short`] if it has not got them.
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error>;

    /// Objects whose names begin with `prefix`, those after `after`.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error>;

    /// Deletes objects. Those that do not exist are deleted.
    async fn delete(&self, names: &[String]) -> Result<(), Error>;

    /// A whole object with its version, or none if there is no such object.
    async fn read(&self, name: &str) -> Result<Option<(Bytes, Version)>, Error>;

    /// Writes an object if it still has the version `from`, or if there is none and `from` is `None`. Sends one request and
    /// never a second, so that a conflict with oneself comes only after an [`Unknown`](Swap::Unknown).
    ///
    /// # Errors
    /// It was not done, and sending it again does not help.
    async fn swap(&self, name: &str, from: Option<&Version>, content: Bytes) -> Result<Swap, Error>;

    /// Where it is, for people: `s3://bucket/prefix`, a path.
    fn place(&self) -> &str;
}
