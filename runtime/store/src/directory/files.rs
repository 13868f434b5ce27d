//! What a directory of objects does to its file system. A new content is written under a temporary name, made durable and
//! renamed; so a crash at any line, or a full disk, leaves the old content whole. A swap does so under a lock that ends with
//! the process that holds it.
//!
//! Temporary files and the lock lie in `.flow` below the root, which no name of an object leads into.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{Error, Listed, Page, Swap, Version};

/// Where temporary files and the lock lie.
const HIDDEN: &str = ".flow";
/// The most names of one [`Page`].
const PAGE: usize = 1000;
/// A temporary file to which nobody has written for so long was left by a process that was killed. Its time may be that of another machine,
/// whose clock is hours behind this one's.
const LEFT: Duration = Duration::from_secs(24 * 3600);
/// How long a swap waits for another one. Who holds the lock for longer was stopped.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a directory may vanish between its making and its use, by deletions in it, before something else is wrong.
const ATTEMPTS: u32 = 100;

/// A directory of objects.
pub(super) struct Files {
    root: PathBuf,
    place: String,
}

/// A file under a temporary name, which goes unless it was renamed.
pub(super) struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename it is not there.
        _ = fs::remove_file(&self.0);
    }
}

impl Files {
    pub(super) fn open(root: PathBuf) -> Result<Files, Error> {
        let hidden = root.join(HIDDEN);
        fs::create_dir_all(&hidden).map_err(|error| Error::of_io(&root.display(), "write to", &error))?;
        let files = Files { place: root.display().to_string(), root };
        files.sweep(&hidden).map_err(|error| Error::of_io(&hidden.display(), "look through", &error))?;
        Ok(files)
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Removes what killed processes left.
    fn sweep(&self, hidden: &Path) -> io::Result<()> {
        for entry in fs::read_dir(hidden)? {
            let entry = entry?;
            let temporary = entry.path().extension().is_some_and(|extension| extension == "new");
            // Another process may be sweeping too.
            let age = entry.metadata().and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
            if temporary && age.is_some_and(|age| age > LEFT) {
                _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn error(&self, name: &str, action: &'static str, error: &io::Error) -> Error {
        Error::of_io(&self.path(name).display(), action, error)
    }

    pub(super) fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let written = self.write(|file| file.write_all(content)).and_then(|new| self.place_at(&new, name));
        written.map_err(|error| self.error(name, "write", &error))
    }

    pub(super) fn put_file(&self, name: &str, from: &Path) -> Result<u64, Error> {
        let mut content = File::open(from).map_err(|error| Error::of_io(&from.display(), "read", &error))?;
        let mut length = 0;
        let copied = self.write(|file| {
            length = io::copy(&mut content, file)?;
            Ok(())
        });
        let written = copied.and_then(|new| self.place_at(&new, name));
        written.map_err(|error| self.error(name, "write", &error))?;
        Ok(length)
    }

    /// An empty file that is to become an object.
    pub(super) fn begin(&self, name: &str) -> Result<(Temporary, Arc<File>), Error> {
        let begun = self.create().map(|(new, file)| (new, Arc::new(file)));
        begun.map_err(|error| self.error(name, "write", &error))
    }

    /// Makes it the object.
    pub(super) fn end(&self, name: &str, new: &Temporary, file: &File) -> Result<(), Error> {
        let written = file.sync_all().and_then(|()| self.place_at(new, name));
        written.map_err(|error| self.error(name, "write", &error))
    }

    /// Gives the file of another object a further name: neither is ever changed in its place. `false` where the file system does
    /// not do that, or there is such an object already.
    pub(super) fn link(&self, from: &Path, name: &str) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            match fs::hard_link(from, self.path(name)) {
                Ok(()) => return self.sync_folders(name).map(|()| true).map_err(|e| self.error(name, "write", &e)),
                Err(error) if error.kind() == ErrorKind::NotFound && from.exists() => {
                    self.make_folders(name).map_err(|error| self.error(name, "write", &error))?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(Error::Missing { object: from.display().to_string() });
                }
                Err(_) => break,
            }
        }
        Ok(false)
    }

    fn create(&self) -> io::Result<(Temporary, File)> {
        let path = self.root.join(HIDDEN).join(format!("{:032x}.new", fastrand::u128(..)));
        let file = File::create_new(&path)?;
        Ok((Temporary(path), file))
    }

    /// A durable file under a temporary name.
    fn write(&self, content: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<Temporary> {
        let (new, mut file) = self.create()?;
        content(&mut file)?;
        file.sync_all()?;
        Ok(new)
    }

    /// Gives a file its name.
    fn place_at(&self, new: &Temporary, name: &str) -> io::Result<()> {
        let path = self.path(name);
        for _ in 0..ATTEMPTS {
            match fs::rename(&new.0, &path) {
                Err(error) if error.kind() == ErrorKind::NotFound => self.make_folders(name)?,
                Err(error) => return Err(error),
                Ok(()) => return self.sync_folders(name),
            }
        }
        Err(io::Error::new(ErrorKind::NotFound, "its directory is removed again and again"))
    }

    fn make_folders(&self, name: &str) -> io::Result<()> {
        match self.path(name).parent().map(fs::create_dir_all) {
            // A deletion removed one of them meanwhile: the caller comes back.
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the name durable, and the directories that it lies in: another thread may have made them just now.
    fn sync_folders(&self, name: &str) -> io::Result<()> {
        for (end, _) in name.match_indices('/').rev() {
            sync(&self.path(&name[..end]))?;
        }
        sync(&self.root)
    }

    pub(super) fn get(&self, name: &str) -> Result<Bytes, Error> {
        fs::read(self.path(name)).map(Bytes::from).map_err(|error| self.error(name, "read", &error))
    }

    pub(super) fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let read = || {
            let file = File::open(self.path(name))?;
            let length = file.metadata()?.len();
            if length < range.end {
                return Ok(Err(length));
            }
            let mut content = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut content, range.start)?;
            Ok(Ok(Bytes::from(content)))
        };
        let object = || self.path(name).display().to_string();
        match read() {
            Ok(Ok(content)) => Ok(content),
            Ok(Err(length)) => Err(Error::Short { object: object(), length, wanted: range.end }),
            Err(error) => Err(self.error(name, "read", &error)),
        }
    }

    pub(super) fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Error> {
        let mut page = Page::default();
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let walked = self.walk(&folder, prefix, after.unwrap_or(""), &mut page);
        walked.map_err(|error| self.error(&folder, "list", &error))?;
        page.more = page.objects.len() > PAGE;
        page.objects.truncate(PAGE);
        Ok(page)
    }

    /// Adds to `page` what lies in `folder`, `` or `a/b/`, until the page has more than it may have.
    fn walk(&self, folder: &str, prefix: &str, after: &str, page: &mut Page) -> io::Result<()> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            // Deleted meanwhile, or nothing was ever there.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            // With its slash a directory stands where its objects do in the order of names.
            let key = if entry.file_type()?.is_dir() { format!("{folder}{name}/") } else { format!("{folder}{name}") };
            let wanted = key.starts_with(prefix) || key.ends_with('/') && prefix.starts_with(&key);
            let comes = key.as_str() > after || key.ends_with('/') && after.starts_with(&key);
            if wanted && comes && !name.starts_with('.') {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        for key in keys {
            if page.objects.len() > PAGE {
                break;
            }
            if key.ends_with('/') {
                self.walk(&key, prefix, after, page)?;
            } else {
                match fs::metadata(self.path(&key)) {
                    Ok(found) => page.objects.push(Listed { name: key, size: found.len() }),
                    Err(error) if error.kind() == ErrorKind::NotFound => (),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    pub(super) fn delete(&self, names: &[String]) -> Result<(), Error> {
        let mut folders: Vec<&str> = Vec::new();
        for name in names {
            match fs::remove_file(self.path(name)) {
                Ok(()) => folders.push(name.rsplit_once('/').map_or("", |(folder, _)| folder)),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => (),
                Err(error) => return Err(self.error(name, "delete", &error)),
            }
        }
        folders.sort_unstable();
        folders.dedup();
        for folder in folders {
            self.prune(folder).map_err(|error| self.error(folder, "delete from", &error))?;
        }
        Ok(())
    }

    /// Removes a directory and those that it lies in as far as they are empty, and makes the deletion durable.
    fn prune(&self, mut folder: &str) -> io::Result<()> {
        while !folder.is_empty() {
            match fs::remove_dir(self.path(folder)) {
                Err(error) if error.kind() != ErrorKind::NotFound => break,
                _ => folder = folder.rsplit_once('/').map_or("", |(outer, _)| outer),
            }
        }
        match sync(&self.path(folder)) {
            // Another deletion came first.
            Err(error) if error.kind() == ErrorKind::NotFound => sync(&self.root),
            done => done,
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<Option<(Bytes, Version)>, Error> {
        match fs::read(self.path(name)) {
            Ok(content) => {
                let version = Version::of(&content);
                Ok(Some((content.into(), version)))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(self.error(name, "read", &error)),
        }
    }

    pub(super) fn swap(&self, name: &str, from: Option<&Version>, content: &[u8]) -> Result<Swap, Error> {
        let failed = |error: io::Error| self.error(name, "write", &error);
        let new = self.write(|file| file.write_all(content)).map_err(failed)?;
        let _lock = self.lock()?;
        let found = self.read(name)?.map(|(_, version)| version);
        if found.as_ref() != from {
            return Ok(Swap::Conflict);
        }
        match self.place_at(&new, name) {
            Ok(()) => Ok(Swap::Done(Version::of(content))),
            // The name may have changed, and only its directory not be durable.
            Err(error) if !new.0.exists() => Ok(Swap::Unknown(failed(error))),
            Err(error) => Err(failed(error)),
        }
    }

    /// The lock of all swaps below the root, until the file is closed.
    fn lock(&self) -> Result<File, Error> {
        let path = self.root.join(HIDDEN).join("lock");
        let failed = |error: &io::Error| Error::of_io(&path.display(), "lock", error);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| failed(&e))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(fastrand::u64(1..10)));
                }
                Err(TryLockError::WouldBlock) => {
                    let cause = "another process holds the lock; is it stopped? End it".to_owned();
                    return Err(Error::Busy { object: path.display().to_string(), action: "lock", cause });
                }
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
        }
    }
}

impl Version {
    /// That of a content. Equal contents have one version, so each swap has to bring something new: a nonce.
    fn of(content: &[u8]) -> Version {
        Version(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(content)))
    }
}

/// Makes the names in a directory durable.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
