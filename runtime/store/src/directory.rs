//! Objects as files below a directory, for one machine or for several that share a file system with locks. What it does to
//! the disk is in `files.rs`; here it is carried out beside tokio's tasks, a few files at a time.

mod files;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::{Content, Error, Objects, Origin, Page, Swap, Version, content};
use files::Files;

/// How many files are written or read at once.
const WIDE: usize = 8;

/// A directory.
pub(crate) struct Directory {
    files: Arc<Files>,
    turns: Semaphore,
}

impl Directory {
    /// Makes it if it is not there.
    pub(crate) async fn open(root: &Path) -> Result<Directory, Error> {
        let root = root.to_owned();
        let files = beside(move || Files::open(root)).await?;
        Ok(Directory { files: Arc::new(files), turns: Semaphore::new(WIDE) })
    }

    /// Does `work` with a file when its turn comes.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _turn = self.turns.acquire().await.expect("never closed");
        self.at_once(work).await
    }

    /// Does `work` without waiting behind files that are large.
    async fn at_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = self.files.clone();
        beside(move || work(&files)).await
    }
}

/// On a thread that may wait for a disk.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and whoever waits with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[async_trait]
impl Objects for Directory {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        let name = name.to_owned();
        self.in_turn(move |files| files.put(&name, &content)).await
    }

    async fn put_file(&self, name: &str, file: &Path) -> Result<u64, Error> {
        let (name, file) = (name.to_owned(), file.to_owned());
        self.in_turn(move |files| files.put_file(&name, &file)).await
    }

    async fn put_content(&self, name: &str, content: Arc<dyn Content>) -> Result<u64, Error> {
        let _turn = self.turns.acquire().await.expect("never closed");
        let (length, wanted) = (content.length(), name.to_owned());
        let (new, file) = self.at_once(move |files| files.begin(&wanted)).await?;
        content::write(content, file.clone(), &new.0).await?;
        let name = name.to_owned();
        self.at_once(move |files| files.end(&name, &new, &file)).await?;
        Ok(length)
    }

    fn origin(&self, name: &str) -> Origin {
        Origin::File(self.files.path(name))
    }

    async fn copy(&self, from: &Origin, name: &str, _: u64) -> Result<bool, Error> {
        let (Origin::File(from), name) = (from.clone(), name.to_owned()) else { return Ok(false) };
        self.at_once(move |files| files.link(&from, &name)).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, Error> {
        let name = name.to_owned();
        self.in_turn(move |files| files.get(&name)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let name = name.to_owned();
        self.in_turn(move |files| files.get_range(&name, range)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.at_once(move |files| files.list(&prefix, after.as_deref())).await
    }

    async fn delete(&self, names: &[String]) -> Result<(), Error> {
        let names = names.to_vec();
        self.in_turn(move |files| files.delete(&names)).await
    }

    async fn read(&self, name: &str) -> Result<Option<(Bytes, Version)>, Error> {
        let name = name.to_owned();
        self.at_once(move |files| files.read(&name)).await
    }

    async fn swap(&self, name: &str, from: Option<&Version>, content: Bytes) -> Result<Swap, Error> {
        let (name, from) = (name.to_owned(), from.cloned());
        self.at_once(move |files| files.swap(&name, from.as_ref(), &content)).await
    }

    fn place(&self) -> &str {
        self.files.place()
    }
}
