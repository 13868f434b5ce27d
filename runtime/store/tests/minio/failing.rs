//! A way to S3 that is slow, busy, cut or silent. What may be tried again is; what became of a swap without an answer is told by
//! the same swap sent again.

use std::fs;
use std::time::{Duration, Instant};

use flow_e2e::minio::Minio;
use flow_e2e::toxic::{Toxic, Toxin, Whom};
use flow_store::{Error, Settings, Store, Swap};
use tokio::runtime::Runtime;

use crate::{open, runtime, settings};

/// A store behind a proxy, and one beside it.
struct Place {
    minio: Minio,
    toxic: Toxic,
    runtime: Runtime,
    store: Store,
    direct: Store,
}

fn place() -> Place {
    let minio = Minio::start();
    let toxic = Toxic::before(&minio.address);
    let (runtime, bucket, settings) = (runtime(), minio.bucket(), settings(&minio));
    let through = Settings { endpoint: Some(format!("http://{}", toxic.address)), ..settings.clone() };
    let (store, direct) = runtime.block_on(async { (open(&bucket, &through).await, open(&bucket, &settings).await) });
    Place { minio, toxic, runtime, store, direct }
}

/// Changes what the proxy does while the test waits for something else.
fn later(place: &Place, wait: u64, toxin: Toxin) {
    let toxic = place.toxic.clone();
    place.runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        toxic.set(toxin);
    });
}

#[test]
fn what_may_be_tried_again_is() {
    let place = place();
    let (store, content) = (&place.store, vec![7; 9 << 20]);
    let directory = tempfile::tempdir().expect("a directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::write(&from, content.repeat(3)).expect("written");
    for toxin in [Toxin::Busy, Toxin::Refuse, Toxin::LoseAnswers, Toxin::Cut(100), Toxin::Cut(1 << 20)] {
        let begun = Instant::now();
        let bad = |what: &str| {
            eprintln!("{:?} {toxin:?}, {what}", begun.elapsed());
            place.toxic.set(toxin);
            later(&place, 300, Toxin::None);
        };
        place.runtime.block_on(async {
            bad("put");
            store.put("object", content.clone()).await.expect("written");
            bad("get");
            assert!(store.get("object").await.expect("read") == content);
            bad("put_file");
            store.put_file("file", &from).await.expect("written");
            bad("get_file");
            store.get_file("file", 0..27 << 20, &to).await.expect("read");
            assert!(fs::read(&to).expect("read") == content.repeat(3));
            bad("list");
            assert_eq!(store.list("", None).await.expect("a list").objects.len(), 2);
            bad("delete");
            store.delete(["object", "file"]).await.expect("deleted");
            assert!(store.list("", None).await.expect("a list").objects.is_empty());
        });
    }
}

#[test]
fn a_swap_whose_answer_is_lost_is_settled_by_the_same_swap() {
    let place = place();
    let (store, direct) = (&place.store, &place.direct);
    place.runtime.block_on(async {
        let swap = store.swap("HEAD", None, "first").await.expect("it answers");
        let Swap::Done(first) = swap else { panic!("{swap:?}") };
        place.toxic.set(Toxin::LoseAnswers);
        let before = place.toxic.calls();
        let swap = store.swap("HEAD", Some(&first), "second, nonce 1").await.expect("it may have been done");
        let Swap::Unknown(error) = swap else { panic!("{swap:?}") };
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert_eq!(place.toxic.calls(), before + 1, "it is not sent again by itself");
        place.toxic.set(Toxin::None);
        // It was done; sent again, it finds what it did itself.
        let again = store.swap("HEAD", Some(&first), "second, nonce 1").await.expect("it answers");
        assert!(matches!(again, Swap::Conflict), "{again:?}");
        let (content, second) = store.read("HEAD").await.expect("read").expect("it exists");
        assert_eq!(content, "second, nonce 1");

        // The store has not heard of this one, or does not say: nothing stands in the way of the same once more.
        for toxin in [Toxin::Busy, Toxin::Refuse] {
            place.toxic.set(toxin);
            let swap = store.swap("HEAD", Some(&second), "third, nonce 2").await.expect("nobody knows");
            assert!(matches!(&swap, Swap::Unknown(error) if error.is_retryable()), "{swap:?}");
            assert_eq!(direct.read("HEAD").await.expect("read").expect("it exists").0, "second, nonce 1");
        }
        place.toxic.set(Toxin::None);
        let swap = store.swap("HEAD", Some(&second), "third, nonce 2").await.expect("it answers");
        assert!(matches!(swap, Swap::Done(_)), "{swap:?}");
    });
}

#[test]
fn what_got_lost_on_the_way_is_asked_again_soon() {
    let place = place();
    let toxic = place.toxic.clone();
    place.runtime.block_on(async {
        for what in ["put", "get", "list"] {
            toxic.cut_off(Some(Whom::All));
            let again = toxic.clone();
            place.runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                again.cut_off(None);
            });
            let begun = Instant::now();
            match what {
                "put" => place.store.put("object", "content").await.expect("written"),
                "get" => assert_eq!(place.store.get("object").await.expect("read"), "content"),
                _ => assert_eq!(place.store.list("", None).await.expect("a list").objects.len(), 1),
            }
            let took = begun.elapsed();
            assert!(took > Duration::from_secs(4) && took < Duration::from_secs(12), "{what}: {took:?}");
        }
    });
}

