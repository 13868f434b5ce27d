//! The handle that everybody holds.

use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::content::{self, OfObject};
use crate::directory::Directory;
use crate::s3::S3;
use crate::{Error, Listed, Location, Objects, Page, Settings, Swap, Version, name, probe};

/// Objects below a location. Cheap to clone; all clones share connections, and the bound on what is in flight.
///
/// Its calls are futures. A task of tokio awaits them; a plain thread hands them to [`block_on`](Store::block_on), or to
/// [`spawn`](Store::spawn) where it can't wait.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn Objects>,
    /// What all names begin with: empty, or with a slash at its end.
    root: Arc<str>,
    runtime: Handle,
}

impl Store {
    /// Opens a location. A directory is made if it is not there; a bucket has to exist, and nothing is asked of it yet:
    /// [`probe`](Store::probe) does. The requests are carried out by the tokio runtime of the caller.
    ///
    /// # Errors
    /// The directory can't be made or written; S3's settings lead to no region.
    pub async fn open(location: &Location, settings: &Settings) -> Result<Store, Error> {
        Ok(match location {
            Location::S3 { bucket, prefix } => Store::of(S3::open(bucket, prefix, settings).await?),
            Location::Directory(path) => Store::of(Directory::open(path).await?),
        })
    }

    /// A store of any kind, carried out by the tokio runtime of the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn of(objects: impl Objects + 'static) -> Store {
        Store { objects: Arc::new(objects), root: "".into(), runtime: Handle::current() }
    }

    /// The part of it whose names begin with `folder/`; names are told without that from then on.
    ///
    /// # Errors
    /// `folder` is no name.
    pub fn below(&self, folder: &str) -> Result<Store, Error> {
        name::check(folder)?;
        let root = format!("{}{folder}/", self.root).into();
        Ok(Store { objects: self.objects.clone(), root, runtime: self.runtime.clone() })
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        let place = format!("{}/{}", self.objects.place(), self.root);
        place.trim_end_matches('/').to_owned()
    }

    /// Races conditional writes against each other, some rounds, and tries what else is needed of a store. Some 80 small requests,
    /// two dozen of them one after another. Leaves nothing behind, unless the store can't be reached any more.
    ///
    /// # Errors
    /// [`Error::Unfit`] for a store that ignores conditions or honours them only one at a time. Whatever keeps it from being
    /// asked: no such bucket, wrong credentials, nobody there.
    pub async fn probe(&self) -> Result<(), Error> {
        probe::probe(self).await
    }

    /// Runs a future to its end on a plain thread, such as one of this store's calls.
    ///
    /// # Panics
    /// On a thread of tokio's, which must not wait.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs a future beside the caller, from any thread.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Writes an object, over what has the name. Never half: others see the old content or the new one.
    ///
    /// # Errors
    /// See [`Error`]; so for all calls. What a retry may help against has been tried for a minute or two.
    pub async fn put(&self, name: &str, content: impl Into<Bytes>) -> Result<(), Error> {
        self.objects.put(&self.key(name)?, content.into()).await
    }

    /// The same with the content of a file, a large one in parts, some of them at once. Returns its length. The file must
    /// not change meanwhile.
    pub async fn put_file(&self, name: &str, file: &Path) -> Result<u64, Error> {
        self.objects.put_file(&self.key(name)?, file).await
    }

    /// Writes an object `to` that is like `name` of the store `from`, over what has the name: the store itself does it where it
    /// can, without the bytes coming here; else they pass through this process, in bounded memory. Returns its length. It may be
    /// done again after an error or a crash.
    ///
    /// # Errors
    /// [`Error::Missing`] names what is to be copied if that is not there.
    pub async fn copy(&self, from: &Store, name: &str, to: &str) -> Result<u64, Error> {
        let (name, to) = (from.key(name)?, self.key(to)?);
        let listed = from.objects.list(&name, None).await?.objects.into_iter().next();
        let Some(Listed { size: length, .. }) = listed.filter(|listed| listed.name == name) else {
            return Err(Error::Missing { object: format!("{}/{name}", from.objects.place()) });
        };
        let origin = from.objects.origin(&name);
        if origin == self.objects.origin(&to) || self.objects.copy(&origin, &to, length).await? {
            return Ok(length);
        }
        let content = OfObject { objects: from.objects.clone(), key: name, range: 0..length };
        self.objects.put_content(&to, Arc::new(content)).await
    }

    /// A whole object, in memory.
    pub async fn get(&self, name: &str) -> Result<Bytes, Error> {
        self.objects.get(&self.key(name)?).await
    }

    /// Bytes of an object, exactly that many: [`Error::Short`] if it has not got them.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.objects.get_range(&self.key(name)?, range).await
    }

    /// Writes these bytes of an object into a new file, in bounded memory, some parts at once. After an error the file's
    /// content is of no use. It is not made durable.
    pub async fn get_file(&self, name: &str, range: Range<u64>, file: &Path) -> Result<(), Error> {
        let key = self.key(name)?;
        let target = File::create(file).map_err(|error| Error::of_io(&file.display(), "write", &error))?;
        let content = OfObject { objects: self.objects.clone(), key, range };
        content::write(Arc::new(content), Arc::new(target), file).await
    }

    /// Objects whose names begin with `prefix`, at most 1,000, by the order of their names' bytes, those after `after`.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        name::check_prefix(prefix)?;
        let after = after.map(|after| format!("{}{after}", self.root));
        let mut page = self.objects.list(&format!("{}{prefix}", self.root), after.as_deref()).await?;
        page.objects.iter_mut().for_each(|Listed { name, .. }| *name = name.split_off(self.root.len()));
        Ok(page)
    }

    /// The names of all objects that begin with a prefix, in order; see [`Store::list`].
    ///
    /// # Errors
    /// Those of a page.
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let (mut names, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let page = self.list(prefix, after.as_deref()).await?;
            after = page.objects.last().map(|last| last.name.clone()).filter(|_| page.more);
            names.extend(page.objects.into_iter().map(|object| object.name));
            if after.is_none() {
                return Ok(names);
            }
        }
    }

    /// Deletes objects, any number. Those that do not exist are deleted, so it may be done again after an error.
    pub async fn delete<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> Result<(), Error> {
        let keys: Result<Vec<String>, Error> = names.into_iter().map(|name| self.key(name.as_ref())).collect();
        self.objects.delete(&keys?).await
    }

    /// A whole object with its version, or none if there is no such object.
    pub async fn read(&self, name: &str) -> Result<Option<(Bytes, Version)>, Error> {
        self.objects.read(&self.key(name)?).await
    }

    /// Writes an object if it still has the version `from`, or if there is none and `from` is `None`. Each content has to be
    /// new: with a nonce in it. It asks once and never again by itself, since a second request would find what the first one
    /// may have done: see [`Swap`] for what to do then.
    ///
    /// # Errors
    /// It was not done.
    pub async fn swap(&self, name: &str, from: Option<&Version>, content: impl Into<Bytes>) -> Result<Swap, Error> {
        self.objects.swap(&self.key(name)?, from, content.into()).await
    }

    fn key(&self, name: &str) -> Result<String, Error> {
        name::check(name)?;
        Ok(format!("{}{name}", self.root))
    }
}
