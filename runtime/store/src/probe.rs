//! Whether a store keeps what compare-and-swap promises, also when several ask at once: some take every conditional write,
//! some look at the condition and write afterwards. Found out by races, before the first job trusts the store.

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{Error, Store, Swap, Version};

/// Where the probe's objects lie; no job has a dot in its name.
const FOLDER: &str = "flow.probe";
/// How many ask at once.
const WIDE: usize = 8;
/// How many races of creations, and as many of swaps. A store that looks first and writes afterwards lets several win in at
/// least half of them, so one in 2⁸ probes is taken in by it, at most.
const ROUNDS: usize = 4;

/// See [`Store::probe`].
pub(crate) async fn probe(store: &Store) -> Result<(), Error> {
    let of_probe = format!("{FOLDER}/{:032x}", fastrand::u128(..));
    let names: Vec<String> = (0..ROUNDS).map(|round| format!("{of_probe}/{round}")).collect();
    let found = rounds(store, &names).await;
    // A store that can't be asked now can't be asked to delete either.
    if found.as_ref().is_err_and(Error::is_retryable) {
        return found;
    }
    // What ended the rounds says more than what keeps the deletion from its end.
    let deleted = store.delete(&names).await;
    found.and(deleted)?;
    match store.read(&names[0]).await? {
        None => Ok(()),
        Some(_) => Err(unfit(store, "an object that was deleted can still be read")),
    }
}

async fn rounds(store: &Store, names: &[String]) -> Result<(), Error> {
    for name in names {
        let created = race(store, name, None).await?;
        let swapped = race(store, name, Some(&created)).await?;
        if swapped == created {
            return Err(unfit(store, "another content did not change an object's version (its ETag)"));
        }
        // One after another: what a store that ignores conditions fails even without a race.
        for from in [None, Some(&created)] {
            if !matches!(store.swap(name, from, content()).await?, Swap::Conflict) {
                return Err(unfit(store, "it took a conditional write whose condition did not hold"));
            }
        }
    }
    let folder = names[0].trim_end_matches(|c: char| c != '/');
    let listed = store.list(folder, None).await?.objects;
    if !listed.iter().map(|listed| &listed.name).eq(names) {
        return Err(unfit(store, "objects that were written are not in the list"));
    }
    Ok(())
}

/// Lets several swap the same object at once. Exactly one may win, and the object is then as that one wrote it.
async fn race(store: &Store, name: &str, from: Option<&Version>) -> Result<Version, Error> {
    let mut racing = JoinSet::new();
    for _ in 0..WIDE {
        let (store, name, from, content) = (store.clone(), name.to_owned(), from.cloned(), content());
        racing.spawn(async move { (store.swap(&name, from.as_ref(), content.clone()).await, content) });
    }
    let (mut winners, mut unsettled) = (Vec::new(), None);
    for (swap, content) in racing.join_all().await {
        match swap.map_err(|error| refused(store, error))? {
            Swap::Done(version) => winners.push((version, content)),
            Swap::Conflict | Swap::Retry => (),
            Swap::Unknown(error) => unsettled = Some(error),
        }
    }
    if winners.len() > 1 {
        let cause =
            format!("{} of {WIDE} conditional writes won that were sent at once and exclude each other", winners.len());
        return Err(unfit(store, &cause));
    }
    if let Some(error) = unsettled {
        return Err(error);
    }
    let Some((version, content)) = winners.pop() else {
        return Err(unfit(store, "no conditional write won, though the condition held"));
    };
    match store.read(name).await? {
        Some((read, found)) if read == content && found == version => Ok(version),
        _ => Err(unfit(store, "an object is not what was written last")),
    }
}

/// A store that does not know conditional writes may say so.
fn refused(store: &Store, error: Error) -> Error {
    match error {
        Error::Refused { cause, .. } => unfit(store, &format!("it refuses conditional writes: {cause}")),
        other => other,
    }
}

/// What no other swap writes.
fn content() -> Bytes {
    format!("{:032x}", fastrand::u128(..)).into()
}

fn unfit(store: &Store, cause: &str) -> Error {
    Error::Unfit { place: store.place(), cause: cause.to_owned() }
}