#[test]
fn silence_ends_a_swap_and_does_not_hold_up_others() {
    let place = place();
    place.runtime.block_on(async {
        place.toxic.set(Toxin::Stall);
        let begun = Instant::now();
        let swap = place.store.swap("HEAD", None, "first").await.expect("nobody knows");
        assert!(matches!(&swap, Swap::Unknown(Error::TimedOut { .. })), "{swap:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        place.toxic.set(Toxin::None);
        let swap = place.store.swap("HEAD", None, "first").await.expect("it answers");
        assert!(matches!(swap, Swap::Done(_)), "a connection that went silent is not used again: {swap:?}");
    });
}

#[test]
fn a_small_swap_passes_large_uploads() {
    let place = place();
    let directory = tempfile::tempdir().expect("a directory");
    let from = directory.path().join("from");
    fs::write(&from, vec![7; 200 << 20]).expect("written");
    place.toxic.set(Toxin::Delay(Duration::from_millis(200)));
    place.runtime.block_on(async {
        let sent = Instant::now();
        let uploads: Vec<_> = (0..2)
            .map(|number| {
                let (store, from) = (place.store.clone(), from.clone());
                tokio::spawn(async move { store.put_file(&format!("file-{number}"), &from).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        let swap = place.store.swap("HEAD", None, "first").await.expect("it answers");
        assert!(matches!(swap, Swap::Done(_)), "{swap:?}");
        let took = begun.elapsed();
        assert!(uploads.iter().any(|upload| !upload.is_finished()), "they were to be under way");
        for upload in uploads {
            assert_eq!(upload.await.expect("it does not panic").expect("written"), 200 << 20);
        }
        // Behind them it would have taken as long as they did, on whatever machine.
        let all = sent.elapsed();
        assert!(2 * took < all, "{took:?} of {all:?}");
    });
}

#[test]
fn a_slow_store_passes_the_probe() {
    let place = place();
    place.toxic.set(Toxin::Delay(Duration::from_millis(30)));
    let begun = Instant::now();
    place.runtime.block_on(place.store.probe()).expect("it is slow and right");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn what_was_answered_survives_a_kill_of_the_store() {
    let place = place();
    let content = vec![3; 20 << 20];
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("from"), &content).expect("written");
    place.runtime.block_on(async {
        place.store.put_file("file", &directory.path().join("from")).await.expect("written");
        let Swap::Done(version) = place.store.swap("HEAD", None, "first").await.expect("done") else { panic!("done") };
        place.minio.kill();
        let swap = place.store.swap("HEAD", Some(&version), "second").await.expect("nobody knows");
        assert!(matches!(swap, Swap::Unknown(_)), "{swap:?}");
        place.minio.start_again();
        assert_eq!(place.store.read("HEAD").await.expect("read"), Some(("first".into(), version)));
        assert!(place.store.get("file").await.expect("read") == content);
    });
}
