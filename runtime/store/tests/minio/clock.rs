//! A machine whose clock is an hour off: S3 refuses what is signed so, and tells its own time.

use std::env;
use std::fs;
use std::process::Command;
use std::time::SystemTime;

use flow_e2e::minio::Minio;
use flow_e2e::shifted::{self, HOUR};
use flow_store::Swap;

use crate::{open, runtime, settings};

#[test]
fn a_clock_that_is_an_hour_off_does_no_harm() {
    for seconds in [HOUR, -HOUR] {
        let mut command = Command::new(env::current_exe().expect("it has a path"));
        command.args(["--exact", "clock::each_request_may_be_the_first", "--ignored", "--nocapture"]);
        let ran = command.envs(shifted::environment(seconds)).output().expect("it starts");
        let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(ran.status.success() && said.contains("1 passed"), "{seconds} s: {said}");
    }
}

#[test]
#[ignore = "another test runs it under a wrong clock"]
fn each_request_may_be_the_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let from = directory.path().join("from");
    fs::write(&from, vec![7; 20 << 20]).expect("written");
    let written = fs::metadata(&from).and_then(|file| file.modified()).expect("it is there");
    let now = SystemTime::now();
    let off = now.duration_since(written).or_else(|_| written.duration_since(now)).expect("one of them is later");
    assert!(off.as_secs() > 3000, "the clock is right: {off:?}");
    let minio = Minio::start();
    let (runtime, bucket, settings) = (runtime(), minio.bucket(), settings(&minio));
    // What a client has heard of the store's time it keeps: each has heard nothing.
    let new = || open(&bucket, &settings);
    runtime.block_on(async {
        let swap = new().await.swap("HEAD", None, "first").await.expect("it answers");
        let Swap::Done(version) = swap else { panic!("{swap:?}") };
        let swap = new().await.swap("HEAD", Some(&version), "second").await.expect("it answers");
        assert!(matches!(swap, Swap::Done(_)), "{swap:?}");
        let swap = new().await.swap("HEAD", Some(&version), "third").await.expect("it answers");
        assert!(matches!(swap, Swap::Conflict), "{swap:?}");
        assert_eq!(new().await.read("HEAD").await.expect("read").expect("it exists").0, "second");
        new().await.put("object", "bytes").await.expect("written");
        assert_eq!(new().await.get("object").await.expect("read"), "bytes");
        new().await.put_file("file", &from).await.expect("written");
        assert_eq!(new().await.get_range("file", 5..9).await.expect("read"), vec![7; 4]);
        assert_eq!(new().await.list("", None).await.expect("a list").objects.len(), 3);
        new().await.delete(["object", "file"]).await.expect("deleted");
        new().await.probe().await.expect("it is fit");
    });
}
