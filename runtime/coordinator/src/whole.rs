//! A file that is there with all that belongs into it, or as it was before, whatever happens to this process and its machine. It must
//! not be written by two at once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes it, in the place of what was there.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&new, path)) {
        // What is left of it may be in the way of more that is to be written.
        _ = fs::remove_file(&new);
        return Err(error);
    }
    match path.parent() {
        // The name is safe when its directory is.
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_takes_the_place_of_another_and_leaves_nothing_beside() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file.json");
        for content in ["first", ""] {
            write(&path, content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), content);
        }
        assert_eq!(directory.path().read_dir().expect("a directory").count(), 1);
        // What can't take its place leaves it as it was.
        fs::create_dir(directory.path().join("taken")).expect("a directory");
        fs::write(directory.path().join("taken/inside"), "").expect("a file");
        write(&directory.path().join("taken"), b"x").expect_err("a directory stands there");
        assert_eq!(directory.path().read_dir().expect("a directory").count(), 2);
    }
}
