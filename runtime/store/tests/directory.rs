//! A directory under a full disk, kill -9, a stopped neighbour, and where none can be. Some tests start themselves again, as a
//! process that may be limited or killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use flow_store::{Error, Location, Settings, Store, Swap};
use tokio::runtime::{Builder, Runtime};

/// Says to a process of a test what to work in.
const ROLE: &str = "FLOW_STORE_TEST_DIRECTORY";

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

async fn open(path: &Path) -> Result<Store, Error> {
    Store::open(&Location::Directory(path.to_owned()), &Settings::default()).await
}

/// This program once more, with one test and the role.
fn again(shell: &str, test: &str, directory: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", shell]).arg(env::current_exe().expect("a test program has a path"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ROLE, directory);
    command
}

/// A process that is killed with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A disk of 2 MiB where that may be made, else a limit on the size of files, which fails the same writes.
const SMALL_DISK: &str = r#"
small='mount -t tmpfs -o size=2m none "$FLOW_STORE_TEST_DIRECTORY" && exec "$0" "$@"'
if unshare -Urm sh -c 'mount -t tmpfs none /tmp' 2>/dev/null; then
  exec unshare -Urm sh -c "$small" "$0" "$@"
fi
trap '' XFSZ
ulimit -f 2048
exec "$0" "$@"
"#;

#[test]
fn a_full_disk_is_retryable_and_leaves_what_was() {
    let Some(directory) = env::var_os(ROLE).map(PathBuf::from) else {
        let directory = tempfile::tempdir().expect("a directory");
        let out = again(SMALL_DISK, "a_full_disk_is_retryable_and_leaves_what_was", directory.path()).output();
        let out = out.expect("sh starts");
        let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains("1 passed"), "{text}");
        return;
    };
    let large = vec![1; 3 << 20];
    let elsewhere = tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new());
    let elsewhere = elsewhere.expect("a file");
    runtime().block_on(async {
        let store = open(&directory).await.expect("it opens");
        store.put("object", "whole").await.expect("written");
        let Swap::Done(head) = store.swap("HEAD", None, "whole").await.expect("written") else { panic!("done") };
        let full = |result: Result<(), Error>, name: &str| {
            let error = result.expect_err("there is no room");
            assert!(matches!(&error, Error::Full { .. }) && error.is_retryable(), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(name) && text.ends_with("free some space there"), "{text}");
        };
        for _ in 0..3 {
            full(store.put("object", large.clone()).await, "object");
            full(store.swap("HEAD", Some(&head), large.clone()).await.map(drop), "HEAD");
            // A file that holds nothing takes no room where it lies.
            if elsewhere.as_file().set_len(3 << 20).is_ok() {
                full(store.put_file("object", elsewhere.path()).await.map(drop), "object");
            }
            assert_eq!(store.get("object").await.expect("read"), "whole");
            assert_eq!(store.read("HEAD").await.expect("read"), Some(("whole".into(), head.clone())));
        }
        // Nothing was left of the attempts, so there is room for what fits.
        store.put("other", vec![2; 1 << 20]).await.expect("it fits");
        assert!(matches!(store.swap("HEAD", Some(&head), "next").await.expect("it fits"), Swap::Done(_)));
    });
}

/// Counts up in HEAD by swaps, and with each writes an object; tells each count once it is durable.
fn count_up(directory: &Path) {
    runtime().block_on(async {
        let store = open(directory).await.expect("it opens");
        loop {
            let found = store.read("HEAD").await.expect("read");
            let count = found.as_ref().map_or(0, |(content, _)| counted(content));
            let content = format!("{} {}", count + 1, "x".repeat(100_000));
            store.put(&format!("objects/{}/x", count + 1), content.clone()).await.expect("written");
            let swap = store.swap("HEAD", found.as_ref().map(|(_, version)| version), content).await.expect("swapped");
            assert!(matches!(swap, Swap::Done(_)), "nobody else swaps: {swap:?}");
            println!("count {}", count + 1);
            store.delete([format!("objects/{}/x", count.saturating_sub(3))]).await.expect("deleted");
        }
    });
}

fn counted(content: &[u8]) -> u64 {
    let text = std::str::from_utf8(content).expect("text");
    let (count, rest) = text.split_once(' ').expect("a count and what comes after it");
    assert_eq!(rest.len(), 100_000, "it is whole");
    count.parse().expect("a number")
}

