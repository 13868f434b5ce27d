//! Compare-and-swap.

use std::collections::BTreeSet;

use flow_store::{Store, Swap, Version};
use tokio::runtime::Runtime;

async fn done(store: &Store, from: Option<&Version>, content: &str) -> Version {
    match store.swap("HEAD", from, content.to_owned()).await.expect("it answers") {
        Swap::Done(version) => version,
        other => panic!("{content}: {other:?}"),
    }
}

async fn conflict(store: &Store, from: Option<&Version>) {
    let swap = store.swap("HEAD", from, "never").await.expect("it answers");
    assert!(matches!(swap, Swap::Conflict), "{swap:?}");
}

pub fn swap(runtime: &Runtime, store: Store) {
    runtime.block_on(async {
        let first = done(&store, None, "first").await;
        conflict(&store, None).await;
        assert_eq!(store.read("HEAD").await.expect("read"), Some(("first".into(), first.clone())));
        let second = done(&store, Some(&first), "second").await;
        assert_ne!(first, second);
        conflict(&store, None).await;
        conflict(&store, Some(&first)).await;
        assert_eq!(store.read("HEAD").await.expect("read"), Some(("second".into(), second.clone())));
        // A plain write changes the version too.
        store.put("HEAD", "third").await.expect("written");
        conflict(&store, Some(&second)).await;
        let (_, third) = store.read("HEAD").await.expect("read").expect("it exists");
        done(&store, Some(&third), "fourth").await;
        // What is not there has no version, and can be created again.
        store.delete(["HEAD"]).await.expect("deleted");
        conflict(&store, Some(&third)).await;
        assert!(store.read("HEAD").await.expect("read").is_none());
        done(&store, None, "fifth").await;
    });
}

/// Everybody counts up by swaps; no count is lost and none counts twice.
pub fn race(runtime: &Runtime, store: Store) {
    const TASKS: usize = 8;
    const COUNTS: usize = 5;
    let count = async |store: Store, task: usize| {
        let mut reached = Vec::new();
        while reached.len() < COUNTS {
            let found = store.read("count").await.expect("read");
            let number = found.as_ref().map_or(0, |(content, _)| {
                let text = std::str::from_utf8(content).expect("text");
                text.split(' ').next().expect("a number").parse::<usize>().expect("a number")
            });
            let content = format!("{} by {task}", number + 1);
            match store.swap("count", found.as_ref().map(|(_, version)| version), content).await.expect("it answers") {
                Swap::Done(_) => reached.push(number + 1),
                Swap::Conflict | Swap::Retry => (),
                Swap::Unknown(error) => panic!("{error}"),
            }
        }
        reached
    };
    let tasks: Vec<_> = (0..TASKS).map(|task| runtime.spawn(count(store.clone(), task))).collect();
    let reached: Vec<usize> =
        tasks.into_iter().flat_map(|task| runtime.block_on(task).expect("it goes well")).collect();
    assert_eq!(reached.len(), TASKS * COUNTS);
    assert_eq!(reached.into_iter().collect::<BTreeSet<_>>(), (1..=TASKS * COUNTS).collect());
}

pub fn probe(runtime: &Runtime, store: Store) {
    runtime.block_on(async {
        // Two at once do not mistake each other for a bad store.
        let (first, second) = tokio::join!(store.probe(), store.probe());
        first.and(second).expect("it keeps what is asked of it");
        assert!(store.list("", None).await.expect("a list").objects.is_empty(), "it leaves nothing behind");
    });
}
