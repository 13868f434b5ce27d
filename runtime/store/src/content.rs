//! What is to become an object and is too large to be held: read piece by piece, a few at a time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, Objects, pieces};

/// Bytes that can be read in pieces.
#[async_trait]
pub trait Content: Send + Sync {
    /// How many there are.
    fn length(&self) -> u64;

    /// Some of them: exactly that many.
    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error>;
}

/// A file that does not change meanwhile.
pub(crate) struct OfFile {
    file: Arc<File>,
    path: PathBuf,
    length: u64,
}

impl OfFile {
    pub(crate) fn open(path: &Path) -> Result<OfFile, Error> {
        let failed = |error| Error::of_io(&path.display(), "read", &error);
        let file = Arc::new(File::open(path).map_err(failed)?);
        let length = file.metadata().map_err(failed)?.len();
        Ok(OfFile { file, path: path.to_owned(), length })
    }
}

#[async_trait]
impl Content for OfFile {
    fn length(&self) -> u64 {
        self.length
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let file = self.file.clone();
        let read = move || {
            let mut content = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut content, range.start).map(|()| Bytes::from(content))
        };
        beside(read).await.map_err(|error| Error::of_io(&self.path.display(), "read", &error))
    }
}

/// Bytes of an object, of this store or another one.
pub(crate) struct OfObject {
    pub objects: Arc<dyn Objects>,
    pub key: String,
    pub range: Range<u64>,
}

#[async_trait]
impl Content for OfObject {
    fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let (start, end) = (self.range.start + range.start, self.range.start + range.end);
        self.objects.get_range(&self.key, start..end).await
    }
}

/// Writes all of it into an open file; `path` is the file's, for errors. It is not made durable.
pub(crate) async fn write(content: Arc<dyn Content>, file: Arc<File>, path: &Path) -> Result<(), Error> {
    let written = pieces::each(0..content.length(), pieces::LENGTH, |_, piece| {
        let (content, file, path) = (content.clone(), file.clone(), path.to_owned());
        async move {
            let (start, bytes) = (piece.start, content.read(piece).await?);
            let written = beside(move || file.write_all_at(&bytes, start)).await;
            written.map_err(|error| Error::of_io(&path.display(), "write", &error))
        }
    });
    written.await.map(drop)
}

async fn beside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.expect("reading and writing do not panic")
}