#[test]
fn a_kill_at_any_line_leaves_all_whole() {
    if let Some(directory) = env::var_os(ROLE) {
        return count_up(Path::new(&directory));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("store");
    let (runtime, mut told) = (runtime(), 0);
    for round in 0..15_u64 {
        let mut command = again(r#"exec "$0" "$@""#, "a_kill_at_any_line_leaves_all_whole", &root);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut child = Killed(child);
        let mut lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
        // Some way into its work, at a different place of it each time.
        let mut counts = |most: usize| {
            let of_line = |line: std::io::Result<String>| line.ok()?.split_once("count ")?.1.parse::<u64>().ok();
            lines.by_ref().filter_map(of_line).take(most).last()
        };
        told = counts(3).expect("it counts").max(told);
        thread::sleep(Duration::from_micros(round * 731 % 9000));
        child.0.kill().expect("it runs");
        told = counts(usize::MAX).unwrap_or(0).max(told);
        runtime.block_on(async {
            let store = open(&root).await.expect("it opens");
            let (content, version) = store.read("HEAD").await.expect("read").expect("it exists");
            let count = counted(&content);
            // What it had told stands; one more may have been done without being told.
            assert!((told..=told + 1).contains(&count), "{told} were told, {count} are there");
            assert_eq!(counted(&store.get(&format!("objects/{count}/x")).await.expect("read")), count);
            for listed in store.list("objects/", None).await.expect("a list").objects {
                counted(&store.get(&listed.name).await.expect("read"));
            }
            // The lock went with the process.
            let content = format!("{} {}", count + 1, "x".repeat(100_000));
            store.put(&format!("objects/{}/x", count + 1), content.clone()).await.expect("written");
            let swap = store.swap("HEAD", Some(&version), content).await.expect("swapped");
            assert!(matches!(swap, Swap::Done(_)), "{swap:?}");
            told = count + 1;
        });
    }
}

#[test]
fn what_killed_processes_left_goes_when_it_is_old() {
    let directory = tempfile::tempdir().expect("a directory");
    let hidden = directory.path().join(".flow");
    fs::create_dir(&hidden).expect("a directory");
    let left = |name: &str, hours: u64| {
        let file = File::create(hidden.join(name)).expect("a file");
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).expect("its time");
        hidden.join(name)
    };
    // Young is what a machine writes whose clock is an hour or two behind.
    let (old, young, lock) = (left("old.new", 25), left("young.new", 2), left("lock", 25));
    runtime().block_on(async { open(directory.path()).await.expect("it opens") });
    assert!(!old.exists() && young.exists() && lock.exists());
}

#[test]
fn a_stopped_neighbour_with_the_lock_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = runtime();
    let store = runtime.block_on(open(directory.path())).expect("it opens");
    let lock = File::create(directory.path().join(".flow/lock")).expect("a file");
    lock.lock().expect("locked");
    let begun = Instant::now();
    let error = runtime.block_on(store.swap("HEAD", None, "x")).expect_err("the lock is held");
    assert!(matches!(error, Error::Busy { .. }) && error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("another process holds the lock"), "{error}");
    assert!((10..60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    // Reading and writing elsewhere goes on.
    runtime.block_on(store.put("other", "x")).expect("written");
    let waiting = store.clone();
    let waiting = store.spawn(async move { waiting.swap("HEAD", None, "x").await });
    thread::sleep(Duration::from_millis(100));
    drop(lock);
    let swap = runtime.block_on(waiting).expect("it does not panic").expect("swapped");
    assert!(matches!(swap, Swap::Done(_)), "{swap:?}");
}

#[test]
fn where_no_directory_can_be_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "x").expect("written");
    let open = |path: &Path| runtime().block_on(async { open(path).await.map(drop) }).expect_err("no directory");
    let error = open(&file.join("store"));
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("file/store: refused to write to it: Not a directory"), "{error}");
    // Nobody may write there, not even root.
    let error = open(Path::new("/sys/flow"));
    assert!(matches!(error, Error::Denied { action: "write to", .. }), "{error:?}");
    assert!(error.to_string().starts_with("/sys/flow: not allowed to write to it: "), "{error}");
}
