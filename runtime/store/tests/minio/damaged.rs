//! What lies in the store is not what was written: told by name, never taken.

use std::fs;
use std::path::{Path, PathBuf};

use flow_e2e::minio::Minio;
use flow_store::Error;

use crate::{open, runtime, settings};

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_the_disk_of_the_store_lost_is_not_read() {
    let minio = Minio::start();
    let (bucket, settings) = (minio.bucket(), settings(&minio));
    runtime().block_on(async {
        let store = open(&bucket, &settings).await;
        store.put("whole", vec![1; 3 << 20]).await.expect("written");
        store.put("damaged", vec![2; 3 << 20]).await.expect("written");
        let parts = files(&minio.dir().join("data").join(&bucket).join("flow/damaged"));
        let part =
            parts.iter().find(|path| path.file_name().is_some_and(|name| name == "part.1")).expect("its content");
        let length = fs::metadata(part).expect("it exists").len();
        fs::File::options().write(true).open(part).and_then(|file| file.set_len(length / 2)).expect("cut off");
        let error = store.get("damaged").await.expect_err("half of it is gone");
        assert!(error.to_string().contains("damaged"), "{error}");
        // The sum that went up with it does not fit, whether the store notices or not.
        assert!(matches!(error, Error::Broken { .. } | Error::Failed { .. } | Error::Busy { .. }), "{error:?}");
        assert!(store.get("whole").await.expect("read") == vec![1; 3 << 20]);
    });
}
